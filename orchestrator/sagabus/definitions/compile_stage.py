"""Compiles one stage of a snapshot."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sagabus.core.definition import (
    WORKFLOW_ROLE,
    Approval,
    Choice,
    Classification,
    Compensation,
    Items,
    Publish,
    RetryPolicy,
    Route,
    Routes,
    Stage,
    StageKind,
    Template,
)
from sagabus.core.durations import parse_duration
from sagabus.definitions.flow import Flow, routes_of
from sagabus.definitions.json_schema import Schema
from sagabus.definitions.models import ChildModel, RetryModel, RouteModel, StageModel
from sagabus.definitions.snapshot import Link
from sagabus.definitions.templates import compile_value


def compile_stage(
    stage: ChildModel, link: Link | None, flow: Flow, *, has_gates: bool, block: str | None = None
) -> Stage:
    """What the machine reads of ``stage``; ``link`` is what its action stands for, if it has one.

    ``block``: the stage that it stands in.

    Raises:
        TemplateError: a template in it does not compile.
    """
    kind = _kind(stage, link)
    compiled = Stage(
        name=stage.name,
        roles=_roles(stage, link),
        action=(link.action if link else stage.action) or stage.name,
        kind=kind,
        parallel=stage.parallel,
        max_parallel=stage.max_parallel,
        items=_items(stage),
        input=None if stage.input is None else compile_value(stage.input, "input"),
        input_schema=Schema(link.input_schema) if link and link.input_schema else None,
        publish=_publish(stage.publish, "publish"),
        when=_condition(stage.when, "when"),
        retry=_retry(stage.retry),
        timeout=limit(stage.timeout),
        start_timeout=limit(stage.start_timeout),
        approval=_approval(stage) if has_gates else None,
        classification=_classification(stage, link),
        compensation=_compensation(stage, link),
        is_idempotent=bool(stage.idempotent),
        block=block,
        workflow=link.workflow if link else None,
        workflow_digest=link.digest if link else None,
    )
    if kind == "inquiry":
        compiled = _asking(compiled, stage)
    if stage.name == flow.on_end and compiled.classification != "read_only":
        # It runs after every undo, and whatever it does is no part of what could be undone.
        compiled = replace(compiled, classification="unclassified", compensation=None)
    return _connected(compiled, stage, flow) if isinstance(stage, StageModel) else compiled


def limit(duration: timedelta | None) -> timedelta | None:
    """A time limit; zero says that there is none."""
    return duration or None


def _kind(stage: ChildModel, link: Link | None) -> StageKind:
    if link is not None:
        return link.kind
    return "block" if isinstance(stage, StageModel) and stage.is_block else "agents"


def _roles(stage: ChildModel, link: Link | None) -> tuple[str, ...]:
    return tuple(link.roles if link is not None else stage.agents or ())


def _connected(compiled: Stage, stage: StageModel, flow: Flow) -> Stage:
    """With what a stage of the graph has beside what every stage has."""
    compiled = replace(compiled, children=tuple(child.name for child in stage.stages or ()))
    if stage.name == flow.on_end:
        return compiled
    on_timeout = _routes(stage, "on_timeout") if stage.on_timeout is not None else None
    routes = Routes(
        on_success=_routes(stage, "on_success"),
        on_failure=_routes(stage, "on_failure"),
        on_timeout=on_timeout,
        on_complete=_routes(stage, "on_complete"),
        decision=tuple(
            Choice(choice.target or "", _condition(choice.when, f"decision[{index}].when"))
            for index, choice in enumerate(stage.decision or ())
        ),
        next=flow.next.get(stage.name),
    )
    return replace(
        compiled,
        routes=routes,
        arms=flow.arms[stage.name],
        join=flow.join_of(stage),
        has_needs=stage.needs is not None,
    )


def _routes(stage: StageModel, key: str) -> tuple[Route, ...]:
    return tuple(
        _route(route, f"{key}[{index}]") for index, route in enumerate(routes_of(stage, key))
    )


def _route(route: RouteModel, key: str) -> Route:
    return Route(
        to=tuple(route.do),
        when=_condition(route.when, f"{key}.when"),
        publish=_publish(route.publish, f"{key}.publish"),
    )


def _publish(tables: Sequence[dict[str, Any]] | None, key: str) -> Publish:
    return tuple(
        (name, compile_value(value, f"{key}.{name}"))
        for table in tables or ()
        for name, value in table.items()
    )


def _condition(value: Any, key: str) -> Template | None:
    return None if value is None else compile_value(value, key)


def _items(stage: ChildModel) -> Items | None:
    if stage.with_items is None:
        return None
    return Items(
        list=compile_value(stage.with_items, "with_items"),
        batch_size=stage.batch_size,
        concurrency=stage.concurrency or 0,
        fail_fast=bool(stage.fail_fast),
    )


def _asking(compiled: Stage, stage: ChildModel) -> Stage:
    """With the question to a person; its time limit may stand beside the question."""
    asked = stage.input or {}
    prompt, schema, timeout = asked.get("prompt"), asked.get("schema"), asked.get("timeout")
    return replace(
        compiled,
        input=None,
        prompt=None if prompt is None else compile_value(prompt, "input.prompt"),
        form=None if schema is None else Schema(schema),
        timeout=limit(stage.timeout if timeout is None else parse_duration(timeout)),
    )


def _classification(stage: ChildModel, link: Link | None) -> Classification:
    if link is not None and link.classification is not None:
        return link.classification
    if stage.classification is not None:
        return stage.classification
    return "compensatable" if stage.has_compensation else "unclassified"


def _approval(stage: ChildModel) -> Approval | None:
    if not stage.approval_required:
        return None
    if stage.approval is None:
        return Approval()
    own = stage.approval
    return Approval(
        timeout=limit(own.timeout),
        on_timeout=own.on_timeout,
        prompt=compile_value(own.prompt, "approval.prompt") if own.prompt else None,
        approvers=own.approvers,
        self_approval=own.self_approval is not False,
        form=None if own.form is None else Schema(own.form),
    )


def _compensation(stage: ChildModel, link: Link | None) -> Compensation | None:
    own = stage.compensation
    if own is None:
        return None
    if link is not None and link.workflow is not None:
        # A sub-workflow is undone by undoing its child, where that has anything to undo.
        if link.classification not in {"compensatable", "final"}:
            return None
        roles: tuple[str, ...] = (WORKFLOW_ROLE,)
    else:
        roles = tuple(stage.compensation_agents or _roles(stage, link))
    # The engine's own actions mean nothing to the agents that undo.
    has_own = link is None or link.kind != "core"
    action = (link.action if link else stage.action) if has_own else None
    return Compensation(
        roles=roles,
        action=own.action or action or stage.name,
        input=None if own.input is None else compile_value(own.input, "compensation.input"),
        retry=_retry(own.retry),
        timeout=limit(own.timeout),
        compensate_self=own.compensate_self,
    )


def _retry(retry: RetryModel | None) -> RetryPolicy:
    if retry is None:
        return RetryPolicy()
    return RetryPolicy(
        count=retry.count,
        delay=retry.delay,
        backoff=retry.backoff,
        max_delay=retry.max_delay,
        jitter=retry.jitter,
        on_error=_condition(getattr(retry, "on_error", None), "retry.on_error"),
    )
