"""The stream of dead letters: read from its end, one letter after another."""

from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from sagabus.adapters.nats_connection import NatsConnection
from sagabus.errors import BusError
from sagabus.ports import StoredLetter
from sagabus_agents.wire import STREAM_DEAD, dead_subject

#: Numbers looked through at once; where nothing is found, more and more.
_WINDOW = 100


class NatsDeadLetters:
    """What stands in the stream; errors are the driver's."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection

    async def newest(
        self, instance: str | None, role: str | None, before: int | None, limit: int
    ) -> list[StoredLetter]:
        """Letters below number ``before``, newest first.

        The server finds the next letter from a number on, and none the other way round: so windows
        are read forward, from the last to the first.
        """
        state = (await self._connection.jetstream.stream_info(STREAM_DEAD)).state
        high = state.last_seq if before is None else min(state.last_seq, before - 1)
        subject = dead_subject(role or "*", instance or "*")
        found: list[StoredLetter] = []
        window = _WINDOW
        while len(found) < limit and high >= state.first_seq and state.messages:
            low = max(state.first_seq, high - window + 1)
            some = await self._between(subject, low, high)
            found += reversed(some)
            window = _WINDOW if some else 2 * window
            high = low - 1
        return found[:limit]

    async def at(self, seq: int) -> StoredLetter | None:
        """The letter of a number; None where it is gone."""
        try:
            return _letter(await self._connection.jetstream.get_msg(STREAM_DEAD, seq))
        except NotFoundError:
            return None

    async def drop(self, seq: int) -> None:
        """Delete a letter, where it is there."""
        if await self.at(seq) is not None:
            await self._connection.jetstream.delete_msg(STREAM_DEAD, seq)

    async def count(self) -> int:
        """How many there are."""
        return (await self._connection.jetstream.stream_info(STREAM_DEAD)).state.messages

    async def _between(self, subject: str, low: int, high: int) -> list[StoredLetter]:
        found: list[StoredLetter] = []
        while low <= high:
            try:
                message = await self._connection.jetstream.get_msg(
                    STREAM_DEAD, seq=low, subject=subject, next=True
                )
            except NotFoundError:
                break
            letter = _letter(message)
            if letter.seq > high:
                break
            found.append(letter)
            low = letter.seq + 1
        return found


def _letter(message: RawStreamMsg) -> StoredLetter:
    seq, subject, stored_at = message.seq, message.subject, message.time
    if seq is None or subject is None or stored_at is None:
        raise BusError("the server gave a dead letter without number, subject or time")
    return StoredLetter(seq, subject, message.data or b"", stored_at)
