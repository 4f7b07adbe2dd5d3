"""What the tests of the dead letters run on: services with handlers of their own on a real server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.deadline import DEADLINE_SECONDS

from thymos import commands, events, nats_bus, subjects
from thymos.client import Client
from thymos.dead_letters_kept import KeptLetter, kept
from thymos.envelope import Envelope
from thymos.errors import PoisonError, UnavailableError
from thymos.message import Message
from thymos.nats_bus import NatsBus
from thymos.service import Route, Service, run
from thymos.settlement import publish_dead_letter
from thymos.subjects import Stream
from thymos.unit_of_work import ServiceStore, Transaction

ENGINE, MEMORY = subjects.DECISION_ENGINE, subjects.MEMORY_REPOSITORY
COLLECTOR, SCALER = subjects.METRICS_COLLECTOR, subjects.WORKTREE_SCALER


@dataclass
class Reader:
    """Handles messages; those whose id is in `bad` cannot be processed."""

    bad: set[str] = field(default_factory=set)
    handled: list[str] = field(default_factory=list)

    def one(self, envelope: Envelope[Message], tx: Transaction) -> None:
        del tx
        if envelope.id in self.bad:
            raise PoisonError("this handler has a fault")
        self.handled.append(envelope.id)

    def batch(self, envelopes: Sequence[Envelope[Message]], tx: Transaction) -> None:
        for envelope in envelopes:
            self.one(envelope, tx)


class Bench:
    """Services on a real server, with handlers of the test's own."""

    def __init__(self, bus: NatsBus, url: str, folder: Path, tenant: str = "acme") -> None:
        self.bus = bus
        self.url = url
        self.client = Client(bus, tenant, "test")
        self._folder = folder

    @asynccontextmanager
    async def service(self, name: str, stream: Stream) -> AsyncIterator[Reader]:
        """A service that reads one stream, running; ready when it answers."""
        reader = Reader()
        route = Route(subjects.consumer(name, stream), reader.one)
        if stream is subjects.TELEMETRY:
            route = Route(subjects.consumer(name, stream), handle_batch=reader.batch)
        store = ServiceStore(self._folder / f"{name}.db", name)
        stop = asyncio.Event()
        bus = await nats_bus.connect(self.url, name)
        serving = asyncio.create_task(run(Service(name, store, [route]), bus, stop))
        try:
            yield reader
        finally:
            stop.set()
            await serving
            await bus.close()
            await store.close()

    async def letters(self, count: int = 1) -> list[KeptLetter]:
        """The letters that wait, once there are so many."""
        await until(lambda: self._waiting(count))
        return [letter async for letter in kept(self.client)]

    async def _waiting(self, count: int) -> bool:
        return len([letter async for letter in kept(self.client)]) >= count

    async def event(self, id: str) -> None:
        """An event that both the engine and the scaler read."""
        data = events.BranchDeleted(branch="tryout", from_commit="c1", reason="test")
        await self.client.publish(self.client.envelope(data, "support", id=id))

    async def command(self, id: str) -> None:
        data = commands.CreateBranch(branch="tryout", from_ref="main", reason="test")
        await self.client.publish(self.client.envelope(data, "support", id=id))


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await condition():
            await asyncio.sleep(0.02)


async def answers(bench: Bench, service: str = MEMORY) -> bool:
    try:
        subject = subjects.request_subject(service, "_", "_", "ready")
        await bench.bus.request(subject, b"{}", timedelta(seconds=1))
    except UnavailableError:
        return False
    return True


async def letter_of(bench: Bench, service: str, body: bytes, tenant: str = "acme") -> str:
    subject = subjects.event_subject(tenant, "support", "branch.deleted")
    handler = f"{service}:{subjects.EVENTS.name}"
    await publish_dead_letter(bench.bus, handler, subject, body, reason="not JSON", attempts=8, key=repr(body[:99]))
    return [letter.id async for letter in kept(Client(bench.bus, tenant))][-1]


@dataclass
class Said:
    code: int
    output: str
    errors: str
