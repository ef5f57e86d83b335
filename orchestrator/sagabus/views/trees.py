"""An instance with all that carry out its stages, and theirs: one document."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from sagabus.core.instance import Attempt, InstanceState
from sagabus.views.instances import InstanceSummary, summary_of
from sagabus.views.shared import View
from sagabus.views.tasks import in_order

#: Instances directly below one that a document shows, and that are read at once.
MAX_CHILDREN: Final = 100

Load = Callable[[str], Awaitable[InstanceState | None]]


class Tree(View):
    """An instance and, by stage and task, the instances below it."""

    instance: InstanceSummary
    #: The stage and task of the instance above that it carries out; None: the topmost.
    stage: str | None = None
    task: str | None = None
    attempt: int | None = None
    #: The first of them.
    children: list["Tree"]
    #: How many more there are.
    more: int


async def tree_of(state: InstanceState, load: Load, stage: str | None = None) -> Tree:
    """The tree below ``state``; ``load`` gives the instances in it."""
    below = [
        attempt
        for tries in in_order(state)
        for attempt in tries
        if attempt.is_child and attempt.kind == "task" and attempt.agent is not None
    ]
    children = await asyncio.gather(*(_child(each, load) for each in below[:MAX_CHILDREN]))
    parent = state.row.parent
    return Tree(
        instance=summary_of(state.row),
        stage=stage,
        task=parent.task if parent is not None else None,
        attempt=parent.attempt if parent is not None else None,
        children=[child for child in children if child is not None],
        more=max(0, len(below) - MAX_CHILDREN),
    )


async def _child(attempt: Attempt, load: Load) -> Tree | None:
    state = await load(attempt.agent or "")
    return None if state is None else await tree_of(state, load, attempt.stage)
