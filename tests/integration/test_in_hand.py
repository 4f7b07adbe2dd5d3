"""What a killed service had in hand comes to the next one at once, and its deliveries are counted on."""

import asyncio
from datetime import timedelta

from thymos import nats_bus, subjects
from thymos.nats_bus import NatsBus
from thymos.testing import NatsServer

CONSUMER = subjects.consumer(subjects.DECISION_ENGINE, subjects.COMMANDS)
SUBJECT = subjects.command_subject(subjects.DECISION_ENGINE, "acme", "support", "experiment.abort")
SHORT = timedelta(seconds=3)
"""Much less than `ack_wait`."""


async def test_it_comes_again_without_waiting(nats: NatsBus, nats_server: NatsServer) -> None:
    assert CONSUMER.ack_wait > 3 * SHORT
    for name in ("c1", "c2"):
        await nats.publish(SUBJECT, name.encode(), name)
    for attempt in (1, 2, 3):
        killed = await nats_bus.connect(nats_server.url, "killed")
        async with asyncio.timeout(SHORT.total_seconds()):
            (delivery,) = await (await killed.subscribe(CONSUMER)).fetch(1, SHORT)
        assert (delivery.body, delivery.attempts) == (b"c1", attempt)
        await killed.client.close()

    subscription = await nats.subscribe(CONSUMER)
    (delivery,) = await subscription.fetch(1, SHORT)
    await delivery.ack()
    (delivery,) = await subscription.fetch(1, SHORT)
    await delivery.ack()
    assert delivery.body == b"c2"
    assert await subscription.fetch(1, timedelta(milliseconds=300)) == []
    await subscription.close()
