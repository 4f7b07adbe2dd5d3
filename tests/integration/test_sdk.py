"""The SDK against a real server: telemetry never gets in the agent's way, memory and notifications work."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest
from tests.deadline import DEADLINE_SECONDS

import thymos
from thymos import nats_bus, subjects
from thymos.client import Client, decode_stored
from thymos.envelope import Envelope
from thymos.message import Message
from thymos.nats_bus import NatsBus
from thymos.provision import provision
from thymos.reporting import QUEUE_MAX, Reporter
from thymos.telemetry import Outcome, TaskFinished
from thymos.testing import NatsServer, free_port


async def outcomes(bus: NatsBus, count: int) -> list[TaskFinished]:
    """The first `count` finished tasks on the telemetry stream."""
    found: list[TaskFinished] = []
    everything = bus.follow(subjects.TELEMETRY, "thymos.telemetry.>", from_sequence=1)
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(everything) as stream:
        async for stored in stream:
            for item in decode_stored(stored):
                assert isinstance(item, Envelope)
                if isinstance(item.data, TaskFinished):
                    found.append(item.data)
            if len(found) >= count:
                return found
    raise AssertionError("the stream ended")


async def test_how_a_task_ends_is_its_outcome(nats: NatsBus, nats_server: NatsServer) -> None:
    async with thymos.connect(nats_server.url, tenant="acme") as bus:
        agent = bus.agent("support")
        async with agent.task(task_id="right") as task:
            task.record(cost_usd=0.5, quality=0.9)
        async with agent.task(task_id="wrong") as task:
            task.record(success=False)
        with pytest.raises(RuntimeError, match="kaput"):
            async with agent.task(task_id="broken"):
                raise RuntimeError("kaput")
        with pytest.raises(TimeoutError):
            async with agent.task(task_id="slow"):
                raise TimeoutError
    ended = {o.task_id: o for o in await outcomes(nats, 4)}
    assert {k: o.outcome for k, o in ended.items()} == {
        "right": Outcome.SUCCEEDED,
        "wrong": Outcome.FAILED,
        "broken": Outcome.ERRORED,
        "slow": Outcome.TIMED_OUT,
    }
    assert ended["right"].cost_usd == 0.5
    assert ended["right"].quality == {"output_quality": 0.9}
    assert "kaput" in (ended["broken"].error or "")


async def test_what_is_recorded_wrongly_does_not_lose_the_outcome(nats: NatsBus, nats_server: NatsServer) -> None:
    async with thymos.connect(nats_server.url) as bus, bus.agent("support").task(task_id="t") as task:
        task.record(cost_usd="a lot", nonsense=object())
    assert [o.outcome for o in await outcomes(nats, 1)] == [Outcome.SUCCEEDED]


async def test_telemetry_waits_for_a_bus_that_is_away(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats", port=free_port())
    async with thymos.connect(server.url) as bus:
        for number in range(5):
            async with bus.agent("support").task(task_id=f"t{number}"):
                pass
        with server:
            observer = await nats_bus.connect(server.url, "observer")
            await provision(observer)
            assert [o.task_id for o in await outcomes(observer, 5)] == [f"t{number}" for number in range(5)]
            await observer.close()
            assert bus.reporter.dropped == 0
            assert await bus.reporter.flush()


async def test_a_full_queue_drops_the_newest_and_counts_them() -> None:
    async def never() -> NatsBus:
        raise AssertionError("not asked to connect")

    reporter = Reporter(never)
    client = Client(bus=None, tenant="acme")  # type: ignore[arg-type]  # nothing is published
    envelope = client.envelope(TaskFinished(task_id="t", outcome=Outcome.SUCCEEDED), "support")
    for _ in range(QUEUE_MAX + 3):
        reporter.report(envelope)
    assert reporter.dropped == 3


async def test_notifications_reach_whoever_waits_for_them(nats: NatsBus, nats_server: NatsServer) -> None:
    merged = thymos.BranchMerged(
        source="experiment-1-a", target="main", commit="c2", previous_commit="c1", strategy="Manual", reason="better"
    )
    publisher = Client(nats, "acme", "test")
    await publisher.publish(publisher.envelope(merged, "support"))

    async with thymos.connect(nats_server.url, tenant="acme") as bus:
        notes: AsyncGenerator[thymos.Notification, None] = bus.notifications(
            thymos.BranchMerged, thymos.BranchRolledBack, since=timedelta(minutes=1)
        )
        async with aclosing(notes) as waiting:
            note = await asyncio.wait_for(anext(waiting), 10)
    assert (note.agent_id, note.reason) == ("support", "better")
    assert isinstance(note.event, thymos.BranchMerged)


async def test_another_tenants_notifications_are_not_seen(nats: NatsBus, nats_server: NatsServer) -> None:
    message = thymos.BranchCreated(branch="b", from_commit="c")
    for tenant in ("other", "acme"):
        publisher = Client(nats, tenant, "test")
        await publisher.publish(publisher.envelope(message, "support"))
    async with (
        thymos.connect(nats_server.url, tenant="acme") as bus,
        aclosing(bus.notifications(since=timedelta(minutes=1))) as waiting,
    ):
        note = await asyncio.wait_for(anext(waiting), 10)
    assert note.envelope.tenant == "acme"


@pytest.mark.usefixtures("nats")
async def test_memory_says_that_nobody_answers_and_what_to_do(nats_server: NatsServer) -> None:
    async with thymos.connect(nats_server.url) as bus:
        with pytest.raises(thymos.UnavailableError, match="thymos doctor"):
            await bus.agent("support").memory.search("anything")


async def test_code_without_an_event_loop_has_the_same_sdk(nats: NatsBus, nats_server: NatsServer) -> None:
    def work() -> None:
        with thymos.connect_sync(nats_server.url) as bus:
            agent = bus.agent("support")
            with agent.task(task_id="one") as task:
                task.record(success=False)
            with pytest.raises(ZeroDivisionError), agent.task(task_id="two"):
                raise ZeroDivisionError

            @agent.observe
            def answer(question: str) -> str:
                return question.upper()

            assert answer("hi") == "HI"

    await asyncio.to_thread(work)
    assert [o.outcome for o in await outcomes(nats, 3)] == [Outcome.FAILED, Outcome.ERRORED, Outcome.SUCCEEDED]


async def test_an_agents_own_exception_comes_through_whatever_it_says(nats: NatsBus, nats_server: NatsServer) -> None:
    async with thymos.connect(nats_server.url) as bus:
        for number, words in enumerate(("x" * 5_000, "half a \ud83d face")):
            with pytest.raises(RuntimeError):
                async with bus.agent("support").task(task_id=f"t{number}"):
                    raise RuntimeError(words)
        async with bus.agent("support").task(task_id="t2", output="\ud83d"):
            pass
    ended = await outcomes(nats, 3)
    assert [o.outcome for o in ended] == [Outcome.ERRORED, Outcome.ERRORED, Outcome.SUCCEEDED]
    assert bus.reporter.dropped == 0


async def test_the_end_is_bounded_and_quiet_when_the_bus_has_gone(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats") as server:
        manager = thymos.connect(server.url)
        bus = await manager.__aenter__()
    async with bus.agent("support").task():
        pass
    async with asyncio.timeout(DEADLINE_SECONDS):
        await manager.__aexit__(None, None, None)
    assert bus.reporter.dropped == 2, "what could not be sent is counted"


@pytest.mark.usefixtures("nats")
async def test_a_closed_connection_without_a_loop_drops_telemetry_and_refuses_memory(nats_server: NatsServer) -> None:
    def work() -> None:
        with thymos.connect_sync(nats_server.url) as bus:
            agent = bus.agent("support")
            assert agent.memory.branch == "main"
        with agent.task():
            pass
        assert bus.reporter.dropped == 2
        with pytest.raises(thymos.UnavailableError, match="closed"):
            agent.memory.search("anything")

    await asyncio.to_thread(work)


FORKING = """
import multiprocessing, sys, thymos

def work(agent, bus, answers):
    with agent.task(task_id="in the child"):
        pass
    try:
        agent.memory.search("anything")
    except thymos.UnavailableError as error:
        answers.put((bus.reporter.dropped, str(error)))

context = multiprocessing.get_context("fork")
with thymos.connect_sync(sys.argv[1]) as bus:
    agent, answers = bus.agent("support"), context.Queue()
    child = context.Process(target=work, args=(agent, bus, answers))
    child.start()
    dropped, error = answers.get(timeout=20)
    child.join()
    assert dropped == 2, dropped
    assert "connect again in the child" in error, error
    with agent.task(task_id="in the parent"):
        pass
"""


async def test_a_forked_child_neither_hangs_nor_breaks_its_parent(nats: NatsBus, nats_server: NatsServer) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", FORKING, nats_server.url)
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert [o.task_id for o in await outcomes(nats, 1)] == ["in the parent"]


def test_names_are_checked_where_they_are_given() -> None:
    message: type[Message] = TaskFinished
    with pytest.raises(ValueError, match="agent"):
        Client(bus=None).envelope(message(task_id="t", outcome=Outcome.SUCCEEDED), "Not A Name")  # type: ignore[arg-type]
