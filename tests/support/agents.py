"""Agents at work in the process of the test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sagabus_agents import Agent
from tests.support.nats_server import NatsServer

#: Of the role's consumer: short, so that second deliveries come soon.
ACK_WAIT_S = 1.0


@asynccontextmanager
async def serving(agent: Agent) -> AsyncIterator[Agent]:
    """The agent at work; drained at the end."""
    serve = asyncio.create_task(agent.serve())
    try:
        yield agent
    finally:
        agent.stop()
        await asyncio.wait_for(serve, 20)


def make_agent(server: NatsServer, *roles: str, **options: Any) -> Agent:
    """An agent that keeps pace with ``ACK_WAIT_S``."""
    options.setdefault("heartbeat_s", ACK_WAIT_S / 4)
    options.setdefault("drain_s", 1.0)
    return Agent(*(roles or ("devops",)), nats_url=server.url, **options)
