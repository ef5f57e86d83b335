"""Server-sent events of one instance."""

import contextlib
from collections.abc import AsyncIterator

import orjson

from sagabus.api.closing import Closing
from sagabus.app import Orchestrator
from sagabus.errors import BusUnavailableError, StoreUnavailableError
from sagabus.views.instances import event_of


async def events(
    orchestrator: Orchestrator, closing: Closing, instance_id: str, after: int
) -> AsyncIterator[bytes]:
    """Frames of the history after entry ``after``, to the end of the instance."""
    entries = aiter(orchestrator.watch(instance_id))
    # The answer has begun, so a failure or the server's end can only end it: the client comes back
    # with the number of the last entry it has.
    with contextlib.suppress(StoreUnavailableError, BusUnavailableError, TimeoutError):
        while True:
            try:
                async with closing.limit():
                    event = event_of(await anext(entries))
            except StopAsyncIteration:
                break
            if event.seq > after:
                yield f"id: {event.seq}\ndata: {event.model_dump_json()}\n\n".encode()
        row = await orchestrator.get_row(instance_id)
        yield b"event: end\ndata: " + orjson.dumps({"status": row.status}) + b"\n\n"
