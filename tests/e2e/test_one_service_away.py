"""Each service fails alone: the others keep working, and what it has to do waits on the bus."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.deadline import DEADLINE_SECONDS

from thymos import requests, subjects
from thymos.client import Client
from thymos.commands import CommitMemory, MemoryChange
from thymos.errors import Refusal, UnavailableError
from thymos.events import CommitCreated
from thymos.memory_client import MemoryClient
from thymos.suite import Suite
from thymos.telemetry import Outcome, TaskFinished


@pytest_asyncio.fixture
async def suite(tmp_path: Path) -> AsyncIterator[Suite]:
    async with Suite(tmp_path / "suite", sync_always=False) as running:
        await running.ready()
        yield running


async def counted(client: Client, total: int) -> dict[str, Any]:
    """The agent's metrics once `total` outcomes are counted."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            with suppress(Refusal):  # until something is heard of the agent
                answer = await client.ask(subjects.METRICS_COLLECTOR, "support", "metrics", requests.ReadMetrics())
                if answer["metrics"] and answer["metrics"][0]["task"]["total"] == total:
                    return dict(answer["metrics"][0])
            await asyncio.sleep(0.05)


async def report(client: Client, *task_ids: str) -> None:
    for task_id in task_ids:
        await client.publish(client.envelope(TaskFinished(task_id=task_id, outcome=Outcome.SUCCEEDED), "support"))


def memory_of(client: Client) -> MemoryClient:
    async def connected() -> Client:
        return client

    return MemoryClient(connected, "support")


async def test_without_metrics_collector_telemetry_waits(suite: Suite) -> None:
    client = Client(suite.bus, "acme", "test")
    await suite.services[subjects.METRICS_COLLECTOR].stop()
    await report(client, "t1", "t2")
    assert (await memory_of(client).put("m", "memory still works")).commit
    with pytest.raises(UnavailableError):
        await client.ask(subjects.METRICS_COLLECTOR, "support", "metrics", requests.ReadMetrics())
    suite.services[subjects.METRICS_COLLECTOR].start()
    await suite.ready()
    assert (await counted(client, 2))["task"]["succeeded"] == 2


@pytest.mark.parametrize("away", [subjects.DECISION_ENGINE, subjects.WORKTREE_SCALER])
async def test_without_the_deciding_or_the_acting_service_measuring_and_memory_go_on(suite: Suite, away: str) -> None:
    client = Client(suite.bus, "acme", "test")
    await suite.services[away].stop()
    await report(client, "t1")
    await counted(client, 1)
    assert (await memory_of(client).put("m", "memory still works")).commit
    suite.services[away].start()
    await suite.ready()


async def test_without_memory_repository_commands_to_it_wait(suite: Suite) -> None:
    client = Client(suite.bus, "acme", "test")
    await suite.services[subjects.MEMORY_REPOSITORY].stop()
    change = MemoryChange(op="put", id="m", content="later")
    command = client.envelope(CommitMemory(changes=[change], author="me", message="while you were away"), "support")
    await client.publish(command)
    await report(client, "t1")
    await counted(client, 1)
    suite.services[subjects.MEMORY_REPOSITORY].start()
    await suite.ready()
    async with asyncio.timeout(DEADLINE_SECONDS):
        async for event in client.notifications(CommitCreated, from_sequence=1):
            if event.causation_id == command.id:
                break
    assert (await memory_of(client).get("m")).content == "later"
