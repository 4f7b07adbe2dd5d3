"""Shipped for tests: a real NATS server on a port of its own, and an in-memory bus that keeps the same promises.

`MemoryBus` passes the conformance suite of the real one (tests/contract/test_bus_conformance.py), so that a test or
a simulation may use it in place of a server.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from thymos.bus import (
    EXPECTED_LAST_HEADER,
    MESSAGE_ID_HEADER,
    ConsumerMissingError,
    PublishAck,
    QueueDepth,
    RequestHandler,
    Stored,
)
from thymos.embedded import NatsServer as NatsServer  # shipped for tests, too
from thymos.embedded import free_port as free_port
from thymos.embedded import nats_server_path as nats_server_path
from thymos.errors import NoAnswerError, PoisonError, TransientError, UnavailableError
from thymos.subjects import CONSUMERS, MIB, STREAMS, Consumer, Retention, Stream

# --- the bus in memory ---------------------------------------------------------------------------------------------


def subject_matches(pattern: str, subject: str) -> bool:
    """Whether a subject matches a pattern with `*` (one token) and `>` (one or more)."""
    wanted, given = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(given) > index
        if index >= len(given) or token not in ("*", given[index]):
            return False
    return len(wanted) == len(given)


def _size(body: bytes, headers: Mapping[str, str]) -> int:
    """What the server counts of a message, in bytes: the body and the headers as they are on the wire."""
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    return len(body) + len("".join(["NATS/1.0\r\n", *lines, "\r\n"]).encode())


@dataclass
class _Durable:
    """What a consumer remembers: where it reads on, what is out, and what comes again when."""

    consumer: Consumer
    next_sequence: int = 1
    in_flight: dict[int, datetime] = field(default_factory=dict)
    again_at: dict[int, datetime] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=lambda: defaultdict(int))


@dataclass
class _StreamLog:
    stream: Stream
    messages: dict[int, Stored] = field(default_factory=dict)
    last: int = 0
    seen: dict[str, tuple[int, datetime]] = field(default_factory=dict)


class MemoryBus:
    """See `thymos.bus.Bus`. One event loop, no persistence beyond the object: `stop()` and `start()` forget connections
    only. Takes messages of up to 1 MiB, like the server.

    Args:
        clock: the current time, aware; deliveries come again by it.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._logs = {stream.name: _StreamLog(stream) for stream in STREAMS}
        self._durables = {(c.stream.name, c.durable): _Durable(c) for c in CONSUMERS}
        self._endpoints: list[tuple[str, RequestHandler]] = []
        self._answering: set[asyncio.Future[bytes]] = set()
        self._changed = asyncio.Condition()
        self.up = True

    def stop(self) -> None:
        """Like a server that is away: everything raises until `start()`."""
        self.up = False

    def start(self) -> None:
        """The server is back, with all it had stored; what was in flight comes again at once."""
        self.up = True
        for durable in self._durables.values():
            for sequence in durable.in_flight:
                durable.in_flight[sequence] = self._clock()

    def _check_up(self) -> None:
        if not self.up:
            raise TransientError("the bus is away")

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def publish(
        self, subject: str, body: bytes, message_id: str, headers: Mapping[str, str] | None = None
    ) -> PublishAck:
        self._check_up()
        all_headers = {**(headers or {}), MESSAGE_ID_HEADER: message_id}
        size = _size(body, all_headers)
        if size > MIB:
            raise PoisonError(f"{size} bytes on {subject}: more than {MIB}")
        logs = (g for g in self._logs.values() if any(subject_matches(s, subject) for s in g.stream.subjects))
        log = next(logs, None)
        if log is None:
            raise TransientError(f"not stored on {subject}: no stream takes it")
        now = self._clock()
        expected = all_headers.get(EXPECTED_LAST_HEADER)
        newest = max((s for s, m in log.messages.items() if expected is not None and m.subject == subject), default=0)
        if expected is not None and int(expected) != newest:
            raise TransientError(f"not stored on {subject}: the last one there is {newest}, not {expected}")
        known = log.seen.get(message_id)
        if known and now - known[1] < log.stream.duplicate_window:
            return PublishAck(known[0], True)
        log.last += 1
        log.messages[log.last] = Stored(subject, body, log.last, now, all_headers)
        log.seen[message_id] = (log.last, now)
        await self._notify()
        return PublishAck(log.last, False)

    async def subscribe(self, consumer: Consumer) -> "MemorySubscription":
        self._check_up()
        self._durable(consumer)
        return MemorySubscription(self, consumer)

    def _durable(self, consumer: Consumer) -> _Durable:
        durable = self._durables.get((consumer.stream.name, consumer.durable))
        if durable is None:
            raise ConsumerMissingError(f"consumer {consumer.durable} on {consumer.stream.name} does not exist")
        return durable

    def _take(self, consumer: Consumer) -> "MemoryDelivery | None":
        """The next message that is due for a durable, within its limit of unacknowledged ones."""
        durable, now = self._durable(consumer), self._clock()
        log = self._logs[consumer.stream.name]
        for sequence, until in sorted(durable.in_flight.items()):
            if until <= now:
                del durable.in_flight[sequence]
                durable.again_at[sequence] = now
        if len(durable.in_flight) + len(durable.again_at) < consumer.max_ack_pending:
            self._read_on(durable, log, now)
        for sequence, at in sorted(durable.again_at.items()):
            if at > now or len(durable.in_flight) >= consumer.max_ack_pending:
                continue
            del durable.again_at[sequence]
            if sequence not in log.messages:
                continue
            durable.in_flight[sequence] = now + consumer.ack_wait
            durable.attempts[sequence] += 1
            return MemoryDelivery(self, durable, log.messages[sequence], durable.attempts[sequence])
        return None

    @staticmethod
    def _read_on(durable: _Durable, log: _StreamLog, now: datetime) -> None:
        while durable.next_sequence <= log.last:
            sequence = durable.next_sequence
            durable.next_sequence += 1
            message = log.messages.get(sequence)
            if message and any(subject_matches(f, message.subject) for f in durable.consumer.filters):
                durable.again_at[sequence] = now
                return

    def _settled(self, durable: _Durable, sequence: int) -> None:
        durable.in_flight.pop(sequence, None)
        durable.attempts.pop(sequence, None)
        if durable.consumer.stream.retention is Retention.WORK_QUEUE:
            self._logs[durable.consumer.stream.name].messages.pop(sequence, None)

    async def request(self, subject: str, body: bytes, timeout: timedelta) -> bytes:
        if not self.up:
            raise UnavailableError(f"no answer on {subject}: the bus is away")
        handler = next((h for pattern, h in self._endpoints if subject_matches(pattern, subject)), None)
        if handler is None:
            raise UnavailableError(f"nobody answers {subject}")
        # A task of its own: who asked may stop waiting, who answers does not notice and goes on.
        answering = asyncio.ensure_future(handler(subject, body))
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)
        done, _ = await asyncio.wait({answering}, timeout=timeout.total_seconds())
        if not done:
            raise NoAnswerError(f"no answer on {subject}: not within {timeout.total_seconds():g} s")
        return answering.result()

    async def serve(self, service: str, endpoints: Mapping[str, str], handler: RequestHandler) -> None:
        del service
        self._endpoints.extend((subject, handler) for subject in endpoints.values())

    async def follow(
        self, stream: Stream, subject: str, since: datetime | None = None, from_sequence: int | None = None
    ) -> AsyncGenerator[Stored, None]:
        log = self._logs[stream.name]
        position = log.last + 1 if since is None and from_sequence is None else max(from_sequence or 1, 1)
        while True:
            while position <= log.last:
                message = log.messages.get(position)
                position += 1
                if message and subject_matches(subject, message.subject) and not (since and message.stored_at < since):
                    yield message
            async with self._changed:
                if position > log.last:
                    await self._changed.wait()

    async def last_sequence(self, stream: Stream) -> int:
        self._check_up()
        return self._logs[stream.name].last

    async def last(self, stream: Stream, subject: str) -> Stored | None:
        if not self.up:
            raise UnavailableError("the bus is away")
        messages = reversed(self._logs[stream.name].messages.values())
        return next((m for m in messages if subject_matches(subject, m.subject)), None)

    async def missing(self, consumers: Sequence[Consumer]) -> Sequence[str]:
        if not self.up:
            return ["the bus is away"]
        return [
            f"consumer {c.durable} on {c.stream.name} does not exist"
            for c in consumers
            if (c.stream.name, c.durable) not in self._durables
        ]

    async def ensure_consumer(self, consumer: Consumer) -> None:
        self._check_up()
        self._durables.setdefault((consumer.stream.name, consumer.durable), _Durable(consumer))

    async def delete_consumer(self, consumer: Consumer) -> None:
        self._check_up()
        self._durables.pop((consumer.stream.name, consumer.durable), None)

    async def depth(self, consumer: Consumer) -> QueueDepth | None:
        self._check_up()
        durable = self._durables.get((consumer.stream.name, consumer.durable))
        if durable is None:
            return None
        log = self._logs[consumer.stream.name]
        unread = [
            m for s, m in log.messages.items()
            if s >= durable.next_sequence and any(subject_matches(f, m.subject) for f in consumer.filters)
        ]  # fmt: skip
        return QueueDepth(len(unread), len(durable.in_flight) + len(durable.again_at))

    async def purge(self, stream: Stream, subject: str) -> int:
        self._check_up()
        if stream.for_ever:
            raise TransientError(f"purge of {subject}: {stream.name} keeps its messages for ever")
        log = self._logs[stream.name]
        gone = [s for s, m in log.messages.items() if subject_matches(subject, m.subject)]
        for sequence in gone:
            del log.messages[sequence]
        return len(gone)

    async def close(self) -> None:
        """Nothing to close."""


class MemorySubscription:
    """See `thymos.bus.Subscription`."""

    def __init__(self, bus: MemoryBus, consumer: Consumer) -> None:
        self._bus = bus
        self._consumer = consumer

    async def fetch(self, count_max: int, timeout: timedelta) -> Sequence["MemoryDelivery"]:
        deadline = time.monotonic() + timeout.total_seconds()
        while True:
            self._bus._check_up()
            taken: list[MemoryDelivery] = []
            while len(taken) < count_max and (delivery := self._bus._take(self._consumer)):
                taken.append(delivery)
            left = deadline - time.monotonic()
            if taken or left <= 0:
                return taken
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, 0.02)), self._bus._changed:
                    await self._bus._changed.wait()

    async def close(self) -> None:
        """Nothing is held."""


class MemoryDelivery:
    """See `thymos.bus.Delivery`."""

    def __init__(self, bus: MemoryBus, durable: _Durable, message: Stored, attempts: int) -> None:
        self._bus = bus
        self._durable = durable
        self._message = message
        self.subject = message.subject
        self.body = message.body
        self.headers = message.headers
        self.sequence = message.sequence
        self.attempts = attempts

    async def ack(self, confirm: bool = True) -> None:
        if confirm:
            self._bus._check_up()
        elif not self._bus.up:
            return  # nobody waits for an answer: it is lost, and the message comes again
        self._bus._settled(self._durable, self.sequence)

    async def retry(self, delay: timedelta) -> None:
        self._bus._check_up()
        if self._durable.in_flight.pop(self.sequence, None) is not None:
            self._durable.again_at[self.sequence] = self._bus._clock() + delay

    async def terminate(self) -> None:
        self._bus._check_up()
        self._bus._settled(self._durable, self.sequence)

    async def in_progress(self) -> None:
        self._bus._check_up()
        if self.sequence in self._durable.in_flight:
            self._durable.in_flight[self.sequence] = self._bus._clock() + self._durable.consumer.ack_wait
