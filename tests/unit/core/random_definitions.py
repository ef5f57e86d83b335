"""Random workflows: sequences and small graphs with everything that the machine knows."""

from dataclasses import replace
from datetime import timedelta
from random import Random

from sagabus.core.definition import (
    Approval,
    Compensation,
    Definition,
    RetryPolicy,
    Route,
    Routes,
    Stage,
    TemplateError,
)

ROLES = ("devops", "backend", "tester")


class BrokenTemplate:
    """A template that can never be rendered."""

    def render(self, scope):
        raise TemplateError("'x' is undefined", key="input.x", expression="{{ x }}")

    render_input = render


def _retry(rng: Random) -> RetryPolicy:
    return RetryPolicy(
        count=rng.choice((0, 0, 1, 2)),
        delay=timedelta(seconds=rng.choice((0, 1, 20))),
        backoff=rng.choice(("constant", "linear", "exponential")),
        jitter=rng.random() < 0.5,
    )


def _maybe(rng: Random, chance: float, *seconds: float) -> timedelta | None:
    return timedelta(seconds=rng.choice(seconds)) if rng.random() < chance else None


def _compensation(rng: Random) -> Compensation:
    return Compensation(
        roles=tuple(rng.choice(ROLES) for _ in range(rng.choice((1, 1, 1, 2)))),
        action="undo",
        input=BrokenTemplate() if rng.random() < 0.03 else None,
        retry=_retry(rng),
        timeout=_maybe(rng, 0.5, 2, 8),
        compensate_self=rng.choice(("unknown", "unknown", "unknown", "never", "always")),
    )


def _approval(rng: Random) -> Approval:
    then = rng.choice(("reject", "approve"))
    return Approval(_maybe(rng, 0.5, 3, 30), then, approvers=rng.choice((1, 2)))


def _stage(rng: Random, name: str) -> Stage:
    is_undone = rng.random() < 0.7
    is_final = not is_undone and rng.random() < 0.5
    return Stage(
        name=name,
        roles=tuple(rng.choice(ROLES) for _ in range(rng.choice((1, 1, 1, 2, 3)))),
        action="do",
        parallel=rng.random() < 0.6,
        max_parallel=rng.choice((0, 0, 1, 2)),
        input=BrokenTemplate() if rng.random() < 0.006 else None,
        retry=_retry(rng),
        timeout=_maybe(rng, 0.5, 2, 8),
        start_timeout=_maybe(rng, 0.2, 2, 12),
        approval=_approval(rng) if rng.random() < 0.1 else None,
        classification="compensatable"
        if is_undone
        else "final"
        if is_final
        else rng.choice(("unclassified", "unclassified", "read_only")),
        compensation=_compensation(rng) if is_undone else None,
        is_idempotent=is_final and rng.random() < 0.2,
    )


def _block(rng: Random, stage: Stage) -> dict[str, Stage]:
    """One to three stages that run together, in the place of ``stage``."""
    names = tuple(f"{stage.name}x{number}" for number in range(rng.choice((1, 2, 3))))
    block = Stage(stage.name, (), "", kind="block", children=names, routes=stage.routes)
    return {block.name: block} | {
        name: replace(_stage(rng, name), block=block.name) for name in names
    }


def random_definition(rng: Random) -> Definition:
    """A workflow of one to six stages."""
    names = [f"s{number}" for number in range(rng.choice((1, 2, 2, 3, 3, 4, 5, 6)))]
    following: dict[str, list[str]] = {name: [] for name in names}
    entry = [names[0]]
    is_sequence = rng.random() < 0.5
    for number, name in enumerate(names[1:], start=1):
        if is_sequence:
            following[names[number - 1]].append(name)
        elif rng.random() < 0.25:
            entry.append(name)
        else:
            for parent in {rng.randrange(number) for _ in range(rng.choice((1, 1, 2)))}:
                following[names[parent]].append(name)
    stages = {
        name: replace(_stage(rng, name), routes=Routes(on_success=(Route(tuple(following[name])),)))
        for name in names
    }
    for name in names:
        if rng.random() < 0.1:
            stages |= _block(rng, stages[name])
    return Definition(
        name="flow",
        digest="d",
        stages=stages,
        entry=tuple(entry),
        workflow_timeout=_maybe(rng, 0.15, 5, 40),
        max_parallel_tasks=rng.choice((0, 1, 2, 10)),
        has_policies=rng.random() < 0.2,
        saga_on_failure="halt" if rng.random() < 0.08 else "compensate",
        saga_on_failed_undo="park" if rng.random() < 0.2 else "continue",
        saga_after_final=rng.choice(("hold", "compensate")),
    )
