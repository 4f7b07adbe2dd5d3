"""The open file of a repository, and its transactions."""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from urllib.parse import unquote

from memory_repository.core.limits import check_author, check_callable, check_is, check_name, check_whole, invalid
from memory_repository.embedders import DIMENSIONS_MAX, Embedder
from memory_repository.storage import imports, schema, store
from memory_repository.storage.store import Repository
from thymos.database import Connection, open_postgresql, turn_of
from thymos.errors import Refusal, RefusalCode
from thymos.sqlite_file import MEMORY, SqliteFile

T = TypeVar("T")
Clock = Callable[[], datetime]
BUSY_SECONDS = 5.0
"""How long a call waits for another process that is writing to the same file."""


def utc_now() -> datetime:
    """The current time, UTC."""
    return datetime.now(UTC)


class OpenRepository:
    """One agent's versioned memory in an SQLite file or in PostgreSQL: opened, closed, one transaction per call.

    Every method raises `thymos.errors.Refusal` for an expected "no", with a code and a hint. When the store cannot be
    used it raises sqlite3.Error, or with PostgreSQL `thymos.errors.StoreUnavailableError`, and nothing was changed;
    only a connection that was lost while PostgreSQL committed leaves open whether it did.
    """

    def __init__(
        self,
        connection: Connection,
        tenant: str,
        agent: str,
        author: str,
        clock: Clock,
        embedder: Embedder | None = None,
    ) -> None:
        self._embedder = embedder
        self._connection = connection
        self._turn = threading.RLock()
        self._writer = turn_of(tenant, agent)
        self._author = author
        self._clock = clock
        schema.prepare(self._connection)
        with self._transaction("BEGIN IMMEDIATE", clock) as now:
            key = secrets.token_bytes(store.KEY_BYTES)
            self._repo = store.open_repository(connection, tenant, agent, now=now, key=key).repository
        self._is_begun = False

    @classmethod
    def open(
        cls,
        url: str,
        *,
        tenant: str = "default",
        agent: str = "default",
        author: str = "library",
        clock: Clock = utc_now,
        embedder: Embedder | None = None,
    ) -> Self:
        """Open a repository, created if need be with an empty first commit on `main`.

        Args:
            url: `sqlite:///relative/path.db`, `sqlite:////absolute/path.db`, `sqlite://` for one in memory, or
                `postgresql://user@host/database` (needs the extra `thymos[postgresql]`).
            tenant: whose it is; one store may hold many tenants, and none sees another.
            agent: which agent's.
            author: who commits, unless a call says otherwise.
            clock: the current time, aware.
            embedder: the model that a search by meaning uses (memory_repository.embedders).

        Raises:
            Refusal: invalid, for a URL of another kind or a bad name; not_found, for a file whose folder is not there;
                refused, for a file that cannot be opened or made, or a store of a newer version.
        """
        check_author(author)
        check_callable("the clock", clock)
        if embedder is not None:
            check_callable("`embed` of the embedder", getattr(embedder, "embed", None))
            check_is("the embedder's name", str, getattr(embedder, "name", None))
            dimensions: Any = getattr(embedder, "dimensions", None)
            check_whole(f"`dimensions` of the embedder {embedder.name:.80}", dimensions, 1, DIMENSIONS_MAX)
        connection = _connected(url)
        try:
            return cls(connection, tenant, agent, author, clock, embedder)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close the store."""
        with self._turn:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def now(self) -> datetime:
        """The time by the repository's clock."""
        return self._clock()

    def read(self, work: Callable[[Repository], T]) -> T:
        """What `work` makes of the repository, of one state of it however many operations it calls.

        For what is built on the operations (memory_repository.adapters). `work` changes nothing and keeps nothing of
        the repository that it is given.
        """
        check_callable("the work", work)
        with self._reading() as repo:
            return work(repo)

    def write(self, work: Callable[[Repository, datetime], T]) -> T:
        """What `work` does to the repository at the time that it is given, as one transaction: all of it or nothing,
        and nobody's write in between. When `work` raises, nothing was changed."""
        check_callable("the work", work)
        with self._writing() as (repo, now):
            return work(repo, now)

    def _by(self, author: str | None) -> str:
        """Who does it: whom a call names, or who opened the repository."""
        return self._author if author is None else check_author(author)

    def _reading(self) -> _Transaction[Repository]:
        # One snapshot for all statements of a read, while others write.
        return self._transaction("BEGIN", lambda: self._found().at(self._clock()))

    def _writing(self) -> _Transaction[tuple[Repository, datetime]]:
        def begun() -> tuple[Repository, datetime]:
            now = self._clock()
            return self._found().at(now), now

        return self._transaction("BEGIN IMMEDIATE", begun)

    def _found(self) -> Repository:
        """The repository. Until something was committed to `main`, an import may put another one in its place."""
        if not self._is_begun:
            self._repo = store.find_repository(self._connection, self._repo.tenant, self._repo.agent)
            self._is_begun = imports.is_begun(self._repo)
        return self._repo

    def _transaction(self, begin: str, begun: Callable[[], T]) -> _Transaction[T]:
        return _Transaction(self._connection, self._turn, begin, self._writer, begun)


class _Transaction(Generic[T]):
    """All of what is done within it, or nothing. Gives what `begun` returns once it has begun."""

    def __init__(
        self, connection: Connection, turn: threading.RLock, begin: str, writer: str, begun: Callable[[], T]
    ) -> None:
        self._connection, self._turn, self._begin, self._writer, self._begun = connection, turn, begin, writer, begun

    def __enter__(self) -> T:
        self._turn.acquire()
        try:
            self._connection.execute(self._begin)
        except BaseException:
            self._turn.release()
            raise
        try:
            if self._begin == "BEGIN IMMEDIATE":
                self._connection.take_turn(self._writer)
            return self._begun()
        except BaseException:
            self._end()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._connection.execute("COMMIT")
        finally:
            self._end()

    def _end(self) -> None:
        """Take back what was not committed, and let the next call have its turn."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        finally:
            self._turn.release()


def _connected(url: str) -> Connection:
    check_name("URL", url)
    scheme, separator, path = url.partition("://")
    if scheme in ("postgresql", "postgres") and separator:
        return open_postgresql(url)
    if scheme != "sqlite" or not separator or (path and not path.startswith("/")):
        hint = "give sqlite:///path/to/memory.db, or postgresql://user@host/database"
        raise invalid(f"{url!r:.80} is no storage that is known", hint)
    if "?" in path:
        hint = "leave it out; in a file's name write it as %3F"
        raise invalid(f"{url!r:.80} has a ?, but an sqlite URL has no options", hint)
    check_name("path", unquote(path))
    if path == "/":
        hint = "give sqlite:///path/to/memory.db, or sqlite:// for a memory that ends with the process"
        raise invalid(f"{url!r} names no file", hint)
    return _sqlite(unquote(path[1:]) or MEMORY)


def _sqlite(path: str) -> Connection:
    try:
        return SqliteFile(path).opened(busy_seconds=BUSY_SECONDS, any_thread=True)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CANTOPEN:
            raise
        folder = Path(path).parent
        if not folder.is_dir():
            message = f"{path} cannot be opened: there is no folder {folder}"
            raise Refusal(RefusalCode.NOT_FOUND, message, "make the folder first") from error
        hint = "it has to be a file that may be written, in a folder that may be written"
        raise Refusal(RefusalCode.REFUSED, f"{path} cannot be opened: {error}", hint) from error
