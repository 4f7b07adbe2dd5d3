"""The connection that a service's SQL runs on, and the database behind it: an SQLite file, or PostgreSQL.

SQL behind it is portable: `?` for values, `ON CONFLICT` instead of `INSERT OR …`, `RETURNING` instead of a last row id,
text ordered by its bytes. What has to differ asks `engine`, in one place of the service.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from thymos.errors import Refusal, RefusalCode, StoreUnavailableError

Engine = Literal["sqlite", "postgresql"]


class Rows(Protocol):
    """What a statement found."""

    @property
    def rowcount(self) -> int:
        """How many rows it changed."""
        ...

    def fetchone(self) -> Any:
        """The next row, or None."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """The rows that are left, one after the other."""
        ...


class Connection(Protocol):
    """An open database, used by one thread at a time, in transactions that the caller begins and ends with SQL."""

    @property
    def engine(self) -> Engine:
        """Which database it is."""
        ...

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        ...

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Rows:
        """Run one statement."""
        ...

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Rows:
        """Run one statement for each of many values."""
        ...

    def executescript(self, sql: str, /) -> object:
        """Run statements that create tables, written for SQLite; running them again changes nothing."""
        ...

    def take_turn(self, name: str, /) -> None:
        """In a transaction that writes: wait until nobody else has the turn of this name, and keep it to the end.

        The turn of "" is that of all. In SQLite a transaction that writes has it anyway.
        """
        ...

    def claim(self, name: str, /) -> bool:
        """Whether this connection, and no other, may do what the name says from now on, until it releases it, is
        closed, or its process ends. An SQLite file has one service."""
        ...

    def release(self, name: str, /) -> None:
        """Give up what was claimed."""
        ...

    def close(self) -> None:
        """Close it; an open transaction is taken back."""
        ...


class Database(Protocol):
    """Where a service's store is kept."""

    @property
    def name(self) -> str:
        """What messages call it; without user and password."""
        ...

    @property
    def shared(self) -> bool:
        """Whether several processes of one service may use it at the same time."""
        ...

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its connections raise that may be its own fault: `unavailable` tells."""
        ...

    def opened(self) -> Connection:
        """A new connection, durable at every commit."""
        ...

    def opened_to_read(self) -> Connection:
        """A new connection for somebody else than the service: to read."""
        ...

    def unavailable(self, error: Exception) -> StoreUnavailableError | None:
        """The error that says what to do when the database cannot be used; None when the work is at fault."""
        ...

    def finding(self) -> str:
        """What is wrong with it as seen from outside, at once and on any thread; empty when nothing is."""
        ...

    def ask(self, connection: Connection) -> None:
        """Make sure that it still answers. Raises StoreUnavailableError."""
        ...

    def probe(self, connection: Connection) -> None:
        """Make sure that it takes writes again. Raises what `unavailable` knows."""
        ...

    def size_bytes(self, connection: Connection) -> int:
        """How large it is."""
        ...


def turn_of(tenant: str, agent: str) -> str:
    """The turn that whoever writes what is an agent's takes; that of all for what is nobody's."""
    return f"{tenant}/{agent}" if tenant and agent else ""


class SqliteConnection(sqlite3.Connection):
    """SQLite, as a Connection."""

    engine: Engine = "sqlite"

    def take_turn(self, name: str, /) -> None:
        """See `Connection`."""

    def claim(self, name: str, /) -> bool:
        """See `Connection`."""
        del name
        return True

    def release(self, name: str, /) -> None:
        """See `Connection`."""


def open_sqlite(
    path: Path | str, *, busy_seconds: float = 5.0, uri: bool = False, any_thread: bool = False
) -> SqliteConnection:
    """Open a file, or ":memory:". Raises sqlite3.Error when it cannot be opened."""
    return sqlite3.connect(
        path,
        timeout=busy_seconds,
        isolation_level=None,
        check_same_thread=not any_thread,
        uri=uri,
        factory=SqliteConnection,
    )


def open_postgresql(url: str) -> Connection:
    """Connect to `postgresql://…` (thymos.postgresql.connection). Raises Refusal: invalid, DatabaseUnavailableError."""
    with _psycopg_installed():
        from thymos.postgresql.connection import PostgresqlConnection
    return PostgresqlConnection(url)


def postgresql_database(url: str) -> Database:
    """The database at `postgresql://…`, not connected yet. Raises Refusal: invalid."""
    with _psycopg_installed():
        from thymos.postgresql.database import PostgresqlDatabase
    return PostgresqlDatabase(url)


@contextmanager
def _psycopg_installed() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        hint = "pip install 'thymos[postgresql]'"
        raise Refusal(RefusalCode.INVALID, f"PostgreSQL cannot be used here: {error}", hint) from error
