"""A socket that is gone before the driver has noticed: uvloop raises where others wait and see."""

import asyncio
from pathlib import Path

import uvloop

from sagabus_agents.frames import FrameClient, frame
from tests.support.nats_server import NatsServer


async def connected(server: NatsServer) -> FrameClient:
    client = FrameClient()
    await client.connect(server.url)
    return client


async def lose_the_socket(client: FrameClient) -> None:
    """As when the server is killed: the flusher has met it, the reader has not looked yet."""
    transport, flusher, reader = client._transport, client._flusher_task, client._reading_task
    assert transport is not None
    assert flusher is not None
    assert reader is not None
    reader.cancel()
    flusher.cancel()
    await asyncio.wait([flusher, reader])
    transport._io_writer.transport.abort()
    await asyncio.sleep(0)
    assert client.is_connected


def test_what_is_sent_into_a_closed_socket_is_no_error_but_waits(tmp_path: Path) -> None:
    async def send() -> None:
        client = await connected(server)
        await lose_the_socket(client)
        await client.publish_frames(frame("some.where", b"x"))
        await client.publish("some.where", b"y")
        await client.subscribe("else.where")
        assert client.pending_data_size > 0
        await client.close()
        assert client.is_closed

    with NatsServer(tmp_path) as server:
        uvloop.run(send())


def test_a_closed_socket_hinders_nobody_who_closes(tmp_path: Path) -> None:
    closed = asyncio.Event()

    async def close() -> None:
        client = await connected(server)
        client._closed_cb = note
        await lose_the_socket(client)
        await client._send_command(frame("some.where", b"x"))
        await client.close()
        assert closed.is_set()

    async def note() -> None:
        closed.set()

    with NatsServer(tmp_path) as server:
        uvloop.run(close())
