"""Following a stream: what a slow reader, a restart of the server and a lost connection must not lose."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest
from tests.deadline import DEADLINE_SECONDS

from thymos import subjects
from thymos.bus import Stored
from thymos.errors import UnavailableError
from thymos.nats_bus import NatsBus
from thymos.nats_follow import BATCH, follow
from thymos.testing import NatsServer

SUBJECT = "thymos.event.acme.support.branch.created"
ALL = "thymos.event.>"


async def publish(bus: NatsBus, first: int, last: int) -> None:
    await asyncio.gather(*(bus.publish(SUBJECT, b"%d" % number, f"m{number}") for number in range(first, last + 1)))


async def restart(bus: NatsBus, server: NatsServer) -> None:
    """Kill the server and start it again; returns when the client is back."""
    server.kill9()
    server.start()
    async with asyncio.timeout(DEADLINE_SECONDS):
        while await bus.missing(subjects.CONSUMERS[:1]):
            await asyncio.sleep(0.05)


async def consumers(bus: NatsBus) -> int:
    """How many the server has on the events."""
    return int((await bus.jetstream.stream_info(subjects.EVENTS.name)).state.consumer_count)


async def take(messages: AsyncGenerator[Stored, None], count: int) -> list[int]:
    """The sequences of the next `count` messages, within a deadline."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        return [(await anext(messages)).sequence for _ in range(count)]


async def test_a_slow_reader_gets_every_message_in_order(nats: NatsBus) -> None:
    count = BATCH * 20
    await publish(nats, 1, count)
    async with aclosing(nats.follow(subjects.EVENTS, ALL, from_sequence=1)) as messages:
        assert await take(messages, 1) == [1]
        await publish(nats, count + 1, count + 10)
        assert await take(messages, count + 9) == list(range(2, count + 11))


async def test_it_goes_on_after_the_server_was_killed(nats: NatsBus, nats_server: NatsServer) -> None:
    await publish(nats, 1, 3)
    async with aclosing(nats.follow(subjects.EVENTS, ALL, since=datetime.now(UTC) - timedelta(hours=1))) as messages:
        assert await take(messages, 2) == [1, 2]
        await restart(nats, nats_server)
        await publish(nats, 4, 5)
        assert await take(messages, 3) == [3, 4, 5]


async def test_one_that_waits_for_news_is_not_told_the_past_after_a_restart(
    nats: NatsBus, nats_server: NatsServer
) -> None:
    await publish(nats, 1, 3)
    before = await consumers(nats)
    async with aclosing(nats.follow(subjects.EVENTS, ALL)) as messages:
        waiting = asyncio.ensure_future(take(messages, 1))
        while await consumers(nats) == before:
            await asyncio.sleep(0.01)
        await restart(nats, nats_server)
        await publish(nats, 4, 4)
        assert await waiting == [4]


async def test_it_begins_where_it_is_told(nats: NatsBus) -> None:
    await publish(nats, 1, 3)
    third = await nats.jetstream.get_msg(subjects.EVENTS.name, 3)
    async with aclosing(nats.follow(subjects.EVENTS, ALL, since=third.time)) as messages:
        assert await take(messages, 1) == [3]
    async with aclosing(nats.follow(subjects.EVENTS, ALL, from_sequence=2)) as messages:
        assert await take(messages, 2) == [2, 3]


async def test_it_does_not_begin_while_the_server_is_away(nats: NatsBus, nats_server: NatsServer) -> None:
    """Whoever asks is told at once; only what has begun is waited for."""
    nats_server.kill9()
    with pytest.raises(UnavailableError):
        await take(nats.follow(subjects.EVENTS, ALL, from_sequence=1), 1)


async def test_it_leaves_no_consumer_behind(nats: NatsBus) -> None:
    before = await consumers(nats)
    await publish(nats, 1, 1)
    async with aclosing(follow(nats, subjects.EVENTS, ALL, 1)) as messages:
        await take(messages, 1)
    assert await consumers(nats) == before


async def test_a_stream_that_does_not_exist_is_an_error_at_once(nats: NatsBus) -> None:
    await nats.jetstream.delete_stream(subjects.METRICS.name)
    with pytest.raises(UnavailableError, match="thymos provision"):
        await take(nats.follow(subjects.METRICS, "thymos.metrics.>", from_sequence=1), 1)
