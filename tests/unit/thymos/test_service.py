"""A service on the bus in memory: real SQLite, every message by the one path."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from thymos import answering, settlement, subjects
from thymos.bus import CONTENT_TYPE_HEADER
from thymos.envelope import BATCH_CONTENT_TYPE, Envelope
from thymos.errors import PoisonError, StoreUnavailableError, UnavailableError
from thymos.message import Message
from thymos.requests import Nothing
from thymos.service import Endpoint, Route, Service, Tick, run
from thymos.telemetry import TaskStarted
from thymos.testing import MemoryBus
from thymos.unit_of_work import ServiceStore, Transaction

SUBJECT = "thymos.telemetry.acme.support"
TELEMETRY = subjects.consumer(subjects.METRICS_COLLECTOR, subjects.TELEMETRY)
SECOND = timedelta(seconds=1)


def event(task_id: str) -> dict[str, Any]:
    envelope: Envelope[Message] = Envelope(
        id=task_id,
        source="t",
        time=datetime.now(UTC),
        tenant="acme",
        agent="support",
        data=TaskStarted(task_id=task_id),
    )
    return envelope.to_dict()


class Recorder:
    """A batch handler that notes the tasks it sees, and finds fault with some."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.bad: set[str] = set()
        self.store_failures = 0

    def handle(self, envelopes: Sequence[Envelope[Message]], tx: Transaction) -> None:
        del tx
        if self.store_failures:
            self.store_failures -= 1
            raise StoreUnavailableError("the disk is full")
        names = [e.data.task_id for e in envelopes if isinstance(e.data, TaskStarted)]
        if self.bad.intersection(names):
            raise PoisonError("this one is bad")
        self.seen.extend(names)


@asynccontextmanager
async def running(tmp_path: Path, bus: MemoryBus, recorder: Recorder, **more: Any) -> AsyncIterator[ServiceStore]:
    store = ServiceStore(tmp_path / "s.db", subjects.METRICS_COLLECTOR)
    service = Service(subjects.METRICS_COLLECTOR, store, [Route(TELEMETRY, handle_batch=recorder.handle)], **more)
    stop = asyncio.Event()
    task = asyncio.create_task(run(service, bus, stop))

    async def serving() -> bool:
        with suppress(UnavailableError):
            return bool((await ask(bus, "ready"))["ok"])
        return False

    await until(serving)
    try:
        yield store
    finally:
        stop.set()
        async with asyncio.timeout(20):
            await task
        await store.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.01)


async def ask(bus: MemoryBus, verb: str, body: bytes = b"{}", tenant: str = "acme") -> dict[str, Any]:
    subject = subjects.request_subject(subjects.METRICS_COLLECTOR, tenant, "support", verb)
    answer: dict[str, Any] = json.loads(await bus.request(subject, body, 10 * SECOND))
    return answer


async def test_one_bad_event_of_a_batch_message_harms_no_other(tmp_path: Path) -> None:
    bus, recorder = MemoryBus(), Recorder()
    recorder.bad = {"t3"}
    body = json.dumps([event(f"t{number}") for number in range(6)]).encode()
    async with running(tmp_path, bus, recorder):
        await bus.publish(SUBJECT, body, "m1", {CONTENT_TYPE_HEADER: BATCH_CONTENT_TYPE})

        async def dead() -> bool:
            return await bus.last_sequence(subjects.DEAD_LETTERS) == 1

        await until(dead)
    assert sorted(recorder.seen) == ["t0", "t1", "t2", "t4", "t5"]


async def test_while_the_store_is_unusable_messages_wait_in_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More failures than a message has attempts: nothing is given up."""
    monkeypatch.setattr(settlement, "STORE_RETRY_SECONDS", 0.0)
    bus, recorder = MemoryBus(), Recorder()
    recorder.store_failures = 3 * TELEMETRY.deliver_max
    async with running(tmp_path, bus, recorder):
        await bus.publish(SUBJECT, json.dumps(event("t1")).encode(), "m1")

        async def handled() -> bool:
            return recorder.seen == ["t1"]

        await until(handled)
    assert await bus.last_sequence(subjects.DEAD_LETTERS) == 0


async def test_requests_are_answered_whatever_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(request: BaseModel, tx: Transaction) -> None:
        del request, tx
        raise ZeroDivisionError

    def fine(request: BaseModel, tx: Transaction) -> dict[str, int]:
        del request, tx
        return {"a": 1}

    endpoints = [Endpoint("broken", Nothing, broken), Endpoint("fine", Nothing, fine)]
    bus = MemoryBus()
    async with running(tmp_path, bus, Recorder(), endpoints=endpoints):
        assert await ask(bus, "fine") == {"ok": True, "data": {"a": 1}}
        assert (await ask(bus, "broken"))["error"]["code"] == "unavailable"
        assert (await ask(bus, "fine", b"[" * 100_000))["error"]["code"] == "invalid"
        huge = await ask(bus, "fine", json.dumps({"x" * 900_000: 1}).encode())
        assert huge["error"]["code"] == "invalid"
        assert len(json.dumps(huge)) < 3_000, "the answer does not repeat what was sent"
        assert (await ask(bus, "fine", tenant="No Tenant"))["error"]["code"] == "invalid"
        monkeypatch.setattr(answering, "REQUESTS_MAX", 0)
        assert (await ask(bus, "fine"))["error"]["code"] == "unavailable"


async def test_a_tick_that_fails_comes_again_and_ends_nothing(tmp_path: Path) -> None:
    ticks = 0

    def failing(tx: Transaction) -> None:
        nonlocal ticks
        del tx
        ticks += 1
        raise PoisonError("too large")

    bus, recorder = MemoryBus(), Recorder()
    tick = Tick("failing", timedelta(milliseconds=5), failing)
    async with running(tmp_path, bus, recorder, ticks=[tick]):

        async def ticked() -> bool:
            return ticks >= 3

        await until(ticked)
        await bus.publish(SUBJECT, json.dumps(event("t1")).encode(), "m1")

        async def handled() -> bool:
            return recorder.seen == ["t1"]

        await until(handled)
