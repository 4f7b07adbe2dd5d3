"""A seeded life of one memory: operation after operation, of all that the library has, on one SQLite file.

Time, key and choices come from the seed and the number of the operation, so that a second life of the same seed makes
the same commits, ids and rows: it tells what a store must hold after so many operations, whatever happened to it.

Run as a program, it lives until it is killed, and says each operation once the library has acknowledged it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Final

from memory_repository import Delete, Memory, MemoryRepository, Modify, Put
from memory_repository.core.merge import Strategy
from memory_repository.core.retention import Retention
from memory_repository.operations.committing import Committed
from memory_repository.storage import store
from thymos.database import SqliteConnection
from thymos.errors import Refusal
from thymos.sqlite_file import SqliteFile

START: Final = datetime(2025, 3, 1, tzinfo=UTC)
KEY: Final = b"k" * store.KEY_BYTES
TENANT: Final = "acme"
AGENT: Final = "support"
WORDS: Final = ("red", "green", "blue", "refund", "thirty", "days")
NAMES: Final = ("one", "two", "three")
OTHERS: Final = ("version_terms", "erasing", "sqlite_")
"""Tables that are compared otherwise: the word index by searching, how far erasing has come not at all."""

Rows = dict[str, list[tuple[object, ...]]]


@dataclass(frozen=True, slots=True)
class Step:
    """An acknowledged operation: its name, the code of a refusal, the commit that it made, and a digest of what can be
    read at that commit."""

    number: int
    operation: str
    refused: str
    commit: str
    digest: str


class Life:
    """A repository in a file, and how many operations it has seen."""

    def __init__(self, path: Path, seed: int, done: int = 0, *, durable: bool = True) -> None:
        self.path, self.seed, self.done, self.durable = path, seed, done, durable
        self.memory = self.opened(AGENT)

    def opened(self, agent: str) -> MemoryRepository:
        """The repository of an agent, with the key of all lives."""
        self.connection = SqliteFile(self.path).opened(any_thread=True)
        if not self.durable:
            self.connection.execute("PRAGMA synchronous = OFF")
        self.connection.executescript(store.SCHEMA)
        self.connection.execute("BEGIN IMMEDIATE")
        store.open_repository(self.connection, TENANT, agent, now=self.now(), key=KEY)
        self.connection.execute("COMMIT")
        return MemoryRepository(self.connection, TENANT, agent, "life", self.now)

    def now(self) -> datetime:
        """A second an operation."""
        return START + timedelta(seconds=self.done)

    def close(self) -> None:
        """Close the file."""
        self.memory.close()

    def step(self) -> Step:
        """The next operation. A refusal is an answer, too."""
        choose = Random(f"{self.seed}/{self.done}")
        operation = choose.choice(OPERATIONS)
        refused = commit = ""
        try:
            made = operation(self, choose)
            commit = made.commit.id if isinstance(made, Committed) else ""
        except Refusal as refusal:
            refused = refusal.code
        self.done += 1
        return Step(self.done, operation.__name__, refused, commit, readable(self.memory, commit) if commit else "")


def readable(memory: MemoryRepository, commit: str) -> str:
    """A digest of all memories at a commit."""
    return hashlib.sha256(repr(memory.memories(commit)).encode()).hexdigest()


def rows(connection: SqliteConnection) -> Rows:
    """All rows of all tables of ours."""
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    return {
        name: connection.execute(f'SELECT * FROM "{name}"').fetchall()
        for (name,) in names
        if not name.startswith(OTHERS)
    }


def found(memory: MemoryRepository) -> list[list[str]]:
    """What a search for each word finds on main."""
    return [[hit.memory.id for hit in memory.search(word, limit=100).hits] for word in WORDS]


def commit(life: Life, choose: Random) -> Committed:
    branch = _branch(life, choose)
    there = [memory.id for memory in life.memory.memories(branch)]
    changes: list[Put | Modify | Delete] = []
    for memory_id in choose.sample(range(12), choose.choice((1, 1, 2, 5))):
        name = f"m{memory_id}"
        if name in there and choose.random() < 0.3:
            changes.append(Delete(name))
        elif name in there and choose.random() < 0.5:
            changes.append(Modify(name, fields={choose.choice(WORDS): choose.randrange(9)}))
        else:
            changes.append(Put(Memory(name, _text(choose))))
    head = choose.choice((None, None, *_commits(life, branch)))
    return life.memory.commit(changes, branch=branch, message=_text(choose), expected_head=head)


def commit_many(life: Life, choose: Random) -> Committed:
    puts = [Put(Memory(f"n{number}", _text(choose))) for number in range(choose.choice((20, 200)))]
    return life.memory.commit(puts, branch=_branch(life, choose))


def merge(life: Life, choose: Random) -> object:
    strategy = choose.choice((Strategy.OURS, Strategy.THEIRS, Strategy.MANUAL))
    return life.memory.merge(_branch(life, choose), _branch(life, choose), strategy)


def rollback(life: Life, choose: Random) -> Committed:
    branch = _branch(life, choose)
    return life.memory.rollback(choose.choice(_commits(life, branch)), branch=branch)


def cherry_pick(life: Life, choose: Random) -> Committed:
    picked = choose.choice(_commits(life, _branch(life, choose)))
    return life.memory.cherry_pick(picked, _branch(life, choose), strategy=Strategy.THEIRS)


def revert(life: Life, choose: Random) -> Committed:
    branch = _branch(life, choose)
    return life.memory.revert(choose.choice(_commits(life, branch)), branch, strategy=Strategy.OURS)


def rebase(life: Life, choose: Random) -> object:
    return life.memory.rebase(_branch(life, choose), _branch(life, choose), strategy=Strategy.THEIRS)


def create_branch(life: Life, choose: Random) -> object:
    return life.memory.create_branch(choose.choice(NAMES), choose.choice(_commits(life, _branch(life, choose))))


def rename_branch(life: Life, choose: Random) -> object:
    return life.memory.rename_branch(_branch(life, choose), choose.choice(NAMES))


def delete_branch(life: Life, choose: Random) -> object:
    return life.memory.delete_branch(_branch(life, choose), force=choose.random() < 0.7)


def tag(life: Life, choose: Random) -> object:
    name = choose.choice(NAMES)
    if any(each.name == name for each in life.memory.tags()):
        return life.memory.delete_tag(name)
    return life.memory.tag(name, _branch(life, choose))


def snapshot(life: Life, choose: Random) -> object:
    name = choose.choice(NAMES)
    if any(each.name == name for each in life.memory.snapshots()):
        return life.memory.delete_snapshot(name)
    return life.memory.snapshot(name, _branch(life, choose), reason=_text(choose))


def work(life: Life, choose: Random) -> object:
    tree = choose.choice(NAMES)
    if all(each.id != tree for each in life.memory.worktrees()):
        return life.memory.open_worktree(tree, _branch(life, choose))
    return life.memory.stage(tree, [Put(Memory(f"m{choose.randrange(12)}", _text(choose)))])


def commit_worktree(life: Life, choose: Random) -> Committed:
    return life.memory.commit_worktree(choose.choice(NAMES))


def close_worktree(life: Life, choose: Random) -> object:
    return life.memory.close_worktree(choose.choice(NAMES), force=choose.random() < 0.5)


def gc(life: Life, choose: Random) -> object:
    return life.memory.gc(Retention(choose.choice((5, 20)), reflog_age=timedelta(seconds=choose.choice((0, 30)))))


def redact(life: Life, choose: Random) -> object:
    return life.memory.redact(f"m{choose.randrange(12)}", reason="asked to")


def compact(life: Life, choose: Random) -> object:
    del choose
    life.memory.compact()
    return None


def reopen(life: Life, choose: Random) -> object:
    del choose
    life.close()
    life.memory = life.opened(AGENT)
    return None


def copy_begun(life: Life, choose: Random) -> object:
    del choose
    other = life.connection
    other.execute("BEGIN IMMEDIATE")
    try:
        store.open_repository(other, TENANT, f"copy{life.done // 50}", now=life.now(), key=KEY)
        other.execute("COMMIT")
    finally:
        if other.in_transaction:
            other.execute("ROLLBACK")
    return None


def copy(life: Life, choose: Random) -> object:
    """The history is exported, and imported by another agent that is there and holds nothing yet."""
    del choose
    agent = f"copy{life.done // 50}"
    if not store.has_repository(life.connection, TENANT, agent):
        return None
    lines = b"".join(life.memory.export_lines(with_key=True))
    return MemoryRepository(life.connection, TENANT, agent, "life", life.now).import_lines(BytesIO(lines))


def _branch(life: Life, choose: Random) -> str:
    return choose.choice(["main", *(branch.name for branch in life.memory.branches())])


def _commits(life: Life, branch: str) -> list[str]:
    return [row.id for row in life.memory.log(branch, 8)]


def _text(choose: Random) -> str:
    return "\n".join(choose.choice(WORDS) for _ in range(choose.randrange(1, 6)))


Operation = Callable[[Life, Random], object]
ONCE: Final[tuple[Operation, ...]] = (
    commit_many, merge, rollback, cherry_pick, revert, rebase, create_branch, create_branch, rename_branch,
    delete_branch, tag, snapshot, work, work, commit_worktree, close_worktree, gc, redact, compact, reopen,
    copy_begun, copy,
)  # fmt: skip
OPERATIONS: Final[tuple[Operation, ...]] = (*ONCE, *[commit] * 8, merge)
"""Those that come more often stand there more than once."""


def main(path: str, seed: str) -> None:
    """Live until somebody ends it."""
    life = Life(Path(path), int(seed))
    while True:
        sys.stdout.write(json.dumps(asdict(life.step())) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
