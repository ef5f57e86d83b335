"""An agent written from ``docs/agent-protocol.md`` with nats-py alone: no SDK, one task at a time.

In a test: ``async with raw_agent(url, "devops", handle)``. As a process, for any action:
``python tests/support/raw_agent.py nats://127.0.0.1:4222 devops``.
"""

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

TASKS = "SAGABUS_TASKS"
PAYLOADS = "SAGABUS_PAYLOADS"
INLINE_BYTES = 256 * 1024
GONE_S = 10.0
HEARTBEAT_S = 3.0
PRESENCE_S = 2.0
CLAIM_AGAIN_S = 3.0
RETRY_S = 0.2

#: Gets the task message; gives the output and the artifacts, or raises.
Handle = Callable[[dict[str, Any]], Awaitable[tuple[Any, list[str]]]]


class RawAgent:
    """One agent of one role."""

    def __init__(self, client: Client, role: str, handle: Handle):
        self.id = f"raw-{uuid.uuid4().hex[:12]}"
        self._client = client
        self._role = role
        self._handle = handle
        self._running: list[dict[str, Any]] = []

    async def work(self) -> None:
        """Take tasks for ever."""
        jetstream = self._client.jetstream()
        while True:
            try:
                pull = await jetstream.pull_subscribe_bind(self._role, TASKS)
                try:
                    while True:
                        [message] = await pull.fetch(1, timeout=1)
                        await self._on_task(message)
                finally:
                    await pull.unsubscribe()
            except (nats.errors.Error, TimeoutError):
                await asyncio.sleep(RETRY_S)

    async def be_present(self) -> None:
        """Say that this agent is here, for ever."""
        while True:
            await self.announce(leaving=False)
            await asyncio.sleep(PRESENCE_S)

    async def announce(self, *, leaving: bool) -> None:
        presence = {
            "agent": self.id,
            "roles": [self._role],
            "slots": 1,
            "free": 0 if self._running or leaving else 1,
            "running": self._running,
            "version": "raw",
            "leaving": leaving,
        }
        with suppress(nats.errors.Error):
            await self._client.publish(f"sagabus.presence.{self.id}", json.dumps(presence).encode())

    async def _on_task(self, message: Msg) -> None:
        task = json.loads(message.data)
        heartbeat = asyncio.create_task(self._beat(message))
        try:
            delivery = message.metadata.num_delivered
            if task.get("payload"):
                body = await self._fetch(task["payload"])
                if body is None:
                    await message.nak(delay=min(GONE_S * 2 ** (delivery - 1), 300))
                    return
                task |= body
            if task["claim"] or task["resent"] or delivery > 1:
                answer = await self._claim(task, delivery)
                if answer["answer"] == "later":
                    await message.nak(delay=answer["retry_after_s"])
                    return
                if answer["answer"] != "run":
                    await message.ack()
                    return
            await self._store(task, await self._run(task))
            await message.ack()
        finally:
            heartbeat.cancel()
            self._running.clear()

    async def _beat(self, message: Msg) -> None:
        while True:
            with suppress(nats.errors.Error):
                await message.in_progress()
            await asyncio.sleep(HEARTBEAT_S)

    async def _fetch(self, ref: dict[str, Any]) -> dict[str, Any] | None:
        """The body of a task that stands beside its message; None when it is gone."""
        while True:
            try:
                objects = await self._client.jetstream().object_store(ref["bucket"])
                found = await objects.get(ref["name"])
            except NotFoundError:
                return None
            except (nats.errors.Error, TimeoutError):
                await asyncio.sleep(RETRY_S)
            else:
                is_meant = found.info.digest == ref["digest"]
                return json.loads(found.data or b"null") if is_meant else None

    async def _store_payload(self, name: str, data: bytes) -> dict[str, Any]:
        """Store an output that is too large for its message; what the message says instead."""
        while True:
            try:
                objects = await self._client.jetstream().object_store(PAYLOADS)
                info = await objects.put(name, data)
            except (nats.errors.Error, TimeoutError):
                await asyncio.sleep(RETRY_S)
            else:
                digest, size = info.digest, info.size
                return {"bucket": PAYLOADS, "name": name, "size": size, "digest": digest}

    async def _claim(self, task: dict[str, Any], delivery: int) -> dict[str, Any]:
        inbox = self._client.new_inbox()
        answers = await self._client.subscribe(inbox)
        claim = {
            "kind": "claim",
            "claim": uuid.uuid4().hex,
            "task": task["task"],
            "attempt": task["attempt"],
            "agent": self.id,
            "delivery": delivery,
            "reply": inbox,
        }
        try:
            while True:
                with suppress(nats.errors.Error, TimeoutError):
                    await self._client.publish(
                        f"sagabus.inbox.{task['workflow_id']}.{self._role}",
                        json.dumps(claim).encode(),
                        headers={"Nats-Msg-Id": uuid.uuid4().hex},
                    )
                    answer = json.loads((await answers.next_msg(CLAIM_AGAIN_S)).data)
                    if answer["claim"] == claim["claim"]:
                        return answer
        finally:
            await answers.unsubscribe()

    async def _run(self, task: dict[str, Any]) -> dict[str, Any]:
        started_at = _now()
        self._running.append(
            {
                "instance": task["workflow_id"],
                "task": task["task"],
                "attempt": task["attempt"],
                "started_at": started_at,
            }
        )
        result = {
            "kind": "result",
            "task": task["task"],
            "attempt": task["attempt"],
            "agent": self.id,
            "started_at": started_at,
        }
        try:
            async with asyncio.timeout(task["timeout_s"]):
                output, artifacts = await self._handle(task)
        except TimeoutError:
            error = {"type": "timeout", "message": "too slow", "retryable": True}
            return result | {"status": "failed", "error": error}
        except Exception as failure:
            error = {"type": type(failure).__name__, "message": str(failure), "retryable": True}
            return result | {"status": "failed", "error": error}
        return result | {"status": "succeeded", "output": output, "artifacts": artifacts}

    async def _store(self, task: dict[str, Any], result: dict[str, Any]) -> None:
        headers = {"Nats-Msg-Id": uuid.uuid4().hex}
        output = json.dumps(result.get("output")).encode()
        name = f"{task['workflow_id']}.{task['task']}.{task['attempt']}.result"
        while True:
            try:
                if len(output) > INLINE_BYTES:
                    ref = await self._store_payload(name, output)
                    result = result | {"output": None, "payload": ref}
                await self._client.jetstream().publish(
                    f"sagabus.inbox.{task['workflow_id']}.{self._role}",
                    json.dumps(result).encode(),
                    headers=headers,
                )
            except (nats.errors.Error, TimeoutError):
                await asyncio.sleep(RETRY_S)
            else:
                return


def _now() -> str:
    return datetime.now(UTC).isoformat()


async def _ignore(_: Exception) -> None:
    """The client says the same when a call fails."""


@asynccontextmanager
async def raw_agent(url: str, role: str, handle: Handle) -> AsyncIterator[RawAgent]:
    """An agent at work for the time of the context."""
    client = await nats.connect(
        url, max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=_ignore
    )
    agent = RawAgent(client, role, handle)
    tasks = [asyncio.create_task(agent.work()), asyncio.create_task(agent.be_present())]
    try:
        yield agent
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await agent.announce(leaving=True)
        await client.close()


async def echo(task: dict[str, Any]) -> tuple[Any, list[str]]:
    """What the process does with every task: note it, and say what it was."""
    effects = os.environ.get("SAGABUS_EFFECT_LOG")
    if effects:
        line = {name: task[name] for name in ("type", "role", "action", "workflow_id", "task")}
        descriptor = os.open(effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, json.dumps(line | {"effect": "raw"}).encode() + b"\n")
        os.close(descriptor)
    return {"did": task["action"], "input": task.get("input")}, [f"raw-{task['task']}"]


async def main() -> None:
    url, role = sys.argv[1:]
    async with raw_agent(url, role, echo):
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
