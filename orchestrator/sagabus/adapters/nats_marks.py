"""How far the database was when the bus was told last: one message per partition.

It tells a database that was restored from a backup: what the bus has seen of it is not there. A
mark is written only over the revision that the writer knows, so that an owner that was replaced
cannot put its own over its successor's.
"""

import orjson
from nats.js.errors import BadRequestError, NotFoundError

from sagabus.adapters.nats_connection import NatsConnection
from sagabus.errors import BusUnavailableError
from sagabus.ports import Mark

STREAM_MARKS = "KV_SAGABUS_MARKS"
MARK_SUBJECT = "$KV.SAGABUS_MARKS."
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
#: JetStream: "wrong last sequence".
_WRONG_SEQUENCE = 10071
_TRIES = 3


class NatsMarks:
    """The marks of all partitions; errors are the driver's."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection
        self._revisions: dict[int, int] = {}

    async def read(self, partition: int) -> Mark | None:
        """The mark of a partition; None where there is none, or no stream."""
        try:
            found = await self._connection.jetstream.get_last_msg(
                STREAM_MARKS, f"{MARK_SUBJECT}{partition}"
            )
        except NotFoundError:
            self._revisions.pop(partition, None)
            return None
        self._revisions[partition] = found.seq or 0
        document = orjson.loads(found.data or b"{}")
        return Mark(document["epoch"], document["batch"], found.time)

    async def write(self, partition: int, mark: Mark) -> None:
        """Put ``mark`` in the place of an older one; a newer epoch's stays.

        Raises:
            NoStreamResponseError: the stream is missing.
        """
        data = orjson.dumps({"epoch": mark.epoch, "batch": mark.batch})
        for _ in range(_TRIES):
            revision = self._revisions.get(partition, 0)
            try:
                ack = await self._connection.jetstream.publish(
                    f"{MARK_SUBJECT}{partition}", data, headers={_EXPECTED: str(revision)}
                )
            except BadRequestError as error:
                if error.err_code != _WRONG_SEQUENCE:
                    raise
                # Another's, or ours by a call whose answer was lost.
                found = await self.read(partition)
                if found is not None and found.epoch > mark.epoch:
                    return
            else:
                self._revisions[partition] = ack.seq
                return
        raise BusUnavailableError(f"the mark of partition {partition} changes all the time")
