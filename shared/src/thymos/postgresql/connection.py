"""A connection to PostgreSQL that behaves as SQLite's does: the port's SQL, its transactions, its errors.

It connects again by itself: a transaction that begins on a connection that the server has ended meanwhile begins on a
new one. Within a transaction a lost connection is an error, as everything of that transaction is gone; if it was lost
within COMMIT nobody can tell, and whoever tries again has to make sure that doing it twice does no harm (the inbox and
the idempotency keys of a service do).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar, cast

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import TransactionStatus

from thymos.database import Engine, Rows
from thymos.errors import Refusal, RefusalCode
from thymos.postgresql import dialect, faults

T = TypeVar("T")

CONNECT_SECONDS = 5
"""How long a connection may take to be made."""
LOCK_SECONDS = 10
"""How long a statement waits for what another writer holds."""
STATEMENT_SECONDS = 60
"""How long one statement may take."""
IDLE_TRANSACTION_SECONDS = 60
"""A process that stands still within a transaction loses it, and what it holds, after this."""
BATCH = 5_000
"""Rows that are sent at once."""
_LIMITS = (
    f"-c lock_timeout={LOCK_SECONDS}s -c statement_timeout={STATEMENT_SECONDS}s"
    f" -c idle_in_transaction_session_timeout={IDLE_TRANSACTION_SECONDS}s -c client_min_messages=warning"
)
_DEFAULTS = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 10,  # a server that vanished without a word is noticed after half a minute
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "application_name": "thymos",
}


class _Number(Dumper):
    """Booleans are numbers, as in SQLite."""

    oid = psycopg.postgres.types["int8"].oid

    def dump(self, obj: Any) -> bytes:
        """See `psycopg.adapt.Dumper`."""
        return b"1" if obj else b"0"


class Found:
    """See `Rows`: what a statement found, as a whole, and how many rows it changed."""

    __slots__ = ("_left", "rowcount")

    def __init__(self, rows: Iterable[Any], rowcount: int) -> None:
        self._left = iter(rows)
        self.rowcount = rowcount

    def fetchone(self) -> Any:
        """See `Rows`."""
        return next(self._left, None)

    def fetchall(self) -> list[Any]:
        """See `Rows`."""
        return list(self._left)

    def __iter__(self) -> Iterator[Any]:
        return self._left


class PostgresqlConnection:
    """See `thymos.database.Connection`.

    Args:
        url: `postgresql://user:password@host:port/database?key=value`; what it leaves out, PG… variables and
            ~/.pgpass say, as for every client of PostgreSQL.
        idle_seconds: the server ends a connection that says nothing for so long; 0 for never.

    Raises:
        Refusal: invalid, for what is no URL.
        DatabaseUnavailableError: the server cannot be used.
    """

    engine: Engine = "postgresql"

    def __init__(self, url: str, *, idle_seconds: int = 0) -> None:
        self.name = faults.shown(url)
        wanted = faults.parsed(url)
        options = f"{_LIMITS} -c idle_session_timeout={idle_seconds}s {wanted.pop('options', None) or ''}"
        self._settings = {**_DEFAULTS, **wanted, "options": options.strip()}
        self._raw = self._translated(self._connected)
        self._cursor = self._raw.cursor()  # one for all: to make one takes as long as a fifth of a small statement
        self._schema: str | None = None

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        # Statements are transactions of their own unless one was begun, as in SQLite.
        raw = psycopg.connect(autocommit=True, **cast(dict[str, Any], self._settings))
        raw.adapters.register_dumper(bool, _Number)
        return raw

    @property
    def in_transaction(self) -> bool:
        """See `Connection`."""
        idle = (TransactionStatus.IDLE, TransactionStatus.UNKNOWN)
        return not self._raw.closed and self._raw.info.transaction_status not in idle

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Rows:
        """See `Connection`. Raises DatabaseUnavailableError, and psycopg.Error for what is wrong with the statement."""
        if sql.startswith("BEGIN"):
            return self._translated(lambda: self._begun(dialect.statement(sql)))
        if sql == "COMMIT":
            return self._translated(self._committed)
        return self._translated(lambda: self._executed(dialect.statement(sql), parameters))

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Rows:
        """See `Connection`. What the parameters come from may read on this connection."""
        return self._translated(lambda: self._executed_many(dialect.statement(sql), iter(parameters)))

    def executescript(self, sql: str, /) -> None:
        """See `Connection`. Tables that were created from the very same words before are not looked at again."""
        words = dialect.schema(sql)
        number = f"{dialect.lock_number(words):x}"
        if not self._translated(lambda: self._has_created(number)):
            self._translated(lambda: self._create(words, number))

    def take_turn(self, name: str, /) -> None:
        """See `Connection`: advisory locks that end with the transaction. Everybody takes part in the turn of all."""
        everyone = dialect.lock_number(self._namespace, "turn", "")
        if not name:
            self.execute("SELECT pg_advisory_xact_lock(?)", (everyone,))
            return
        number = dialect.lock_number(self._namespace, "turn", name)
        self.execute("SELECT pg_advisory_xact_lock_shared(?), pg_advisory_xact_lock(?)", (everyone, number))

    def claim(self, name: str, /) -> bool:
        """See `Connection`: an advisory lock of the session, which the server gives up when it ends."""
        number = dialect.lock_number(self._namespace, "claim", name)
        return bool(self.execute("SELECT pg_try_advisory_lock(?)", (number,)).fetchone()[0])

    def release(self, name: str, /) -> None:
        """See `Connection`."""
        number = dialect.lock_number(self._namespace, "claim", name)
        self.execute("SELECT pg_advisory_unlock(?)", (number,))

    def close(self) -> None:
        """See `Connection`."""
        self._raw.close()

    # --- inside ----------------------------------------------------------------------------------------------------

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except psycopg.DataError as error:
            if "NUL" in str(error) and error.sqlstate is None:  # said before anything was sent
                raise Refusal(RefusalCode.INVALID, "a text holds a NUL character", "leave it out") from error
            raise
        except psycopg.Error as error:
            unavailable = faults.unavailable(self.name, error)
            if unavailable is None:
                raise
            raise unavailable from error

    def _executed(self, sql: str, parameters: Sequence[Any]) -> Rows:
        if self._raw.closed and not self._raw.broken:
            raise psycopg.InterfaceError("the connection is closed")
        if self._raw.broken:
            self._connect_again()
        cursor = self._cursor.execute(sql, parameters)
        return Found(cursor.fetchall() if cursor.description else (), cursor.rowcount)

    def _begun(self, sql: str) -> Rows:
        try:
            return self._executed(sql, ())
        except psycopg.OperationalError as error:
            if not faults.is_lost(error):
                raise
        self._connect_again()
        return self._executed(sql, ())

    def _committed(self) -> Rows:
        rows = self._cursor.execute("COMMIT")
        if rows.statusmessage != "COMMIT":  # a statement of it had failed: the server takes it back without a word
            raise psycopg.errors.InFailedSqlTransaction("a transaction in which a statement failed cannot be committed")
        return Found((), 0)

    def _connect_again(self) -> None:
        self._raw.close()
        self._raw = self._connected()
        self._cursor = self._raw.cursor()

    def _executed_many(self, sql: str, parameters: Iterator[Sequence[Any]]) -> Rows:
        changed = 0
        while some := list(islice(parameters, BATCH)):  # taken before they are sent: reading them may need the line
            self._cursor.executemany(sql, some)
            changed += self._cursor.rowcount
        return Found((), changed)

    @property
    def _namespace(self) -> str:
        """Stores in two schemas of one database do not wait for each other."""
        if self._schema is None:
            self._schema = str(self.execute("SELECT current_schema()").fetchone()[0])
        return self._schema

    def _has_created(self, number: str) -> bool:
        found = self._executed("SELECT to_regclass('thymos_schema')", ()).fetchone()
        if found[0] is None:
            return False
        return self._executed("SELECT 1 FROM thymos_schema WHERE number = %s", (number,)).fetchone() is not None

    def _create(self, words: str, number: str) -> None:
        with self._raw.transaction():
            self._raw.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'")
            # Several replicas may begin at once, and IF NOT EXISTS does not keep two of them apart.
            self._raw.execute("SELECT pg_advisory_xact_lock(%s)", (dialect.lock_number("schema"),))
            self._raw.execute("CREATE TABLE IF NOT EXISTS thymos_schema(number TEXT PRIMARY KEY)")
            self._raw.execute(words)
            self._raw.execute("INSERT INTO thymos_schema VALUES (%s) ON CONFLICT DO NOTHING", (number,))
