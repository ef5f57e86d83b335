"""Notices to the outside: an instance needs an operator, or stands still for longer than it should.

Best effort, and at least once: what its receiver did not take is given again under the same id, and
everything once more after a restart. Each orchestrator looks at the instances that it serves.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import httpx
import structlog

from sagabus.app.why import WhyDesk
from sagabus.core.instance import InstanceState
from sagabus.errors import BusError, SagabusError
from sagabus.runtime.engine import Engine
from sagabus.runtime.ownership import Ownership
from sagabus.views.causes import Cause, is_standing
from sagabus_agents.wire import NoticeMessage, notice_subject

log = structlog.get_logger(__name__)

LOOK_S: Final = 5.0
#: Instances that are asked after in one look, for each of which a web request may be made.
_MAX_AT_ONCE: Final = 200
_ANSWER_S: Final = 10.0


class Notices:
    """Looks again and again, and tells what it finds once."""

    def __init__(
        self,
        engine: Engine,
        ownership: Ownership,
        why: WhyDesk,
        *,
        after_s: float,
        url: str | None,
        look_s: float = LOOK_S,
    ) -> None:
        self._engine = engine
        self._ownership = ownership
        self._why = why
        self._after = timedelta(seconds=after_s)
        self._url = url
        self._look_s = look_s
        #: By instance: the number of its last event when it was told of.
        self._told: dict[str, int] = {}
        #: By instance that has not moved for long and is worked on: when to look at it again.
        self._later: dict[str, datetime] = {}

    async def run(self) -> None:
        """For ever."""
        async with httpx.AsyncClient(timeout=_ANSWER_S, trust_env=False) as client:
            while True:
                await asyncio.sleep(self._look_s)
                try:
                    await self._look(client)
                except SagabusError as error:
                    log.debug("notices_not_given", error=str(error))

    async def _look(self, client: httpx.AsyncClient) -> None:
        states = {
            state.row.id: state
            for loop in self._ownership.loops.values()
            for state in loop.states()
        }
        self._told = {id: seq for id, seq in self._told.items() if id in states}
        self._later = {id: at for id, at in self._later.items() if id in states}
        due = [state for state in states.values() if self._is_due(state)]
        if not due:
            return
        for state, cause in await self._causes(due[:_MAX_AT_ONCE]):
            try:
                if await self._tell(client, state, cause):
                    self._told[state.row.id] = state.row.seq
            except httpx.HTTPError as error:  # nobody is there: nor for the others
                log.warning("notice_not_taken", error=type(error).__name__)
                return

    def _is_due(self, state: InstanceState) -> bool:
        row, now = state.row, self._engine.clock()
        if row.status.is_terminal or self._told.get(row.id) == row.seq:
            return False
        if row.parked:
            return True
        return now - row.updated_at >= self._after and self._later.get(row.id, now) <= now

    async def _causes(self, due: list[InstanceState]) -> list[tuple[InstanceState, Cause]]:
        """What holds each of those up that stand still."""
        found = []
        for state, causes in await self._why.causes_of(due):
            first = next(_standing(causes), None)
            if first is not None and (state.row.parked or is_standing(causes)):
                found.append((state, first))
            else:
                self._later[state.row.id] = self._engine.clock() + self._after / 4
        return found

    async def _tell(self, client: httpx.AsyncClient, state: InstanceState, cause: Cause) -> bool:
        """Tell of one instance; False: the notice was refused."""
        row = state.row
        notice = NoticeMessage(
            id=f"{row.id}:{row.seq}",
            instance=row.id,
            workflow=row.workflow,
            status=row.status,
            cause=cause.cause,
            message=cause.message,
            next=cause.remedy_for(row.id),
            since=row.updated_at,
            at=self._engine.clock(),
        )
        data = notice.model_dump_json().encode()
        with suppress(BusError):  # whoever listens there hears of it on the next occasion
            await self._engine.bus.notify(notice_subject(row.id), data)
        if self._url is None:
            return True
        headers = {"Content-Type": "application/json", "Idempotency-Key": notice.id}
        answer = await client.post(self._url, content=data, headers=headers)
        if not answer.is_success:
            log.warning("notice_not_taken", instance=row.id, status=answer.status_code)
        return answer.is_success


def _standing(causes: list[Cause]) -> Iterator[Cause]:
    return (cause for cause in causes if cause.is_standing)
