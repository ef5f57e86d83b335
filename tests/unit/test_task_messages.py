"""Task messages out and results in: what stands in the message, and what beside it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from sagabus.core.definition import Compensation, Definition, SecretUse, Stage
from sagabus.core.instance import Attempt, InstanceState, TaskStatus
from sagabus.errors import BadMessageError
from sagabus.runtime import messages
from sagabus.runtime.messages import result_event, task_message
from sagabus_agents.wire import (
    MAX_INLINE_BYTES,
    WORKFLOW_SOURCE,
    ResultMessage,
    ResultStatus,
    TaskMessage,
)
from tests.support.sample_rows import attempt, instance

BUILD = Stage("build", ("devops",), "build", compensation=Compensation(("devops",), "build"))
DEFINITION = Definition("deploy_pipeline", "d1", {"build": BUILD}, ("build",))
AT = datetime(2026, 3, 1, tzinfo=UTC)


def state_of(*tries: Attempt, **row: Any) -> InstanceState:
    return InstanceState.of(instance(**row), tries)


def undo_of(done: Attempt, **undo: Any) -> TaskMessage:
    asked = attempt("build-1-0-undo-0", **undo)
    asked.kind = "compensation"
    message = task_message(DEFINITION, state_of(done, asked), asked)
    return TaskMessage.model_validate_json(message.data)


def test_small_input_stands_in_the_message() -> None:
    asked = attempt(input={"size": 3})
    message = task_message(DEFINITION, state_of(asked), asked)
    sent = TaskMessage.model_validate_json(message.data)
    assert (sent.input, sent.payload, sent.secrets, message.payload) == (
        {"size": 3},
        None,
        [],
        None,
    )


def test_large_input_stands_beside_the_message() -> None:
    asked = attempt(input={"text": "x" * MAX_INLINE_BYTES})
    message = task_message(DEFINITION, state_of(asked), asked)
    assert message.payload is not None
    assert message.payload.name == "wf-1.build-1-0.1"
    assert message.payload.body == {"input": asked.input}
    assert len(message.data) < 1_000
    assert "input" not in json.loads(message.data)


def test_undo_carries_what_was_given_and_what_came_of_it() -> None:
    done = attempt(
        status=TaskStatus.SUCCEEDED,
        input={"size": 3},
        output={"host": "h"},
        artifacts=["vm-1"],
        vars={"region": "eu"},
    )
    undo = undo_of(done)
    assert undo.original_context == {
        "parameters": {"region": "eu-1", "count": 3},
        "vars": {"region": "eu"},
        "input": {"size": 3},
        "output": {"host": "h"},
    }
    assert undo.artifacts_to_undo == ["vm-1"]


def test_undo_of_a_workflow_without_variables_has_none() -> None:
    undo = undo_of(attempt(status=TaskStatus.SUCCEEDED))
    assert undo.original_context is not None
    assert undo.original_context["vars"] == {}


def test_large_context_of_an_undo_stands_beside_its_message_whatever_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(messages, "MAX_PAYLOAD_BYTES", MAX_INLINE_BYTES)
    done = attempt(status=TaskStatus.SUCCEEDED, output="x" * 2 * MAX_INLINE_BYTES)
    asked = attempt("build-1-0-undo-0")
    asked.kind = "compensation"
    message = task_message(DEFINITION, state_of(done, asked), asked)
    assert message.payload is not None
    assert set(message.payload.body) == {"input", "original_context", "artifacts_to_undo"}


def test_input_beyond_the_limit_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MAX_PAYLOAD_BYTES", MAX_INLINE_BYTES)
    asked = attempt(input="x" * MAX_INLINE_BYTES)
    with pytest.raises(BadMessageError, match=r"input for stage 'build' has 262146 bytes.*262144"):
        task_message(DEFINITION, state_of(asked), asked)


def test_places_of_secrets_travel_with_their_input() -> None:
    asked = attempt(input={"token": "?"}, secrets=[SecretUse(("token",), 0, 1, "api")])
    message = task_message(DEFINITION, state_of(asked), asked)
    [place] = TaskMessage.model_validate_json(message.data).secrets
    assert (place.path, place.start, place.end, place.key) == (["token"], 0, 1, "api")


@pytest.mark.parametrize(("source", "left"), [(WORKFLOW_SOURCE, True), ("devops", False)])
def test_only_another_instance_says_that_it_has_left_something(source: str, left: bool) -> None:
    message = ResultMessage(
        task="build-1-0",
        attempt=1,
        status=ResultStatus.FAILED,
        agent="child",
        has_left_effects=True,
        left=["certain", "final"],
        seq=7,
    )
    said = result_event(message, source, AT)
    assert said.has_left_effects is left
    assert (said.left, said.seq) == ((["certain", "final"], 7) if left else (None, 0))


def test_output_that_cannot_be_sent_on_leaves_what_the_instance_that_gave_it_has_done() -> None:
    unsendable = ResultMessage(
        task="build-1-0", attempt=1, status=ResultStatus.SUCCEEDED, output=2**70, agent="i2"
    )
    told = result_event(unsendable, WORKFLOW_SOURCE, AT)
    assert (told.status, told.error_type, told.has_left_effects) == ("failed", "bad_result", True)
    assert not result_event(unsendable, "devops", AT).has_left_effects


def test_a_restored_instance_sends_under_other_ids_than_the_future_it_has_lost() -> None:
    asked = attempt(input={})
    lost, restored = (
        task_message(DEFINITION, state_of(asked, restored_at=at), asked).msg_id for at in (None, AT)
    )
    assert restored.startswith(f"{lost}:")
    again = task_message(DEFINITION, state_of(asked, restored_at=AT), asked, resend=":7-1")
    assert again.msg_id == f"{lost}:7-1"
