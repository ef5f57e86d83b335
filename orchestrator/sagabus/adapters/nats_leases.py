"""Partition leases as short-lived messages of one stream: see ``sagabus.ports.Leases``.

One subject per partition, holding one message. It is written only over the revision that the
writer knows (none, or its own), and the server removes it when it was not written for its TTL.
"""

import asyncio
import uuid
from contextlib import suppress

import orjson
from nats.js.api import DiscardPolicy, Header, RawStreamMsg, StreamConfig
from nats.js.errors import APIError, BadRequestError, NoStreamResponseError, NotFoundError

from sagabus.adapters.nats_bus import NatsBus
from sagabus.adapters.nats_connection import translated

STREAM_LEASES = "KV_SAGABUS_LEASES"
_SUBJECT = "$KV.SAGABUS_LEASES."
#: JetStream: "wrong last sequence".
_WRONG_SEQUENCE = 10071
_TRIES = 3


class NatsLeases:
    """See ``sagabus.ports.Leases``."""

    def __init__(self, bus: NatsBus, owner: str, ttl_s: float = 2.0) -> None:
        """Leases for ``owner``.

        Args:
            bus: where the leases live.
            owner: shown to others; two owners of one name are still told apart.
            ttl_s: how long a lease lasts without being renewed; at least 1, the server's minimum.
        """
        self._bus = bus
        self._connection = bus.connection
        self._ttl = f"{max(1.0, ttl_s):g}s"
        self._token = uuid.uuid4().hex
        self._value = orjson.dumps({"owner": owner, "token": self._token})
        self._revisions: dict[int, int] = {}

    async def acquire(self, partition: int) -> bool:
        """Take or renew the lease of ``partition``; False while another holds it."""
        with translated(f"take the lease of partition {partition}"):
            for _ in range(_TRIES):
                try:
                    revision = await self._write(partition, self._revisions.pop(partition, 0))
                except NoStreamResponseError:
                    await self._make_stream()
                except BadRequestError as error:
                    if error.err_code != _WRONG_SEQUENCE:
                        raise
                    # Another's, or ours: expired, or written by a call whose answer was lost.
                    lease = await self._read(partition)
                    if lease is None:
                        continue
                    if orjson.loads(lease.data or b"{}").get("token") != self._token:
                        return False
                    self._revisions[partition] = lease.seq or 0
                else:
                    self._revisions[partition] = revision
                    return True
            return False

    async def release(self, partition: int) -> None:
        """Give the lease up at once; no error when it is not held."""
        revision = self._revisions.pop(partition, 0)
        if not revision:
            return
        with translated(f"release the lease of partition {partition}"), suppress(APIError):
            # By sequence: a lease that another has taken since is not touched.
            await self._connection.jetstream.delete_msg(STREAM_LEASES, revision)

    async def holders(self) -> dict[int, str]:
        """Names of the holders, by partition."""
        with translated("read the leases"):
            partitions = range(self._bus.partitions)
            leases = await asyncio.gather(*(self._read(partition) for partition in partitions))
        return {
            partition: str(orjson.loads(lease.data or b"{}").get("owner", ""))
            for partition, lease in zip(partitions, leases, strict=True)
            if lease is not None
        }

    async def _write(self, partition: int, revision: int) -> int:
        """Put our lease in the place of ``revision``; its own revision."""
        headers = {
            Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision),
            # Every time: a write without it would last for ever.
            Header.MSG_TTL.value: self._ttl,
        }
        ack = await self._connection.jetstream.publish(
            f"{_SUBJECT}{partition}", self._value, headers=headers
        )
        return ack.seq

    async def _read(self, partition: int) -> RawStreamMsg | None:
        try:
            return await self._connection.jetstream.get_last_msg(
                STREAM_LEASES, f"{_SUBJECT}{partition}"
            )
        except NotFoundError:
            return None

    async def _make_stream(self) -> None:
        await self._connection.jetstream.add_stream(
            StreamConfig(
                name=STREAM_LEASES,
                subjects=[f"{_SUBJECT}>"],
                max_msgs_per_subject=1,
                discard=DiscardPolicy.NEW,
                allow_msg_ttl=True,
                num_replicas=self._bus.replicas,
            )
        )
