"""Runs an orchestrator as a process: lock, API, endpoints file, signals."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict

import uvloop

from sagabus.adapters.package_data import data_path
from sagabus.api.application import create_app
from sagabus.api.server import serve
from sagabus.app import VERSION, Orchestrator
from sagabus.cli.collector import collect_rarely
from sagabus.cli.data_dir import Endpoints, announced, locked
from sagabus.cli.demo_agents import demo_agents
from sagabus.cli.output import say, say_json
from sagabus.cli.pausing import remedy_for, title
from sagabus.errors import (
    BusUnavailableError,
    OutdatedStoreError,
    SagabusError,
    StoreUnavailableError,
)
from sagabus.observe.logging import configure
from sagabus.settings import Settings


def run(settings: Settings, *, is_config_given: bool, with_agents: bool, is_json: bool) -> None:
    """Run until a signal.

    Raises:
        SagabusError: it cannot start, or cannot go on.
    """
    configure(settings.log_level, settings.log_format)
    collect_rarely()
    settings = with_config(settings, is_given=is_config_given)
    process = _Process(settings, with_agents=with_agents, is_json=is_json)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(process.run())
    except BaseExceptionGroup as group:
        raise _cause(group) from group


def with_config(settings: Settings, *, is_given: bool) -> Settings:
    """The settings, with the workflows file that is shipped where there is no other."""
    if is_given or settings.config.exists():
        return settings
    return settings.model_copy(update={"config": data_path("config") / "workflows.toml"})


class _Process:
    """One run of an orchestrator, from the lock to its release."""

    def __init__(self, settings: Settings, *, with_agents: bool, is_json: bool) -> None:
        self._settings = settings
        self._with_agents = with_agents
        self._is_json = is_json
        self._is_told_to_end = False

    async def run(self) -> None:
        """Run until SIGINT or SIGTERM, whatever has been reached by then."""
        ready = asyncio.Event()
        end = asyncio.Event()
        self._on_signals(ready, end)
        try:
            await self._serve(ready, end)
        except asyncio.CancelledError:
            if not self._is_told_to_end:
                raise

    def _on_signals(self, ready: asyncio.Event, end: asyncio.Event) -> None:
        task = asyncio.current_task()
        cancel: Callable[[], object] = task.cancel if task is not None else end.set

        def on_signal() -> None:
            # Whoever asks again does not want to wait for the orderly end.
            is_impatient = self._is_told_to_end
            self._is_told_to_end = True
            if ready.is_set() and not is_impatient:
                end.set()
            else:
                cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, on_signal)

    async def _serve(self, ready: asyncio.Event, end: asyncio.Event) -> None:
        settings = self._settings
        async with AsyncExitStack() as stack:
            stack.enter_context(locked(settings.data_dir))
            orchestrator = await self._open(stack)
            http = await stack.enter_async_context(
                serve(create_app(orchestrator), settings.http_host, settings.http_port)
            )
            if self._with_agents:
                await stack.enter_async_context(demo_agents(orchestrator.nats_url))
            endpoints = Endpoints(orchestrator.nats_url, http, os.getpid(), VERSION)
            stack.enter_context(announced(settings.data_dir, endpoints))
            ready.set()
            self._say(endpoints, orchestrator)
            await end.wait()

    async def _open(self, stack: AsyncExitStack) -> Orchestrator:
        try:
            return await stack.enter_async_context(Orchestrator.open(self._settings))
        except StoreUnavailableError as error:
            raise StoreUnavailableError(
                f"{error}; start SurrealDB there, or correct --surreal-url"
            ) from error
        except BusUnavailableError as error:
            raise BusUnavailableError(
                f"{error}; start NATS there, or correct --nats-url"
            ) from error
        except OutdatedStoreError as error:
            settings = self._settings
            place = f"{settings.store_url}, bus {settings.nats_address}"
            raise OutdatedStoreError(f"{place}: {error}") from error

    def _say(self, endpoints: Endpoints, orchestrator: Orchestrator) -> None:
        if self._is_json:
            say_json(asdict(endpoints), is_line=True)
            return
        settings = self._settings
        # Agents have to be told where the managed server is; another one's address may hold a
        # password.
        nats = settings.nats_address if settings.nats_url else endpoints.nats
        say(f"sagabus {endpoints.version} is up; Ctrl-C ends it")
        say(f"  api        {endpoints.http}  (/docs, /health, /metrics)")
        say(f"  nats       {nats}")
        say(f"  database   {settings.store_url}")
        say(f"  workflows  {settings.config}  ({len(orchestrator.workflows())} loaded)")
        for hold in orchestrator.holds.current:
            what = title(hold.kind, hold.name)
            say(f"  paused     {what}  ({remedy_for(hold.kind, hold.name)})")


def _cause(group: BaseExceptionGroup) -> BaseException:
    """The one failure that a person needs to read; the group itself when it is a bug of ours."""
    ours = group.subgroup(SagabusError)
    found: BaseException = ours if ours is not None else group
    while ours is not None and isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
