"""Server-sent events of one instance."""

import contextlib
from collections.abc import AsyncIterator

import orjson

from sagabus.app import Orchestrator
from sagabus.errors import BusUnavailableError, StoreUnavailableError
from sagabus.views import event_of


async def events(orchestrator: Orchestrator, instance_id: str, after: int) -> AsyncIterator[bytes]:
    """Frames of the history after entry ``after``, to the end of the instance."""
    # The answer has begun, so a failure can only end it: the client comes back with the number of
    # the last entry it has.
    with contextlib.suppress(StoreUnavailableError, BusUnavailableError):
        async for entry in orchestrator.watch(instance_id):
            event = event_of(entry)
            if event.seq > after:
                yield f"id: {event.seq}\ndata: {event.model_dump_json()}\n\n".encode()
        row = (await orchestrator.get(instance_id)).row
        yield b"event: end\ndata: " + orjson.dumps({"status": row.status}) + b"\n\n"
