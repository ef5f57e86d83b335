"""Whatever comes into the inbox is a message, or says in one sentence why it is none."""

import json
import time
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from sagabus.errors import BadMessageError
from sagabus.ports import Delivery
from sagabus.runtime.dead_letters import letter_of_message
from sagabus.runtime.messages import read_inbox, result_event
from sagabus.runtime.reading import Dead
from sagabus_agents.wire import MAX_MESSAGE_BYTES, DeadLetter, ResultMessage
from tests.unit.hostile.judging import SLOWNESS
from tests.unit.hostile.mutations import NASTY, mutated

AT = datetime(2026, 3, 1, tzinfo=UTC)
LIMIT_S = 0.2
VALID: tuple[dict[str, Any], ...] = (
    {"kind": "claim", "task": "a-1-0", "attempt": 1, "claim": "c", "agent": "x", "delivery": 1},
    {
        "kind": "result",
        "task": "a-1-0",
        "attempt": 1,
        "agent": "x",
        "status": "succeeded",
        "output": {"text": "{{ 7*7 }}", "list": [1, 2.5, None, True]},
        "artifacts": ["vm"],
    },
    {
        "kind": "result",
        "task": "a-1-0",
        "attempt": 1,
        "agent": "x",
        "status": "failed",
        "error": {"type": "broken", "message": "\u202e", "retryable": True},
    },
    {"kind": "command", "command": "c", "name": "cancel", "arguments": {"by": "ada"}},
    {"kind": "command", "command": "c", "name": "start", "arguments": {"workflow": "w"}},
)
BOMBS = (
    b"[" * 800_000,
    b'{"kind": ' * 100_000,
    b'{"kind": "result", "output": ' + b'{"a": ' * 100_000,
    b'{"kind": "result", "output": NaN}',
    b'{"kind": "result", "attempt": ' + b"9" * 500_000 + b"}",
    b'{"kind": "result", "output": "' + b"x" * (MAX_MESSAGE_BYTES + 1) + b'"}',
    b'{"kind": "result", "output": "' + b"x" * 64_000_000 + b'"}',
    b'{"kind": "' + b"x" * 500_000 + b'"}',
    b"{" + b",".join(b'"k%d": 1' % n for n in range(60_000)) + b"}",
    b'{"kind": "claim", "kind": "result", "kind": "command"}',
    b'{"kind": ["claim"]}',
    b"\xff" * 500_000,
    b"\x00" * 500_000,
    b"null",
    b'"result"',
    b"",
)


def why_not(data: bytes) -> str | None:
    """Why it is no message; None: it is one."""
    try:
        message = read_inbox(data)
    except BadMessageError as error:
        return error.reason
    if isinstance(message, ResultMessage):
        result_event(message, "devops", AT)
    return None


def check(data: bytes) -> bool:
    """Whether it is a message; it takes no time either way."""
    began = time.thread_time()
    reason = why_not(data)
    spent = time.thread_time() - began
    assert spent < LIMIT_S * SLOWNESS, f"{spent:.3f} s"
    if reason is None:
        return True
    assert 0 < len(reason) < 2_000
    delivery = Delivery("sagabus.inbox.0.i1.devops", data, 1, 1, AT)
    letter = letter_of_message(Dead(reason, "devops", "i1", delivery), AT)
    assert len(letter) <= MAX_MESSAGE_BYTES
    DeadLetter.model_validate_json(letter)
    return False


@pytest.mark.parametrize("data", BOMBS, ids=range(len(BOMBS)))
def test_a_bomb_is_no_message(data: bytes):
    assert not check(data)


def test_damaged_messages_are_messages_or_refused():
    random = Random(4)
    seen = [check(_damaged(random)) for _ in range(2_000)]
    assert 50 < sum(seen) < 1_950


def _damaged(random: Random) -> bytes:
    document = dict(random.choice(VALID))
    if random.random() < 0.5:
        key = random.choice([*document, random.choice(NASTY)])
        document[key] = random.choice((None, 0, -1, 2**70, 1.5, True, [], {}, "", *NASTY))
    text = json.dumps(document, ensure_ascii=random.random() < 0.5)
    return mutated(text, random) if random.random() < 0.5 else text.encode("utf-8", "surrogatepass")
