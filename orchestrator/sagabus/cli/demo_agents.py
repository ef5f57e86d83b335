"""The agents of the examples as child processes, for a first look: ``sagabus up --agents``."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from typing import Final

import structlog

log = structlog.get_logger(__name__)

ROLES: Final = ("devops", "backend", "tester")
_STOP_S: Final = 5.0

# Runs in a fresh interpreter between fork and exec: Linux then ends the agent with its parent, even
# one that was killed. (A `preexec_fn` is unsafe beside threads.)
_LAUNCHER: Final = """
import ctypes, os, sys
PR_SET_PDEATHSIG, SIGTERM = 1, 15
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent has ended")
os.execv(sys.executable, [sys.executable, "-m", sys.argv[2]])
"""


@contextlib.asynccontextmanager
async def demo_agents(nats_url: str) -> AsyncIterator[None]:
    """Run one agent per role for the time of the context."""
    environ = {**os.environ, "SAGABUS_NATS_URL": nats_url}
    async with contextlib.AsyncExitStack() as stack:
        for role in ROLES:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", "-c", _LAUNCHER, str(os.getpid())),
                f"sagabus_agents.examples.{role}",
                env=environ,
                stdin=asyncio.subprocess.DEVNULL,
                # Ctrl-C is for the parent, which ends its agents first.
                start_new_session=True,
            )
            stack.push_async_callback(_end, process, role)
            log.info("demo_agent_started", role=role, pid=process.pid)
        yield


async def _end(process: asyncio.subprocess.Process, role: str) -> None:
    if process.returncode is not None:
        log.warning("demo_agent_died", role=role, exit_code=process.returncode)
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
