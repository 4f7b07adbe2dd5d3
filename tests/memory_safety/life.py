"""A seeded life of one memory: operation after operation, of all that the library has, on one SQLite file.

Time, key and choices come from the seed and the number of the operation, so that a second life of the same seed makes
the same commits, ids and rows: it tells what a store must hold after so many operations, whatever happened to it.

Run as a program, it lives until it is killed, and says each operation once the library has acknowledged it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

from memory_repository import MemoryRepository
from memory_repository.operations.committing import Committed
from memory_repository.storage import store
from thymos.database import SqliteConnection
from thymos.errors import Refusal
from thymos.sqlite_file import SqliteFile

from .operations import OPERATIONS, WORDS

START: Final = datetime(2025, 3, 1, tzinfo=UTC)
KEY: Final = b"k" * store.KEY_BYTES
TENANT: Final = "acme"
AGENT: Final = "support"
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


class Letters:
    """Vectors that need no model: how often the first letters of the alphabet stand in a text."""

    name = "letters"
    dimensions = 8

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """A vector for each text."""
        return [[1.0 + text.count(letter) for letter in "abcdefgh"] for text in texts]


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
        self.begin(agent)
        return self.of(agent)

    def begin(self, agent: str) -> None:
        """An agent's repository is there, and holds nothing yet."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            store.open_repository(self.connection, TENANT, agent, now=self.now(), key=KEY)
            self.connection.execute("COMMIT")
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")

    def has(self, agent: str) -> bool:
        """Whether an agent has a repository."""
        return store.has_repository(self.connection, TENANT, agent)

    def of(self, agent: str) -> MemoryRepository:
        """The repository of an agent that has one."""
        return MemoryRepository(self.connection, TENANT, agent, "life", self.now, Letters())

    def reopen(self) -> None:
        """Close the file, and open it again."""
        self.close()
        self.memory = self.opened(AGENT)

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


def main(path: str, seed: str) -> None:
    """Live until somebody ends it."""
    life = Life(Path(path), int(seed))
    while True:
        sys.stdout.write(json.dumps(asdict(life.step())) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
