"""Following a stream on NATS: every message in order, through reconnects, restarts of the server and slow readers.

Not nats-py's ordered consumer: it drops messages when the reader is slow and then never catches up, and after a restart
of the server it begins at the first message of all, or not again at all when it was started by time (both observed).
Here messages are pulled, so that a slow reader simply pulls later. The consumer on the server keeps nothing: where to
read on is known here, and whenever something may have been lost a new one begins there.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from nats.errors import Error as NatsError
from nats.js import api
from nats.js.errors import APIError, NotFoundError

from thymos.bus import Stored
from thymos.errors import TransientError, UnavailableError
from thymos.subjects import Consumer, Stream

if TYPE_CHECKING:
    from thymos.nats_bus import NatsBus, NatsDelivery

BATCH = 256
LOOK_AGAIN = timedelta(seconds=2)
"""How soon a consumer is missed that the server forgot."""
FORGET_SECONDS = 60.0
"""When the server forgets a consumer whose reader is gone."""
AWAY_SECONDS = 0.25


async def follow(bus: "NatsBus", stream: Stream, subject: str, start: int) -> AsyncGenerator[Stored, None]:
    """Messages on `subject` from the sequence `start` on; then live, until closed.

    Raises:
        UnavailableError: it cannot begin: the stream does not exist, or the server does not answer. Once begun it waits
            for a server that is away, and ends so only when the client has been closed.
    """
    position = max(1, start)
    first = True
    while True:
        if bus.client.is_closed:
            raise UnavailableError(f"{stream.name}: the connection is closed")
        reconnects = bus.client.stats["reconnects"]
        try:
            name = await _consumer(bus, stream, subject, position)
        except TransientError as error:
            if first:
                raise UnavailableError(str(error)) from error
            await asyncio.sleep(AWAY_SECONDS)
            continue
        first = False
        reading = Consumer(stream, name, (subject,), service="")
        expected = 1
        try:
            subscription = await bus.subscribe(reading)
            try:
                while bus.client.stats["reconnects"] == reconnects and not bus.client.is_closed:
                    for delivery in await subscription.fetch(BATCH, LOOK_AGAIN):
                        if delivery.consumer_sequence != expected:
                            raise TransientError("a message was lost on the way")
                        expected += 1
                        yield _stored(delivery)
                        position = delivery.sequence + 1
            finally:
                with suppress(TransientError):
                    await subscription.close()
                    await bus.delete_consumer(reading)
        except TransientError:  # gone, away, or a gap: begin again at `position`
            await asyncio.sleep(AWAY_SECONDS)


async def _consumer(bus: "NatsBus", stream: Stream, subject: str, start: int) -> str:
    """A consumer that the server keeps in memory, acknowledges nothing, and forgets with its reader; its name."""
    config = api.ConsumerConfig(
        filter_subject=subject,
        deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=start,
        ack_policy=api.AckPolicy.NONE,
        inactive_threshold=FORGET_SECONDS,
        mem_storage=True,
        num_replicas=1,
    )
    try:
        return str((await bus.jetstream.add_consumer(stream.name, config)).name)
    except NotFoundError as error:
        raise TransientError(f"there is no stream {stream.name}; run `thymos provision`") from error
    except (TimeoutError, NatsError, OSError) as error:
        words = error.description if isinstance(error, APIError) and error.description else str(error)
        raise TransientError(f"cannot follow {stream.name}: {words or type(error).__name__}") from error


def _stored(delivery: "NatsDelivery") -> Stored:
    at = delivery.stored_at
    return Stored(
        delivery.subject,
        delivery.body,
        delivery.sequence,
        at.replace(tzinfo=UTC) if at.tzinfo is None else at,
        dict(delivery.headers),
    )
