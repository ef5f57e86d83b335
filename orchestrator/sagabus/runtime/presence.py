"""Who is alive and what they run, as agents say every two seconds. Best effort, never stored."""

from collections.abc import Callable
from datetime import datetime
from time import monotonic

import structlog
from pydantic import ValidationError

from sagabus_agents.wire import PRESENCE_INTERVAL_S, PRESENCE_TTL_S, PresenceMessage

log = structlog.get_logger(__name__)

Key = tuple[str, str, int]


class Presence:
    """The newest word of each agent."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._heard: dict[str, tuple[float, PresenceMessage]] = {}
        #: By role: when an agent of it was heard last.
        self._roles: dict[str, float] = {}
        #: Attempt -> agent -> when it started there.
        self._running: dict[Key, dict[str, datetime]] = {}
        self._listening_since = clock()
        self._generation = 0

    def listen_on(self, generation: int) -> None:
        """Say which connection is up; on a new one, who is not heard of may still be there."""
        if generation != self._generation:
            self._generation = generation
            self._listening_since = self._clock()

    @property
    def is_known(self) -> bool:
        """Two beats were heard since the connection is up: who was not heard is gone."""
        return self._clock() - self._listening_since > 2 * PRESENCE_INTERVAL_S

    def on_message(self, subject: str, data: bytes) -> None:
        """Take a presence message; one that cannot be read is dropped."""
        try:
            message = PresenceMessage.model_validate_json(data)
        except ValidationError:
            log.warning("presence_not_understood", subject=subject)
            return
        self._forget(message.agent)
        self._roles.update(dict.fromkeys(message.roles, self._clock()))
        if message.leaving:
            return
        self._heard[message.agent] = (self._clock(), message)
        for run in message.running:
            key = (run.instance, run.task, run.attempt)
            self._running.setdefault(key, {})[message.agent] = run.started_at

    def _forget(self, agent: str) -> None:
        known = self._heard.pop(agent, None)
        if known is None:
            return
        for run in known[1].running:
            key = (run.instance, run.task, run.attempt)
            agents = self._running.get(key, {})
            agents.pop(agent, None)
            if not agents:
                self._running.pop(key, None)

    def alive(self) -> list[PresenceMessage]:
        """Agents heard of lately, by name."""
        limit = self._clock() - PRESENCE_TTL_S
        for agent in [agent for agent, (at, _) in self._heard.items() if at < limit]:
            self._forget(agent)
        return [message for _, (_, message) in sorted(self._heard.items())]

    def silent_s(self, role: str) -> float | None:
        """For how long no agent of ``role`` was heard; None: none ever was since we listen."""
        heard = self._roles.get(role)
        return None if heard is None else self._clock() - heard

    def running_since(self, key: Key, *, beside: str = "") -> datetime | None:
        """When a live agent other than ``beside`` started the attempt; None when none lists it."""
        limit = self._clock() - PRESENCE_TTL_S
        for agent, started_at in self._running.get(key, {}).items():
            if agent != beside and self._heard[agent][0] >= limit:
                return started_at
        return None
