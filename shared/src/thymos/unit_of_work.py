"""A service's own store: state, inbox and outbox change in one transaction, or not at all.

Messages are processed at least once and take effect exactly once: the inbox row says that a message has been
handled, the outbox rows are what it caused, and the relay (outbox.py) publishes them in order per stream, with ids that
follow from their cause, so that a second attempt is a duplicate to the stream.

All work runs on one thread that owns the connection: handlers are plain functions of `(envelope, tx)`. The store is an
SQLite file; where replicas of the service share one in PostgreSQL, those that write for the same agent take turns.
"""

import asyncio
import contextlib
import contextvars
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from thymos import kept_answers, outbox, stories
from thymos.database import Connection, Database, turn_of
from thymos.envelope import Envelope
from thymos.errors import DatabaseUnavailableError, Refusal, StoreUnavailableError
from thymos.kept_answers import Asked
from thymos.message import Kind, Message
from thymos.outbox import Outbox
from thymos.sqlite_file import SqliteFile
from thymos.store_watch import Nobody, StoreWatch
from thymos.transaction import Cause as Cause
from thymos.transaction import Transaction as Transaction

T = TypeVar("T")
Clock = Callable[[], datetime]

INBOX_MAX = 200_000
"""Handled message ids remembered per consumer, at least; more while they are younger than `INBOX_AGE`. A message that
comes again later than both would be handled again."""
INBOX_AGE = timedelta(hours=2)
"""Longer than any stream's duplicate window."""
INBOX_PRUNE_EVERY = 1_000
PROVE_EVERY = timedelta(seconds=10)
"""How often a store is tried, so that an idle service knows whether it could write."""
ASKED_SECONDS = 10.0
"""A database that has not answered for so long is a finding."""

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS inbox(
    position INTEGER PRIMARY KEY AUTOINCREMENT, consumer TEXT NOT NULL, message_id TEXT NOT NULL, at REAL NOT NULL,
    UNIQUE(consumer, message_id));
CREATE INDEX IF NOT EXISTS inbox_by_age ON inbox(consumer, position);
{outbox.SCHEMA}
{kept_answers.SCHEMA}
CREATE TABLE IF NOT EXISTS probe(content BLOB);
{stories.SCHEMA}
"""
"""The tables of every service's store, besides its own."""


Handler = Callable[[Envelope[Message], Transaction], None]
Schema = str | Callable[[Connection], None]
BatchHandler = Callable[[Sequence[Envelope[Message]], Transaction], None]


class ServiceStore(Outbox):
    """One service's store and the thread that owns the connection to it.

    Args:
        place: an SQLite file, whose folder is created; or another database. PostgreSQL may be away when the service
            begins: it is waited for.
        service: the service's name, the `source` of what it publishes.
        schema: SQL that creates the service's own tables (idempotent), or what makes them ready.
        clock: the current time, aware; a parameter so that tests and simulations own it.
        executor: what runs the work, one piece after the other and all on the thread that opened the store; a thread
            of the store's own unless given.

    Raises:
        StoreUnavailableError: the file cannot be used.
    """

    def __init__(
        self,
        place: Path | Database,
        service: str,
        schema: Schema = "",
        clock: Clock = lambda: datetime.now(UTC),
        executor: Executor | None = None,
    ) -> None:
        super().__init__()
        self.database = SqliteFile(place) if isinstance(place, Path) else place
        self.service = service
        self._clock = clock
        self._thread = executor or ThreadPoolExecutor(1, thread_name_prefix=f"{service}-store")
        self.watch: StoreWatch = Nobody()
        self.problem = ""
        """Why the store cannot be used, in words; empty while it can."""
        self._schema = schema
        self._opened: Connection | None = None
        self._asking: asyncio.Future[None] | None = None
        self._remembered = 0
        self._proven_at = clock()
        with contextlib.suppress(DatabaseUnavailableError):
            self._thread.submit(self._translated, lambda: None).result()

    def _open(self, schema: Schema) -> None:
        opened = self.database.opened()
        try:
            opened.executescript(SCHEMA)
            if isinstance(schema, str):
                opened.executescript(schema)
            else:
                schema(opened)
        except Refusal as refusal:  # not a store of ours; a message in hand is not to blame, and waits
            opened.close()
            self.problem = str(refusal)
            self.watch.store_failed()
            raise StoreUnavailableError(self.problem) from refusal
        except BaseException:
            opened.close()
            raise
        self._opened = opened

    @property
    def _connection(self) -> Connection:
        """Open while work runs on the store's thread."""
        assert self._opened is not None
        return self._opened

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` on the store's thread. Raises StoreUnavailableError when the store cannot be used right now."""
        context = contextvars.copy_context()  # what the log says of the message in hand
        return await asyncio.get_running_loop().run_in_executor(self._thread, context.run, self._translated, work)

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            if self._opened is None:
                self._open(self._schema)
            return work()
        except self.database.errors as error:
            unavailable = self.database.unavailable(error)
            if unavailable is None:
                raise
            self.problem = str(unavailable)
            self.watch.store_failed()
            if unavailable is error:
                raise
            raise unavailable from error

    async def findings(self) -> list[str]:
        """What keeps the service from its work, in words: the store cannot be written, or the bus takes nothing. A
        store that failed counts as mended once it takes a write again; one that seems well is tried now and then."""
        due = abs(self._clock() - self._proven_at) >= PROVE_EVERY
        if self.problem or due:
            await self._ask(self._prove)
        elif self.database.shared:
            await self._ask(lambda: self.database.ask(self._connection))
        store = self.problem or self.database.finding()
        waiting = self.waits_for_bus and f"what it has to publish waits for the bus: {self.waits_for_bus}"
        return [words for words in (store, waiting) if words]

    def _prove(self) -> None:
        self.database.probe(self._connection)
        self._proven_at = self._clock()

    async def _ask(self, work: Callable[[], None]) -> None:
        """See whether the store is well. One that does not answer is not asked twice at a time."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self.run(work))
            self._asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
        try:
            await asyncio.wait_for(asyncio.shield(self._asking), ASKED_SECONDS)
            self.problem = ""
        except TimeoutError:
            self.problem = f"the store {self.database.name} has not answered for {ASKED_SECONDS:g} s"
        except StoreUnavailableError:
            pass  # `problem` says so

    @contextlib.contextmanager
    def _transaction(self, cause: Cause, *, reads: bool = False, takes_turn: bool = True) -> Iterator[Transaction]:
        connection = self._connection
        try:
            if connection.in_transaction:  # one before could not even be taken back: its statement was interrupted
                connection.execute("ROLLBACK")
            if reads and self.database.shared:
                connection.execute("BEGIN")
            else:
                connection.execute("BEGIN IMMEDIATE")
                if takes_turn:
                    connection.take_turn(turn_of(cause.tenant, cause.agent))
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
        """Run a periodic piece of work in a transaction of its own; what it publishes concerns the ids it names. Where
        replicas share the store, it takes the turns of those that it writes for."""

        def whole() -> T:
            cause = Cause(f"tick|{name}|{self._clock().isoformat()}", "", "")
            with self._transaction(cause, takes_turn=False) as tx:
                self._check_outbox()
                return work(tx)

        result = await self.run(whole)
        self.outbox_filled.set()
        return result

    async def answer(
        self, cause: Cause, asked: Asked | None, work: Callable[[Transaction], bytes], *, reads: bool = False
    ) -> bytes:
        """Answer a request in a transaction; one that was `asked` before gets the first answer again (kept_answers.py,
        with what it raises). One that only `reads` waits for no writer of another replica: it sees one moment."""

        def whole() -> bytes:
            with self._transaction(cause, reads=reads) as tx:
                self._check_outbox()
                if asked is None:
                    return work(tx)
                return kept_answers.once(tx.connection, asked, lambda: work(tx))

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
        self._connection.take_turn("inbox")  # of two replicas that do so at once, each might wait for the other
        for (consumer,) in self._connection.execute("SELECT DISTINCT consumer FROM inbox").fetchall():
            self._connection.execute(
                "DELETE FROM inbox WHERE consumer = ? AND at < ? AND position <= "
                "(SELECT position FROM inbox WHERE consumer = ? ORDER BY position DESC LIMIT 1 OFFSET ?)",
                (consumer, (now - INBOX_AGE).timestamp(), consumer, INBOX_MAX),
            )

    async def close(self) -> None:
        """Close the store; work that was begun is finished first."""
        if self._opened is not None:
            await self.run(self._connection.close)
        self._thread.shutdown()


StoreFactory = Callable[[Path | Database, str, Schema], ServiceStore]
"""Opens a service's store: its place, the service's name, the schema of its tables."""
