"""One command for many instances: those that a selection names, each answered on its own."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, assert_never

from sagabus.adapters.page_cursor import dump_cursor
from sagabus.app.commands import Commands
from sagabus.core.instance import Instance, InstanceStatus, child_id
from sagabus.errors import InvalidRequestError, RequestError, SagabusError
from sagabus.ports import Store

BulkName = Literal["retry", "cancel", "pause", "resume", "compensate"]

S = InstanceStatus
#: Where no status is named: the statuses that the command is meant for. To undo what is completed,
#: or to go on with what somebody has cancelled, has to be said.
DEFAULT_STATUSES: Final[Mapping[BulkName, tuple[InstanceStatus, ...]]] = {
    "retry": (S.FAILED, S.ROLLED_BACK),
    "cancel": (S.PENDING, S.RUNNING, S.WAITING, S.PAUSED, S.NEEDS_OPERATOR),
    "pause": (S.PENDING, S.RUNNING, S.WAITING),
    "resume": (S.PAUSED,),
    "compensate": (),
}
#: Commands under way at once.
_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class Selection:
    """Which instances: all that is given must hold; of more than ``limit`` the newest."""

    workflow: str | None = None
    statuses: Sequence[InstanceStatus] = ()
    #: They started longer ago than this.
    older_than: timedelta | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done to each."""

    name: BulkName
    #: Its id; each instance gets one that is made of it, so the same again does nothing twice.
    command: str
    by: str = ""
    reason: str = ""
    #: Of ``cancel``: undo what was done.
    compensate: bool = True
    #: Of ``retry``: ``latest``, or the digest that the newest must have.
    definition: str | None = None
    #: Of ``retry``: those that change.
    parameters: Mapping[str, Any] | None = None
    #: Touch nothing, and say what each would be answered.
    is_dry: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one instance; ``message`` says why not."""

    id: str
    workflow: str
    #: Before the command.
    status: InstanceStatus
    ok: bool
    code: str | None = None
    message: str | None = None
    result: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BulkReport:
    """What became of all; ``has_more``: beyond the limit there are others."""

    outcomes: Sequence[Outcome]
    has_more: bool


async def give_all(
    store: Store, commands: Commands, selection: Selection, order: Order
) -> BulkReport:
    """Give a command to every instance that is selected.

    ``commands`` carries them out; those of a dry order on paper.

    Raises:
        InvalidRequestError: the selection names nothing, or too much.
    """
    rows = await _select(store, selection, order.name)
    has_more = len(rows) > selection.limit
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(row: Instance) -> Outcome:
        async with slots:
            return await _give(commands, row, order)

    outcomes = await asyncio.gather(*(one(row) for row in rows[: selection.limit]))
    return BulkReport(outcomes, has_more)


async def _select(store: Store, selection: Selection, name: BulkName) -> list[Instance]:
    """The newest that match, one more than the limit where there are more."""
    if selection.workflow is None and not selection.statuses and selection.older_than is None:
        raise InvalidRequestError(
            "name the instances: by workflow, by status, or by how long ago they started"
        )
    statuses = tuple(dict.fromkeys(selection.statuses)) or DEFAULT_STATUSES[name]
    if not statuses:
        raise InvalidRequestError(
            f"name the status of the instances to {name}, such as {S.COMPLETED}: none is taken"
        )
    cursor = None
    if selection.older_than is not None:
        cursor = dump_cursor(datetime.now(UTC) - selection.older_than, "")
    pages = await asyncio.gather(
        *(
            store.list_instances(
                workflow=selection.workflow, status=each, limit=selection.limit + 1, cursor=cursor
            )
            for each in statuses
        )
    )
    rows = [row for page in pages for row in page.instances]
    rows.sort(key=lambda row: (row.created_at, row.id), reverse=True)
    return rows[: selection.limit + 1]


async def _give(commands: Commands, row: Instance, order: Order) -> Outcome:
    try:
        result = await _ask(commands, row.id, order)
    except SagabusError as error:
        code = error.code if isinstance(error, RequestError) else "internal"
        return Outcome(row.id, row.workflow, row.status, False, code, str(error))
    return Outcome(row.id, row.workflow, row.status, True, result=result)


async def _ask(commands: Commands, instance: str, order: Order) -> Mapping[str, Any]:
    command = child_id(order.command, instance, 1)
    by, reason = order.by, order.reason
    match order.name:
        case "retry":
            return await commands.retry(
                instance,
                parameters=order.parameters,
                definition=order.definition,
                by=by,
                reason=reason,
                command=command,
            )
        case "cancel":
            return await commands.cancel(
                instance, compensate=order.compensate, by=by, reason=reason, command=command
            )
        case "pause":
            return await commands.pause(instance, by=by, reason=reason, command=command)
        case "resume":
            return await commands.resume(instance, by=by, reason=reason, command=command)
        case "compensate":
            return await commands.compensate(instance, by=by, reason=reason, command=command)
        case unknown:
            assert_never(unknown)
