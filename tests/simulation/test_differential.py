"""The same trace on the simulated bus and on a real server: the same sequences, duplicates, deliveries and attempts.

The trace is drawn from a seed: publishing (now and then with an id that was used before), taking the next message of an
ordered durable, and settling what is in hand by an acknowledgement, a retry at once, or a termination.
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
)
STEPS = 150
SOON = timedelta(milliseconds=100)


@dataclass(frozen=True)
class Step:
    """What is done: `publish` a subject under an id, or `take` of a consumer and settle it as `how` says."""

    what: str
    which: int
    how: str = ""


def drawn(seed: int) -> Sequence[Step]:
    random = Random(seed)
    steps: list[Step] = []
    for number in range(STEPS):
        if random.random() < 0.5:
            steps.append(Step("publish", random.randrange(len(SUBJECTS)), f"m{random.randrange(number + 1)}"))
        else:
            steps.append(Step("take", random.randrange(len(CONSUMERS)), random.choice(("ack", "ack", "retry", "end"))))
    return steps


async def seen(bus: Bus, steps: Sequence[Step]) -> list[str]:
    """What a bus makes of a trace, in words that do not depend on times."""
    subscriptions = [await bus.subscribe(consumer) for consumer in CONSUMERS]
    lines = []
    for step in steps:
        if step.what == "publish":
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

    simulated = await seen(MemoryBus(), steps)
    real = await seen(server, steps)

    assert real == simulated
    assert any("again" in line for line in real)
    assert any(", 2: " in line for line in real), "something was delivered twice"
