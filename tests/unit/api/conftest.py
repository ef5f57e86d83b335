"""The application over an orchestrator in memory."""

from collections.abc import AsyncIterator

import httpx
import pytest

from sagabus.api.application import create_app
from tests.support.memory_orchestrator import MemoryOrchestrator


@pytest.fixture
def orchestrator() -> MemoryOrchestrator:
    return MemoryOrchestrator()


@pytest.fixture
async def client(orchestrator: MemoryOrchestrator) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(orchestrator), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8420") as client:
        yield client
