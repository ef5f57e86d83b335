"""Rows as text: the quick way writes what the thorough one writes."""

import math
from dataclasses import fields, is_dataclass, replace
from datetime import timedelta, timezone
from typing import Any

import pytest
from pydantic import TypeAdapter

from sagabus.adapters import store_codec
from sagabus.core.definition import SecretUse
from sagabus.core.instance import (
    Attempt,
    Consent,
    Failing,
    Failure,
    Firing,
    Gate,
    Instance,
    InstanceStatus,
    ParentRef,
    Parked,
    Pause,
    Resource,
    StageRun,
    StageStatus,
)
from sagabus.errors import InvariantError
from tests.support.sample_rows import START, attempt, instance


def _thorough(value: Instance | Attempt) -> str:
    return TypeAdapter(type(value)).dump_json(value, exclude_defaults=True).decode()


def _everything() -> Instance:
    """No field of anything in it is at its default."""
    failure = Failure("denied", "no", stage="build", task="build-1-0", policies=["p1"])
    gate = Gate(START, START, "sure?", True, "approved", "ann", START, "because", 1.5, 2, False)
    gate.approvals.append(Consent("ann", START, "because", {"ticket": 7}))
    run = StageRun("build", 1, StageStatus.FAILED, START, START, ["a-1"], *range(1, 7))
    run = replace(run, gate=gate, error=failure, undo_next=1, undo_sent=2)
    run = replace(run, undo_in_flight=3, undo_failed=4, is_handled=True, items=5)
    run = replace(run, is_unled=True, is_replaced=True, is_undone_by_hand=True, stands_for=6)
    run = replace(run, other_arms=["a-1"], undo_again=["build-1-0-undo-0"])
    tried = attempt(
        input={"n": None},
        output=[1, 2.5],
        artifacts=["a"],
        resources=[Resource("vm", "vm-1", {"size": None})],
        error=failure,
        claim=True,
        is_inline=True,
        claim_id="c",
        agent="agent-1",
        started_at=START,
        ended_at=START,
        due_at=START,
        retry=True,
        is_once=True,
        is_held=True,
        acted=True,
        left=["certain"],
        told_seq=7,
        is_late=True,
        given_up=3,
        stopped=failure,
        policies=["p"],
        vars={"v": 1},
        secrets=[SecretUse(("a", 0), 0, 3, "key")],
    )
    row = instance(
        "all",
        7,
        chain="c" * 64,
        started_by="ann",
        trace="t",
        started_at=START,
        ended_at=START,
        deadline_at=START,
        remaining_s=1.25,
        wake_at=START,
        active_runs=1,
        unfilled=["build-1"],
        in_flight=1,
        ended_count=1,
        undo_order=1,
        error=failure,
        cancel_requested=True,
        rollback="partial",
        failed_compensations=[{"task": "x"}],
        handled_failures=1,
        open_attempts=1,
        open={"build-1-0/1": tried},
        vars={"v": 1},
        arrived={"join": {"a": "a-1"}},
        failing=[Failing(failure, "a-1")],
        outcome=InstanceStatus.FAILED,
        output={"o": None},
        warnings=["w"],
        parent=ParentRef("i", "t-1-0", 1),
        root="r",
        pending=[Firing("b", "a-1")],
        paused=Pause(START, "ann", "later"),
        undo_parent=ParentRef("i", "t-1-0-undo-0", 1),
        parked=[Parked("after_final", "look", START, "build", "build-1-0", 1)],
        parked_in=InstanceStatus.COMPENSATING,
        undo_asked=True,
        undo_only="build",
        is_left=True,
        effects_left=[{"stage": "build"}],
        dropped=[Firing("c", "a-1")],
        retries=2,
        restored_at=START,
    )
    row.runs["build-1"] = run
    return row


def _at_default(value: Any) -> set[str]:
    found = set()
    bare = type(value)(*[getattr(value, each.name) for each in fields(value) if _needed(each)])
    for each in fields(value):
        if not _needed(each) and getattr(value, each.name) == getattr(bare, each.name):
            found.add(f"{type(value).__name__}.{each.name}")
    return found


def _needed(each: Any) -> bool:
    return each.default is each.default_factory  # both MISSING


def test_every_field_is_written_as_the_adapter_writes_it() -> None:
    row = _everything()
    row.runs["build-2"] = replace(row.runs["build-1"])
    full = _everything()
    tried, run = full.open["build-1-0/1"], full.runs["build-1"]
    assert run.gate is not None
    rows = (full, tried, run, run.gate, *run.gate.approvals)
    assert set().union(*map(_at_default, rows)) == set()
    for each in (row, full, instance(), instance("b", 2, wake_at=START)):
        text = store_codec.dump_instance(each)
        assert text == _thorough(each)
        assert store_codec.load_instance(text) == each
    for tried in (full.open["build-1-0/1"], attempt()):
        text = store_codec.dump_attempt(tried, "a")
        assert text == _thorough(tried)
        assert store_codec.load_attempt(text) == tried


def test_every_class_of_a_row_is_known_to_the_quick_way() -> None:
    classes = {type(each) for each in _parts(_everything())}
    assert classes <= set(store_codec._READERS)


def _parts(value: Any) -> list[Any]:
    if is_dataclass(value):
        return [value, *(p for each in fields(value) for p in _parts(getattr(value, each.name)))]
    if isinstance(value, dict):
        return _parts(list(value.values()))
    if isinstance(value, list):
        return [part for each in value for part in _parts(each)]
    return []


@pytest.mark.parametrize(
    "content",
    [2**64, {"n": 10**30}, math.nan, -0.0, {1: "a"}, "\u2028\x00", START, "2024-01-01T00:00:00Z"],
)
def test_content_of_every_kind_is_written_as_the_adapter_writes_it(content: Any) -> None:
    row = instance(parameters={"content": content})
    assert store_codec.dump_instance(row) == _thorough(row)


def test_a_gate_that_an_older_version_stored_is_one_of_one_approver() -> None:
    row = instance()
    run = StageRun("ship", 1, StageStatus.WAITING, START, gate=Gate(START, prompt="sure?"))
    row.runs["ship-1"] = run
    text = store_codec.dump_instance(row)
    assert "approvers" not in text
    gate = store_codec.load_instance(text).runs["ship-1"].gate
    assert gate is not None
    assert (gate.approvers, gate.missing, gate.self_approval, gate.approvals) == (1, 1, True, [])


def test_instants_of_other_zones_are_kept() -> None:
    there = START.astimezone(timezone(timedelta(hours=5, minutes=30)))
    text = store_codec.dump_instance(instance(created_at=there))
    assert store_codec.load_instance(text).created_at == START


@pytest.mark.parametrize("content", [object(), "\ud800", {"a": {1, object()}}])
def test_what_has_no_json_form_is_refused_by_name(content: Any) -> None:
    with pytest.raises(InvariantError, match="instance wf-1 holds a value"):
        store_codec.dump_instance(instance(parameters={"content": content}))
