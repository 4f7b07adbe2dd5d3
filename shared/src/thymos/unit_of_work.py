"""A service's own SQLite file: state, inbox and outbox change in one transaction, or not at all.

Messages are processed at least once and take effect exactly once: the inbox row says that a message has been
handled, the outbox rows are what it caused, and one relay publishes them in order per stream, with ids that follow
from their cause, so that a second attempt is a duplicate to the stream.

All work runs on one thread that owns the connection: handlers are plain functions of `(envelope, tx)`.
"""

import asyncio
import contextlib
import contextvars
import hashlib
import logging
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from thymos import store_health, stories
from thymos.bus import CONTENT_TYPE_HEADER, Bus
from thymos.database import Connection, open_sqlite
from thymos.envelope import CONTENT_TYPE, Envelope, subject_of
from thymos.errors import PoisonError, StoreUnavailableError, TransientError
from thymos.message import Kind, Message
from thymos.settlement import publish_dead_letter
from thymos.sqlite_file import PRAGMAS
from thymos.store_watch import Nobody, Sent, StoreWatch
from thymos.trace_context import handled_as, step_after

log = logging.getLogger(__name__)
T = TypeVar("T")
Clock = Callable[[], datetime]

INBOX_MAX = 200_000
"""Handled message ids remembered per consumer, at least; more while they are younger than `INBOX_AGE`. A message that
comes again later than both would be handled again."""
INBOX_AGE = timedelta(hours=2)
"""Longer than any stream's duplicate window."""
INBOX_PRUNE_EVERY = 1_000
OUTBOX_MAX = 100_000
"""Unpublished messages a service may hold; beyond it nothing more is handled until the bus is back."""
REPLIES_MAX = 100_000
"""Answers remembered by idempotency key; the oldest are forgotten."""
RELAY_BATCH = 64
RELAY_FORGET_EVERY = 8
"""Published messages that may be published again after a kill; their ids are known to the stream for an hour."""
PROVE_EVERY = timedelta(seconds=10)
"""How often a store is tried, so that an idle service knows whether it could write."""
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://thymos.invalid/outbox")

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS inbox(
    position INTEGER PRIMARY KEY AUTOINCREMENT, consumer TEXT NOT NULL, message_id TEXT NOT NULL, at REAL NOT NULL,
    UNIQUE(consumer, message_id));
CREATE INDEX IF NOT EXISTS inbox_by_age ON inbox(consumer, position);
CREATE TABLE IF NOT EXISTS outbox(
    position INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, subject TEXT NOT NULL,
    message_id TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS outbox_by_stream ON outbox(stream, position);
CREATE TABLE IF NOT EXISTS replies(
    position INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, reply BLOB NOT NULL);
{store_health.SCHEMA}
{stories.SCHEMA}
"""
"""The tables of every service's file, besides its own."""


@dataclass(frozen=True)
class Cause:
    """What a transaction answers to: ids of what it publishes follow from it."""

    key: str
    tenant: str
    agent: str
    message_id: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None

    @staticmethod
    def of(consumer: str, envelope: Envelope[Message]) -> "Cause":
        """The cause that a message is."""
        return Cause(
            f"{consumer}|{envelope.message_id}",
            envelope.tenant,
            envelope.agent,
            envelope.id,
            envelope.correlation_id or envelope.id,
            handled_as(envelope.traceparent, consumer),
        )


class Transaction:
    """What a handler may touch: its tables, the time, and the outbox."""

    def __init__(self, connection: Connection, now: datetime, source: str, cause: Cause) -> None:
        self.connection = connection
        self.now = now
        self.source = source
        self.cause = cause
        self.sent: list[Sent] = []
        self.later: list[Callable[[Connection], None]] = []
        self._published = 0

    @property
    def tenant(self) -> str:
        """The tenant of the message or request being handled."""
        return self.cause.tenant

    @property
    def agent(self) -> str:
        """The agent of the message or request being handled."""
        return self.cause.agent

    def new_id(self) -> str:
        """An id that follows from the cause: the same when the work is done again."""
        self._published += 1
        return str(uuid.uuid5(NAMESPACE, f"{self.source}|{self.cause.key}|{self._published}"))

    def publish(
        self,
        message: Message,
        *,
        tenant: str | None = None,
        agent: str | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        time: datetime | None = None,
        traceparent: str | None = None,
        links: tuple[str, ...] = (),
    ) -> Envelope[Message]:
        """Put a message into the outbox; whose it is and what caused it come from the cause unless given.

        `traceparent` is that of the one message of a batch that it answers to, and `links` those of others that had
        their part in it.

        Raises:
            PoisonError: the message would be too large.
            ValueError: neither the cause nor the caller says whose it is.
        """
        identity = self.new_id()
        whose = (tenant or self.cause.tenant, agent or self.cause.agent)
        if not all(whose):
            raise ValueError(f"{message.type_name()}: whose is it? a tick or a batch has no agent of its own")
        place = self._placed(message, whose, correlation_id, traceparent)
        envelope: Envelope[Message] = Envelope(
            id=identity,
            source=self.source,
            time=time or self.now,
            tenant=whose[0],
            agent=whose[1],
            data=message,
            correlation_id=correlation_id or self.cause.correlation_id or identity,
            causation_id=causation_id or self.cause.message_id,
            traceparent=step_after(place.traceparent, f"publish|{identity}"),
        )
        subject = subject_of(message, envelope.tenant, envelope.agent)
        self.connection.execute(
            "INSERT INTO outbox(stream, subject, message_id, body) VALUES (?, ?, ?, ?)",
            (message.KIND, subject, envelope.message_id, envelope.to_bytes()),
        )
        self.sent.append(Sent(envelope, place.traceparent, (*place.links, *links)))
        return envelope

    def afterwards(self, work: Callable[[Connection], None]) -> None:
        """Do this with the connection once the transaction is committed, outside of any."""
        self.later.append(work)

    @contextlib.contextmanager
    def part(self) -> Iterator[None]:
        """A part of the transaction that is taken back alone when it raises."""
        before = len(self.sent)
        self.connection.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            del self.sent[before:]
            if self.connection.in_transaction:  # else SQLite has taken back the whole of it, and says why
                self.connection.execute("ROLLBACK TO part")
                self.connection.execute("RELEASE part")
            raise
        self.connection.execute("RELEASE part")

    def _placed(
        self, message: Message, whose: tuple[str, str], correlation_id: str | None, traceparent: str | None
    ) -> stories.Place:
        """Where in which trace a message stands: in its story's, which begins here if it is new."""
        cause = self.cause.traceparent
        if traceparent is not None:
            cause = handled_as(traceparent, self.cause.key.partition("|")[0])
        story = stories.story_of(message, *whose, correlation_id)
        place = stories.placed(self.connection, story, cause)
        stories.note(self.connection, story, place.traceparent)
        return place


Handler = Callable[[Envelope[Message], Transaction], None]
BatchHandler = Callable[[Sequence[Envelope[Message]], Transaction], None]


class ServiceStore:
    """One service's SQLite file and the thread that owns it.

    Args:
        path: the file; its folder is created.
        service: the service's name, the `source` of what it publishes.
        schema: SQL that creates the service's own tables (idempotent).
        clock: the current time, aware; a parameter so that tests and simulations own it.
        executor: what runs the work, one piece after the other and all on the thread that opened the file; a thread
            of the store's own unless given.
    """

    def __init__(
        self,
        path: Path,
        service: str,
        schema: str = "",
        clock: Clock = lambda: datetime.now(UTC),
        executor: Executor | None = None,
    ) -> None:
        self.path = path
        self.service = service
        self._clock = clock
        self._thread = executor or ThreadPoolExecutor(1, thread_name_prefix=f"{service}-store")
        self.watch: StoreWatch = Nobody()
        self.problem = ""
        """Why the file cannot be used, in words; empty while it can."""
        self._thread.submit(self._translated, partial(self._open, schema)).result()
        self._proven_at = clock()
        self.outbox_filled = asyncio.Event()
        self._relaying = asyncio.Lock()
        self._remembered = 0
        self._relay_said = ""

    def _open(self, schema: str) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise store_health.unavailable(self.path, error) or error from error
        self._connection = open_sqlite(self.path)
        self._connection.executescript(PRAGMAS)
        self._connection.executescript(SCHEMA)
        self._connection.executescript(schema)

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` on the store's thread. Raises StoreUnavailableError when the file cannot be used right now."""
        run = contextvars.copy_context().run  # what the log says of the message in hand
        return await asyncio.get_running_loop().run_in_executor(self._thread, run, self._translated, work)

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except sqlite3.DatabaseError as error:
            unavailable = store_health.unavailable(self.path, error)
            if unavailable is None:
                raise
            self.problem = str(unavailable)
            self.watch.store_failed()
            raise unavailable from error

    async def findings(self) -> list[str]:
        """What keeps the service from its work, in words: the file cannot be written, or the bus takes nothing. A file
        that failed counts as mended once it takes a write again; one that seems well is tried now and then."""
        if self.problem or abs(self._clock() - self._proven_at) >= PROVE_EVERY:
            with contextlib.suppress(StoreUnavailableError):
                await self.run(lambda: store_health.probe(self._connection))
                self.problem = ""
                self._proven_at = self._clock()
        disk = self.problem or store_health.disk_finding(self.path)
        waiting = self._relay_said and f"what it has to publish waits for the bus: {self._relay_said}"
        return [words for words in (disk, waiting) if words]

    @contextlib.contextmanager
    def _transaction(self, cause: Cause) -> Iterator[Transaction]:
        connection = self._connection
        try:
            if connection.in_transaction:  # one before could not even be taken back: its statement was interrupted
                connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            tx = Transaction(connection, self._clock(), self.service, cause)
            yield tx
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.watch.wrote(tx.sent)
        for work in tx.later:
            work(connection)

    async def handle(self, consumer: str, envelope: Envelope[Message], handler: Handler) -> bool:
        """Handle one message exactly once. False when it had been handled before."""

        def work() -> bool:
            with self._transaction(Cause.of(consumer, envelope)) as tx:
                self._check_outbox()
                if not self._remember(consumer, envelope.message_id, tx.now):
                    return False
                if envelope.data.KIND is Kind.COMMAND:
                    story = stories.story_of(envelope.data, envelope.tenant, envelope.agent, envelope.correlation_id)
                    stories.note(self._connection, story, tx.cause.traceparent)
                handler(envelope, tx)
            return True

        handled = await self.run(work)
        self.outbox_filled.set()
        return handled

    async def handle_batch(self, consumer: str, envelopes: Sequence[Envelope[Message]], handler: BatchHandler) -> int:
        """Handle those of `envelopes` that are new, in one transaction; returns how many were new. They may be of
        several tenants and agents: what the handler publishes names its own."""

        def work() -> int:
            digest = hashlib.sha256("\n".join(e.message_id for e in envelopes).encode()).hexdigest()
            with self._transaction(Cause(f"{consumer}|batch|{digest}", "", "")) as tx:
                self._check_outbox()
                fresh = [e for e in envelopes if self._remember(consumer, e.message_id, tx.now)]
                if fresh:
                    handler(fresh, tx)
            return len(fresh)

        count = await self.run(work)
        self.outbox_filled.set()
        return count

    async def tick(self, name: str, work: Callable[[Transaction], T]) -> T:
        """Run a periodic piece of work in a transaction of its own; what it publishes concerns the ids it names."""

        def whole() -> T:
            with self._transaction(Cause(f"tick|{name}|{self._clock().isoformat()}", "", "")) as tx:
                self._check_outbox()
                return work(tx)

        result = await self.run(whole)
        self.outbox_filled.set()
        return result

    async def answer(self, cause: Cause, idempotency_key: str | None, work: Callable[[Transaction], bytes]) -> bytes:
        """Answer a request in a transaction; a key seen before gets the first answer again."""

        def whole() -> bytes:
            with self._transaction(cause) as tx:
                self._check_outbox()
                if idempotency_key is None:
                    return work(tx)
                known = tx.connection.execute("SELECT reply FROM replies WHERE key = ?", (idempotency_key,)).fetchone()
                if known:
                    return bytes(known[0])
                reply = work(tx)
                (position,) = tx.connection.execute(
                    "INSERT INTO replies(key, reply) VALUES (?, ?) RETURNING position", (idempotency_key, reply)
                ).fetchone()
                tx.connection.execute("DELETE FROM replies WHERE position <= ?", (position - REPLIES_MAX,))
                return reply

        reply = await self.run(whole)
        self.outbox_filled.set()
        return reply

    def _remember(self, consumer: str, message_id: str, now: datetime) -> bool:
        """Note a message as handled; False when it was before."""
        cursor = self._connection.execute(
            "INSERT INTO inbox(consumer, message_id, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (consumer, message_id, now.timestamp()),
        )
        if cursor.rowcount == 0:
            return False
        self._remembered += 1
        if self._remembered % INBOX_PRUNE_EVERY == 0:
            self._prune(now)
        return True

    def _prune(self, now: datetime) -> None:
        """Forget what is both old and not among each consumer's latest."""
        for (consumer,) in self._connection.execute("SELECT DISTINCT consumer FROM inbox").fetchall():
            self._connection.execute(
                "DELETE FROM inbox WHERE consumer = ? AND at < ? AND position <= "
                "(SELECT position FROM inbox WHERE consumer = ? ORDER BY position DESC LIMIT 1 OFFSET ?)",
                (consumer, (now - INBOX_AGE).timestamp(), consumer, INBOX_MAX),
            )

    def _check_outbox(self) -> None:
        # By the index, half a millisecond when it is full. Positions would not do: what waits for one stream stays
        # while those of the others go on.
        if self._connection.execute("SELECT 1 FROM outbox LIMIT 1 OFFSET ?", (OUTBOX_MAX - 1,)).fetchone():
            raise StoreUnavailableError(
                f"{OUTBOX_MAX} messages wait for the bus; nothing more is handled until it takes them"
            )

    async def relay(self, bus: Bus) -> int:
        """Publish what the outbox holds, in order per stream: a stream that takes nothing holds up no other.

        Returns how many were published. Raises TransientError when some were not; the first reason.
        """
        async with self._relaying:
            return await self._relay(bus)

    async def hold_relay(self, bus: Bus) -> None:
        """Nothing more is published until `release_relay`; what is left in the outbox never was.

        A killed process may leave messages in the outbox that it had published; they are the oldest, so that one pass
        gets rid of them. Raises TransientError when that pass fails.
        """
        await self._relaying.acquire()
        try:
            await self._relay(bus)
        except BaseException:
            self._relaying.release()
            raise

    def release_relay(self) -> None:
        """Publish again. Only after `hold_relay`."""
        self._relaying.release()

    async def _relay(self, bus: Bus) -> int:
        streams = await self.run(lambda: self._connection.execute("SELECT DISTINCT stream FROM outbox").fetchall())
        results = await asyncio.gather(
            *(self._relay_stream(bus, stream) for (stream,) in streams), return_exceptions=True
        )
        for failed in results:
            if isinstance(failed, BaseException):
                raise failed
        return sum(count for count in results if isinstance(count, int))

    async def _relay_stream(self, bus: Bus, stream: str) -> int:
        rows = await self.run(
            lambda: self._connection.execute(
                "SELECT position, subject, message_id, body FROM outbox WHERE stream = ? ORDER BY position LIMIT ?",
                (stream, RELAY_BATCH),
            ).fetchall()
        )
        done: list[tuple[int]] = []
        try:
            for position, subject, message_id, body in rows:
                await self._publish(bus, subject, message_id, body)
                self.watch.relayed(stream)
                done.append((position,))
                if len(done) == RELAY_FORGET_EVERY:
                    await self._forget(done)
                    done = []
        finally:
            if done:
                await self._forget(done)
        return len(rows)

    async def _forget(self, positions: Sequence[tuple[int]]) -> None:
        def work() -> None:
            with self._connection:
                self._connection.execute("BEGIN")
                self._connection.executemany("DELETE FROM outbox WHERE position = ?", positions)

        await self.run(work)

    async def _publish(self, bus: Bus, subject: str, message_id: str, body: bytes) -> None:
        try:
            await bus.publish(subject, body, message_id, {CONTENT_TYPE_HEADER: CONTENT_TYPE})
        except TransientError:
            self.watch.relay_failed()
            raise
        except PoisonError as error:
            self.watch.relay_refused()
            # Keeping a message that the server refuses for ever would stop everything behind it.
            log.error("%s: the server refuses a message to %s: %s", self.service, subject, error)
            await publish_dead_letter(
                bus, f"{self.service}:outbox", subject, body, reason=str(error), attempts=1, key=message_id
            )

    async def run_relay(self, bus: Bus, pause: timedelta = timedelta(milliseconds=200)) -> None:
        """Publish for ever: at once when something was put into the outbox, and again after `pause` when some of it
        could not be published."""
        while True:
            self.outbox_filled.clear()
            try:
                published = await self.relay(bus)
                self._say("")
                if not published:
                    await self.outbox_filled.wait()
            except TransientError as error:
                self._say(str(error))
                await asyncio.sleep(pause.total_seconds())

    def _say(self, problem: str) -> None:
        """Log a problem of the relay once, not at every try."""
        if problem and problem != self._relay_said:
            log.warning("%s: %s", self.service, problem)
        self._relay_said = problem

    async def close(self) -> None:
        """Close the file; work that was begun is finished first."""
        await self.run(self._connection.close)
        self._thread.shutdown()


StoreFactory = Callable[[Path, str, str], ServiceStore]
"""Opens a service's store: its file, the service's name, the schema of its tables."""
