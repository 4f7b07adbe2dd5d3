"""Telemetry that cannot be sent is counted, and costs no more than it must."""

import asyncio
from collections.abc import Mapping

import pytest

import thymos
from thymos.background import running
from thymos.bus import Bus, PublishAck
from thymos.client import decode_stored, new_envelope
from thymos.envelope import Envelope
from thymos.errors import PoisonError, UnavailableError
from thymos.reporting import Reporter
from thymos.sdk import Connection
from thymos.subjects import TELEMETRY
from thymos.telemetry import Outcome, TaskFinished
from thymos.testing import MemoryBus


class NarrowBus(MemoryBus):
    """A server whose `max_payload` is smaller than a batch."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__()
        self._bytes_max = bytes_max

    async def publish(
        self, subject: str, body: bytes, message_id: str, headers: Mapping[str, str] | None = None
    ) -> PublishAck:
        if len(body) > self._bytes_max:
            raise PoisonError(f"{len(body)} bytes: maximum payload exceeded")
        return await super().publish(subject, body, message_id, headers)


class BrokenOnceBus(MemoryBus):
    """The first publish fails in a way that nobody has foreseen."""

    broken = True

    async def publish(
        self, subject: str, body: bytes, message_id: str, headers: Mapping[str, str] | None = None
    ) -> PublishAck:
        if self.broken:
            self.broken = False
            raise RuntimeError("unforeseen")
        return await super().publish(subject, body, message_id, headers)


def event(task_id: str, output: str = "") -> Envelope[thymos.message.Message]:
    message = TaskFinished(task_id=task_id, outcome=Outcome.SUCCEEDED, output=output)
    return new_envelope(message, tenant="acme", agent="support", source="test")


async def stored(bus: Bus, count: int) -> list[str]:
    """The ids of the first `count` tasks on the stream."""
    ids: list[str] = []
    async with asyncio.timeout(10):
        async for message in bus.follow(TELEMETRY, "thymos.telemetry.>", from_sequence=1):
            for item in decode_stored(message):
                assert isinstance(item, Envelope)
                assert isinstance(item.data, TaskFinished)
                ids.append(item.data.task_id)
            if len(ids) >= count:
                break
    return ids


def reporter_on(bus: Bus) -> Reporter:
    async def connected() -> Bus:
        return bus

    return Reporter(connected)


async def test_of_a_batch_that_the_server_refuses_only_what_is_too_large_is_lost() -> None:
    bus = NarrowBus(bytes_max=2_000)
    reporter = reporter_on(bus)
    for number in range(9):
        reporter.report(event(f"t{number}", "x" * 3_000 if number == 4 else ""))
    async with running(reporter.run()):
        assert await reporter.flush()
    assert await stored(bus, 8) == [f"t{number}" for number in range(9) if number != 4]
    assert reporter.dropped == 1


async def test_the_sender_lives_on_after_a_failure_that_nobody_has_foreseen() -> None:
    bus = BrokenOnceBus()
    reporter = reporter_on(bus)
    for number in range(3):
        reporter.report(event(f"lost{number}"))
    async with running(reporter.run()):
        assert await reporter.flush()
        reporter.report(event("kept"))
        assert await reporter.flush()
    assert await stored(bus, 1) == ["kept"]
    assert reporter.dropped == 3


async def test_a_connection_that_fails_at_first_loses_nothing() -> None:
    bus = MemoryBus()
    answers: list[Bus | None] = [None, bus]

    async def connected() -> Bus:
        if (answer := answers.pop(0)) is None:
            raise UnavailableError("not yet")
        return answer

    reporter = Reporter(connected)
    reporter.report(event("t"))
    async with running(reporter.run()):
        assert await reporter.flush()
    assert (await stored(bus, 1), reporter.dropped) == (["t"], 0)


async def test_what_still_waits_at_the_end_is_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    reporter = reporter_on(MemoryBus())
    for number in range(3):
        reporter.report(event(f"t{number}"))
    reporter.close()
    reporter.report(event("late"))
    assert reporter.dropped == 4
    assert "3 events could not be sent" in caplog.text


async def test_telemetry_never_raises_into_the_agent() -> None:
    connection = Connection("nats://127.0.0.1:1", "acme", "test")
    agent = connection.agent("support")
    async with agent.task(task_id=17) as numbered, agent.task(task_id="x" * 300) as long:
        pass
    agent.branch = "no name"
    async with agent.task():
        pass
    assert (numbered.task_id, len(long.task_id)) == ("17", 200)
    assert connection.reporter.dropped == 2, "the two messages of a branch that is none"


@pytest.mark.parametrize("source", ["", "x" * 201, "line\nfeed", "\ud83d"])
def test_a_source_is_checked_where_it_is_given(source: str) -> None:
    with pytest.raises(ValueError, match="source"):
        Connection("nats://127.0.0.1:1", "acme", source)


def test_a_branch_is_checked_where_it_is_given() -> None:
    with pytest.raises(ValueError, match="branch"):
        Connection("nats://127.0.0.1:1", "acme", "test").agent("support", "no name")


@pytest.mark.parametrize("text", ["x" * 5_000, "\ud83d"])
async def test_a_request_out_of_bounds_is_refused_before_it_is_sent(text: str) -> None:
    async def connected() -> thymos.client.Client:
        return thymos.client.Client(MemoryBus(), "acme")

    memory = thymos.memory_client.MemoryClient(connected, "support")
    for asking in (memory.search(text), memory.delete(text), memory.put("id", "", fields={"a": text * 20_000})):
        with pytest.raises(thymos.Refusal) as refused:
            await asking
        assert refused.value.code in ("invalid", "too_large")
