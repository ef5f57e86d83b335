"""``Agent``: the roles, the handlers, and the two ways to run them."""

import asyncio
import gc
import os
import re
import secrets
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sagabus_agents.beats import HEARTBEAT_S
from sagabus_agents.handlers import Handlers
from sagabus_agents.logs import configure_logging
from sagabus_agents.runner import Runner, RunnerOptions
from sagabus_agents.version import __version__
from sagabus_agents.wire import ROLE_PATTERN, TaskType, is_id

new_event_loop: Callable[[], asyncio.AbstractEventLoop]
try:
    from uvloop import new_event_loop  # faster, where the orchestrator's extra is installed
except ImportError:
    new_event_loop = asyncio.new_event_loop

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_URL = "nats://127.0.0.1:4222"
DEFAULT_CONCURRENCY = 16
DEFAULT_DRAIN_S = 30.0
#: Exit status of a process whose handlers would not end.
EXIT_STUCK = 70


class Agent:
    """A process that does the work of one or more roles.

    Args:
        roles: whose tasks to take.
        concurrency: how many tasks of each role run at once; sync handlers get a thread each.
        nats_url: one server or several, separated by commas; by default ``SAGABUS_NATS_URL``, else
            the local one.
        drain_s: how long running tasks may take to end once the agent is told to stop.
        heartbeat_s: how often the server hears that a task is still worked on; well below the
            ``ack_wait`` of the role's consumer.
        connect: further arguments of ``nats.connect``: credentials, ``tls``, ``inbox_prefix``.
    """

    def __init__(
        self,
        *roles: str,
        concurrency: int = DEFAULT_CONCURRENCY,
        nats_url: str | None = None,
        drain_s: float = DEFAULT_DRAIN_S,
        heartbeat_s: float = HEARTBEAT_S,
        connect: Mapping[str, Any] | None = None,
    ) -> None:
        if not roles:
            raise ValueError("an agent needs a role")
        for role in roles:
            if not re.fullmatch(ROLE_PATTERN, role):
                raise ValueError(
                    f"{role!r} is not a role: letters, digits, '-' and '_', at most 64, "
                    "no underscore in front"
                )
        if concurrency < 1:
            raise ValueError("concurrency is at least 1")
        self.roles = tuple(dict.fromkeys(roles))
        self.concurrency = concurrency
        self.nats_url = nats_url
        self.drain_s = drain_s
        #: Names this process in results and presence.
        self.id = _agent_id(self.roles[0])
        self.handlers = Handlers()
        self._heartbeat_s = heartbeat_s
        self._connect = dict(connect or {})
        self._runner: Runner | None = None
        self._on_stuck: Callable[[], None] | None = None

    def task(self, action: str | None = None) -> Callable[[F], F]:
        """Register the handler of ``action``; without a name, of every action that has none."""
        return self._register(TaskType.TASK, action)

    def compensation(self, action: str | None = None) -> Callable[[F], F]:
        """Register what undoes ``action``; without a name, every action that has none."""
        return self._register(TaskType.COMPENSATION, action)

    def observe(self, kind: str | None = None) -> Callable[[F], F]:
        """Register what says which resources of ``kind`` exist; without one, of every other kind.

        It is called with ``{"kind", "ids"}`` as input, ``ids`` being those that are known, and
        returns ``[{"id", "spec"}]``: all that exist, in the form in which they were declared. It
        changes nothing, and may be called at any time.
        """
        if isinstance(kind, str) and not is_id(kind):
            raise ValueError(
                f"{kind!r} is not a kind of resources: 1 to 64 letters, digits, '_' and '-' only"
            )
        return self._register(TaskType.OBSERVE, kind)

    def _register(self, kind: TaskType, action: str | None) -> Callable[[F], F]:
        if action is not None and not isinstance(action, str):
            raise TypeError("write the decorator with parentheses: @agent.task()")

        def register(function: F) -> F:
            self.handlers.add(kind, action, function)
            return function

        return register

    async def serve(self) -> None:
        """Work until ``stop`` is called; for programs with an event loop of their own."""
        if self._runner is not None:
            raise RuntimeError("this agent is already running")
        url = self.nats_url or os.environ.get("SAGABUS_NATS_URL") or DEFAULT_URL
        options = RunnerOptions(
            url=url,
            concurrency=self.concurrency,
            drain_s=self.drain_s,
            connect=self._connect,
            heartbeat_s=self._heartbeat_s,
            on_stuck=self._on_stuck,
        )
        self._runner = Runner(self.id, __version__, self.roles, self.handlers, options)
        try:
            await self._runner.serve()
        finally:
            self._runner = None

    def stop(self, *, now: bool = False) -> None:
        """Take no more tasks, let the running ones end, then leave; from any thread.

        ``now`` gives up what runs: it is delivered to another agent.
        """
        if self._runner is not None:
            self._runner.stop(now=now)

    def run(self) -> None:
        """Work until SIGTERM or SIGINT; a second signal gives up what runs."""
        configure_logging()
        self._on_stuck = _exit_stuck
        gc.freeze()  # what was imported stays: the collector need not look through it again
        with asyncio.Runner(loop_factory=new_event_loop) as loop_runner:
            loop_runner.run(self._serve_until_signal())

    async def _serve_until_signal(self) -> None:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        received = 0

        def on_signal() -> None:
            nonlocal received
            received += 1
            self.stop(now=received > 1)

        for number in signals:
            loop.add_signal_handler(number, on_signal)
        try:
            await self.serve()
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


def _agent_id(role: str) -> str:
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:20]
    return f"{role[:20]}-{host}-{os.getpid()}-{secrets.token_hex(3)}"


def _exit_stuck() -> None:
    os._exit(EXIT_STUCK)
