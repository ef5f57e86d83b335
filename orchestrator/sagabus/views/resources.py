"""Resources and drift as documents."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict

from sagabus.core.drift import DriftReport
from sagabus.ports import Resource, ResourceEntry
from sagabus.views.shared import View


class _Read(View):
    """A document with the fields of what it is read from."""

    model_config = ConfigDict(from_attributes=True)


class ResourceView(_Read):
    """Something outside as it was declared last, with who declared it."""

    kind: str
    id: str
    status: Literal["present", "gone"]
    spec: dict[str, Any]
    spec_version: int
    role: str
    instance: str
    workflow: str
    stage: str
    task: str
    attempt: int
    created_at: datetime
    declared_at: datetime
    gone_at: datetime | None


class ResourceChangeView(_Read):
    """One change of a resource."""

    number: int
    status: Literal["present", "gone"]
    #: Null where it is gone.
    spec: dict[str, Any] | None
    spec_version: int
    #: It changed nothing: an undo of what another instance had declared since.
    is_void: bool
    role: str
    instance: str
    workflow: str
    stage: str
    task: str
    attempt: int
    at: datetime


class ResourceDetail(ResourceView):
    """A resource with its newest 100 changes, oldest first."""

    history: list[ResourceChangeView]


class FieldChangeView(_Read):
    """One field that is not as it was declared; ``change`` tells what is absent from null."""

    path: str
    change: Literal["changed", "missing", "added"]
    expected: Any
    found: Any


class DeclaredView(_Read):
    """A resource that should be there."""

    kind: str
    id: str
    spec: dict[str, Any]
    spec_version: int
    role: str
    instance: str
    workflow: str
    stage: str
    declared_at: datetime


class ChangedView(DeclaredView):
    """One that is there, and not as it was declared."""

    fields: list[FieldChangeView]


class UnmanagedView(_Read):
    """What is there and was not declared, or should be gone since ``gone_at``."""

    kind: str
    id: str
    role: str
    spec: dict[str, Any] | None
    gone_at: datetime | None
    instance: str | None


class UnobservedView(_Read):
    """A role that did not say which resources of a kind are there."""

    role: str
    kind: str
    #: How many there should be.
    resources: int
    reason: str


class DriftView(_Read):
    """What one look at the resources found."""

    at: datetime
    kind: str | None
    #: Something is missing, changed or unmanaged.
    has_drift: bool
    #: Every resource that should be there was looked for.
    is_complete: bool
    observed: int
    missing: list[DeclaredView]
    changed: list[ChangedView]
    unmanaged: list[UnmanagedView]
    unobserved: list[UnobservedView]


def detail_of(resource: Resource, history: Sequence[ResourceEntry]) -> ResourceDetail:
    """The document of a resource with its history."""
    return ResourceDetail(
        **asdict(resource),
        history=[ResourceChangeView.model_validate(each) for each in history],
    )


def drift_of(report: DriftReport) -> DriftView:
    """The document of a report."""
    return DriftView(
        at=report.at,
        kind=report.kind,
        has_drift=report.has_drift,
        is_complete=report.is_complete,
        observed=report.observed,
        missing=[DeclaredView.model_validate(each) for each in report.missing],
        changed=[
            ChangedView(
                **asdict(each.resource),
                fields=[FieldChangeView.model_validate(one) for one in each.fields],
            )
            for each in report.changed
        ],
        unmanaged=[UnmanagedView.model_validate(each) for each in report.unmanaged],
        unobserved=[UnobservedView.model_validate(each) for each in report.unobserved],
    )
