"""Resources and a report of drift, for tests of what is shown."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from sagabus.adapters.memory_resources import MemoryResources
from sagabus.core.drift import Changed, Declared, DriftReport, FieldChange, Unmanaged, Unobserved
from sagabus.core.transition import ResourceChange
from tests.support.sample_rows import START

DECLARED = Declared("vm", "vm-1", {"size": "s"}, 2, "devops", "i1", "provision", "make", START)
REPORT = DriftReport(
    at=START,
    kind=None,
    observed=3,
    missing=[DECLARED],
    changed=[
        Changed(
            replace(DECLARED, id="vm-2"),
            [
                FieldChange("size", "changed", "s", "xl"),
                FieldChange("tags.env", "missing", "prod", None),
                FieldChange("public", "added", None, True),
            ],
        )
    ],
    unmanaged=[
        Unmanaged("vm", "stranger", "devops", None),
        Unmanaged("vm", "ghost", "devops", {}, START, "i0"),
    ],
    unobserved=[],
)
CLEAN = replace(REPORT, missing=[], changed=[], unmanaged=[])
UNOBSERVED = Unobserved("network", "dns", 2, "no agent of role 'network' is alive")
BLIND = replace(REPORT, unobserved=[UNOBSERVED])


def change(id: str, spec: dict[str, Any] | None, **more: Any) -> ResourceChange:
    fields = {
        "kind": "vm",
        "id": id,
        "spec": spec,
        "instance": "i1",
        "workflow": "provision",
        "stage": "make",
        "task": "make-1-0",
        "attempt": 1,
        "role": "devops",
        "at": START,
    }
    return ResourceChange(**fields | more)


def fill(resources: MemoryResources) -> None:
    """``vm-1`` in two versions, ``a b``-like ids, and one that is gone."""
    later = START + timedelta(hours=1)
    changes = [
        change("vm-1", {"size": "xs"}),
        change("vm-1", {"size": "s"}, instance="i2", at=later),
        change("vm-1", None, task="make-1-0-undo-0", is_undo=True, at=later),
        change("vm-2", {"size": "s"}),
        change("vm-2", None, task="make-1-0-undo-0", is_undo=True, at=later),
        change("../zones/a%2Fb?c#d", {"ttl": 5}, kind="dns", workflow="names"),
    ]
    resources.put(*resources.applied(changes))
