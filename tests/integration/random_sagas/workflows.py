"""Random workflows as people write them: graphs, joins, loops, fan-out, blocks, sub-workflows.

The course is a chain of segments. From a random one on everything is final, as the language wants.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from sagabus.definitions.load import load_config

ROLES = ("devops", "backend", "tester")
HEAD = "[engine]\nmax_parallel_tasks = 4\n[engine.limits]\nmax_passes = 4\n"

Table = dict[str, Any]


class _Author:
    """Writes one workflow, and those that carry out stages of it."""

    def __init__(self, rng: Random, name: str, depth: int = 0, *, has_finals: bool = True) -> None:
        self.rng = rng
        self.name = name
        self.depth = depth
        self.has_finals = has_finals
        #: What the workflow needs besides, written before it.
        self.others: list[str] = []
        self.stages: list[Table] = []
        self._count = 0

    def write(self) -> str:
        rng = self.rng
        length = rng.choice((1, 2, 2, 3, 3, 4))
        cut = rng.randrange(length + 1) if self.has_finals and rng.random() < 0.7 else length
        segments = [self._segment(is_final=number >= cut) for number in range(length)]
        entries = [segment[0]["name"] for segment in segments]
        for number, segment in enumerate(segments):
            following = entries[number + 1] if number + 1 < length else "end"
            segment[-1]["on_success"] = following
            self.stages += segment
        for number, segment in enumerate(segments):
            if len(segment) == 1 and rng.random() < 0.25:
                # A loop over what is final would ask for it again.
                first = number if number > cut else 0
                back, on = entries[first : number + 1], entries[number + 1 :]
                self._handle_failure(segment[0], back, on)
        table: Table = {"name": self.name, "saga": self._saga()}
        if rng.random() < 0.15:
            table["on_end"] = "last"
            self.stages.append({"name": "last", "agents": [rng.choice(ROLES)]})
        return "\n".join([*self.others, _toml("[[workflows]]", table), *map(_stage, self.stages)])

    def _saga(self) -> Table:
        rng = self.rng
        return {
            "on_failure": "halt" if rng.random() < 0.08 else "compensate",
            "on_failed_undo": rng.choice(("park", "park", "continue")),
            "after_final": rng.choice(("hold", "hold", "compensate")),
        }

    def _next_name(self) -> str:
        self._count += 1
        return f"s{self._count}"

    def _segment(self, *, is_final: bool) -> list[Table]:
        kind = self.rng.random()
        if kind < 0.14:
            return self._fork(is_final)
        if kind < 0.24:
            block = {"name": self._next_name(), "type": "parallel"}
            return [{**block, "stages": [self._agents_stage(is_final) for _ in range(2)]}]
        if kind < 0.38 and self.depth < 2:
            return [self._workflow_stage(is_final)]
        return [self._agents_stage(is_final)]

    def _fork(self, is_final: bool) -> list[Table]:
        first, left, right, last = (self._agents_stage(is_final) for _ in range(4))
        first["on_success"] = [left["name"], right["name"]]
        left["on_success"] = right["on_success"] = last["name"]
        last["join"] = "all"
        return [first, left, right, last]

    def _workflow_stage(self, is_final: bool) -> Table:
        name = self._next_name()
        # What is final below makes the stage final.
        below = _Author(self.rng, f"{self.name}_{name}", self.depth + 1, has_finals=is_final)
        self.others.append(below.write())
        stage = {"name": name, "action": below.name, "input": {}}
        return {**stage, **self._sometimes(0.3, retry=self._retry())}

    def _agents_stage(self, is_final: bool) -> Table:
        rng = self.rng
        stage: Table = {"name": self._next_name(), "agents": [rng.choice(ROLES)]}
        shape = rng.random()
        if shape < 0.15:
            stage["with_items"] = list(range(rng.choice((1, 2, 3))))
            stage |= self._sometimes(0.5, concurrency=1) | self._sometimes(0.3, fail_fast=True)
        elif shape < 0.3:
            stage["agents"].append(rng.choice(ROLES))
            stage |= self._sometimes(0.5, parallel=True)
        stage |= self._sometimes(0.4, retry=self._retry()) | self._sometimes(0.35, timeout=0.25)
        if is_final:
            stage["classification"] = "final"
            return stage | self._sometimes(0.15, idempotent=True)
        if rng.random() < 0.7:
            stage["compensation_agents"] = [
                rng.choice(ROLES) for _ in range(rng.choice((1, 1, 1, 2)))
            ]
            plan = self._sometimes(0.4, retry=self._retry()) | self._sometimes(0.3, timeout=0.25)
            plan |= self._sometimes(0.15, compensate_self="always")
            return stage | ({"compensation": plan} if plan else {})
        return stage | self._sometimes(0.5, classification="read_only")

    def _handle_failure(self, stage: Table, back: Sequence[str], on: Sequence[str]) -> None:
        rng = self.rng
        if rng.random() < 0.4 and len(stage.get("agents", ())) == 1 and "with_items" not in stage:
            stage["on_failure"] = rng.choice(back)
            return
        handler = self._agents_stage(is_final=False)
        handler["on_success"] = rng.choice((*on[:1], "end"))
        stage["on_failure"] = handler["name"]
        self.stages.append(handler)

    def _retry(self) -> Table:
        return {"count": self.rng.choice((1, 2)), "delay": self.rng.choice((0.01, 0.05))}

    def _sometimes(self, chance: float, **table: Any) -> Table:
        return table if self.rng.random() < chance else {}


def _toml(head: str, table: Table) -> str:
    return "\n".join([head, *(f"{key} = {_value(value)}" for key, value in table.items())])


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)


def _stage(stage: Table, head: str = "[[workflows.stages]]") -> str:
    plain = {key: value for key, value in stage.items() if key != "stages"}
    below = [_stage(each, "[[workflows.stages.stages]]") for each in stage.get("stages", ())]
    return "\n".join([_toml(head, plain), *below])


def random_workflow(rng: Random, name: str, directory: Path) -> str:
    """The text of a workflow without a fault, and of those below it."""
    path = directory / f"{name}.toml"
    for _ in range(50):
        text = _Author(rng, name).write()
        path.write_text(HEAD + text)
        if not (found := load_config(path).problems):
            return text
    raise AssertionError("\n".join(map(str, found)))
