"""Random families: a workflow whose stages are carried out by others, one to three levels deep."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any

from sagabus.core.definition import (
    END,
    Compensation,
    Definition,
    Items,
    RetryPolicy,
    Route,
    Routes,
    Stage,
)
from tests.unit.core.scene import Says

ROLES = ("devops", "backend")
#: Instances of a family in which everything succeeds at once.
LARGEST = 14


@dataclass(frozen=True)
class Anything:
    """A form that every answer fits."""

    document: Mapping[str, Any] = field(default_factory=dict)

    def problems(self, _: Any) -> list[str]:
        return []


def _retry(rng: Random) -> RetryPolicy:
    count, delay = rng.choice((0, 0, 1, 2)), timedelta(seconds=rng.choice((0, 1, 20)))
    return RetryPolicy(count, delay, "constant")


def _maybe(rng: Random, chance: float, *seconds: float) -> timedelta | None:
    return timedelta(seconds=rng.choice(seconds)) if rng.random() < chance else None


@dataclass(slots=True)
class Maker:
    """Makes the workflows of a family, the lowest first."""

    rng: Random
    made: dict[str, Definition] = field(default_factory=dict)
    #: Instances that an instance of a workflow comes to, itself too.
    weights: dict[str, int] = field(default_factory=dict)
    undone: set[str] = field(default_factory=set)
    final: set[str] = field(default_factory=set)

    def make(self) -> dict[str, Definition]:
        """All of them; the top is called ``top``."""
        depth = self.rng.choice((1, 1, 2, 2, 3))
        for level in range(depth, 0, -1):
            below = list(self.made)
            for letter in "ab"[: self.rng.choice((1, 2))]:
                self._workflow(f"w{level}{letter}", below, LARGEST // (level + 1))
        self._workflow("top", list(self.made), LARGEST)
        return self.made

    def _workflow(self, name: str, below: list[str], largest: int) -> None:
        rng = self.rng
        room = [largest - 1]
        number = rng.choice((1, 2, 2, 3, 3, 4))
        is_child = [bool(below) and rng.random() < 0.4 for _ in range(number)]
        if below and not any(is_child):
            is_child[rng.randrange(number)] = True
        stages: dict[str, Stage] = {}
        line = [f"s{position}" for position in range(number)]
        is_together = number > 1 and rng.random() < 0.15
        is_open = rng.random() < 0.4 and not is_together  # nothing but its end may be final
        harmless = [each for each in below if each not in self.final]
        for each, wanted in zip(line, is_child, strict=True):
            found = below if is_open and each == line[-1] else harmless
            for stage in self._stages(each, found if wanted else [], room):
                stages[stage.name] = stage
        if is_open and stages[line[-1]].kind == "agents":
            stages[line[-1]] = self._final(stages[line[-1]])
        self._lead(stages, line)
        on_end = None
        if rng.random() < 0.25:
            on_end = "last"
            last = self._plain(on_end, harmless if rng.random() < 0.5 else [], room)
            stages[on_end] = replace(last, classification="unclassified", compensation=None)
        if any(stage.classification == "final" for stage in stages.values()):
            self.final.add(name)
        if any(stage.compensation is not None for stage in stages.values()):
            self.undone.add(name)
        self.weights[name] = largest - room[0]
        self.made[name] = Definition(
            name,
            name,
            stages,
            tuple(line) if is_together else (line[0],),
            workflow_timeout=_maybe(rng, 0.15, 5, 40, 200),
            max_parallel_tasks=rng.choice((0, 1, 2, 10)),
            saga_on_failure="halt" if rng.random() < 0.12 else "compensate",
            saga_after_final="compensate" if rng.random() < 0.3 else "hold",
            saga_on_failed_undo="park" if rng.random() < 0.1 else "continue",
            output_map={"of": Says(lambda scope: scope["parameters"])},
            on_end=on_end,
        )
        if is_together:
            self.made[name] = replace(
                self.made[name],
                stages={
                    key: replace(stage, routes=Routes(on_failure=stage.routes.on_failure))
                    for key, stage in stages.items()
                },
            )

    def _lead(self, stages: dict[str, Stage], line: list[str]) -> None:
        for position, name in enumerate(line):
            after = line[position + 1] if position + 1 < len(line) else None
            way_on = () if self.rng.random() < 0.85 else (Route((after or END,)),)
            on_timeout = (Route((END,)),) if self.rng.random() < 0.1 else None
            routes = Routes(on_failure=way_on, on_timeout=on_timeout, next=after)
            stages[name] = replace(stages[name], routes=routes)

    def _stages(self, name: str, below: list[str], room: list[int]) -> list[Stage]:
        """A stage; a block with those in it."""
        luck = self.rng.random()
        if luck < 0.25:
            names = [f"{name}x{number}" for number in range(self.rng.choice((2, 3)))]
            inner = [
                replace(self._plain(each, below, room), block=name, routes=Routes())
                for each in names
            ]
            block = Stage(name, (), "block", kind="block", children=tuple(names))
            return [block, *inner]
        if luck < 0.32 and not below:
            timeout = _maybe(self.rng, 0.5, 5, 60)
            asks = {"kind": "inquiry", "form": Anything(), "timeout": timeout}
            return [Stage(name, (), "core.inquiry", **asks)]
        if luck < 0.37 and not below:
            return [Stage(name, ("_core",), "core.noop", kind="core")]
        return [self._plain(name, below, room)]

    def _plain(self, name: str, below: list[str], room: list[int]) -> Stage:
        fitting = [each for each in below if self.weights[each] <= room[0]]
        return self._carried_out(name, fitting, room) if fitting else self._by_agents(name)

    def _by_agents(self, name: str) -> Stage:
        rng = self.rng
        is_undone = rng.random() < 0.75
        how = None
        if is_undone:
            roles = rng.choice((("u",), ("u",), ("u", "v")))
            itself = rng.choice(("unknown", "unknown", "unknown", "never", "always"))
            limit = _maybe(rng, 0.5, 2, 8)
            how = Compensation(roles, "undo", None, _retry(rng), limit, itself)
        return Stage(
            name,
            tuple(rng.choice(ROLES) for _ in range(rng.choice((1, 1, 1, 2)))),
            "do",
            parallel=rng.random() < 0.6,
            retry=_retry(rng),
            timeout=_maybe(rng, 0.5, 2, 8),
            classification="compensatable" if is_undone else "unclassified",
            compensation=how,
        )

    def _final(self, stage: Stage) -> Stage:
        is_idempotent = self.rng.random() < 0.25
        return replace(
            stage, classification="final", compensation=None, is_idempotent=is_idempotent
        )

    def _carried_out(self, name: str, fitting: list[str], room: list[int]) -> Stage:
        rng = self.rng
        workflow = rng.choice(fitting)
        most = min(3, room[0] // self.weights[workflow])
        items = None
        number = 1
        if rng.random() < 0.35:
            number = rng.randrange(most + 1)
            found = list(range(number))
            is_fast = rng.random() < 0.3
            items = Items(Says(lambda _: list(found)), None, rng.choice((0, 1, 2)), is_fast)
        room[0] -= number * self.weights[workflow]
        is_final = workflow in self.final
        is_undone = is_final or workflow in self.undone
        itself = rng.choice(("unknown", "unknown", "unknown", "unknown", "never", "always"))
        how = Compensation(("_workflow",), workflow, None, _retry(rng), None, itself)
        return Stage(
            name,
            ("_workflow",),
            workflow,
            kind="workflow",
            workflow=workflow,
            workflow_digest=workflow,
            items=items,
            input=Says(lambda scope: {"item": scope.get("item", "")}),
            retry=_retry(rng),
            timeout=_maybe(rng, 0.25, 3, 15, 60),
            classification="final"
            if is_final
            else "compensatable"
            if is_undone
            else "unclassified",
            compensation=how if is_undone else None,
        )


def random_family(rng: Random) -> dict[str, Definition]:
    """Workflows by name, which is their digest too; ``top`` is the topmost."""
    return Maker(rng).make()
