"""Encryption of secrets at rest: AES-256-GCM under one key of the operator's.

The name that a secret is stored under is authenticated with it, so that a row that is copied to
another name cannot be read there.
"""

import base64
import binascii
import os
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sagabus.errors import ConflictError, SettingsError

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_FORMAT: Final = "1"
#: The key of an orchestrator that brings its own database, in its data directory.
KEY_FILE: Final = "secret.key"
_HOW: Final = (
    "set SAGABUS_SECRET_KEY, or SAGABUS_SECRET_KEY_FILE, to 32 random bytes in base64"
    " (openssl rand -base64 32)"
)


class SecretBox:
    """Encrypts and decrypts; ``key`` None: neither."""

    def __init__(self, key: bytes | None) -> None:
        self._cipher = None if key is None else AESGCM(key)
        #: Names the key without telling it.
        self._key_id = "" if key is None else sha256(b"sagabus" + key).hexdigest()[:12]

    def seal(self, name: str, secret: str) -> str:
        """``secret`` as it is stored under ``name``.

        Raises:
            ConflictError: there is no key.
        """
        if self._cipher is None:
            raise ConflictError(f"no secret can be stored without a key: {_HOW}")
        nonce = token_bytes(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, secret.encode(), name.encode())
        return f"{_FORMAT}:{self._key_id}:{base64.b64encode(sealed).decode()}"

    def open(self, name: str, stored: str) -> str:
        """The secret that was stored under ``name``.

        Raises:
            ConflictError: there is no key, or it was stored with another one, or it was changed.
        """
        if self._cipher is None:
            raise ConflictError(f"the secret {name!r} cannot be read without its key: {_HOW}")
        format_, key_id, text = [*stored.split(":", 2), "", ""][:3]
        if (format_, key_id) != (_FORMAT, self._key_id):
            raise ConflictError(
                f"the secret {name!r} was stored with another key than this orchestrator has;"
                " give it that key, or store the secret again"
            )
        try:
            sealed = base64.b64decode(text, validate=True)
            nonce, data = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            return self._cipher.decrypt(nonce, data, name.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise ConflictError(
                f"what is stored of the secret {name!r} was changed; store it again"
            ) from error


def parse_key(text: str, origin: str) -> bytes:
    """The key that ``text`` from ``origin`` holds: 32 bytes in base64.

    Raises:
        SettingsError: it is none.
    """
    try:
        plain = text.strip().replace("-", "+").replace("_", "/")
        key = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise SettingsError(f"{origin} does not hold 32 bytes in base64 (openssl rand -base64 32)")
    return key


def read_key(path: Path, origin: str) -> bytes:
    """The key in a file.

    Raises:
        SettingsError: it cannot be read, others may read it, or it holds no key.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise SettingsError(f"{origin}: {path} cannot be read: {error.strerror}") from None
    if mode & 0o007:
        raise SettingsError(f"{origin}: everybody may read {path}; chmod 600 it")
    return parse_key(text, f"{origin}: {path}")


def own_key(directory: Path) -> bytes:
    """The key in a data directory, made where it is missing.

    Raises:
        SettingsError: it cannot be made or used.
    """
    path = directory / KEY_FILE
    if not path.exists():
        _make(path)
    return read_key(path, "the key of the data directory")


def _make(path: Path) -> None:
    fresh = path.with_suffix(f".{os.getpid()}")
    text = base64.b64encode(token_bytes(_KEY_BYTES)) + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(text)
            file.flush()
            # A secret that is stored must not outlive its key.
            os.fsync(file.fileno())
        os.link(fresh, path)  # fails where somebody was quicker: that one's key counts
    except FileExistsError:
        pass
    except OSError as error:
        raise SettingsError(f"cannot write the key {path}: {error.strerror}") from None
    finally:
        fresh.unlink(missing_ok=True)
