"""What can happen next in a game, and who chooses among that: a script, or luck."""

from collections.abc import Callable
from random import Random
from typing import Any

from tests.unit.language.naive_graph import Doc

#: Chooses what happens next.
Chooser = Callable[[list[Doc]], Doc]


def possible(seen: Doc, stages: dict[str, Doc]) -> list[Doc]:
    """What can happen next; results, answers and decisions without what they say."""
    found: list[Doc] = []
    for name, task in seen["open"].items():
        of = about(name.split("/")[0])
        if task["state"] == "retry":
            what = "retry_due"
        elif task["role"] == "_core":
            what = "wake_up"
        else:
            what = "claim" if task["asks"] and task["state"] == "sent" else "result"
        found.append({"what": what, "task": of})
    for key, run in seen["runs"].items():
        if run["status"] == "waiting":
            name = key.rsplit("-", 1)[0]
            is_inquiry = stages[name].get("action") == "core.inquiry"
            found.append({"what": "inquiry" if is_inquiry else "answer", "stage": name})
            if "timeout" in (stages[name] if is_inquiry else stages[name].get("approval", {})):
                found.append({"what": "gate_timeout", "run": key})
    if seen["status"] == "needs_operator":
        found.append({"what": "cancel"})
    if seen["clock_runs"]:
        found.append({"what": "time_is_up"})
    return found


def about(task: str) -> Doc:
    """Run, index, and entry where it is a compensation, of a task's id."""
    forward, _, entry = task.partition("-undo-")
    run, _, index = forward.rpartition("-")
    found: Doc = {"run": run, "index": int(index)}
    return {**found, "entry": int(entry)} if entry else found


class Script:
    """Outcomes by stage, run, task or undo, the most exact name first; all else succeeds, in order.

    ``{"b": "boom", "c-2": "timeout", "d-1-0": ["boom", "ok"], "a-1-0-undo-0": "boom"}``; a list
    has one outcome per attempt. A stage with a gate: ``reject``, ``wait`` (its time is over).
    ``outputs`` by stage, run or task, too. ``first``: names of what happens before all else.
    """

    def __init__(self, outcomes: Doc, outputs: Doc, first: tuple[str, ...] = ()) -> None:
        self.outcomes = {name: _as_list(each) for name, each in outcomes.items()}
        self.outputs = outputs
        self.first = list(first)

    def __call__(self, choices: list[Doc]) -> Doc:
        event = dict(self._next(choices))
        if event["what"] == "inquiry":
            event["data"] = self.outputs.get(event["stage"])
        if event["what"] in ("answer", "inquiry"):
            verdict = self.outcomes.get(event["stage"], ["ok"])[0]
            if verdict == "wait":
                return next(each for each in choices if each["what"] == "gate_timeout")
            if event["what"] == "answer":
                event["is_approved"] = verdict != "reject"
        if event["what"] == "result":
            names = _names(event["task"])
            event["outcome"] = self._outcome(names)
            outputs = [self.outputs[name] for name in names if name in self.outputs]
            event["output"] = outputs[0] if outputs else None
        return event

    def _next(self, choices: list[Doc]) -> Doc:
        for name in self.first:
            for each in choices:
                if "task" in each and name in _names(each["task"]):
                    if each["what"] == "result":
                        self.first.remove(name)
                    return each
        return choices[0]

    def _outcome(self, names: list[str]) -> str:
        for name in names:
            found = self.outcomes.get(name)
            if found:
                return found.pop(0) if len(found) > 1 else found[0]
        return "ok"


def _as_list(value: Any) -> list[str]:
    return list(value) if isinstance(value, list) else [value]


def _names(task: Doc) -> list[str]:
    whole = f"{task['run']}-{task['index']}"
    if "entry" in task:
        return [f"{whole}-undo-{task['entry']}"]
    return [whole, task["run"], task["run"].rsplit("-", 1)[0]]


class Luck:
    """Everything by chance; the same seed is always the same."""

    def __init__(self, seed: int | str) -> None:
        rng = Random(seed)
        self._rng = rng
        self._fails = rng.choice((0.0, 0.03, 0.1, 0.3))
        self._undo_fails = rng.choice((0.0, 0.0, 0.3))
        self._cancels = rng.choice((0.0, 0.0, 0.0, 0.03))

    def __call__(self, choices: list[Doc]) -> Doc:
        rng = self._rng
        sooner = [each for each in choices if each["what"] != "time_is_up"]
        event = dict(rng.choice(choices if rng.random() < 0.02 or not sooner else sooner))
        is_undo = any("entry" in each.get("task", {}) for each in choices)
        if not is_undo and rng.random() < self._cancels:
            self._cancels = 0.0
            return {"what": "cancel"}
        if event["what"] == "answer":
            event["is_approved"] = rng.random() < 0.85
        if event["what"] == "inquiry":
            event["data"] = {"n": rng.randrange(4), "ok": rng.random() < 0.7}
        if event["what"] == "result":
            rate = self._undo_fails if "entry" in event["task"] else self._fails
            event["outcome"] = "ok"
            if rng.random() < rate:
                event["outcome"] = rng.choice(("boom", "boom", "timeout", "permanent"))
            event["output"] = {"n": rng.randrange(4), "ok": rng.random() < 0.7}
        return event
