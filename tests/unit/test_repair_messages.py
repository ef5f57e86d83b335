"""Commands that repair, as they come over the bus, and the definition that a retry brings."""

from dataclasses import replace
from typing import Any

import pytest

from sagabus.adapters.memory_store import MemoryStore
from sagabus.core.definition import Definition
from sagabus.core.events import (
    CompensateRequested,
    FailRequested,
    IntentResolved,
    ResultSet,
    RetryRequested,
    SkipRequested,
)
from sagabus.errors import BadMessageError, ConflictError, InvalidRequestError
from sagabus.runtime.messages import what_is_asked
from sagabus.runtime.repairing import repair_event, retry_event
from sagabus.runtime.snapshots import Snapshots
from sagabus_agents.wire import CommandMessage
from tests.unit.core.clock import BASE
from tests.unit.core.scene import sequence, stage
from tests.unit.core.world import new_state


def message(name: Any, **arguments: Any) -> CommandMessage:
    return CommandMessage(command="c1", name=name, by="ann", arguments=arguments)


async def snapshots() -> Snapshots:
    """The newest definition is "d", and the instance's one."""
    newest: Definition = sequence(stage("a"))
    found = Snapshots(MemoryStore(), lambda _: newest, lambda _: newest)
    await found.newest("flow")
    return found


async def retry(**arguments: Any) -> RetryRequested:
    row = new_state().row
    row.digest = arguments.pop("digest", "d")
    return await retry_event(message("retry", **arguments), row, await snapshots(), BASE)


def test_each_command_says_what_it_is_about_and_who_asks() -> None:
    of = {"stage": "a", "attempt": "a-1-0/2", "reason": "stuck"}
    assert repair_event(message("skip", **of), BASE) == SkipRequested(
        BASE, "c1", "a", "a-1-0/2", "ann", "stuck"
    )
    assert repair_event(message("fail", **of), BASE) == FailRequested(
        BASE, "c1", "a", "a-1-0/2", "ann", "stuck"
    )
    assert repair_event(message("set_result", output=[1], **of), BASE) == ResultSet(
        BASE, "c1", "a", [1], "a-1-0/2", "ann", "stuck"
    )
    assert repair_event(message("resolve", outcome="failed", **of), BASE) == IntentResolved(
        BASE, "c1", "a", "failed", None, "a-1-0/2", "ann", "stuck"
    )
    together = repair_event(message("resolve", stage="a", outcome="retry", all=True), BASE)
    assert together == IntentResolved(BASE, "c1", "a", "retry", by="ann", is_all=True)
    assert repair_event(message("compensate", reason="wrong"), BASE) == CompensateRequested(
        BASE, "c1", None, "ann", "wrong"
    )


async def test_a_retry_keeps_its_definition_unless_the_newest_is_asked_for() -> None:
    plain = await retry(**{"from": "a", "parameters": {"size": 4}, "reason": "mended"})
    expected = RetryRequested(BASE, "c1", "a", {"size": 4}, None, "ann", "mended")
    assert plain == replace(expected, asked=plain.asked)
    assert (await retry(definition="latest")).definition is None


async def test_a_retry_brings_the_newest_definition() -> None:
    brought = await retry(digest="old", definition="d")
    assert brought.definition is not None
    assert brought.definition.digest == "d"


async def test_a_definition_that_has_changed_since_it_was_looked_at_is_refused() -> None:
    with pytest.raises(ConflictError, match="compare again"):
        await retry(definition="another")


async def test_parameters_that_cannot_be_stored_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="max_payload_bytes"):
        await retry(parameters={"text": "x" * 600_000})


async def test_arguments_that_nobody_knows_are_refused_by_name() -> None:
    with pytest.raises(BadMessageError, match=r"retry: form: Extra inputs"):
        await retry(form="a")


def test_a_command_in_short_is_the_same_whoever_gives_it_and_why() -> None:
    first = what_is_asked(message("skip", stage="a", reason="stuck"))
    again = message("skip", reason="it hangs", stage="a").model_copy(update={"by": "bob"})
    assert what_is_asked(again) == first
    assert what_is_asked(message("fail", stage="a", reason="stuck")) != first
    assert what_is_asked(message("skip", stage="b", reason="stuck")) != first


def test_arguments_that_are_no_json_are_refused() -> None:
    with pytest.raises(BadMessageError, match="answer: its arguments are no JSON"):
        what_is_asked(message("answer", stage="a", data=object()))
