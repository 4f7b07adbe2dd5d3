"""An agent process in its worktree: tasks in, answers out, a clean end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from tests.deadline import DEADLINE_SECONDS

from thymos import subjects
from thymos.client import Client
from thymos.memory_client import MemoryClient
from thymos.nats_bus import NatsBus
from thymos.tasks import TaskAssigned
from thymos.telemetry import AgentHeartbeat, Outcome, TaskFinished
from thymos.testing import NatsServer

AGENT = Path(__file__).parent / "agents" / "echo_agent.py"
Process = asyncio.subprocess.Process


class Bench:
    """A memory-repository process, and agent processes on demand."""

    def __init__(self, client: Client, url: str, data: Path) -> None:
        self.client = client
        told = {"THYMOS_NATS_URL": url, "THYMOS_DATA_DIR": str(data), "THYMOS_TENANT": "acme"}
        self._environment = {**os.environ, **told}
        self.processes: list[Process] = []

    async def start(self, *arguments: str, **environment: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, env={**self._environment, **environment}
        )
        self.processes.append(process)
        return process

    async def start_agent(self, worktree: str = "w1") -> Process:
        return await self.start(str(AGENT), THYMOS_AGENT="support", THYMOS_WORKTREE=worktree)

    async def assign(self, task_id: str, text: str, **more: object) -> None:
        task = TaskAssigned.model_validate({"task_id": task_id, "branch": "main", "input": text, **more})
        await self.client.publish(self.client.envelope(task, "support"))

    async def finished(self, count: int) -> dict[str, TaskFinished]:
        found: dict[str, TaskFinished] = {}
        async with asyncio.timeout(DEADLINE_SECONDS), aclosing(self._telemetry()) as telemetry:
            async for message in telemetry:
                if isinstance(message, TaskFinished):
                    found[message.task_id] = message
                if len(found) >= count:
                    return found
        raise AssertionError("the stream ended")

    async def heartbeat(self, in_flight: int) -> AgentHeartbeat:
        async with asyncio.timeout(DEADLINE_SECONDS), aclosing(self._telemetry()) as telemetry:
            async for message in telemetry:
                if isinstance(message, AgentHeartbeat) and message.in_flight == in_flight:
                    return message
        raise AssertionError("the stream ended")

    async def _telemetry(self) -> AsyncGenerator[object, None]:
        async with aclosing(self.client.follow(subjects.TELEMETRY, "thymos.telemetry.>", from_sequence=1)) as s:
            async for envelope in s:
                yield envelope.data

    async def end(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest_asyncio.fixture
async def bench(nats: NatsBus, nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Bench]:
    built = Bench(Client(nats, "acme", "test"), nats_server.url, tmp_path / "data")
    await built.start("-m", "memory_repository")
    yield built
    await built.end()


async def test_each_way_a_task_can_end(bench: Bench) -> None:
    await bench.start_agent()
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    await bench.assign("t1", "hello", awaits_grade=True, experiment_id="e1", arm="control")
    await bench.assign("t2", "boom")
    await bench.assign("t3", "too late", deadline=past)
    ended = await bench.finished(3)
    assert (ended["t1"].outcome, ended["t1"].output, ended["t1"].cost_usd) == (Outcome.SUCCEEDED, "hello", 0.25)
    assert (ended["t1"].awaits_grade, ended["t1"].experiment_id, ended["t1"].arm) == (True, "e1", "control")
    assert ended["t1"].commit, "the outcome is laid at a commit's door"
    assert (ended["t2"].outcome, "kaput" in (ended["t2"].error or "")) == (Outcome.ERRORED, True)
    assert ended["t3"].outcome is Outcome.TIMED_OUT


async def test_no_way_to_fail_loses_the_task(bench: Bench) -> None:
    await bench.start_agent()
    for text in ("long", "cancelled", "exit", "surrogate", "hello"):
        await bench.assign(text, text)
    ended = await bench.finished(5)
    assert {task_id: answer.outcome for task_id, answer in ended.items()} == {
        "long": Outcome.ERRORED,
        "cancelled": Outcome.CANCELLED,
        "exit": Outcome.ERRORED,
        "surrogate": Outcome.SUCCEEDED,
        "hello": Outcome.SUCCEEDED,
    }
    assert ended["cancelled"].error == "the task's function was cancelled"
    assert (ended["surrogate"].output, ended["surrogate"].cost_usd) == ("half a ? face", 0.25)


async def test_a_term_signal_finishes_the_task_in_hand_and_saves_staged_memory(bench: Bench) -> None:
    agent = await bench.start_agent()
    await bench.assign("t1", "learn")
    await bench.finished(1)
    await bench.assign("t2", "pause")
    await bench.heartbeat(in_flight=1)
    await bench.assign("t3", "left for another")
    agent.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(agent.wait(), 30) == 0
    assert (await bench.finished(2))["t2"].outcome is Outcome.SUCCEEDED

    async def connected() -> Client:
        return bench.client

    assert (await MemoryClient(connected, "support").get("learned")).content == "something new"
    await bench.start_agent("w2")
    assert (await bench.finished(3))["t3"].output == "left for another"


async def test_a_killed_agents_task_is_done_by_the_next(bench: Bench) -> None:
    consumer = subjects.task_consumer("acme", "support", "main")
    await bench.client.bus.ensure_consumer(consumer)
    agent = await bench.start_agent()
    await bench.assign("t1", "hang")
    await bench.heartbeat(in_flight=1)
    agent.kill()
    await agent.wait()
    await bench.assign("t2", "hello")
    await bench.start_agent("w2")
    assert (await bench.finished(1))["t2"].output == "hello", "the lost task holds nobody up"
    async with asyncio.timeout(DEADLINE_SECONDS):  # what is finished is told before it is acknowledged
        while (depth := await bench.client.bus.depth(consumer)) is None or depth.lag > 1:
            await asyncio.sleep(0.01)
    assert depth.lag == 1, "and it is still there, to be delivered again"


async def test_an_agent_without_a_memory_finds_nothing_and_that_is_no_error(bench: Bench) -> None:
    async def connected() -> Client:
        return bench.client

    await bench.start_agent()
    await bench.heartbeat(in_flight=0)
    assert await MemoryClient(connected, "newcomer").search("refund window") == []


@pytest.mark.parametrize("reads_or_writes", ["recall", "learn"])
async def test_a_task_waits_while_memory_is_started_anew(bench: Bench, reads_or_writes: str) -> None:
    await bench.start_agent()
    await bench.heartbeat(in_flight=0)
    (memory, *_) = bench.processes
    memory.kill()
    await memory.wait()
    await bench.assign("t1", reads_or_writes)
    await bench.heartbeat(in_flight=1)
    await bench.start("-m", "memory_repository")
    assert (await bench.finished(1))["t1"].outcome is Outcome.SUCCEEDED
