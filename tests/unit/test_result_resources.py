"""Resources at the border of the orchestrator: what a result may declare, and what of the rest."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from sagabus.core.events import ResultReceived
from sagabus.core.instance import Resource
from sagabus.errors import BadMessageError
from sagabus.runtime.messages import read_inbox, result_event
from sagabus_agents.wire import MAX_RESOURCES, MAX_SPEC_BYTES, ResultMessage

VM = {"kind": "vm", "id": "vm-1", "spec": {"size": "s", "nothing": None}}


def received(*resources: Any, status: str = "succeeded") -> ResultReceived:
    message = {
        "kind": "result",
        "task": "make-1-0",
        "attempt": 1,
        "status": status,
        "agent": "a1",
        "output": {"a": 1},
        "artifacts": ["vm-1"],
        "resources": resources,
        "error": None if status == "succeeded" else {"type": "boom", "message": "no"},
    }
    found = read_inbox(orjson.dumps(message))
    assert isinstance(found, ResultMessage)
    return result_event(found, "devops", datetime.now(UTC))


def test_resources_come_through_as_they_are() -> None:
    gone = {"kind": "vm", "id": "vm-0", "spec": None, "unknown": 1}
    event = received(VM, gone)
    assert event.resources == [
        Resource("vm", "vm-1", {"size": "s", "nothing": None}),
        Resource("vm", "vm-0", None),
    ]
    assert received(VM, status="failed").resources == [Resource("vm", "vm-1", VM["spec"])]


@pytest.mark.parametrize("status", ["succeeded", "failed"])
@pytest.mark.parametrize(
    ("resources", "complaint"),
    [
        ([VM] * (MAX_RESOURCES + 1), "1001 resources, of which a result may have 1000"),
        ([VM, VM | {"kind": "v m"}], "resource kind 'v m': 1 to 64 letters"),
        ([VM | {"id": "vm 1"}], "id 'vm 1' of a resource of kind 'vm': 1 to 512 printable"),
        ([VM | {"spec": {"a": "x" * MAX_SPEC_BYTES}}], "the spec of vm 'vm-1' has 65544 bytes"),
    ],
)
def test_what_is_beyond_a_limit_is_a_result_that_nobody_could_be_told(
    resources: list[Any], complaint: str, status: str
) -> None:
    event = received(*resources, status=status)
    assert (event.status, event.error_type, event.is_retryable) == ("failed", "bad_result", False)
    assert event.error_message.startswith(complaint)
    assert (event.resources, event.output, event.artifacts) == ([], None, ["vm-1"])


def test_a_number_that_cannot_be_stored_is_refused_as_well() -> None:
    message = ResultMessage.model_validate(
        {
            "task": "make-1-0",
            "attempt": 1,
            "status": "succeeded",
            "agent": "a1",
            "resources": [VM | {"spec": {"n": 2**64}}],
        }
    )
    event = result_event(message, "devops", datetime.now(UTC))
    assert event.error_message.startswith("the spec of vm 'vm-1' has no JSON form")


@pytest.mark.parametrize(
    ("resource", "place"),
    [
        ("vm-1", "resources.0"),
        ({"kind": "vm", "id": "vm-1"}, "resources.0.spec"),
        (VM | {"spec": []}, "resources.0.spec"),
        (VM | {"id": 7}, "resources.0.id"),
    ],
)
def test_what_is_no_resource_is_no_result(resource: Any, place: str) -> None:
    with pytest.raises(BadMessageError, match=f"not understood: result.{place}: "):
        received(resource)
