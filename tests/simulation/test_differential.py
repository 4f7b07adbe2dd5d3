"""The same trace on the simulated bus and on a real server: the same sequences, duplicates, deliveries and attempts.

The trace is drawn from a seed: publishing (now and then with an id that was used before), taking the next message of an
ordered durable, and settling what is in hand by an acknowledgement, a retry at once, or a termination. The durable that
hands out many messages at once promises no order: of it the deliveries are compared, whatever their order. Another test
leaves messages unsettled, so that they come again by themselves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random

import pytest
import pytest_asyncio

from thymos import subjects
from thymos.bus import Bus, Delivery, Subscription
from thymos.nats_bus import NatsBus
from thymos.provision import provision
from thymos.subjects import Consumer
from thymos.testing import MemoryBus

CONSUMERS = (
    subjects.consumer(subjects.DECISION_ENGINE, subjects.EVENTS),
    subjects.consumer(subjects.WORKTREE_SCALER, subjects.EVENTS),
    subjects.consumer(subjects.MEMORY_REPOSITORY, subjects.COMMANDS),
)
SUBJECTS = (
    subjects.event_subject("acme", "support", "branch.deleted"),
    subjects.event_subject("other", "support", "branch.merged"),
    subjects.command_subject(subjects.MEMORY_REPOSITORY, "acme", "support", "branch.delete"),
    subjects.telemetry_subject("acme", "support"),
)
MANY = subjects.consumer(subjects.METRICS_COLLECTOR, subjects.TELEMETRY)
HASTY = Consumer(
    subjects.EVENTS, "hasty", ("thymos.event.*.*.branch.>",), "hasty", ack_wait=timedelta(milliseconds=700)
)
"""Ordered, and what it does not settle comes again soon."""
STEPS = 150
BATCH = 7
SOON = timedelta(milliseconds=100)


@dataclass(frozen=True)
class Step:
    """What is done: `publish` a subject under an id, or `take` of a consumer and settle it as `how` says, or take
    `many` of the unordered one."""

    what: str
    which: int
    how: str = ""


def drawn(seed: int) -> Sequence[Step]:
    random = Random(seed)
    steps: list[Step] = []
    for number in range(STEPS):
        if random.random() < 0.1:
            steps.append(Step("many", 0))
        elif random.random() < 0.5:
            steps.append(Step("publish", random.randrange(len(SUBJECTS)), f"m{random.randrange(number + 1)}"))
        else:
            steps.append(Step("take", random.randrange(len(CONSUMERS)), random.choice(("ack", "ack", "retry", "end"))))
    return steps


async def seen_of_many(bus: Bus, subscription: Subscription, seed: int) -> list[str]:
    """Take what there is of the unordered consumer, at most `BATCH`; what becomes of a delivery follows from its
    sequence and attempt."""
    lines: list[str] = []
    depth = await bus.depth(MANY)
    assert depth is not None
    for delivery in await subscription.fetch(BATCH, SOON) if depth.lag else ():
        chance = Random(f"{seed} {delivery.sequence} {delivery.attempts}")
        how = chance.choice(("ack", "retry", "end")) if delivery.attempts < 4 else "ack"
        lines.append(f"{MANY.durable} takes {delivery.sequence}, {delivery.attempts}: {how}")
        await settle(delivery, how)
    return lines


async def seen(bus: Bus, steps: Sequence[Step], seed: int) -> list[str]:
    """What a bus makes of a trace, in words that do not depend on times."""
    subscriptions = [await bus.subscribe(consumer) for consumer in CONSUMERS]
    of_many = await bus.subscribe(MANY)
    lines, many = [], []
    for step in steps:
        if step.what == "many":
            many += await seen_of_many(bus, of_many, seed)
        elif step.what == "publish":
            subject = SUBJECTS[step.which]
            ack = await bus.publish(subject, step.how.encode(), f"{subject}/{step.how}")
            lines.append(f"{subject} {step.how}: {ack.sequence}{' again' if ack.duplicate else ''}")
        elif delivery := await taken(bus, CONSUMERS[step.which], subscriptions[step.which]):
            lines.append(f"{CONSUMERS[step.which].durable} takes {delivery.sequence}, {delivery.attempts}: {step.how}")
            await settle(delivery, step.how)
        else:
            lines.append(f"{CONSUMERS[step.which].durable} has nothing to do")
    for consumer, subscription in zip(CONSUMERS, subscriptions, strict=True):
        while delivery := await taken(bus, consumer, subscription):
            lines.append(f"{consumer.durable} takes {delivery.sequence}, {delivery.attempts}, at the end")
            await delivery.ack()
        await subscription.close()
    while (depth := await bus.depth(MANY)) is not None and depth.lag:
        many += await seen_of_many(bus, of_many, seed)
    await of_many.close()
    return [*lines, *sorted(many)]


async def seen_by_the_hasty(bus: Bus) -> list[str]:
    """What comes again by itself, because it was not settled in time; the next one waits until it was."""
    await bus.ensure_consumer(HASTY)
    for number in range(2):
        await bus.publish(SUBJECTS[0], b"{}", f"hasty/{number}")
    subscription = await bus.subscribe(HASTY)
    lines = []
    while delivery := await taken(bus, HASTY, subscription):
        lines.append(f"{HASTY.durable} takes {delivery.sequence}, {delivery.attempts}")
        if delivery.attempts > delivery.sequence % 3:
            await delivery.ack()
    await subscription.close()
    return lines


async def taken(bus: Bus, consumer: Consumer, subscription: Subscription) -> Delivery | None:
    """The next message; None when nothing waits. A settlement may still be on its way to the server."""
    while True:
        depth = await bus.depth(consumer)
        assert depth is not None
        if not depth.lag:
            return None
        for delivery in await subscription.fetch(1, SOON):
            return delivery


async def settle(delivery: Delivery, how: str) -> None:
    match how:
        case "ack":
            await delivery.ack()
        case "retry":
            await delivery.retry(timedelta(0))
        case _:
            await delivery.terminate()


@pytest_asyncio.fixture
async def server(nats: NatsBus) -> AsyncIterator[NatsBus]:
    await provision(nats)
    yield nats


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_real_server_makes_the_same_of_a_trace(server: NatsBus, seed: int) -> None:
    steps = drawn(seed)

    simulated = await seen(MemoryBus(), steps, seed)
    real = await seen(server, steps, seed)

    assert real == simulated
    assert any(line.startswith(f"{MANY.durable} takes") and ", 3: " in line for line in real)
    assert any("again" in line for line in real)
    assert any(", 2: " in line for line in real), "something was delivered twice"


async def test_a_real_server_hands_out_again_what_is_not_settled_in_time(server: NatsBus) -> None:
    simulated = await seen_by_the_hasty(MemoryBus())
    real = await seen_by_the_hasty(server)

    assert real == simulated
    assert any(line.endswith(", 3") for line in real)
