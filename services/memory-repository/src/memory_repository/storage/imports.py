"""An import in progress, as rows: where it stands, which commits and versions the labels of the file mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from memory_repository.core.commit_id import timestamp
from memory_repository.core.transfer.lines import NO_LINES
from memory_repository.core.transfer.values import INITIAL
from memory_repository.storage import cursors, erasing, versions
from memory_repository.storage.refs import Ref
from memory_repository.storage.store import MAIN, Repository
from memory_repository.storage.timeline import Slot
from thymos.database import Connection

HIDDEN = ":import"
"""What the name of an agent whose memory is being imported has behind it: no agent's name holds a colon."""
OWNER = ":import"
"""Who owns the lines that an import writes, until branches are named; no branch's name holds a colon."""


@dataclass(frozen=True, slots=True)
class OpenImport:
    """Where an import stands.

    Attributes:
        repository: where its rows are.
        hashed: whether the file names commits by their ids; keyed: whether it brought the key, so that ids stay.
        lines, digest: how many lines are in, and the digest of them.
        commits, refs: how many of them are in.
        begun: the line of the commit whose changes are coming in, None between commits.
    """

    repository: Repository
    hashed: bool
    keyed: bool
    lines: int = 0
    digest: str = NO_LINES
    commits: int = 0
    refs: int = 0
    begun: str | None = None


@dataclass(frozen=True, slots=True)
class StagedChange:
    """A change of the commit that is coming in: the version from now on (None = deleted), its hash in the file."""

    memory_id: str
    hash: str | None
    slot: Slot | None


def find(db: Connection, tenant: str, agent: str) -> OpenImport | None:
    """The import of an agent's memory that is open, if any."""
    row = db.execute(
        "SELECT r.repo_id, r.key, i.hashed, i.keyed, i.lines, i.digest, i.commits, i.refs, i.begun"
        " FROM repository r JOIN import_open i ON i.repo_id = r.repo_id WHERE r.tenant = ? AND r.agent = ?",
        (tenant, agent + HIDDEN),
    ).fetchone()
    if row is None:
        return None
    repo_id, key, hashed, keyed, *standing = row
    return OpenImport(Repository(db, repo_id, tenant, agent, bytes(key)), bool(hashed), bool(keyed), *standing)


def begin(
    db: Connection, tenant: str, agent: str, *, hashed: bool, keyed: bool, key: bytes, now: datetime
) -> OpenImport:
    """Open an import; the caller has made sure that none is open."""
    (repo_id,) = db.execute(
        "INSERT INTO repository (tenant, agent, key, created_at) VALUES (?, ?, ?, ?) RETURNING repo_id",
        (tenant, agent + HIDDEN, key, timestamp(now)),
    ).fetchone()
    db.execute(
        "INSERT INTO import_open (repo_id, hashed, keyed, lines, digest, commits, refs) VALUES (?, ?, ?, 0, ?, 0, 0)",
        (repo_id, int(hashed), int(keyed), NO_LINES),
    )
    return OpenImport(Repository(db, repo_id, tenant, agent, key), hashed, keyed)


def save(standing: OpenImport) -> None:
    """Keep where an import stands."""
    standing.repository.db.execute(
        "UPDATE import_open SET lines = ?, digest = ?, commits = ?, refs = ?, begun = ? WHERE repo_id = ?",
        (standing.lines, standing.digest, standing.commits, standing.refs, standing.begun, standing.repository.id),
    )


def commit_of(repo: Repository, label: str) -> int | None:
    """The commit that a label of the file means."""
    row = repo.db.execute(
        "SELECT commit_no FROM import_commit WHERE repo_id = ? AND label = ?", (repo.id, label)
    ).fetchone()
    return None if row is None else int(row[0])


def note_commit(repo: Repository, label: str, commit_no: int) -> None:
    """What a label means from now on."""
    sql = "INSERT INTO import_commit (repo_id, label, commit_no) VALUES (?, ?, ?)"
    repo.db.execute(sql, (repo.id, label, commit_no))


def version_of(repo: Repository, memory_id: str, digest: str) -> int | None:
    """The version that a hash of the file means."""
    row = repo.db.execute(
        "SELECT version_id FROM import_version WHERE repo_id = ? AND memory_id = ? AND hash = ?",
        (repo.id, memory_id, digest),
    ).fetchone()
    return None if row is None else int(row[0])


def note_version(repo: Repository, memory_id: str, digest: str, version: int) -> None:
    """What a hash of the file means from now on."""
    repo.db.execute(
        "INSERT INTO import_version (repo_id, memory_id, hash, version_id) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (repo.id, memory_id, digest, version),
    )


def stage(repo: Repository, memory_id: str, digest: str | None, version: int | None, writer: int | None) -> bool:
    """Keep a change until its commit is whole. Whether it is the first of that memory."""
    done = repo.db.execute(
        "INSERT INTO import_change (repo_id, memory_id, hash, version_id, writer_no) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (repo.id, memory_id, digest, version, writer),
    )
    return done.rowcount == 1


def staged_count(repo: Repository) -> int:
    """How many changes wait for their commit."""
    count: int = repo.db.execute("SELECT count(*) FROM import_change WHERE repo_id = ?", (repo.id,)).fetchone()[0]
    return count


def take_staged(repo: Repository) -> Iterator[StagedChange]:
    """The changes of the commit that is whole now, by id; they wait no longer."""
    rows = repo.db.execute(
        "SELECT c.memory_id, c.hash, c.version_id, v.hash, v.words, c.writer_no FROM import_change c"
        " LEFT JOIN version v ON v.version_id = c.version_id WHERE c.repo_id = ? ORDER BY c.memory_id",
        (repo.id,),
    ).fetchall()
    repo.db.execute("DELETE FROM import_change WHERE repo_id = ?", (repo.id,))
    for memory_id, digest, version, stored, words, writer in rows:
        yield StagedChange(memory_id, digest, None if version is None else Slot(version, stored, words, writer or 0))


def own_lines(repo: Repository, branch: Ref) -> None:
    """Let a branch go on on the line of its head, if that line ends there and nobody has it yet."""
    repo.db.execute(
        "UPDATE line SET owner = ? WHERE owner = ? AND (line_id, tip_seq) ="
        " (SELECT line_id, seq FROM commits WHERE commit_no = ?)",
        (branch.name, OWNER, branch.commit_no),
    )


def close(standing: OpenImport) -> None:
    """The import is over: its repository is the agent's."""
    repo = standing.repository
    _forget_labels(repo)
    repo.db.execute("UPDATE repository SET agent = ? WHERE repo_id = ?", (repo.agent, repo.id))


def abandon(standing: OpenImport) -> None:
    """The import is over: nothing of it stays."""
    _forget_labels(standing.repository)
    remove_repository(standing.repository)


def is_begun(repo: Repository) -> bool:
    """Whether something was committed to `main`, which never stands on the first commit again: it stays the agent's."""
    sql = (
        "SELECT 1 FROM ref r JOIN commits c ON c.commit_no = r.commit_no"
        " WHERE r.repo_id = ? AND r.type = 'branch' AND r.name = ? AND c.kind <> ?"
    )
    return repo.db.execute(sql, (repo.id, MAIN, INITIAL)).fetchone() is not None


def is_blank(repo: Repository) -> bool:
    """Whether a repository holds nothing but its beginning: the first commit, on `main`, and nothing beside it that
    anybody has said, or that tells of what was there once."""
    beginning = all(_count(repo, table) == 1 for table in ("commits", "ref", "reflog"))
    first = repo.db.execute("SELECT kind FROM commits WHERE repo_id = ?", (repo.id,)).fetchone()
    return beginning and first == (INITIAL,) and not any(_count(repo, table) for table in SAID)


SAID: Final = (
    *("version", "worktree", "checkpoint_thread", "checkpoint_value", "protected_branch", "number_rule"),
    *("open_merge", "redaction", "memory_expiry", "attic", "left_behind"),
)
"""The tables that are empty as long as nobody has said anything."""
OWNED: Final = (
    *("attic", "held", "left_behind", "memory_expiry", "redaction", "retention", "swept"),
    *("staged", "worktree", "open_conflict", "open_merge", "protected_branch", "number_rule"),
    *("ref", "reflog", "version", "commits", "line", "repository"),
)
"""The tables whose rows go with a repository, who names others before them. An import brings no checkpoints in."""
LABELS: Final = ("import_change", "import_version", "import_commit", "import_open")
"""The tables that only an open import has rows in."""


def remove_repository(repo: Repository) -> None:
    """Delete a repository with everything in it. O(its history)."""
    index = repo.db.execute("SELECT version_id FROM version WHERE repo_id = ? AND salt IS NOT NULL", (repo.id,))
    for (version,) in index.fetchall():
        versions.forget_words(repo.db, repo.id, version)
    lines = "(SELECT line_id FROM line WHERE repo_id = ?)"
    for table in ("entry", "lineage"):
        repo.db.execute(f"DELETE FROM {table} WHERE line_id IN {lines}", (repo.id,))
    commits = "(SELECT commit_no FROM commits WHERE repo_id = ?)"
    for table in ("commit_parent", "cut_parent", "header_only"):
        repo.db.execute(f"DELETE FROM {table} WHERE commit_no IN {commits}", (repo.id,))
    for table in OWNED:
        repo.db.execute(f"DELETE FROM {table} WHERE repo_id = ?", (repo.id,))
    cursors.commits_went(repo.db)
    cursors.versions_went(repo.db)
    erasing.begin(repo.db)


def _count(repo: Repository, table: str) -> int:
    """How many rows of a repository a table has; 2 for more."""
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE repo_id = ? LIMIT 2) found"
    count: int = repo.db.execute(sql, (repo.id,)).fetchone()[0]
    return count


def _forget_labels(repo: Repository) -> None:
    for table in LABELS:
        repo.db.execute(f"DELETE FROM {table} WHERE repo_id = ?", (repo.id,))
