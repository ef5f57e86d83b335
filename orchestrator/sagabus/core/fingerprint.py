"""Fingerprints of JSON values: equal values have the same one, whatever the order of their keys."""

import json
from hashlib import sha256
from typing import Any

import orjson


def fingerprint(value: Any) -> str:
    """SHA-256 of ``value`` as JSON with sorted keys, hexadecimal."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:  # integers beyond 64 bits
        text = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    return sha256(text).hexdigest()
