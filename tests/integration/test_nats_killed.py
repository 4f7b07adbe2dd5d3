"""NATS killed (-9) under load: what it acknowledged is there once, and everybody finds it again by themselves."""

import asyncio
from collections import Counter
from contextlib import aclosing

from tests.deadline import DEADLINE_SECONDS

from thymos import nats_bus, subjects
from thymos.background import running
from thymos.bus import MESSAGE_ID_HEADER
from thymos.errors import TransientError
from thymos.nats_bus import NatsBus
from thymos.subjects import TELEMETRY
from thymos.testing import NatsServer

SUBJECT = subjects.telemetry_subject("acme", "support")
PUBLISHERS = 32
KILLS, KILLS_MAX = 2, 20
"""At least; and at most, until some message was on its way when the server was killed."""
BETWEEN = 500
"""Messages that are acknowledged between two kills."""


class Load:
    """Publishers side by side, each trying a message until it is acknowledged."""

    def __init__(self, bus: NatsBus) -> None:
        self._bus = bus
        self.acknowledged: list[str] = []
        self.failed = 0
        self._grown = asyncio.Condition()

    async def publish(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(PUBLISHERS):
                group.create_task(self._one(number))

    async def _one(self, number: int) -> None:
        count = 0
        while True:
            name = f"{number}-{count}"
            try:
                await self._bus.publish(SUBJECT, name.encode(), name)
            except TransientError:
                self.failed += 1
                await asyncio.sleep(0.05)
                continue
            count += 1
            self.acknowledged.append(name)
            async with self._grown:
                self._grown.notify_all()

    async def so_many_more(self, count: int) -> None:
        until = len(self.acknowledged) + count
        async with asyncio.timeout(DEADLINE_SECONDS), self._grown:
            await self._grown.wait_for(lambda: len(self.acknowledged) >= until)


async def stored_ids(bus: NatsBus) -> list[str]:
    """The message ids of the whole stream, in order."""
    last = await bus.last_sequence(TELEMETRY)
    found = []
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(bus.follow(TELEMETRY, ">", from_sequence=1)) as messages:
        async for stored in messages:
            found.append(stored.headers[MESSAGE_ID_HEADER])
            if stored.sequence >= last:
                return found
    raise AssertionError("the stream ended")


async def test_no_acknowledged_message_is_lost_or_doubled(nats: NatsBus, nats_server: NatsServer) -> None:
    bus = await nats_bus.connect(nats_server.url, "load")
    load = Load(bus)
    async with running(load.publish()):
        for number in range(KILLS_MAX):
            if number >= KILLS and load.failed:
                break  # some were on their way when it was killed
            await load.so_many_more(BETWEEN)
            await asyncio.to_thread(nats_server.kill9)
            await asyncio.to_thread(nats_server.start)
        await load.so_many_more(BETWEEN)
    stored = Counter(await stored_ids(nats))
    assert load.failed >= 1, "some were on their way when it was killed"
    assert [name for name in load.acknowledged if stored[name] != 1] == []
    assert len(load.acknowledged) <= stored.total() <= len(load.acknowledged) + PUBLISHERS
    await bus.close()
