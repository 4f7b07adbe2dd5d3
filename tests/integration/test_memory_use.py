"""How an agent's memory is used comes out among its metrics: from a search over the bus to `thymos metrics`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from tests.deadline import DEADLINE_SECONDS

from thymos.client import Client
from thymos.errors import Refusal
from thymos.memory_client import MemoryClient
from thymos.nats_bus import connect
from thymos.requests import MetricsAnswer, ReadMetrics
from thymos.subjects import METRICS_COLLECTOR
from thymos.suite import Suite


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with Suite(tmp_path) as suite:
        await suite.ready()
        bus = await connect(suite.url, "test")
        yield Client(bus, source="test")
        await bus.close()


async def test_searches_and_what_is_stored_are_measured(client: Client) -> None:
    async def connected() -> Client:
        return client

    memory = MemoryClient(connected, "support", patience=None)
    await memory.put("a", "a refund takes thirty days")
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            await memory.search("refund")
            await memory.search("nothing of the kind")
            with contextlib.suppress(Refusal):  # nothing was heard of it yet
                request = ReadMetrics(branch="main")
                answer = await client.ask_as(MetricsAnswer, METRICS_COLLECTOR, "support", "metrics", request)
                found = answer.metrics[0].memory
                if found.hit_rate is not None:
                    break
            await asyncio.sleep(0.2)
    assert (found.memories_stored, found.hit_rate, found.mean_results) == (1, 0.5, 0.5)
    assert found.search_latency_ms
