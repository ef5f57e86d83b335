"""An operator, who sees what the product shows and asks outside, and has nothing but commands.

What they say is true: an outcome is what really came of it, and who calls a stage undone has undone
it. An instance that is parked is brought on by their commands alone.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from random import Random
from typing import Any

from sagabus.app import Orchestrator
from sagabus.errors import ConflictError
from sagabus.views.instances import instance_of
from sagabus.views.trees import Tree
from tests.integration.random_sagas.agents import Outside
from tests.support.engine import Dynasty

PAUSE_S = 0.05
#: After so many commands an operator makes an end; and one who needs so many more gets nowhere.
PATIENCE = 8
TOO_MANY = 40

#: Carries a command out; given who carries it out, its id and why.
Order = Callable[[Orchestrator, str], Awaitable[Mapping[str, Any]]]


class Operator:
    """Sees to every instance of one dynasty."""

    def __init__(self, dynasty: Dynasty, outside: Outside, seed: int) -> None:
        #: Commands given, by name and whether they were carried out.
        self.given: Counter[tuple[str, bool]] = Counter()
        #: Causes met.
        self.met: Counter[str] = Counter()
        self._dynasty = dynasty
        self._outside = outside
        self._rng = Random(seed)
        self._orders: Counter[str] = Counter()

    async def work(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(PAUSE_S)
            for instance in await self.parked():
                await self._see_to(instance)

    async def parked(self) -> list[str]:
        """Instances that need an operator."""
        page = await self._dynasty.ask(
            lambda o: o.list_instances(status="needs_operator", limit=500)
        )
        return [row.id for row in page.instances]

    async def give(self, instance: str, name: str, order: Order) -> bool:
        """Give a command under one id until it is answered; False: it was refused."""
        self._orders[instance] += 1
        assert self._orders[instance] < TOO_MANY, f"{instance} cannot be brought to an end"
        command = f"{instance}-order-{self._orders[instance]}"
        story = self._outside.story[instance]
        try:
            await self._dynasty.ask(lambda o: order(o, command))
        except ConflictError as error:
            story.append(f"{name} is refused: {error}")
            self.given[name, False] += 1
            return False
        story.append(f"{name} is carried out")
        self.given[name, True] += 1
        return True

    async def _see_to(self, instance: str) -> None:
        document = await self._dynasty.ask(partial(_document, instance=instance))
        for parked in document["parked"]:
            self.met[parked["cause"]] += 1
            match parked["cause"]:
                case "intent_unknown":
                    done = await self._resolve(instance, parked)
                case "compensation_failed":
                    done = await self._mend_undo(instance, parked["stage"])
                case "after_final":
                    done = await self._after_final(instance)
                case cause:
                    raise AssertionError(f"{instance} is parked: {cause}: {parked['message']}")
            if done:
                return  # what is parked now may be something else

    async def _resolve(self, instance: str, parked: Mapping[str, Any]) -> bool:
        stage, task, attempt = parked["stage"], parked["task"], parked["attempt"]
        key = (instance, task, attempt)
        if self._outside.at_work[key]:
            return False  # whoever asks is told: wait
        if key in self._outside.acted:
            outcomes = ["succeeded"]
        else:
            outcomes = self._rng.choice((["failed"], ["retry", "failed"]))
        for outcome in outcomes:
            order = partial(_resolve, instance, stage, outcome, f"{task}/{attempt}")
            if await self.give(instance, f"resolve {outcome}", order):
                return True
        return False

    async def _mend_undo(self, instance: str, stage: str) -> bool:
        is_last = self._orders[instance] > PATIENCE
        choice = self._rng.choice(("skip", "by hand") if is_last else ("skip", "by hand", *AGAIN))
        if choice == "by hand":
            return await self._undo_by_hand(instance, stage)
        return await self.give(instance, choice, partial(_OF_STAGE[choice], instance, stage))

    async def _undo_by_hand(self, instance: str, stage: str) -> bool:
        """Undo a stage, and say so where it was done: what is above that follows."""
        tree = await self._dynasty.ask(lambda o: o.tree(instance))
        below = [id_ for each in tree.children if each.stage == stage for id_ in _all(each)]
        if not below:
            return await self._say_undone(instance, stage)
        is_done = False
        for id_ in below:
            found = await self._dynasty.ask(partial(_document, instance=id_))
            failed = found["failed_compensations"]
            for name in {each["stage"] for each in failed if each["role"] != "_workflow"}:
                is_done |= await self._say_undone(id_, name)
        return is_done

    async def _say_undone(self, instance: str, stage: str) -> bool:
        if not self._outside.undo_by_hand(instance, stage):
            return False
        return await self.give(instance, "by hand", partial(_set_undone, instance, stage))

    async def _after_final(self, instance: str) -> bool:
        is_last = self._orders[instance] > PATIENCE
        choices = ("cancel", "leave") if is_last else ("retry", "retry", "compensate", *ENDS)
        choice = self._rng.choice(choices)
        return await self.give(instance, choice, partial(_OF_INSTANCE[choice], instance))

    async def meddle(self, instance: str) -> None:
        """Something that somebody wants of an instance for reasons of their own."""
        choice = self._rng.choice(("cancel", "leave", "pause", "retry", "compensate"))
        is_done = await self.give(instance, choice, partial(_OF_INSTANCE[choice], instance))
        if is_done and choice == "pause":
            await asyncio.sleep(self._rng.random() * 0.3)
            await self.give(instance, "resume", partial(_OF_INSTANCE["resume"], instance))


WHO = {"by": "ann", "reason": "because"}
AGAIN = ("retry stage", "compensate stage")
ENDS = ("cancel", "leave")


def _all(tree: Tree) -> list[str]:
    return [tree.instance.id, *(id_ for each in tree.children for id_ in _all(each))]


async def _document(o: Orchestrator, instance: str) -> Mapping[str, Any]:
    row = await o.get_row(instance)
    view = instance_of(row, await o.definition_of(row))
    return view.model_dump(mode="json", by_alias=True)


def _resolve(
    instance: str, stage: str, outcome: Any, attempt: str, o: Orchestrator, command: str
) -> Any:
    return o.resolve(instance, stage, outcome, attempt=attempt, command=command, **WHO)


def _set_undone(instance: str, stage: str, o: Orchestrator, command: str) -> Any:
    return o.set_result(instance, stage, None, command=command, **WHO)


_OF_STAGE: dict[str, Callable[[str, str, Orchestrator, str], Any]] = {
    "skip": lambda id_, stage, o, c: o.skip(id_, stage, command=c, **WHO),
    "retry stage": lambda id_, stage, o, c: o.retry(id_, from_stage=stage, command=c, **WHO),
    "compensate stage": lambda id_, stage, o, c: o.compensate(id_, stage=stage, command=c, **WHO),
}
_OF_INSTANCE: dict[str, Callable[[str, Orchestrator, str], Any]] = {
    "cancel": lambda id_, o, c: o.cancel(id_, command=c, **WHO),
    "leave": lambda id_, o, c: o.cancel(id_, compensate=False, command=c, **WHO),
    "pause": lambda id_, o, c: o.pause(id_, command=c, **WHO),
    "resume": lambda id_, o, c: o.resume(id_, command=c, **WHO),
    "retry": lambda id_, o, c: o.retry(id_, command=c, **WHO),
    "compensate": lambda id_, o, c: o.compensate(id_, command=c, **WHO),
}
