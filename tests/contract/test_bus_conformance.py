"""What every adapter of the bus promises: one suite, run on the shipped fake and on a real server."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from tests.deadline import DEADLINE_SECONDS

from thymos import nats_bus, subjects
from thymos.background import cancelled
from thymos.bus import EXPECTED_LAST_HEADER, Bus, ConsumerMissingError, Delivery, Stored, Subscription
from thymos.errors import PoisonError, TransientError, UnavailableError
from thymos.provision import provision
from thymos.settlement import Fate, settled
from thymos.testing import MemoryBus, NatsServer

SECOND = timedelta(seconds=1)
CONSUMER = replace(
    subjects.consumer(subjects.METRICS_COLLECTOR, subjects.TELEMETRY), durable="conformance", ack_wait=SECOND
)
ORDERED = replace(subjects.consumer(subjects.DECISION_ENGINE, subjects.COMMANDS), ack_wait=SECOND)
TELEMETRY = "thymos.telemetry.acme.support"
COMMAND = "thymos.command.decision-engine.acme.support.experiment.abort"


class Rig:
    """A bus and the power switch of its server."""

    def __init__(self, bus: Bus, server: NatsServer | MemoryBus) -> None:
        self.bus = bus
        self.server = server

    async def restart(self) -> None:
        """Kill the server and start it again; returns when the client is back."""
        self.server.kill9() if isinstance(self.server, NatsServer) else self.server.stop()
        self.server.start()
        while await self.bus.missing([ORDERED]):
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture(params=["memory", "nats"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    if request.param == "memory":
        bus = MemoryBus()
        await bus.ensure_consumer(CONSUMER)
        yield Rig(bus, bus)
        return
    with NatsServer(tmp_path / "nats") as server:
        nats = await nats_bus.connect(server.url, "conformance")
        await provision(nats)
        await nats.ensure_consumer(CONSUMER)
        yield Rig(nats, server)
        await nats.close()


async def publish(bus: Bus, *ids: str, subject: str = TELEMETRY) -> list[int]:
    return [(await bus.publish(subject, name.encode(), name)).sequence for name in ids]


async def take(subscription: Subscription, count: int) -> list[Delivery]:
    """Exactly `count` deliveries, within a deadline."""
    taken: list[Delivery] = []
    async with asyncio.timeout(DEADLINE_SECONDS):
        while len(taken) < count:
            taken.extend(await subscription.fetch(count - len(taken), SECOND))
    return taken


async def nothing_more(subscription: Subscription) -> bool:
    return not await subscription.fetch(10, timedelta(milliseconds=300))


async def test_what_is_published_is_delivered_in_order(rig: Rig) -> None:
    await publish(rig.bus, "a", "b", "c")
    taken = await take(await rig.bus.subscribe(CONSUMER), 3)
    assert [d.body for d in taken] == [b"a", b"b", b"c"]
    assert [d.attempts for d in taken] == [1, 1, 1]
    assert taken[0].sequence < taken[1].sequence < taken[2].sequence


async def test_an_id_seen_before_is_acknowledged_as_a_duplicate_and_stored_once(rig: Rig) -> None:
    first = await rig.bus.publish(TELEMETRY, b"x", "one")
    second = await rig.bus.publish(TELEMETRY, b"x", "one")
    assert (first.duplicate, second.duplicate) == (False, True)
    subscription = await rig.bus.subscribe(CONSUMER)
    await (await take(subscription, 1))[0].ack()
    assert await nothing_more(subscription)


async def test_whoever_is_cancelled_while_he_publishes_ends(rig: Rig) -> None:
    async def for_ever(name: str) -> None:
        for number in itertools.count():
            await rig.bus.publish(TELEMETRY, b"x", f"{name}-{number}")
            await asyncio.sleep(0)

    for attempt in range(3):
        before = await rig.bus.last_sequence(subjects.TELEMETRY)
        publishers = [asyncio.create_task(for_ever(f"{attempt}-{number}")) for number in range(32)]
        while await rig.bus.last_sequence(subjects.TELEMETRY) < before + 200:
            await asyncio.sleep(0)
        for publisher in publishers:
            publisher.cancel()
        _, going_on = await asyncio.wait(publishers, timeout=5)
        for publisher in going_on:
            await cancelled(publisher)
        assert going_on == set()


async def test_without_an_acknowledgement_it_comes_again(rig: Rig) -> None:
    await publish(rig.bus, "a")
    subscription = await rig.bus.subscribe(CONSUMER)
    await take(subscription, 1)
    again = (await take(subscription, 1))[0]
    assert (again.body, again.attempts) == (b"a", 2)
    await again.ack()
    assert await nothing_more(subscription)


async def test_retry_delivers_again_and_terminate_never(rig: Rig) -> None:
    await publish(rig.bus, "a", "b")
    subscription = await rig.bus.subscribe(CONSUMER)
    a, b = await take(subscription, 2)
    await a.retry(timedelta(milliseconds=10))
    await b.terminate()
    again = (await take(subscription, 1))[0]
    assert (again.body, again.attempts) == (b"a", 2)
    await again.ack()
    assert await nothing_more(subscription)


async def test_an_ordered_consumer_lets_nothing_overtake(rig: Rig) -> None:
    await publish(rig.bus, "a", "b", subject=COMMAND)
    subscription = await rig.bus.subscribe(ORDERED)
    first = (await take(subscription, 1))[0]
    assert await nothing_more(subscription), "the second must wait for the first"
    await first.retry(timedelta(milliseconds=10))
    again = (await take(subscription, 1))[0]
    assert again.body == b"a"
    await again.ack()
    assert (await take(subscription, 1))[0].body == b"b"


async def test_a_poison_message_goes_to_the_dead_letters_and_others_flow(rig: Rig) -> None:
    await publish(rig.bus, "bad", "good")
    subscription = await rig.bus.subscribe(CONSUMER)

    async def work(delivery: Delivery) -> None:
        if delivery.body == b"bad":
            raise PoisonError("cannot be read")

    fates = [
        (await settled(rig.bus, CONSUMER, delivery, partial(work, delivery))).fate
        for delivery in await take(subscription, 2)
    ]
    assert fates == [Fate.DEAD, Fate.ACK]
    assert await nothing_more(subscription)
    async with aclosing(rig.bus.follow(subjects.DEAD_LETTERS, "thymos.dead.*.acme", from_sequence=1)) as letters:
        letter = await asyncio.wait_for(anext(letters), 10)
    assert b"cannot be read" in letter.body
    assert letter.subject == "thymos.dead.metrics-collector.acme"


async def test_a_transient_failure_is_tried_again_until_it_works(rig: Rig) -> None:
    await publish(rig.bus, "a")
    subscription = await rig.bus.subscribe(CONSUMER)
    tries = itertools.count(1)

    async def work() -> None:
        if next(tries) < 3:
            raise TransientError("busy")

    fates: list[Fate] = []
    while Fate.ACK not in fates:
        delivery = (await take(subscription, 1))[0]
        fates.append((await settled(rig.bus, CONSUMER, delivery, work)).fate)
    assert fates == [Fate.RETRY, Fate.RETRY, Fate.ACK]


async def test_a_restart_forgets_nothing(rig: Rig) -> None:
    """A crash of the server may forget an acknowledgement, never a message: consumers keep an inbox for that."""
    await publish(rig.bus, "a", "b", "c")
    subscription = await rig.bus.subscribe(CONSUMER)
    a, _b, _c = await take(subscription, 3)
    await a.ack()
    await rig.restart()
    async with asyncio.timeout(DEADLINE_SECONDS):
        bodies: set[bytes] = set()
        while not bodies >= {b"b", b"c"}:
            try:
                for delivery in await subscription.fetch(10, SECOND):
                    bodies.add(delivery.body)
                    await delivery.ack()
            except TransientError:
                continue
    assert (await rig.bus.publish(TELEMETRY, b"a", "a")).duplicate, "ids are remembered too"


async def test_a_deleted_durable_is_noticed(rig: Rig) -> None:
    subscription = await rig.bus.subscribe(CONSUMER)
    assert not await rig.bus.missing([CONSUMER])
    await rig.bus.delete_consumer(CONSUMER)
    assert "conformance" in " ".join(await rig.bus.missing([CONSUMER]))

    async def keep_fetching() -> None:
        for _ in range(5):
            await subscription.fetch(1, timedelta(milliseconds=200))

    with pytest.raises(ConsumerMissingError, match="conformance"):
        await keep_fetching()
    with pytest.raises(ConsumerMissingError):
        await rig.bus.subscribe(CONSUMER)


async def test_depth_counts_what_waits_and_what_is_out_and_purge_forgets_it(rig: Rig) -> None:
    tasks = subjects.task_consumer("acme", "support", "main")
    assert await rig.bus.depth(tasks) is None
    await rig.bus.ensure_consumer(tasks)
    await publish(rig.bus, "1", "2", "3", subject=subjects.task_subject("acme", "support", "main"))
    subscription = await rig.bus.subscribe(tasks)
    held = (await take(subscription, 1))[0]
    depth = await rig.bus.depth(tasks)
    assert depth is not None
    assert (depth.pending, depth.ack_pending, depth.lag) == (2, 1, 3)
    await held.ack()
    assert await rig.bus.purge(subjects.TASKS, subjects.task_subject("acme", "support", "main")) == 2
    depth = await rig.bus.depth(tasks)
    assert depth is not None
    assert depth.lag == 0


async def test_requests_are_answered_or_refused_at_once(rig: Rig) -> None:
    async def answer(subject: str, body: bytes) -> bytes:
        return subject.encode() + b" " + body

    await rig.bus.serve("echo", {"say": "thymos.request.echo.*.*.say"}, answer)
    reply = await rig.bus.request("thymos.request.echo.acme.support.say", b"hi", 5 * SECOND)
    assert reply == b"thymos.request.echo.acme.support.say hi"
    with pytest.raises(UnavailableError, match="nobody answers"):
        await rig.bus.request("thymos.request.nobody.acme.support.say", b"", 5 * SECOND)


async def test_following_reads_the_past_in_order_then_what_comes(rig: Rig) -> None:
    await publish(rig.bus, "a", "b")
    async with aclosing(rig.bus.follow(subjects.TELEMETRY, "thymos.telemetry.>", from_sequence=1)) as stored:
        past = [(await asyncio.wait_for(anext(stored), 10)).body for _ in range(2)]
        await publish(rig.bus, "c")
        assert [*past, (await asyncio.wait_for(anext(stored), 10)).body] == [b"a", b"b", b"c"]
    assert await rig.bus.last_sequence(subjects.TELEMETRY) == 3


@pytest.mark.parametrize(("from_sequence", "first"), [(0, b"a"), (1, b"a"), (2, b"b"), (None, b"c")])
async def test_following_begins_at_a_sequence_or_with_what_is_new(
    rig: Rig, from_sequence: int | None, first: bytes
) -> None:
    await publish(rig.bus, "a", "b")
    following = rig.bus.follow(subjects.TELEMETRY, "thymos.telemetry.>", from_sequence=from_sequence)
    async with aclosing(following) as stored:
        begun = asyncio.ensure_future(anext(stored))
        if from_sequence is None:
            await keep_publishing_until(rig.bus, begun)
            assert (await begun).sequence > 2
        else:
            assert (await asyncio.wait_for(begun, 10)).body == first


async def keep_publishing_until(bus: Bus, done: "asyncio.Future[Stored]") -> None:
    """Who follows what is new says nothing when it has begun: publish until it has seen something."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        for number in itertools.count():
            await publish(bus, f"new-{number}")
            if (await asyncio.wait({done}, timeout=0.05))[0]:
                return


async def test_a_message_over_the_limit_is_poison_and_others_flow(rig: Rig) -> None:
    with pytest.raises(PoisonError, match=TELEMETRY):
        await rig.bus.publish(TELEMETRY, bytes(subjects.MIB + 1), "huge")
    largest = bytes(subjects.MESSAGE_BYTES_MAX)
    assert (await rig.bus.publish(TELEMETRY, largest, "largest", {"content-type": "x" * 1_000})).sequence == 1
    assert (await take(await rig.bus.subscribe(CONSUMER), 1))[0].body == largest


async def test_an_answer_that_comes_too_late_is_no_answer_and_disturbs_nobody(rig: Rig) -> None:
    go_on, went_on = asyncio.Event(), asyncio.Event()

    async def answer(_subject: str, body: bytes) -> bytes:
        if body == b"slow":
            await go_on.wait()
            went_on.set()
        return body

    await rig.bus.serve("echo", {"say": "thymos.request.echo.*.*.say"}, answer)
    subject = "thymos.request.echo.acme.support.say"
    with pytest.raises(UnavailableError, match=f"no answer on {subject}"):
        await rig.bus.request(subject, b"slow", timedelta(milliseconds=100))
    assert await rig.bus.request(subject, b"quick", 5 * SECOND) == b"quick"
    go_on.set()
    await asyncio.wait_for(went_on.wait(), 10)


async def test_an_acknowledgement_without_confirmation_settles_too(rig: Rig) -> None:
    await publish(rig.bus, "a", "b", "c")
    subscription = await rig.bus.subscribe(CONSUMER)
    a, b, c = await take(subscription, 3)
    await a.ack(confirm=False)
    await b.ack(confirm=False)
    await c.ack()
    depth = await rig.bus.depth(CONSUMER)
    assert depth is not None
    assert depth.lag == 0, "the confirmation of the last one covers those before it"


async def test_an_acknowledgement_without_confirmation_does_not_tell_that_the_server_is_away(rig: Rig) -> None:
    await publish(rig.bus, "a")
    held = (await take(await rig.bus.subscribe(CONSUMER), 1))[0]
    rig.server.kill9() if isinstance(rig.server, NatsServer) else rig.server.stop()
    await held.ack(confirm=False)


async def test_what_is_kept_for_ever_cannot_be_purged(rig: Rig) -> None:
    event = "thymos.event.acme.support.branch.created"
    await publish(rig.bus, "a", subject=event)
    with pytest.raises(TransientError, match=event):
        await rig.bus.purge(subjects.EVENTS, event)
    async with aclosing(rig.bus.follow(subjects.EVENTS, event, from_sequence=1)) as stored:
        assert (await asyncio.wait_for(anext(stored), 10)).body == b"a"


async def test_the_last_message_on_a_subject_can_be_read(rig: Rig) -> None:
    event, other = "thymos.event.acme.support.branch.created", "thymos.event.acme.sales.branch.created"
    assert await rig.bus.last(subjects.EVENTS, event) is None
    await publish(rig.bus, "a", "b", subject=event)
    await publish(rig.bus, "c", subject=other)
    last = await rig.bus.last(subjects.EVENTS, event)
    assert last is not None
    assert (last.body, last.sequence, last.headers["Nats-Msg-Id"]) == (b"b", 2, "b")
    whole = await rig.bus.last(subjects.EVENTS, "thymos.event.>")
    assert whole is not None
    assert whole.sequence == 3


async def test_a_message_is_stored_at_the_same_time_for_whoever_reads_it(rig: Rig) -> None:
    event = "thymos.event.acme.support.branch.created"
    await publish(rig.bus, *"abcdefgh", subject=event)
    last = await rig.bus.last(subjects.EVENTS, event)
    async with aclosing(rig.bus.follow(subjects.EVENTS, event, from_sequence=8)) as stored:
        followed = await asyncio.wait_for(anext(stored), 10)
    assert last is not None
    assert last.stored_at == followed.stored_at


async def test_of_two_that_follow_the_same_message_one_is_stored(rig: Rig) -> None:
    event = "thymos.event.acme.support.branch.created"
    first = await rig.bus.publish(event, b"a", "a", {EXPECTED_LAST_HEADER: "0"})
    assert not first.duplicate
    with pytest.raises(TransientError, match="not stored"):
        await rig.bus.publish(event, b"b", "b", {EXPECTED_LAST_HEADER: "0"})
    with pytest.raises(TransientError, match="not stored"):  # also of an attempt whose acknowledgement was lost
        await rig.bus.publish(event, b"a", "a", {EXPECTED_LAST_HEADER: "0"})
    second = await rig.bus.publish(event, b"b", "b", {EXPECTED_LAST_HEADER: str(first.sequence)})
    assert second.sequence == first.sequence + 1
