"""An instance with all that carry out its stages, and theirs: one document."""

from collections.abc import Awaitable, Callable

from sagabus.core.instance import InstanceState
from sagabus.views.instances import InstanceSummary, summary_of
from sagabus.views.shared import View
from sagabus.views.tasks import in_order


class Tree(View):
    """An instance and, by stage and task, the instances below it."""

    instance: InstanceSummary
    #: The stage and task of the instance above that it carries out; None: the topmost.
    stage: str | None = None
    task: str | None = None
    attempt: int | None = None
    children: list["Tree"]


async def tree_of(
    state: InstanceState,
    load: Callable[[str], Awaitable[InstanceState | None]],
    stage: str | None = None,
) -> Tree:
    """The tree below ``state``; ``load`` gives the instances in it."""
    children = []
    for tries in in_order(state):
        for attempt in tries:
            if not attempt.is_child or attempt.kind != "task" or attempt.agent is None:
                continue
            child = await load(attempt.agent)
            if child is not None:
                children.append(await tree_of(child, load, attempt.stage))
    parent = state.row.parent
    return Tree(
        instance=summary_of(state.row),
        stage=stage,
        task=parent.task if parent is not None else None,
        attempt=parent.attempt if parent is not None else None,
        children=children,
    )
