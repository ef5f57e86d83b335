"""The orchestrator as a Python object: what the API, the command line and embedders use.

::

    async with Orchestrator.open(config="config/workflows.toml", data="state") as o:
        started = await o.start("deploy_pipeline", {"version": "1.2.3"})
        await o.approve_stage(started.id, "production", by="ann")
        ended = await o.wait(started.id)

One file: everything that can be asked of an orchestrator.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

from sagabus.adapters.cedar import CedarPolicies
from sagabus.adapters.nats_child import NatsChild
from sagabus.adapters.surreal_holds import SurrealHolds
from sagabus.adapters.surreal_kv import SurrealKeyValues
from sagabus.adapters.surreal_registry import SurrealRegistry
from sagabus.adapters.surreal_store import SurrealStore
from sagabus.app.audit import Audit
from sagabus.app.background import end, ensure_roles, follow_files, measure, tend_child
from sagabus.app.bulk import BulkReport, Order, Selection, give_all
from sagabus.app.commands import Commands, granted
from sagabus.app.connections import OpenBus, open_bus, open_secret_box, open_store
from sagabus.app.dead_letters import DeadLetters
from sagabus.app.health import VERSION, Health, assess
from sagabus.app.holds import HoldDesk
from sagabus.app.notices import Notices
from sagabus.app.on_paper import OnPaper
from sagabus.app.registry import WorkflowRegistry
from sagabus.app.retention import Sweeper
from sagabus.app.why import WhyDesk
from sagabus.core.definition import Definition, TemplateError
from sagabus.core.drift import DriftReport
from sagabus.core.graph import Graph
from sagabus.core.instance import Instance, InstanceState
from sagabus.core.intents import Intent
from sagabus.core.preview import Preview, preview
from sagabus.core.repair_undo import refusal as undo_refusal
from sagabus.definitions.catalog import Catalog
from sagabus.definitions.compare import WorkflowChange, change_of
from sagabus.definitions.compile import compile_snapshot
from sagabus.definitions.holder import CatalogHolder, Refusal
from sagabus.errors import (
    ConfigError,
    InstanceNotFoundError,
    InvalidRequestError,
    InvariantError,
)
from sagabus.observe.event_log import EventLog
from sagabus.observe.metrics import Metrics
from sagabus.ports import HistoryEntry, HoldBook, Page, Registry
from sagabus.runtime.drift import DEFAULT_TIMEOUT_S, DriftWatch
from sagabus.runtime.engine import Engine, Limits
from sagabus.runtime.following import Following
from sagabus.runtime.ownership import Ownership
from sagabus.runtime.presence import Presence
from sagabus.runtime.restoring import refuse_outdated, take_back
from sagabus.runtime.secrets import SecretDesk
from sagabus.runtime.snapshots import Snapshots
from sagabus.runtime.starting import check_parameters
from sagabus.runtime.submission import Submission
from sagabus.settings import Settings
from sagabus.views.graphs import instance_graph
from sagabus.views.trees import Tree, tree_of
from sagabus_agents.wire import MAX_MESSAGE_BYTES, CommandMessage, PresenceMessage, is_id

#: Who finds every partition served by others for this long stands by.
_STANDBY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Started:
    """The answer to a start: the instance, and whether this call made it."""

    id: str
    is_new: bool


class Orchestrator(Commands):
    """One running orchestrator. Made by ``open``; every method may be called from its loop only."""

    def __init__(
        self,
        engine: Engine,
        ownership: Ownership,
        holder: CatalogHolder,
        following: Following,
        registry: Registry,
        holds: HoldBook,
        nats_url: str,
        child: NatsChild | None = None,
    ) -> None:
        self._engine = engine
        self._ownership = ownership
        self._holder = holder
        self._following = following
        self._submission = Submission(engine.bus, ownership)
        super().__init__(self._submission)
        #: Workflows that are registered, beside those in files.
        self.registry = WorkflowRegistry(
            registry, holder, engine.bus, lambda: ensure_roles(engine, holder)
        )
        #: Who did what, when and why; and whether it is as it was stored.
        self.audit = Audit(engine.store.trail, engine.store)
        #: Messages nobody could use, and tasks nobody finished.
        self.dead_letters = DeadLetters(engine, engine.store.trail)
        #: Why instances do not move.
        self.why = WhyDesk(engine, ownership, holder)
        #: What is paused beyond single instances.
        self.holds = HoldDesk(holds, engine, ownership, holder)
        self._sweeper = Sweeper(
            engine.store,
            lambda: holder.current.engine.retention.completed,
            lambda instance: ownership.loop_of(instance) is not None,
            engine.metrics,
        )
        #: What tasks have made outside, as they declared it.
        self.resources = engine.store.resources
        self._drift = DriftWatch(self.resources, engine.bus, engine.presence)
        #: Values and secrets that workflows read by key.
        self.kv = engine.kv
        self._secrets = SecretDesk(engine, ownership)
        self.metrics = engine.metrics
        #: Where agents connect.
        self.nats_url = nats_url
        self._child = child

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: Settings | None = None,
        *,
        config: Path | str | None = None,
        nats: str | None = None,
        store: str | None = None,
        data: Path | str | None = None,
    ) -> AsyncIterator["Orchestrator"]:
        """Run an orchestrator for the time of the context; what was unfinished goes on at once.

        Args:
            settings: everything that can be set; what follows wins over it.
            config: the workflows file.
            nats: address of a NATS server with JetStream; by default one is run as a child.
            store: ``ws://``, ``surrealkv://`` or ``mem://``; by default embedded, in ``data``.
            data: directory for the embedded database and the managed NATS server.

        Raises:
            SettingsError: an address cannot be used.
            InvalidConfigError: the workflows file or the policies are wrong.
            StoreError: no database within ``connect_timeout_s``, or it refuses.
            OutdatedStoreError: the database is older than the bus, and ``after_restore`` not set.
            BusError: no NATS within ``connect_timeout_s``, or it refuses.
        """
        given = {"config": config, "nats_url": nats, "surreal_url": store, "data_dir": data}
        settings = (settings or Settings()).with_changes(given)
        holder = CatalogHolder(settings.config, CedarPolicies.load)
        async with AsyncExitStack() as stack:
            opened = await open_store(settings, stack)
            bus = await open_bus(settings, stack)
            self = cls._compose(settings, holder, opened, bus)
            if settings.after_restore:
                self._engine.restoring.update(range(bus.bus.partitions))
            else:
                await refuse_outdated(opened, bus.bus, range(bus.bus.partitions))
            await self.holds.refresh()
            if settings.paused_by is not None:
                await self.holds.begin_held(settings.paused_by)
            url = settings.notice_url
            notices = Notices(
                self._engine,
                self._ownership,
                self.why,
                after_s=settings.notice_after_s,
                url=None if url is None else url.get_secret_value(),
            )
            await stack.enter_async_context(self._running(notices))
            yield self

    @classmethod
    def _compose(
        cls,
        settings: Settings,
        holder: CatalogHolder,
        store: SurrealStore,
        bus: OpenBus,
    ) -> "Orchestrator":
        engine = Engine(
            store=store,
            kv=SurrealKeyValues(store.connection, open_secret_box(settings)),
            bus=bus.bus,
            snapshots=Snapshots(store, holder.find, compile_snapshot),
            policies=lambda: holder.last_policies,
            presence=Presence(),
            metrics=Metrics(VERSION),
            event_log=EventLog(settings.log_level),
            limits=Limits(max_deliver=settings.max_deliver),
        )
        ownership = Ownership(engine, bus.leases)
        following = Following(store, lambda instance: ownership.loop_of(instance) is not None)
        engine.listeners.append(following.on_commit)
        engine.metrics.count_active_with(
            lambda: sum(loop.active for loop in ownership.loops.values())
        )
        registry, holds = SurrealRegistry(store.connection), SurrealHolds(store.connection)
        return cls(engine, ownership, holder, following, registry, holds, bus.url, bus.child)

    @asynccontextmanager
    async def _running(self, notices: Notices) -> AsyncIterator[None]:
        bus = self._engine.bus
        await self.registry.refresh()
        await bus.ensure(sorted(self._holder.current.roles))
        listening = await bus.subscribe("sagabus.presence.*", self._engine.presence.on_message)
        asking = await self._secrets.listen()
        body_error: BaseException | None = None
        async with listening, asking, asyncio.TaskGroup() as group:
            if self._engine.restoring:
                await take_back(self._engine)
            service = group.create_task(self._ownership.run())
            background = [
                group.create_task(follow_files(self._engine, self._holder)),
                group.create_task(measure(self._engine, self._ownership, self._holder)),
                group.create_task(self.registry.follow()),
                group.create_task(self.holds.follow()),
                group.create_task(self._sweeper.run()),
                group.create_task(notices.run()),
                group.create_task(self._secrets.run()),
            ]
            if self._child is not None:
                background.append(group.create_task(tend_child(self._child, self._ownership)))
            try:
                await self._until_taken(service)
                yield
            except BaseException as error:
                # Raised again below: the group would wrap what is the caller's own.
                body_error = error
            finally:
                self._ownership.stop()
                await end(background)
        if body_error is not None:
            raise body_error

    async def _until_taken(self, service: asyncio.Task[None]) -> None:
        """Wait until what this orchestrator serves is loaded; nothing, where others serve all."""
        began = monotonic()
        while not service.done():
            loops = list(self._ownership.loops.values())
            is_standby = not loops and monotonic() - began > _STANDBY_S
            if is_standby or (loops and all(loop.status != "taking" for loop in loops)):
                return
            await asyncio.sleep(0.01)

    # --- what people and programs ask ---------------------------------------------------------

    async def start(
        self,
        workflow: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        by: str = "",
        command: str | None = None,
    ) -> Started:
        """Start an instance; answered when it is stored. An ``id`` that exists starts nothing.

        Raises:
            WorkflowNotFoundError: no such workflow, or it is disabled.
            InvalidRequestError: the id or the parameters cannot be used.
            ConflictError: ``id`` exists with another workflow or other parameters.
        """
        if id is not None and not is_id(id):
            raise InvalidRequestError(f"id {id!r}: 1 to 64 letters, digits, '_' and '-' only")
        return await self._start(
            workflow, parameters, id or secrets.token_hex(16), by, command, is_fresh_id=id is None
        )

    async def _start(
        self,
        workflow: str,
        parameters: Mapping[str, Any] | None,
        instance_id: str,
        by: str,
        command: str | None,
        *,
        is_fresh_id: bool,
    ) -> Started:
        values = dict(parameters or {})
        check_parameters(values, MAX_MESSAGE_BYTES)  # what can be sent at all; the rest later
        message = CommandMessage(
            # Unique within the instance: its first command may have its id.
            command=command or (instance_id if is_fresh_id else secrets.token_hex(16)),
            name="start",
            arguments={"workflow": workflow, "parameters": values},
            by=by,
        )
        answer = await self._submission.submit(instance_id, message, is_fresh_id=is_fresh_id)
        result = granted(answer)
        return Started(result["id"], result["created"])

    async def give_all(self, selection: Selection, order: Order) -> BulkReport:
        """Give a command to every instance that is selected, each answered on its own.

        A dry order is answered in the same words, and done to none of them.

        Raises:
            InvalidRequestError: the selection names nothing, or too much.
        """
        commands = Commands(OnPaper(self._engine)) if order.is_dry else self
        return await give_all(self._engine.store, commands, selection, order)

    async def compensate_preview(
        self, instance_id: str, stage: str | None = None
    ) -> tuple[Preview, str | None]:
        """What undoing an instance, or one stage of it, would come to; why it would be refused.

        Raises:
            InstanceNotFoundError: there is none.
            InvalidRequestError: its workflow has no such stage.
        """
        state = await self.get(instance_id)
        definition = await self._engine.snapshots.of(state.row.digest)
        if stage is not None and stage not in definition.stages:
            raise InvalidRequestError(f"workflow {state.row.workflow!r} has no stage {stage!r}")
        why_not = undo_refusal(definition, state, stage)
        return preview(definition, state, stage), why_not

    async def definition_change(self, instance_id: str) -> WorkflowChange | None:
        """What the definition in force changes for an instance; None: it is the same.

        Raises:
            InstanceNotFoundError: there is none.
            WorkflowNotFoundError: its workflow is no longer loaded.
        """
        row = await self.get_row(instance_id)
        own = await self._engine.snapshots.of(row.digest)
        return change_of(row.workflow, own, self._holder.find(row.workflow))

    async def get(self, instance_id: str) -> InstanceState:
        """An instance with all its attempts.

        Raises:
            InstanceNotFoundError: there is none.
        """
        state = await self._engine.store.load_instance(instance_id)
        if state is None:
            raise InstanceNotFoundError(f"there is no instance {instance_id!r}")
        return state

    async def get_row(self, instance_id: str) -> Instance:
        """An instance without its attempts.

        Raises:
            InstanceNotFoundError: there is none.
        """
        row = await self._engine.store.load_row(instance_id)
        if row is None:
            raise InstanceNotFoundError(f"there is no instance {instance_id!r}")
        return row

    async def tree(self, instance_id: str) -> Tree:
        """An instance with the instances that carry out its stages, and so on down.

        Raises:
            InstanceNotFoundError: there is none.
        """
        return await tree_of(await self.get(instance_id), self._engine.store.load_instance)

    async def intents(self) -> list[Intent]:
        """Final effects that were begun, of which nobody has told how they ended; oldest first."""
        return await self._engine.store.intents()

    async def definition_of(self, row: Instance) -> Definition | None:
        """The definition that an instance runs on; None: it cannot be read, or is gone."""
        try:
            return await self._engine.snapshots.of(row.digest)
        except (ConfigError, InvariantError, TemplateError):
            return None

    async def graph(self, instance_id: str) -> Graph:
        """The graph of the definition that an instance runs on, with how far it has come.

        Raises:
            InstanceNotFoundError: there is none.
        """
        state = await self.get(instance_id)
        return instance_graph(state, await self._engine.snapshots.of(state.row.digest))

    async def history(self, instance_id: str) -> list[HistoryEntry]:
        """What happened to an instance, oldest first.

        Raises:
            InstanceNotFoundError: there is none.
        """
        entries = await self._engine.store.history(instance_id)
        if not entries:
            await self.get_row(instance_id)
        return entries

    async def list_instances(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Instances, newest first."""
        return await self._engine.store.list_instances(
            workflow=workflow, status=status, limit=limit, cursor=cursor
        )

    async def wait(self, instance_id: str, timeout_s: float | None = None) -> InstanceState:
        """The instance when it has ended.

        Raises:
            InstanceNotFoundError: there is none.
            TimeoutError: it has not ended in time.
        """
        return await self._following.wait(instance_id, timeout_s)

    async def run(
        self, workflow: str, parameters: Mapping[str, Any] | None = None, *, by: str = ""
    ) -> Instance:
        """Start an instance and wait for its end, in one call.

        Raises: as ``start``.
        """
        instance_id = secrets.token_hex(16)
        with self._following.expecting(instance_id) as end:
            await self._start(workflow, parameters, instance_id, by, None, is_fresh_id=True)
            return (await self._following.until(end, instance_id)).row

    def watch(self, instance_id: str) -> AsyncIterator[Mapping[str, Any]]:
        """History entries ``{"seq", "type", "at", "data"}`` from the first until the end."""
        return self._following.watch(instance_id)

    # --- what is known ------------------------------------------------------------------------

    def workflows(self) -> Mapping[str, Definition]:
        """Definitions in force, by name."""
        return self._holder.current.definitions

    def workflow(self, name: str) -> Definition:
        """The definition of that name in force.

        Raises:
            WorkflowNotFoundError: there is none.
        """
        return self._holder.find(name)

    def refusal(self) -> Refusal | None:
        """Why the files as they are now are not in force; None when they are."""
        return self._holder.refusal

    def catalog(self) -> Catalog:
        """Everything in force: definitions, packs, actions."""
        return self._holder.current

    def agents(self) -> list[PresenceMessage]:
        """Agents alive now."""
        return self._engine.presence.alive()

    async def drift(
        self, kind: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> DriftReport:
        """Compare resources as they were declared with what their roles say exists.

        ``timeout_s``: for each role to answer; who does not is named.

        Raises:
            InvalidRequestError: ``kind`` cannot be one.
            ResourceNotFoundError: no resource of ``kind`` was ever declared.
        """
        return await self._drift.look(kind, timeout_s)

    async def health(self) -> Health:
        """How everything is."""
        return await assess(self._engine, self._ownership, self._holder, len(self.agents()))
