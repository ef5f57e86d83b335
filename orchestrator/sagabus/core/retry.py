"""When a failed attempt is tried again."""

import zlib
from datetime import timedelta
from typing import assert_never

from sagabus.core.definition import RetryPolicy
from sagabus.errors import InvariantError

#: Part of the delay that jitter may take away.
JITTER = 0.1


def next_delay(policy: RetryPolicy, attempt: int, seed: str) -> timedelta:
    """Wait before ``attempt`` (2 = first retry), capped at ``max_delay``, jittered by 10 %.

    constant: delay; linear: delay * n; exponential: delay * 2**(n-1), where n counts retries.
    ``seed`` fixes the jitter, so that the same task always waits the same time.

    Raises:
        InvariantError: ``attempt`` is not a retry that the policy allows.
    Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog (2015).
    """
    retry = attempt - 1
    if not 1 <= retry <= policy.count:
        raise InvariantError(f"attempt {attempt} is not among {policy.count} retries")
    match policy.backoff:
        case "constant":
            factor = 1
        case "linear":
            factor = retry
        case "exponential":
            # Beyond 2**40 every delay is capped, and timedelta would overflow.
            factor = 2 ** min(retry - 1, 40)
        case unknown:
            assert_never(unknown)
    seconds = min(policy.delay.total_seconds() * factor, policy.max_delay.total_seconds())
    if policy.jitter:
        seconds *= 1 - JITTER * (zlib.crc32(f"{seed}:{attempt}".encode()) / 0xFFFFFFFF)
    return timedelta(seconds=seconds)
