"""What people did beside instances, as the text of an entry of the audit trail."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from sagabus.ports import Hold, WorkflowText

#: Adds the entry in parameter ``$audit``; to stand in the block that does what it says.
ADD = "fn::audit($audit);"


def audit_entry(
    type_: str, *, by: str, reason: str = "", data: Mapping[str, Any], at: datetime | None = None
) -> str:
    """The entry as JSON; ``type_`` in the past tense, ``at`` now unless it is given."""
    entry = {
        "at": at or datetime.now(UTC),
        "type": type_,
        "by": by,
        "reason": reason,
        "data": data,
    }
    return orjson.dumps(entry, option=orjson.OPT_UTC_Z).decode()


def key_set(key: str, by: str, reason: str, *, is_secret: bool) -> str:
    """A value or a secret was put under a key; the value stands nowhere but there."""
    data = {"key": key, "is_secret": is_secret}
    return audit_entry("KeySet", by=by, reason=reason, data=data)


def key_deleted(key: str, by: str, reason: str) -> str:
    """A key was taken away."""
    return audit_entry("KeyDeleted", by=by, reason=reason, data={"key": key})


def hold_changed(hold: Hold) -> str:
    """A workflow, a role or everything was put on hold, or let go."""
    return audit_entry(
        "HoldSet" if hold.is_held else "HoldReleased",
        by=hold.by,
        reason=hold.reason,
        data={"kind": hold.kind, "name": hold.name},
        at=hold.at,
    )


def workflow_changed(
    workflow: WorkflowText, by: str, at: datetime, reason: str, *, is_deleted: bool
) -> str:
    """A workflow was registered, or taken out of force."""
    return audit_entry(
        "WorkflowDeleted" if is_deleted else "WorkflowRegistered",
        by=by,
        reason=reason,
        data={"workflow": workflow.name, "digest": workflow.digest},
        at=at,
    )


def instances_deleted() -> tuple[str, str]:
    """Instances went when they were old enough: what stands before their ids, and behind them."""
    text = audit_entry("InstancesDeleted", by="", reason="retention", data={"instances": []})
    before, _, after = text.partition("[]")
    return before, after
