"""The managed server: ready when entered, gone when left, one per directory."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from sagabus.adapters.nats_bus import NatsBus
from sagabus.adapters.nats_child import NatsChild
from sagabus.errors import BusError

WAIT_S = 20.0

PARENT = """
import asyncio, sys
from pathlib import Path
from sagabus.adapters.nats_child import NatsChild
async def main():
    async with NatsChild(Path(sys.argv[1])) as child:
        print(child.pid, child.port, file=sys.stderr, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def running(child: NatsChild) -> int:
    assert child.pid is not None
    return child.pid


async def test_child_serves_jetstream_and_leaves_nothing_running(tmp_path: Path) -> None:
    async with NatsChild(tmp_path / "data" / "nats") as child:
        bus = await NatsBus.connect(child.url)
        await bus.dead_letter("sagabus.dead.a.b", b"x")
        await bus.close()
        pid, port = running(child), child.port
    assert not is_running(pid)
    async with NatsChild(tmp_path / "data" / "nats") as child:
        assert child.port == port, "agents find it again"
        bus = await NatsBus.connect(child.url)
        info = await bus.connection.jetstream.stream_info("SAGABUS_DEAD")
        assert info.state.messages == 1
        await bus.close()


async def test_port_that_another_took_in_the_meantime_is_given_up(tmp_path: Path) -> None:
    async with NatsChild(tmp_path) as child:
        port = child.port
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        async with NatsChild(tmp_path) as child:
            assert child.port != port
        with pytest.raises(BusError, match=r"nats-server did not start: .*address already in use"):
            async with NatsChild(tmp_path, port=port):
                pass


async def test_second_server_on_a_directory_is_refused_and_the_first_unharmed(
    tmp_path: Path,
) -> None:
    async with NatsChild(tmp_path) as child:
        with pytest.raises(BusError, match=f"in use by process {os.getpid()}"):
            async with NatsChild(tmp_path):
                pass
        bus = await NatsBus.connect(child.url)
        assert bus.is_connected
        await bus.close()


async def test_killed_server_is_started_again_on_its_port(tmp_path: Path) -> None:
    async with NatsChild(tmp_path, sync_always=True) as child:
        bus = await NatsBus.connect(child.url)
        await bus.dead_letter("sagabus.dead.a.b", b"x")
        pid, url = running(child), child.url
        os.kill(pid, signal.SIGKILL)
        await until(lambda: bus.generation == 1)
        assert child.url == url
        assert running(child) != pid
        info = await bus.connection.jetstream.stream_info("SAGABUS_DEAD")
        assert info.state.messages == 1
        await bus.close()
        pid = running(child)
    assert not is_running(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends it on Linux only")
async def test_server_ends_with_its_killed_parent_and_the_directory_is_free_again(
    tmp_path: Path,
) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(tmp_path)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert parent.stderr is not None
        pid, port = map(int, (await parent.stderr.readline()).split())
        assert is_running(pid)
        with pytest.raises(BusError, match=f"in use by process {parent.pid}"):
            async with NatsChild(tmp_path):
                pass
    finally:
        parent.kill()
    # At once, while the old server may still be ending.
    async with NatsChild(tmp_path) as child:
        assert child.port == port
        assert not is_running(pid)
    await parent.wait()


async def test_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a directory")
    with pytest.raises(BusError, match=r"did not start: .*storage directory is not a directory"):
        async with NatsChild(tmp_path):
            pass
    (tmp_path / "store").unlink()
    async with NatsChild(tmp_path) as child:
        assert child.pid
