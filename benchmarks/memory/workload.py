"""The workload of `make bench-memory`: the memories, and what each store has to be able to do with them.

Memories have about 200 characters, of a vocabulary in which the n-th word is n times rarer than the first (Zipf), and
two fields. Everything follows from the seed, so that every store gets the same. Nothing here imports what a peer's own
environment might not have.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Protocol

WORDS_PER_MEMORY: Final = 30
VOCABULARY: Final = 20_000
BATCH: Final = 10_000
"""Memories per commit of the bulk load."""
COMMON_WORD: Final = "w3"
"""In about a fifth of all memories."""
PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Record:
    """A memory, as every store gets it."""

    id: str
    content: str
    kind: str
    topic: str
    importance: int


@dataclass(frozen=True, slots=True)
class Changed:
    """A memory that differs between two branches: its contents before and after."""

    id: str
    before: str
    after: str


class NotOffered(Exception):
    """What a store has no operation for, and why."""


class Peer(Protocol):
    """A store of memories with branches, `main` being the first; open."""

    def about(self) -> str:
        """Its version, its settings, and what of it is durable when a call returns."""
        ...

    def load(self, records: Sequence[Record]) -> None:
        """Add memories to main in one commit."""
        ...

    def settle(self) -> None:
        """Close and open it again: what it leaves on the disk then, counts."""
        ...

    def branch(self, name: str) -> None:
        """Begin a branch at main's head."""
        ...

    def tag(self, name: str) -> None:
        """Name main's head for good."""
        ...

    def snapshot(self, name: str) -> None:
        """Name main's head with a reason and metadata."""
        ...

    def worktree(self, name: str) -> None:
        """Open a checkout of main with a staging area of its own."""
        ...

    def commit(self, branch: str, records: Sequence[Record]) -> None:
        """Replace memories on a branch, in one commit."""
        ...

    def get(self, memory_id: str) -> str:
        """The content of one memory on main."""
        ...

    def page(self, after: str) -> list[str]:
        """The contents of the 100 memories of main after an id, by id."""
        ...

    def search(self, word: str) -> list[str]:
        """The ids of the ten best memories of main that hold a word."""
        ...

    def diff(self, branch: str) -> list[Changed]:
        """How the memories of a branch differ from main's, with both contents."""
        ...

    def merge(self, branch: str) -> None:
        """Merge a branch into main, three-way, as a commit."""
        ...

    def roll_back(self) -> None:
        """Bring main back to what it held before its last commit, by a new commit."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class Workload:
    """Memories and choices that follow from a seed."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self._words = [f"w{number}" for number in range(VOCABULARY)]
        self._weights = list(accumulate(1 / (number + 1) for number in range(VOCABULARY)))
        self._random = random.Random(f"{seed} {size}")

    def batches(self) -> Iterable[list[Record]]:
        """All memories, in the batches of the bulk load."""
        for first in range(0, self.size, BATCH):
            numbers = range(first, min(first + BATCH, self.size))
            yield [self.record(number) for number in numbers]

    def record(self, number: int, mark: str = "") -> Record:
        """A memory: with words of its own, and the rare word that only it has."""
        words = self._random.choices(self._words, cum_weights=self._weights, k=WORDS_PER_MEMORY)
        content = " ".join([f"rare{number}x{mark}", *words])
        return Record(self.id(number), content, "note", self._random.choice(words), self._random.randrange(10))

    def changes(self, count: int, mark: str, among: Sequence[int] | None = None) -> list[Record]:
        """New versions of different memories."""
        numbers = self.numbers(count) if among is None else among
        return [self.record(number, mark) for number in numbers]

    def numbers(self, count: int) -> list[int]:
        """Different memories, at random."""
        return self._random.sample(range(self.size), count)

    def number(self) -> int:
        """A memory at random."""
        return self._random.randrange(self.size)

    @staticmethod
    def id(number: int) -> str:
        """The id of a memory; ids sort by their number."""
        return f"m{number:07}"
