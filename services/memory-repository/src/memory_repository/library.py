"""The repository as a library, without a bus: `MemoryRepository.open("sqlite:///memory.db")`.

    with MemoryRepository.open("sqlite:///memory.db", agent="support") as memory:
        memory.commit([Put(Memory("refunds", "A refund takes thirty days."))], message="what we know")
        memory.create_branch("idea")
        memory.commit([Modify("refunds", fields={"keywords": ["reimbursement"]})], branch="idea")
        memory.merge("idea", "main", Strategy.MANUAL)
        print(memory.search("when is my reimbursement due").hits)

Each call is one transaction, on disk when it returns. A repository may be used from several threads: calls take
turns. From an event loop, run a call with `asyncio.to_thread`. The time comes from `clock`, the author from `author`.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from memory_repository.core.limits import invalid
from memory_repository.core.memory import Change, Memory
from memory_repository.core.merge import Strategy
from memory_repository.operations import branching, committing, merging, reading, searching, verify, worktrees
from memory_repository.operations.branching import Named
from memory_repository.operations.committing import Committed
from memory_repository.operations.merging import Merge
from memory_repository.operations.reading import Branch, Differences, Found, Page
from memory_repository.operations.searching import Hits
from memory_repository.operations.verify import Verification
from memory_repository.operations.worktrees import Worktree
from memory_repository.storage import store
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import MAIN, Repository
from thymos.database import SqliteConnection, open_sqlite

Clock = Callable[[], datetime]
BUSY_SECONDS = 5.0
"""How long a call waits for another process that is writing to the same file."""


def utc_now() -> datetime:
    """The current time, UTC."""
    return datetime.now(UTC)


class MemoryRepository:
    """One agent's versioned memory in an SQLite file. See the module for an example.

    Every method raises `thymos.errors.Refusal` for an expected "no", with a code and a hint, and sqlite3.Error when
    the file cannot be used; then nothing was changed.
    """

    def __init__(self, connection: SqliteConnection, tenant: str, agent: str, author: str, clock: Clock) -> None:
        self._connection = connection
        self._turn = threading.RLock()
        self._author = author
        self._clock = clock
        self._connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;")
        self._connection.executescript(store.SCHEMA)
        with self._transaction():
            key = secrets.token_bytes(store.KEY_BYTES)
            self._repo = store.open_repository(connection, tenant, agent, now=clock(), key=key).repository

    @classmethod
    def open(
        cls,
        url: str,
        *,
        tenant: str = "default",
        agent: str = "default",
        author: str = "library",
        clock: Clock = utc_now,
    ) -> Self:
        """Open a repository, created if need be with an empty first commit on `main`.

        Args:
            url: `sqlite:///relative/path.db`, `sqlite:////absolute/path.db`, or `sqlite://` for one in memory.
            tenant: whose it is; one file may hold many tenants, and none sees another.
            agent: which agent's.
            author: who commits, unless a call says otherwise.
            clock: the current time, aware.

        Raises:
            Refusal: invalid, for a URL of another kind or a bad name.
        """
        connection = open_sqlite(_path_of(url), busy_seconds=BUSY_SECONDS, any_thread=True)
        try:
            return cls(connection, tenant, agent, author, clock)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- reading ---

    def get(self, memory_id: str, ref: str = MAIN) -> Found:
        """One memory at a ref (a branch, commit id, unique prefix of 8, tag, snapshot, with `~n` behind it)."""
        with self._reading() as repo:
            return reading.get(repo, memory_id, ref)

    def page(self, ref: str = MAIN, limit: int = 100, after: str = "") -> Page:
        """A page of memories in the order of their ids, beginning after `after`."""
        with self._reading() as repo:
            return reading.page(repo, ref, limit, after)

    def memories(self, ref: str = MAIN) -> list[Memory]:
        """All memories at a ref, by id."""
        with self._reading() as repo:
            return reading.memories(repo, ref)

    def search(self, query: str, ref: str = MAIN, limit: int = 10, kind: str | None = None) -> Hits:
        """Full-text search at a ref: plain words, best first."""
        with self._reading() as repo:
            return searching.search(repo, query, ref, limit, kind)

    def log(self, ref: str = MAIN, limit: int = 50) -> list[CommitRow]:
        """The commits reachable from a ref, every commit before its parents."""
        with self._reading() as repo:
            return reading.log(repo, ref, limit)

    def show(self, ref: str = MAIN) -> Differences:
        """A commit's changes against its first parent."""
        with self._reading() as repo:
            return reading.show(repo, ref)

    def diff(self, a: str, b: str, *, symmetric: bool = False) -> Differences:
        """The changes from `a` to `b`; with `symmetric` from their merge base to `b`."""
        with self._reading() as repo:
            return reading.diff(repo, a, b, symmetric=symmetric)

    def branches(self) -> list[Branch]:
        """All branches, by name."""
        with self._reading() as repo:
            return reading.branches(repo)

    def verify(self) -> Verification:
        """Recompute every hash of the history."""
        with self._reading() as repo:
            return verify.verify(repo)

    # --- writing ---

    def commit(
        self,
        changes: Sequence[Change],
        *,
        branch: str = MAIN,
        message: str = "",
        author: str | None = None,
        expected_head: str | None = None,
    ) -> Committed:
        """Commit changes; with `expected_head` they are rebased if the branch has moved on, or refused."""
        with self._writing() as (repo, now):
            by = author or self._author
            return committing.commit(
                repo, branch, changes, author=by, message=message, now=now, expected_head=expected_head
            )

    def merge(
        self,
        source: str,
        target: str = MAIN,
        strategy: Strategy = Strategy.MANUAL,
        *,
        message: str = "",
        resolutions: Mapping[str, Memory | None] | None = None,
        dry_run: bool = False,
    ) -> Merge:
        """Merge `source` into the branch `target`; conflicts that nobody decides are returned and change nothing."""
        with self._writing() as (repo, now):
            return merging.merge(
                repo,
                source,
                target,
                strategy,
                author=self._author,
                now=now,
                message=message,
                resolutions=resolutions,
                dry_run=dry_run,
            )

    def rollback(self, target: str, *, branch: str = MAIN, reason: str = "") -> Committed:
        """Bring a branch back to the state of an earlier commit of it, by a new commit."""
        with self._writing() as (repo, now):
            return committing.rollback(repo, branch, target, author=self._author, reason=reason, now=now)

    def create_branch(self, branch: str, from_ref: str = MAIN, *, reason: str = "") -> Named:
        """Begin a branch. O(1)."""
        with self._writing() as (repo, now):
            return branching.create_branch(repo, branch, from_ref, actor=self._author, now=now, reason=reason)

    def delete_branch(self, branch: str, *, force: bool = False, reason: str = "") -> Named:
        """Delete a branch; `main` never."""
        with self._writing() as (repo, now):
            return branching.delete_branch(repo, branch, actor=self._author, now=now, force=force, reason=reason)

    def snapshot(
        self, snapshot_id: str, ref: str = MAIN, *, reason: str = "", metadata: Mapping[str, Any] | None = None
    ) -> Named:
        """Keep a commit under an id. O(1)."""
        with self._writing() as (repo, now):
            return branching.create_snapshot(
                repo, snapshot_id, ref, actor=self._author, now=now, reason=reason, meta=metadata
            )

    def tag(self, tag: str, ref: str = MAIN, *, reason: str = "") -> Named:
        """Name a commit for good. O(1)."""
        with self._writing() as (repo, now):
            return branching.create_tag(repo, tag, ref, actor=self._author, now=now, reason=reason)

    # --- worktrees ---

    def open_worktree(self, worktree_id: str, branch: str = MAIN) -> Worktree:
        """Open a worktree on a branch's head. O(1)."""
        with self._writing() as (repo, now):
            return worktrees.open_worktree(repo, worktree_id, branch, owner=self._author, now=now)

    def stage(self, worktree_id: str, changes: Sequence[Change]) -> Worktree:
        """Stage changes in a worktree."""
        with self._writing() as (repo, _):
            return worktrees.stage(repo, worktree_id, changes)

    def commit_worktree(self, worktree_id: str, *, message: str = "", author: str | None = None) -> Committed:
        """Commit what is staged: rebased if clean, else a conflict and everything stays staged."""
        with self._writing() as (repo, now):
            return worktrees.commit_worktree(repo, worktree_id, author=author or self._author, message=message, now=now)

    def close_worktree(self, worktree_id: str, *, force: bool = False) -> Worktree:
        """Close a worktree; refused with uncommitted changes unless forced."""
        with self._writing() as (repo, _):
            return worktrees.close_worktree(repo, worktree_id, force=force)

    def worktrees(self) -> list[Worktree]:
        """All open worktrees, by id."""
        with self._reading() as repo:
            return worktrees.list_worktrees(repo)

    # --- transactions ---

    @contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
        with self._turn:
            self._connection.execute(begin)
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[Repository]:
        # One snapshot for all statements of a read, while others write.
        with self._transaction("BEGIN"):
            yield self._repo

    @contextmanager
    def _writing(self) -> Iterator[tuple[Repository, datetime]]:
        with self._transaction():
            yield self._repo, self._clock()


def _path_of(url: str) -> str:
    scheme, separator, path = url.partition("://")
    if scheme != "sqlite" or not separator or (path and not path.startswith("/")):
        raise invalid(f"{url!r:.80} is no storage that is known", "give sqlite:///path/to/memory.db")
    name = unquote(path[1:])
    return str(Path(name)) if name else ":memory:"
