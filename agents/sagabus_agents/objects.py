"""Objects of the bucket PAYLOAD_BUCKET: stored, read and deleted, by agents and orchestrator alike.

They are objects as any client of the JetStream Object Store makes and reads them (NATS ADR-20).
Reading and deleting are done here, because the client library

- waits for ever for the pieces of an object that is replaced or expires while it is read,
- copies all that it has with every piece that arrives: 20 MB take a second,
- leaves a note about every deleted object in the bucket.
"""

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Sequence

import orjson
from nats import errors as nats_errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.js.api import ObjectInfo, ObjectMeta, ObjectMetaOptions
from nats.js.errors import BadObjectMetaError, ObjectNotFoundError
from nats.js.object_store import (
    OBJ_CHUNKS_PRE_TEMPLATE,
    OBJ_DEFAULT_CHUNK_SIZE,
    OBJ_META_PRE_TEMPLATE,
    ObjectStore,
)

from sagabus_agents.wire import PAYLOAD_BUCKET, STREAM_PAYLOADS, PayloadRef, payload_digest

#: Pieces asked for at once: 8 MiB on their way.
_PIECES = 64
#: Pieces that are missing although the object is there are on their way to the replica that was
#: asked, or those of its predecessor: so often it is asked again.
_TRIES = 10
_RETRY_S = 0.1
#: Subject and headers of a piece.
_HEADER_ROOM = 1024


class Objects:
    """The bucket, over one connection; calls raise ``nats.errors.Error`` when the bus is away."""

    def __init__(self, client: Client, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._jetstream = client.jetstream(timeout=timeout_s)
        self._store = ObjectStore(PAYLOAD_BUCKET, STREAM_PAYLOADS, self._jetstream)

    async def put(self, name: str, data: bytes) -> PayloadRef:
        """Have ``data`` stand under ``name``; what stands there already is not sent again."""
        digest = await asyncio.to_thread(payload_digest, data)
        ref = PayloadRef(name=name, size=len(data), digest=digest)
        found = await self._info(name)
        # Replaced, it would be taken from under who is reading it.
        if found is None or not _is_same(found, ref):
            room = self._client.max_payload - _HEADER_ROOM
            options = ObjectMetaOptions(max_chunk_size=min(OBJ_DEFAULT_CHUNK_SIZE, room))
            await self._store.put(name, data, ObjectMeta(name=name, options=options))
        return ref

    async def get(self, ref: PayloadRef) -> bytes | None:
        """What ``ref`` refers to; None when that is not, or no longer, there."""
        for _ in range(_TRIES):
            found = await self._info(ref.name)
            if found is None or not _is_same(found, ref):
                return None
            pieces = await self._pieces(found)
            data, digest = await asyncio.to_thread(_joined, pieces)
            if _is_equal(digest, ref.digest):
                return data
            await asyncio.sleep(_RETRY_S)
        return None

    async def delete(self, names: Sequence[str]) -> None:
        """Leave nothing of the objects; those that do not exist are none."""
        for name in names:
            found = await self._info(name)
            if found is None:
                continue
            # First what makes it an object: without its pieces it must not be taken for one.
            for subject in (_meta_subject(name), _pieces_subject(found)):
                await self._jetstream.purge_stream(STREAM_PAYLOADS, subject=subject)

    async def _info(self, name: str) -> ObjectInfo | None:
        try:
            return await self._store.get_info(name)
        except (ObjectNotFoundError, BadObjectMetaError):
            return None

    async def _pieces(self, found: ObjectInfo) -> list[bytes]:
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox)
        try:
            pieces: list[bytes] = []
            after = 0
            while len(pieces) < (found.chunks or 0):
                ask = {"batch": _PIECES, "seq": after + 1, "next_by_subj": _pieces_subject(found)}
                await self._client.publish(
                    f"$JS.API.DIRECT.GET.{STREAM_PAYLOADS}", orjson.dumps(ask), reply=inbox
                )
                last = await self._receive(subscription, pieces)
                if last is None:
                    break
                after = last
            return pieces
        finally:
            await subscription.unsubscribe()

    async def _receive(self, subscription: Subscription, pieces: list[bytes]) -> int | None:
        """Take the answer to one request; the last sequence, or None when there was none."""
        last = None
        while True:
            message = await subscription.next_msg(self._timeout_s)
            headers = message.headers or {}
            status = headers.get("Status")
            if status == "503":
                raise nats_errors.NoRespondersError
            if status is not None:  # 204: no more of this request; 404: nothing there
                return last
            pieces.append(message.data)
            last = int(headers["Nats-Sequence"])


def _is_same(found: ObjectInfo, ref: PayloadRef) -> bool:
    return found.size == ref.size and _is_equal(found.digest or "", ref.digest)


def _is_equal(digest: str, other: str) -> bool:
    # Not every client pads it.
    return digest.rstrip("=") == other.rstrip("=")


def _joined(pieces: list[bytes]) -> tuple[bytes, str]:
    data = b"".join(pieces)
    return data, payload_digest(data)


def _meta_subject(name: str) -> str:
    token = urlsafe_b64encode(name.encode()).decode()
    return OBJ_META_PRE_TEMPLATE.format(bucket=PAYLOAD_BUCKET, obj=token)


def _pieces_subject(found: ObjectInfo) -> str:
    return OBJ_CHUNKS_PRE_TEMPLATE.format(bucket=PAYLOAD_BUCKET, obj=found.nuid)
