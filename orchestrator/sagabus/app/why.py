"""Why instances do not move: one of them with those below it, or all that stand still."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from sagabus.app.health import assess_bus, assess_store
from sagabus.core.definition import Definition, TemplateError
from sagabus.core.instance import Instance, InstanceState, InstanceStatus
from sagabus.definitions.holder import CatalogHolder
from sagabus.errors import (
    BusError,
    ConfigError,
    InstanceNotFoundError,
    InvariantError,
    StoreUnavailableError,
)
from sagabus.runtime.engine import Engine
from sagabus.runtime.ownership import Ownership
from sagabus.views.causes import Cause, RoleState, Surroundings, is_standing, is_worked_on
from sagabus.views.why import causes_of

#: Instances that one look at all of them reads.
MAX_LOOKED_AT: Final = 10_000
#: Instances below one that are looked at with it, per level, and levels.
_MAX_BELOW: Final = 20
_MAX_DEPTH: Final = 8
_PAGE: Final = 500
#: What to do where nothing helps all of them.
_EACH_ITS_OWN: Final = "sagabus why ID (what helps is not the same for all)"
_UNFINISHED: Final = tuple(status for status in InstanceStatus if not status.is_terminal)


@dataclass(frozen=True, slots=True)
class Explained:
    """An instance, and why it stands where it stands."""

    row: Instance
    causes: Sequence[Cause]
    #: Instances that carry out its stages, as far as it waits for them.
    below: "Sequence[Explained]" = ()

    @property
    def is_standing(self) -> bool:
        """Nothing of it is being worked on, nor below it."""
        own = [each for each in self.causes if each.cause != "sub_workflow"]
        if len(own) == len(self.causes):
            return is_standing(own)
        stands_below = bool(self.below) and all(each.is_standing for each in self.below)
        return stands_below and not is_worked_on(own)


@dataclass(slots=True)
class Standstill:
    """Instances that one cause holds up."""

    #: With what helps each of them.
    cause: Cause
    #: Their ids, by status the newest first.
    instances: list[str] = field(default_factory=list)
    #: When the first of them moved last.
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What stands still: first what needs an operator, and of the rest the cause of most of it."""

    standstills: Sequence[Standstill]
    troubles: Sequence[Cause]
    looked_at: int
    #: False: there are more unfinished instances than one look reads.
    is_complete: bool


class WhyDesk:
    """Asks the store, the bus and presence, and puts together what they say."""

    def __init__(self, engine: Engine, ownership: Ownership, holder: CatalogHolder) -> None:
        self._engine = engine
        self._ownership = ownership
        self._holder = holder

    async def explain(self, instance_id: str) -> Explained:
        """Why an instance does not move; of those below it, too.

        Raises:
            InstanceNotFoundError: there is none.
            StoreUnavailableError: the database is away, and the instance is not in memory here.
        """
        around = await self._surroundings()
        state = await self._load(instance_id)
        if state is None:
            raise InstanceNotFoundError(f"there is no instance {instance_id!r}")
        return await self._explain(state, around, _MAX_DEPTH)

    async def causes_of(
        self, states: Sequence[InstanceState]
    ) -> list[tuple[InstanceState, list[Cause]]]:
        """The causes of each of these, whose open attempts are known."""
        around = await self._surroundings()
        found = []
        for state in states:
            # What can be repaired, attempts that have ended tell.
            whole = await self._load(state.row.id) if state.row.parked else state
            causes = causes_of(whole or state, await self._definition(state.row), around)
            found.append((state, causes))
        return found

    async def look(self, workflow: str | None = None) -> Look:
        """All unfinished instances that stand still, of one workflow or all, by cause.

        Raises:
            StoreUnavailableError: the database is away.
            WorkflowNotFoundError: there is no such workflow, and no instance of one.
        """
        await self._check(workflow)
        around = await self._surroundings()
        found: dict[tuple[str, str], Standstill] = {}
        looked_at, is_complete = 0, True
        for status in _UNFINISHED:
            cursor: str | None = None
            while True:
                if looked_at >= MAX_LOOKED_AT:
                    is_complete = False
                    break
                page = await self._engine.store.list_instances(
                    workflow=workflow, status=status, limit=_PAGE, cursor=cursor
                )
                looked_at += len(page.instances)
                for row in page.instances:
                    _sort_in(row, await self._standing_causes(row, around), found)
                cursor = page.cursor
                if cursor is None:
                    break
        in_order = sorted(
            found.values(), key=lambda each: (not each.cause.needs_operator, -len(each.instances))
        )
        return Look(in_order, around.troubles, looked_at, is_complete)

    async def _check(self, workflow: str | None) -> None:
        if workflow is None or workflow in self._holder.current.definitions:
            return
        if not (await self._engine.store.list_instances(workflow=workflow, limit=1)).instances:
            self._holder.current.get(workflow)  # it says which there are

    async def _standing_causes(self, row: Instance, around: Surroundings) -> Sequence[Cause]:
        state: InstanceState | None = InstanceState.of(row, ())
        # Those of large stages have rows of their own; what can be repaired, earlier ones tell.
        if row.parked or row.open_attempts > len(row.open):
            state = await self._engine.store.load_instance(row.id)
        if state is None:
            return ()
        causes = causes_of(state, await self._definition(row), around)
        return [each for each in causes if each.is_standing] if is_standing(causes) else ()

    async def _explain(self, state: InstanceState, around: Surroundings, depth: int) -> Explained:
        causes = causes_of(state, await self._definition(state.row), around)
        ids = [id for each in causes if each.cause == "sub_workflow" for id in each.others]
        below = []
        for id in ids[:_MAX_BELOW] if depth else ():
            child = await self._load(id)
            if child is not None:
                below.append(await self._explain(child, around, depth - 1))
        return Explained(state.row, causes, below)

    async def _load(self, instance_id: str) -> InstanceState | None:
        try:
            return await self._engine.store.load_instance(instance_id)
        except StoreUnavailableError:
            loop = self._ownership.loops.get(self._engine.bus.partition_of(instance_id))
            known = loop.state_of(instance_id) if loop is not None else None
            if known is None:
                raise
            return known

    async def _definition(self, row: Instance) -> Definition | None:
        try:
            return await self._engine.snapshots.of(row.digest)
        except (ConfigError, InvariantError, TemplateError, StoreUnavailableError):
            return None

    async def _surroundings(self) -> Surroundings:
        engine = self._engine
        alive = engine.presence.alive()
        return Surroundings(
            roles=await self._roles(),
            holds=engine.holds.current,
            troubles=[*await self._troubles()],
            agents=frozenset(each.agent for each in alive),
        )

    async def _troubles(self) -> Iterable[Cause]:
        found = []
        store = await assess_store(self._engine.store)
        if not store.ok:
            ways = ["start the database: what is unfinished goes on by itself"]
            found.append(Cause("store_away", "the database is away", f": {store.detail}", ways))
        bus = assess_bus(self._engine, self._ownership)
        if not bus.ok:
            ways = ["start NATS: what is unfinished goes on by itself"]
            found.append(Cause("bus_away", "the bus is away", f": {bus.detail}", ways))
        return found

    async def _roles(self) -> Mapping[str, RoleState]:
        engine = self._engine
        queued: dict[str, int] = {}
        with suppress(BusError):  # it is among the troubles
            if engine.bus.is_connected:
                queued = {each.role: each.queued for each in await engine.bus.role_queues()}
        alive = engine.presence.alive()
        found = {}
        for role in {*queued, *(role for agent in alive for role in agent.roles)}:
            agents = [agent for agent in alive if role in agent.roles]
            silent_s = engine.presence.silent_s(role)
            running = (run.instance for agent in agents for run in agent.running)
            found[role] = RoleState(
                alive=len(agents),
                free=sum(agent.free for agent in agents),
                working_for=[*dict.fromkeys(running)],
                last_heard_at=(
                    None if silent_s is None else engine.clock() - timedelta(seconds=silent_s)
                ),
                queued=queued.get(role),
            )
        return found


def _sort_in(
    row: Instance, causes: Sequence[Cause], found: dict[tuple[str, str], Standstill]
) -> None:
    for cause in causes:
        group = found.setdefault((cause.cause, cause.title), Standstill(cause))
        if group.cause.ways != cause.ways:
            common = [way for way in group.cause.ways if way in cause.ways]
            group.cause = replace(group.cause, ways=common or [_EACH_ITS_OWN])
        if row.id not in group.instances[-1:]:
            group.instances.append(row.id)
        if group.since is None or row.updated_at < group.since:
            group.since = row.updated_at
