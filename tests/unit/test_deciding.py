"""Policies that are no longer configured, and definitions that a retry changes, in one batch."""

from dataclasses import replace

from sagabus.core.definition import Definition, Stage
from sagabus.core.events import ClaimReceived, ResultReceived, RetryRequested, StartRequested
from sagabus.runtime.deciding import Changes, Decider
from tests.unit.core.clock import BASE
from tests.unit.core.scene import sequence, stage
from tests.unit.core.world import new_state


def decided(definition: Definition) -> tuple[str, list[str]]:
    state = new_state()
    changes = Changes()
    error = Decider(lambda: None, changes).apply(definition, state, [StartRequested(BASE, "start")])
    assert error is None
    return state.row.status.value, [task.subject for task in changes.tasks]


def test_stage_is_denied_when_its_policies_are_gone() -> None:
    only = Stage("a", ("devops",), "a")
    status, sent = decided(sequence(only, has_policies=True))
    assert (status, sent) == ("failed", [])


def test_compensation_needs_no_policies() -> None:
    state = new_state()
    changes = Changes()
    decider = Decider(lambda: None, changes)
    stages = (stage("a", undo=("devops",)), stage("b"))
    begin = sequence(*stages)
    assert decider.apply(begin, state, [StartRequested(BASE, "start")]) is None
    claim = ClaimReceived(BASE, "devops", "c1", "a-1-0", 1, "agent", 1, "reply")
    done = ResultReceived(BASE, "devops", "a-1-0", 1, "succeeded", "agent")
    under_policies = sequence(*stages, has_policies=True)
    assert decider.apply(under_policies, state, [claim, done]) is None
    # The second stage was denied, and the first is being undone all the same.
    assert state.row.status.value == "compensating"
    assert changes.tasks[-1].subject.endswith(".a-1-0-undo-0.1")


def test_what_follows_a_retry_in_its_batch_is_decided_by_the_definition_it_brought() -> None:
    state = new_state()
    changes = Changes()
    decider = Decider(lambda: None, changes)
    was = sequence(stage("a"), stage("b"))
    will = replace(sequence(stage("a", "backend"), stage("new", "tester")), digest="e")
    failed = ResultReceived(BASE, "devops", "a-1-0", 1, "failed", "agent", is_retryable=False)
    assert decider.apply(was, state, [StartRequested(BASE, "start"), failed]) is None
    retry = RetryRequested(BASE, "again", definition=will)
    done = ResultReceived(BASE, "backend", "a-2-0", 1, "succeeded", "agent")
    assert decider.apply(was, state, [retry, done]) is None
    assert state.row.digest == "e"
    assert changes.tasks[-1].subject.endswith(".new-1-0.1")


def test_a_retry_that_is_refused_changes_no_definition() -> None:
    state = new_state()
    changes = Changes()
    decider = Decider(lambda: None, changes)
    was = sequence(stage("a"), stage("b"))
    will = replace(sequence(stage("a", "backend")), digest="e")
    done = ResultReceived(BASE, "devops", "a-1-0", 1, "succeeded", "agent")
    events = [StartRequested(BASE, "start"), RetryRequested(BASE, "r", definition=will), done]
    assert decider.apply(was, state, events) is None
    assert state.row.digest == "d"
    assert changes.tasks[-1].subject.endswith(".b-1-0.1")
