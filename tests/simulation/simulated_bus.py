"""The bus of the simulation: `MemoryBus` in virtual time as the server, and for each process a connection that fails.

Ordered consumers keep their order: what is late or comes again there holds up what follows. Others, and streams among
each other, get out of order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta

from thymos.bus import PublishAck, QueueDepth, RequestHandler, Stored
from thymos.errors import TransientError, UnavailableError
from thymos.subjects import Consumer, Stream
from thymos.testing import MemoryBus, MemoryDelivery, subject_matches

from .faults import AFTER, BEFORE, Faults
from .virtual_time import Owner, now

LATE_SECONDS = 4.0
FORGOTTEN = timedelta(seconds=3)
"""Acknowledgements younger than this may be forgotten by a server that is killed."""
Note = Callable[[str], None]


class Server(MemoryBus):
    """Everything that is stored, in virtual time.

    Args:
        faults: what is late.
        stored: told of each message when it is stored, with its stream's name.
        note: told of everything that happens, for the trace.
    """

    def __init__(self, faults: Faults, stored: Callable[[str, Stored], None], note: Note) -> None:
        super().__init__(now)
        self.faults = faults
        self.note = note
        self._told = stored
        self.history: dict[str, list[Stored]] = {name: [] for name in self._logs}
        self.acknowledged: list[tuple[str, str, int]] = []
        """Stream, message id and sequence of each publish that was acknowledged to its publisher."""
        self.endpoints: list[tuple[str, RequestHandler, Owner]] = []
        self._waiting: list[tuple[Consumer, asyncio.Future[None]]] = []
        self._following: list[asyncio.Future[None]] = []
        self._acked: dict[tuple[str, str], deque[tuple[datetime, Stored, int]]] = {}

    async def _notify(self) -> None:
        """Whoever waits is woken by `_wake`, by subject."""

    async def publish(
        self, subject: str, body: bytes, message_id: str, headers: Mapping[str, str] | None = None
    ) -> PublishAck:
        done = await super().publish(subject, body, message_id, headers)
        name = self.stream_of(subject)
        self.note(f"publish {subject} {message_id} {done.sequence} {done.duplicate}")
        if not done.duplicate:
            message = self._logs[name].messages[done.sequence]
            self.history[name].append(message)
            self._wake(subject)
            self._told(name, message)
        return done

    def stream_of(self, subject: str) -> str:
        """The name of the stream that takes a subject."""
        return next(
            name for name, log in self._logs.items() if any(subject_matches(s, subject) for s in log.stream.subjects)
        )

    def _wake(self, subject: str | None = None) -> None:
        for following in self._following:
            if not following.done():
                following.set_result(None)
        self._following.clear()
        keep = []
        for consumer, waiting in self._waiting:
            if subject is not None and not any(subject_matches(f, subject) for f in consumer.filters):
                keep.append((consumer, waiting))
            elif not waiting.done():
                waiting.set_result(None)
        self._waiting = keep

    async def fetch(self, consumer: Consumer, count_max: int, timeout: timedelta) -> list[MemoryDelivery]:
        """See `thymos.bus.Subscription.fetch`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout.total_seconds()
        while True:
            self._check_up()
            taken: list[MemoryDelivery] = []
            while len(taken) < count_max and (delivery := self._take(consumer)):
                if not consumer.ordered and self.faults.happens("delivery_late"):
                    self._put_off(consumer, delivery)
                    continue
                self.note(f"deliver {consumer.durable} {consumer.stream.name} {delivery.sequence} {delivery.attempts}")
                self.faults.counts["redelivered"] += delivery.attempts > 1
                taken.append(delivery)
            left = deadline - loop.time()
            if taken or left <= 0:
                return taken
            waiting: asyncio.Future[None] = loop.create_future()
            self._waiting.append((consumer, waiting))
            await asyncio.wait({waiting}, timeout=min(left, self._seconds_to_next(consumer)))
            waiting.cancel()
            self._waiting = [known for known in self._waiting if known[1] is not waiting]

    async def follow(
        self, stream: Stream, subject: str, since: datetime | None = None, from_sequence: int | None = None
    ) -> AsyncGenerator[Stored, None]:
        log = self._logs[stream.name]
        position = log.last + 1 if since is None and from_sequence is None else max(from_sequence or 1, 1)
        while True:
            while self.up and position <= log.last:
                message = log.messages.get(position)
                position += 1
                if message and subject_matches(subject, message.subject) and not (since and message.stored_at < since):
                    yield message
            following: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._following.append(following)
            await following

    def _put_off(self, consumer: Consumer, delivery: MemoryDelivery) -> None:
        durable = self._durable(consumer)
        durable.attempts[delivery.sequence] -= 1
        del durable.in_flight[delivery.sequence]
        durable.again_at[delivery.sequence] = now() + timedelta(seconds=0.01 + self.faults.seconds(LATE_SECONDS))

    def _seconds_to_next(self, consumer: Consumer) -> float:
        durable = self._durable(consumer)
        times = [*durable.in_flight.values(), *durable.again_at.values()]
        return max(1e-3, (min(times) - now()).total_seconds() + 1e-6) if times else 1e9

    def _settled(self, durable: object, sequence: int) -> None:
        known = next((key for key, one in self._durables.items() if one is durable), None)
        if known is not None:
            message = self._logs[known[0]].messages.get(sequence)
            attempts = self._durables[known].attempts.get(sequence, 1)
            if message is not None:
                self._acked.setdefault(known, deque(maxlen=50)).append((now(), message, attempts))
        super()._settled(durable, sequence)  # type: ignore[arg-type]
        self.note(f"settled {known} {sequence}")
        self._wake()

    def start(self) -> None:
        super().start()
        self._wake()

    def forget_acknowledgements(self) -> int:
        """A server that was killed: the last acknowledgements are unknown to it. Returns how many."""
        forgotten = 0
        for key, acked in self._acked.items():
            durable, log = self._durables.get(key), self._logs[key[0]]
            while durable is not None and acked and now() - acked[-1][0] < FORGOTTEN:
                _, message, attempts = acked.pop()
                log.messages.setdefault(message.sequence, message)
                durable.again_at[message.sequence] = now()
                durable.attempts[message.sequence] = attempts
                forgotten += 1
        self.faults.counts["acknowledgements forgotten"] += forgotten
        self._wake()
        return forgotten


class SimulatedDelivery:
    """See `thymos.bus.Delivery`."""

    def __init__(self, delivery: MemoryDelivery, connection: Connection) -> None:
        self._delivery = delivery
        self._connection = connection
        self.subject, self.body = delivery.subject, delivery.body
        self.headers, self.sequence, self.attempts = delivery.headers, delivery.sequence, delivery.attempts

    async def ack(self, confirm: bool = True) -> None:
        await self._connection.point(f"{BEFORE} ack")
        if self._connection.faults.happens("ack_lost"):
            if confirm:
                raise TransientError("the acknowledgement is not confirmed")
            return
        await self._delivery.ack(confirm)
        await self._connection.point(f"{AFTER} ack")

    async def retry(self, delay: timedelta) -> None:
        await self._connection.point(f"{BEFORE} retry")
        await self._delivery.retry(delay)
        await self._connection.point(f"{AFTER} retry")

    async def terminate(self) -> None:
        await self._connection.point(f"{BEFORE} terminate")
        await self._delivery.terminate()
        await self._connection.point(f"{AFTER} terminate")

    async def in_progress(self) -> None:
        await self._connection.owner.gate()
        await self._delivery.in_progress()


class SimulatedSubscription:
    """See `thymos.bus.Subscription`."""

    def __init__(self, connection: Connection, consumer: Consumer) -> None:
        self._connection = connection
        self._consumer = consumer

    async def fetch(self, count_max: int, timeout: timedelta) -> Sequence[SimulatedDelivery]:
        await self._connection.owner.gate()
        taken = await self._connection.server.fetch(self._consumer, count_max, timeout)
        await self._connection.owner.gate()
        return [SimulatedDelivery(delivery, self._connection) for delivery in taken]

    async def close(self) -> None:
        """Nothing is held."""


class Connection:
    """See `thymos.bus.Bus`: what one process has of it."""

    def __init__(self, server: Server, owner: Owner) -> None:
        self.server = server
        self.owner = owner
        self.faults = server.faults
        owner.at_death.append(self._gone)

    def _gone(self) -> None:
        self.server.endpoints = [known for known in self.server.endpoints if known[2] is not self.owner]

    async def point(self, name: str) -> None:
        """A point where the process may be killed."""
        await self.owner.point(name, self.faults)

    async def publish(
        self, subject: str, body: bytes, message_id: str, headers: Mapping[str, str] | None = None
    ) -> PublishAck:
        await self.point(f"{BEFORE} relay")
        if self.faults.happens("publish_lost"):
            raise TransientError("lost before the server")
        if self.faults.happens("publish_late"):
            await asyncio.sleep(self.faults.seconds(LATE_SECONDS))
            await self.owner.gate()
        done = await self.server.publish(subject, body, message_id, headers)
        if self.faults.happens("publish_twice"):
            done = await self.server.publish(subject, body, message_id, headers)
        await self.point(f"{AFTER} relay")
        await self.point("relay half way")
        if self.faults.happens("publish_unacknowledged"):
            raise TransientError("stored, but the acknowledgement is lost")
        self.server.acknowledged.append((self.server.stream_of(subject), message_id, done.sequence))
        return done

    async def subscribe(self, consumer: Consumer) -> SimulatedSubscription:
        await self.owner.gate()
        await self.server.subscribe(consumer)
        return SimulatedSubscription(self, consumer)

    async def request(self, subject: str, body: bytes, timeout: timedelta) -> bytes:
        await self.owner.gate()
        if not self.server.up:
            raise UnavailableError(f"no answer on {subject}: the bus is away")
        found = next((known for known in self.server.endpoints if subject_matches(known[0], subject)), None)
        if found is None:
            raise UnavailableError(f"nobody answers {subject}")
        if self.faults.happens("request_lost"):
            await asyncio.sleep(timeout.total_seconds())
            raise UnavailableError(f"no answer on {subject}: not in time")
        _, handler, owner = found

        async def answered() -> bytes:
            await owner.gate()
            return await handler(subject, body)

        answering = owner.start(answered())
        done, _ = await asyncio.wait({answering}, timeout=timeout.total_seconds())
        await self.owner.gate()
        if not done or answering.cancelled() or self.faults.happens("reply_lost"):
            raise UnavailableError(f"no answer on {subject}: not in time")
        return answering.result()

    async def serve(self, service: str, endpoints: Mapping[str, str], handler: RequestHandler) -> None:
        del service
        await self.owner.gate()
        self.server.endpoints.extend((subject, handler, self.owner) for subject in endpoints.values())

    async def follow(
        self, stream: Stream, subject: str, since: datetime | None = None, from_sequence: int | None = None
    ) -> AsyncGenerator[Stored, None]:
        async with aclosing(self.server.follow(stream, subject, since, from_sequence)) as messages:
            async for message in messages:
                await self.owner.gate()
                yield message

    async def last_sequence(self, stream: Stream) -> int:
        await self.owner.gate()
        return await self.server.last_sequence(stream)

    async def last(self, stream: Stream, subject: str) -> Stored | None:
        await self.owner.gate()
        return await self.server.last(stream, subject)

    async def missing(self, consumers: Sequence[Consumer]) -> Sequence[str]:
        await self.owner.gate()
        return await self.server.missing(consumers)

    async def ensure_consumer(self, consumer: Consumer) -> None:
        await self.owner.gate()
        await self.server.ensure_consumer(consumer)

    async def delete_consumer(self, consumer: Consumer) -> None:
        await self.owner.gate()
        await self.server.delete_consumer(consumer)

    async def depth(self, consumer: Consumer) -> QueueDepth | None:
        await self.owner.gate()
        return await self.server.depth(consumer)

    async def purge(self, stream: Stream, subject: str) -> int:
        await self.owner.gate()
        return await self.server.purge(stream, subject)

    async def close(self) -> None:
        """Nothing to flush."""
