"""Answers go to inboxes alone: to write elsewhere would lend the orchestrator's rights."""

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from sagabus.errors import BadMessageError
from sagabus.runtime.messages import read_inbox
from sagabus_agents.wire import ClaimMessage, CommandMessage, SecretRequest

INBOXES = [
    "_INBOX.x",
    "_INBOX.Vq3_9-z.17",
    "_INBOX_devops.ab.cd",
    "sagabus.reply.0a1B2c",
]
OTHERS = [
    "",
    "x",
    "_inbox.x",
    "x._INBOX.y",
    "_INBOX.*",
    "_INBOX.>",
    "_INBOX.x y",
    "_INBOX.x\n",
    "_INBOX.x\r\nPUB",
    "_INBOX." + "x" * 256,
    "sagabus.reply",
    "sagabus.reply.",
    "sagabus.reply.*",
    "sagabus.reply.a.b",
    "sagabusXreply.a",
    "sagabus.task.devops.wf-1.a-1-0.1",
    "sagabus.inbox.wf-1._command",
    "$JS.API.STREAM.DELETE.SAGABUS_INBOX",
    "$SYS.REQ.SERVER.PING",
]

Make = Callable[[str], object]


def claim(reply: str) -> object:
    return ClaimMessage(claim="c", task="a-1-0", attempt=1, agent="x", delivery=1, reply=reply)


def command(reply: str) -> object:
    return CommandMessage(command="c", name="cancel", reply=reply)


def secret(reply: str) -> object:
    return SecretRequest(request="r", task="a-1-0", attempt=1, agent="x", key="k", reply=reply)


every_message = pytest.mark.parametrize("make", [claim, command, secret])


@every_message
@pytest.mark.parametrize("reply", INBOXES)
def test_an_inbox_is_answered(make: Make, reply: str) -> None:
    assert make(reply).reply == reply


@every_message
@pytest.mark.parametrize("reply", OTHERS)
def test_no_other_subject_is_answered(make: Make, reply: str) -> None:
    with pytest.raises(ValidationError, match="reply"):
        make(reply)


def test_what_asks_for_another_subject_is_no_message_and_the_reason_names_the_place() -> None:
    sent = claim("_INBOX.x").model_dump_json().replace("_INBOX.x", "$JS.API.INFO")
    with pytest.raises(BadMessageError, match=r"claim\.reply"):
        read_inbox(sent.encode())
