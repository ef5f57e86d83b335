"""The dead letters of an orchestrator: looked at, put back, dropped."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import ValidationError

from sagabus.adapters.audit_entry import audit_entry
from sagabus.errors import InvalidRequestError, LetterNotFoundError
from sagabus.ports import AuditTrail, StoredLetter
from sagabus.runtime.dead_letters import put_back
from sagabus.runtime.engine import Engine
from sagabus_agents.wire import DeadLetter


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: its number, and what it says."""

    seq: int
    stored_at: datetime
    content: DeadLetter


@dataclass(frozen=True, slots=True)
class Letters:
    """A page of dead letters, newest first; ``before`` continues, None at the end."""

    items: Sequence[Letter]
    before: int | None
    #: How many there are in all.
    total: int


class DeadLetters:
    """What could not be delivered or decoded, oldest dropped by itself after 30 days."""

    def __init__(self, engine: Engine, audit: AuditTrail) -> None:
        """Those that the bus of ``engine`` keeps; what is done with them goes into ``audit``."""
        self._engine = engine
        self._audit = audit

    async def list(
        self,
        *,
        instance: str | None = None,
        role: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> Letters:
        """Dead letters, newest first."""
        for name, value in (("instance", instance), ("role", role)):
            if value is not None and (not value or set(value) & set(".*> \t\r\n")):
                raise InvalidRequestError(f"{name} {value!r}: not the name of one")
        bus = self._engine.bus
        found = await bus.dead_letters(instance=instance, role=role, before=before, limit=limit)
        following = found[-1].seq if len(found) == limit else None
        total = await bus.count_dead_letters()
        return Letters([_letter(each) for each in found], following, total)

    async def get(self, seq: int) -> Letter:
        """One dead letter.

        Raises:
            LetterNotFoundError: there is none of this number (any more).
        """
        return _letter(await self._stored(seq))

    async def requeue(
        self, seq: int, *, by: str = "", reason: str = ""
    ) -> Literal["message", "task"]:
        """Send it once more, and drop it; says what was sent.

        Raises:
            LetterNotFoundError: there is none of this number (any more).
            ConflictError: it would do harm or nothing, and why.
        """
        stored = await self._stored(seq)
        letter = _letter(stored)
        sent = await put_back(self._engine, stored, letter.content)
        await self._engine.bus.drop_dead_letter(seq)
        await self._record("DeadLetterRequeued", letter, by, reason)
        return sent

    async def drop(self, seq: int, *, by: str = "", reason: str = "") -> Letter:
        """Delete it.

        Raises:
            LetterNotFoundError: there is none of this number (any more).
        """
        stored = await self._stored(seq)
        letter = _letter(stored)
        await self._engine.bus.drop_dead_letter(seq)
        await self._record("DeadLetterDropped", letter, by, reason)
        return letter

    async def _record(self, what: str, letter: Letter, by: str, reason: str) -> None:
        content = letter.content
        data = {
            "seq": letter.seq,
            "reason": content.reason,
            "instance": content.instance,
            "task": content.task,
            "attempt": content.attempt,
        }
        await self._audit.add(audit_entry(what, by=by, reason=reason, data=data))

    async def _stored(self, seq: int) -> StoredLetter:
        stored = await self._engine.bus.dead_letter_at(seq)
        if stored is None:
            raise LetterNotFoundError(f"there is no dead letter {seq}")
        return stored


def _letter(stored: StoredLetter) -> Letter:
    try:
        content = DeadLetter.model_validate_json(stored.data)
    except ValidationError:
        # Whatever it is, it is on the stream, and a person has to see it.
        content = DeadLetter(
            reason="not a dead letter of sagabus",
            subject=stored.subject,
            at=stored.stored_at,
            payload=stored.data.decode("utf-8", errors="replace"),
        )
    return Letter(stored.seq, stored.stored_at, content)
