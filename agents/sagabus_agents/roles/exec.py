"""Any program as an agent: JSON on stdin, JSON on stdout, the exit code says how it went.

The contract stands in ``docs/agent-protocol.md`` under "Programs as agents".
"""

import asyncio
import os
import shlex
import signal
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from sagabus_agents.agent import DEFAULT_CONCURRENCY, DEFAULT_DRAIN_S, Agent
from sagabus_agents.errors import PermanentError, RetryableError, TaskError
from sagabus_agents.task import Task
from sagabus_agents.wire import MAX_PAYLOAD_BYTES, Resource

#: The action of ``--on`` and ``--undo`` that stands for every other.
ANY_ACTION = "*"
#: Time between SIGTERM and SIGKILL.
DEFAULT_GRACE_S = 5.0
#: How much of the end of stderr becomes the error's message.
STDERR_TAIL_BYTES = 4_000
CHUNK_BYTES = 64 * 1024

# Exit codes with a meaning. Source: sysexits(3); 126 and 127: POSIX shell.
EX_DATAERR = 65
PERMANENT_CODES = frozenset({64, EX_DATAERR, 66, 67, 68, 70, 72, 73, 76, 77, 78, 126, 127})


@dataclass(frozen=True, slots=True)
class Program:
    """A command that does one action."""

    command: tuple[str, ...]
    grace_s: float = DEFAULT_GRACE_S

    async def __call__(self, task: Task) -> Any:
        """Run it for ``task``; what it wrote to the files for that counts whatever the end."""
        with tempfile.TemporaryDirectory(prefix="sagabus-") as directory:
            artifacts, resources = Path(directory) / "artifacts", Path(directory) / "resources"
            artifacts.touch()
            resources.touch()
            try:
                output = await self._run(task, artifacts, resources)
            except BaseException:
                try:
                    _declare(task, artifacts, resources)
                except PermanentError as error:  # the program's own failure was first
                    task.log.warning("resources_not_declared", error=error.message)
                raise
            _declare(task, artifacts, resources)
            return output

    async def _run(self, task: Task, artifacts: Path, resources: Path) -> Any:
        try:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env=os.environ | environment(task, artifacts, resources),
                start_new_session=True,
            )
        except OSError as error:
            raise PermanentError(
                f"{self.command[0]}: {error.strerror or error}", type="exec_not_started"
            ) from error
        request = orjson.dumps({**task.payload, "input": task.input})
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_feed(process, request))
                output = group.create_task(_read_output(process))
                complaint = group.create_task(_read_stderr(process, task))
            code = await process.wait()
        except BaseException:  # cancelled, above all
            await self._end_group(process)
            raise
        if code != 0:
            raise exit_error(code, complaint.result())
        return parse_output(output.result())

    async def _end_group(self, process: Process) -> None:
        """SIGTERM to the program and its children, SIGKILL to what is left of them."""
        _signal_group(process, signal.SIGTERM)
        try:
            async with asyncio.timeout(self.grace_s):
                await process.wait()
        except TimeoutError:
            pass
        finally:
            _signal_group(process, signal.SIGKILL)
        await process.wait()


def exec_agent(
    role: str,
    on: Mapping[str, str],
    undo: Mapping[str, str] | None = None,
    observe: Mapping[str, str] | None = None,
    *,
    nats_url: str | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
    drain_s: float = DEFAULT_DRAIN_S,
    grace_s: float = DEFAULT_GRACE_S,
) -> Agent:
    """An agent that runs a command per action.

    Args:
        role: whose tasks to take.
        on: command by action; commands are split like a shell does and run without one.
        undo: command by action, for compensations.
        observe: command by kind of resources, which says what exists.
        nats_url: see ``Agent``.
        concurrency: see ``Agent``.
        drain_s: see ``Agent``.
        grace_s: time between SIGTERM and SIGKILL for a program that is to end.

    Raises:
        ValueError: a command is empty or its quotes do not match, or a kind is none.
    """
    agent = Agent(role, concurrency=concurrency, nats_url=nats_url, drain_s=drain_s)
    for commands, register in (
        (on, agent.task),
        (undo or {}, agent.compensation),
        (observe or {}, agent.observe),
    ):
        for action, command in commands.items():
            try:
                words = tuple(shlex.split(command))
            except ValueError as error:
                raise ValueError(f"{action}: {error}") from error
            if not words:
                raise ValueError(f"{action}: the command is empty")
            register(None if action == ANY_ACTION else action)(Program(words, grace_s))
    return agent


def environment(task: Task, artifacts: Path, resources: Path) -> dict[str, str]:
    """What a program finds in its environment about its task."""
    message = task.message
    return {
        "SAGABUS_TYPE": message.type.value,
        "SAGABUS_WORKFLOW": message.workflow,
        "SAGABUS_WORKFLOW_ID": message.workflow_id,
        "SAGABUS_STAGE": message.stage_name,
        "SAGABUS_ROLE": message.role,
        "SAGABUS_ACTION": message.action,
        "SAGABUS_TASK": message.task,
        "SAGABUS_ATTEMPT": str(message.attempt),
        "SAGABUS_IDEMPOTENCY_KEY": message.idempotency_key,
        "SAGABUS_TRACE": message.trace,
        "SAGABUS_ARTIFACTS": str(artifacts),
        "SAGABUS_RESOURCES": str(resources),
    }


def exit_error(code: int, complaint: str) -> TaskError:
    """The failure that an exit code stands for; ``complaint`` is the end of stderr."""
    if code < 0:
        name = signal.Signals(-code).name
        return RetryableError(complaint or f"killed by {name}", type=f"signal_{name.lower()}")
    message = complaint or f"exit code {code}"
    if code == EX_DATAERR:
        return PermanentError(message, type="bad_input")
    if code in PERMANENT_CODES:
        return PermanentError(message, type=f"exit_{code}")
    return RetryableError(message, type=f"exit_{code}")


def parse_output(output: bytes) -> Any:
    """What a program wrote to stdout, as JSON; nothing at all is null.

    Raises:
        PermanentError: it is not JSON, or too much to be sent.
    """
    if len(output) > MAX_PAYLOAD_BYTES:
        raise PermanentError(
            f"stdout has more than {MAX_PAYLOAD_BYTES} bytes; they cannot be sent",
            type="bad_result",
        )
    if not output.strip():
        return None
    try:
        return orjson.loads(output)
    except orjson.JSONDecodeError as error:
        raise PermanentError(f"stdout is not JSON: {error}", type="bad_result") from error


def _declare(task: Task, artifacts: Path, resources: Path) -> None:
    """Declare what the program wrote to its files.

    Raises:
        PermanentError: a line of the resources is none; those before it are declared.
    """
    for line in artifacts.read_text(errors="replace").splitlines():
        if line.strip():
            task.artifact(line.strip())
    lines = resources.read_text(errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = Resource.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise PermanentError(
                f"line {number} of $SAGABUS_RESOURCES: {place and f'{place}: '}{first['msg']}; "
                'write {"kind": "...", "id": "...", "spec": {...}}',
                type="bad_result",
            ) from None
        if found.spec is None:
            task.remove_resource(found.kind, found.id)
        else:
            task.add_resource(found.kind, found.id, found.spec)


async def _feed(process: Process, data: bytes) -> None:
    stdin = process.stdin
    if stdin is not None:
        # It does not want to read it. RuntimeError is what uvloop raises for a closed pipe.
        with suppress(BrokenPipeError, ConnectionResetError, RuntimeError):
            stdin.write(data)
            await stdin.drain()
        stdin.close()


async def _read_output(process: Process) -> bytes:
    """Everything on stdout, one byte more than can be sent at most; the rest is let run out."""
    kept = bytearray()
    while process.stdout is not None and (chunk := await process.stdout.read(CHUNK_BYTES)):
        kept += chunk[: MAX_PAYLOAD_BYTES + 1 - len(kept)]
    return bytes(kept)


async def _read_stderr(process: Process, task: Task) -> str:
    """Log stderr line by line as it comes; return its end."""
    tail = b""
    line = b""
    while process.stderr is not None and (chunk := await process.stderr.read(CHUNK_BYTES)):
        tail = (tail + chunk)[-STDERR_TAIL_BYTES:]
        *lines, line = (line + chunk).split(b"\n")
        # A program that never ends its line must not fill the memory.
        line = line[-CHUNK_BYTES:]
        for complete in lines:
            task.log.info("program_stderr", line=complete.decode(errors="replace"))
    if line:
        task.log.info("program_stderr", line=line.decode(errors="replace"))
    return tail.decode(errors="replace").strip()


def _signal_group(process: Process, number: signal.Signals) -> None:
    # Its children may outlive the program: the group exists as long as one of them.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
