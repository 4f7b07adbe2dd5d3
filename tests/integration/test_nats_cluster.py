"""Three servers that keep each stream together: any one may be killed, work goes on, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest_asyncio
from tests.deadline import DEADLINE_SECONDS

from thymos import nats_bus, subjects
from thymos.background import running
from thymos.embedded import NatsCluster
from thymos.errors import TransientError
from thymos.nats_bus import NatsBus
from thymos.provision import provision
from thymos.subjects import TELEMETRY

COLLECTOR = subjects.consumer(subjects.METRICS_COLLECTOR, TELEMETRY)
SUBJECT = subjects.telemetry_subject("acme", "support")
BETWEEN = 60
"""Messages that are acknowledged between two kills."""


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    cluster = NatsCluster(tmp_path / "cluster")
    await asyncio.to_thread(cluster.start)
    yield cluster
    await asyncio.to_thread(cluster.stop)


class Publisher:
    """Publishes one message after the other, each until it is acknowledged."""

    def __init__(self, bus: NatsBus) -> None:
        self._bus = bus
        self.acknowledged: list[str] = []
        self._grown = asyncio.Condition()

    async def publish(self) -> None:
        while True:
            name = f"m{len(self.acknowledged)}"
            try:
                await self._bus.publish(SUBJECT, name.encode(), name)
            except TransientError:  # while a new leader is elected
                await asyncio.sleep(0.05)
                continue
            self.acknowledged.append(name)
            async with self._grown:
                self._grown.notify_all()
            await asyncio.sleep(0.005)  # a load, not a flood

    async def so_many_more(self, count: int) -> None:
        until = len(self.acknowledged) + count
        async with asyncio.timeout(DEADLINE_SECONDS), self._grown:
            await self._grown.wait_for(lambda: len(self.acknowledged) >= until)


async def taken(bus: NatsBus, into: list[str]) -> None:
    """Takes whatever comes, through every change of servers."""
    while True:
        try:
            subscription = await bus.subscribe(COLLECTOR)
            try:
                while True:
                    for delivery in await subscription.fetch(50, timedelta(seconds=1)):
                        into.append(delivery.body.decode())  # first: an acknowledgement may be cut off
                        await delivery.ack()
            finally:
                await subscription.close()
        except TransientError:
            await asyncio.sleep(0.1)


async def leader(bus: NatsBus) -> int:
    """Which server leads the stream of the telemetry."""
    info = await bus.jetstream.stream_info(TELEMETRY.name)
    assert info.cluster is not None
    assert info.cluster.leader is not None
    return int(info.cluster.leader.removeprefix("n"))


async def test_work_goes_on_when_the_server_that_leads_is_killed(cluster: NatsCluster) -> None:
    """`make chaos-cluster` kills each of the three in turn, under the load of the demo."""
    bus = await nats_bus.connect(cluster.url, "test")
    assert {change.action for change in await provision(bus, replicas=3)} == {"created"}
    assert {change.action for change in await provision(bus, replicas=3, dry_run=True)} == {"unchanged"}
    publisher, got = Publisher(bus), list[str]()

    # One takes from the first to the last: what somebody has in hand who goes away comes again later, out of order.
    async with running(taken(bus, got)):
        async with running(publisher.publish()):
            await publisher.so_many_more(BETWEEN)
            leading = await leader(bus)
            cluster.servers[leading].kill9()
            await publisher.so_many_more(BETWEEN)
            assert await leader(bus) != leading
            await asyncio.to_thread(cluster.servers[leading].start)
            await asyncio.to_thread(cluster.wait_until_current, leading)
            await publisher.so_many_more(BETWEEN)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not set(publisher.acknowledged) <= set(got):
                await asyncio.sleep(0.05)
    stored = (await bus.jetstream.stream_info(TELEMETRY.name)).state.messages
    assert stored - len(publisher.acknowledged) in (0, 1), (
        "none lost or twice; of the last the answer may be on its way"
    )
    in_order = list(dict.fromkeys(got))
    assert in_order[: len(publisher.acknowledged)] == publisher.acknowledged
    await bus.close()
