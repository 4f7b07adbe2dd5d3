"""Where repositories are kept: one per (tenant, agent), many in one store, on a connection that the caller owns.

Everything here and below works inside the caller's transaction: it neither begins nor commits one. What it says is
durable once the caller's commit is. A `Repository` is bound to its tenant and agent when it is opened, and every
query below carries its number: there is no call that could forget the scope.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files

from memory_repository.core import limits
from memory_repository.core.commit_id import KEY_BYTES_MIN, timestamp
from memory_repository.storage import commits, refs
from memory_repository.storage.commits import CommitRow, Draft
from thymos.database import Connection
from thymos.errors import Refusal, RefusalCode
from thymos.names import check_agent, check_tenant

MAIN = "main"
"""The branch that every repository begins with and that cannot be deleted."""
SCHEMA = "".join(
    files("memory_repository.storage").joinpath(name).read_text("utf-8") for name in ("schema.sql", "imports.sql")
)
"""SQL that creates the tables; running it again changes nothing. A store is opened by `schema.prepare`."""
KEY_BYTES = 32
"""How long a new repository's key should be."""
INITIAL_AUTHOR = "memory-repository"


@dataclass(frozen=True, slots=True)
class Repository:
    """One agent's memory on an open connection; `now` is the time that `main@{2h}` counts from."""

    db: Connection
    id: int
    tenant: str
    agent: str
    key: bytes
    now: datetime | None = None

    def resolve(self, revision: str) -> CommitRow:
        """The commit that a text names (core/revisions.py). Raises Refusal (not_found, invalid, too_large)."""
        return refs.resolve(self.db, self.id, revision, self.now)

    def at(self, now: datetime) -> Repository:
        """The same repository at a time."""
        return Repository(self.db, self.id, self.tenant, self.agent, self.key, now)

    def __repr__(self) -> str:
        return f"Repository({self.tenant}/{self.agent})"


@dataclass(frozen=True, slots=True)
class Opened:
    """A repository, and its first commit if it was created just now."""

    repository: Repository
    created: CommitRow | None


def has_repository(db: Connection, tenant: str, agent: str) -> bool:
    """Whether an agent has a memory. Raises Refusal: invalid for a bad name."""
    return _find(db, tenant, agent) is not None


def find_repository(db: Connection, tenant: str, agent: str) -> Repository:
    """The repository of an agent. Raises Refusal: not_found when nothing was ever written, invalid for a bad name."""
    found = _find(db, tenant, agent)
    if found is None:
        raise Refusal(RefusalCode.NOT_FOUND, f"the agent {agent} has no memory yet", "it begins with the first commit")
    return found


def open_repository(db: Connection, tenant: str, agent: str, *, now: datetime, key: bytes) -> Opened:
    """The repository of an agent, created if need be with an empty first commit on `main`.

    Args:
        db: the connection, in the caller's transaction.
        tenant: whose it is.
        agent: which agent's.
        now: when, aware.
        key: at least 16 random bytes, kept as the repository's key if it is created.

    Raises:
        Refusal: invalid for a bad name or a short key.
    """
    found = _find(db, tenant, agent)
    if found is not None:
        return Opened(found, None)
    if len(key) < KEY_BYTES_MIN:
        raise limits.invalid(f"a repository's key has at least {KEY_BYTES_MIN} bytes")
    (repo_id,) = db.execute(
        "INSERT INTO repository (tenant, agent, key, created_at) VALUES (?, ?, ?, ?) RETURNING repo_id",
        (tenant, agent, key, timestamp(now)),
    ).fetchone()
    repository = Repository(db, repo_id, tenant, agent, key)
    draft = Draft(MAIN, INITIAL_AUTHOR, "the memory begins", now, "initial", {"tenant": tenant, "agent": agent})
    first = commits.write_initial(db, repository.id, draft)
    refs.create(db, repository.id, "branch", MAIN, first, actor=INITIAL_AUTHOR, now=now, reason=draft.message)
    return Opened(repository, first)


def repository_ids(db: Connection, written_after: int | None = None) -> list[int]:
    """The numbers of all repositories, or of those that have a commit after a number; not those that come in."""
    if written_after is None:
        rows = db.execute("SELECT repo_id FROM repository ORDER BY repo_id")
    else:
        rows = db.execute("SELECT DISTINCT repo_id FROM commits WHERE commit_no > ? ORDER BY repo_id", (written_after,))
    coming = {repo_id for (repo_id,) in db.execute("SELECT repo_id FROM import_open").fetchall()}
    return [repo_id for (repo_id,) in rows.fetchall() if repo_id not in coming]


def repository_of(db: Connection, repo_id: int) -> Repository | None:
    """The repository of a number, if it is there."""
    row = db.execute("SELECT tenant, agent, key FROM repository WHERE repo_id = ?", (repo_id,)).fetchone()
    return None if row is None else Repository(db, repo_id, row[0], row[1], _key(row[2]))


def _find(db: Connection, tenant: str, agent: str) -> Repository | None:
    try:
        check_tenant(tenant)
        check_agent(agent)
    except ValueError as error:
        raise limits.invalid(str(error)) from None
    row = db.execute("SELECT repo_id, key FROM repository WHERE tenant = ? AND agent = ?", (tenant, agent)).fetchone()
    return None if row is None else Repository(db, row[0], tenant, agent, _key(row[1]))


def _key(stored: object) -> bytes:
    if isinstance(stored, bytes | memoryview):
        return bytes(stored)
    message = "the key that this memory was written with is none any more: the store was changed by somebody else"
    raise Refusal(RefusalCode.REFUSED, message, "restore the store from a backup")
