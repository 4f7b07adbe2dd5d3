"""Measures one store at one size, in a process of its own: `python -m benchmarks.memory.measuring thymos 1000 FOLDER`.

Writes a line of JSON when a row of the table begins and when it is done, so that whoever started it can see which row
took too long. What an operation did is checked after it was timed: a store that is fast and wrong has no figure there.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from .workload import COMMON_WORD, PAGE, NotOffered, Peer, Workload

MODULES: Final = {
    "sqlite": "with_sqlite",
    "thymos": "with_thymos",
    "libgit2": "with_libgit2",
    "doltlite": "with_doltlite",
    "doltlite-fts": "with_doltlite",
    "prollytree": "with_prollytree",
}
ROWS: Final = (
    "bulk load", "disk", "get", "list page of 100", "search, rare word", "search, common word", "branch", "tag",
    "snapshot", "worktree", "commit of 1", "diff of 100", "merge of 100 into 150", "rollback of 100",
)  # fmt: skip
"""The rows of the table, in the order they are measured."""
BUDGET_SECONDS: Final = 20.0
"""A row is repeated until it has enough repetitions, or this time has passed, what prepares them included."""


@dataclass(frozen=True)
class Scale:
    """How often each row is repeated, and how many memories it changes."""

    reads: int = 300
    searches: int = 30
    writes: int = 100
    merges: int = 7
    changed: int = 100
    changed_on_main: int = 150


QUICK: Final = Scale(reads=5, searches=2, writes=2, merges=1, changed=10, changed_on_main=15)


class Measuring:
    """One store, one size."""

    def __init__(self, peer: Peer, folder: Path, workload: Workload, scale: Scale) -> None:
        self._peer, self._folder, self._work, self._scale = peer, folder, workload, scale
        self._made = 0

    def rows(self) -> dict[str, Callable[[], dict[str, Any]]]:
        """What measures each row."""
        peer, scale = self._peer, self._scale
        return {
            "bulk load": self._load,
            "disk": self._disk,
            "get": lambda: self._repeated(scale.reads, self._get),
            "list page of 100": lambda: self._repeated(scale.reads // 4 or 1, self._page),
            "search, rare word": lambda: self._repeated(scale.searches, self._search_rare),
            "search, common word": lambda: self._repeated(scale.searches, self._search_common),
            "branch": lambda: self._naming(peer.branch),
            "tag": lambda: self._naming(peer.tag),
            "snapshot": lambda: self._naming(peer.snapshot),
            "worktree": lambda: self._naming(peer.worktree),
            "commit of 1": lambda: self._repeated(scale.writes, self._commit),
            "diff of 100": lambda: self._repeated(scale.merges, self._diff),
            "merge of 100 into 150": lambda: self._repeated(scale.merges, self._merge),
            "rollback of 100": lambda: self._repeated(scale.merges, self._roll_back),
        }

    def _load(self) -> dict[str, Any]:
        """One time for all; making up the memories is not counted."""
        seconds = 0.0
        for batch in self._work.batches():
            seconds += timed(partial(self._peer.load, batch))
        return {"seconds": [seconds]}

    def _disk(self) -> dict[str, Any]:
        self._peer.settle()
        blocks = sum(path.stat().st_blocks for path in self._folder.rglob("*") if path.is_file())
        return {"bytes": blocks * 512}

    def _repeated(self, most: int, once: Callable[[], float]) -> dict[str, Any]:
        seconds: list[float] = []
        began = time.perf_counter()
        while len(seconds) < most and (not seconds or time.perf_counter() - began < BUDGET_SECONDS):
            seconds.append(once())
        return {"seconds": seconds}

    def _new_name(self) -> str:
        self._made += 1
        return f"name-{self._made}"

    def _get(self) -> float:
        number = self._work.number()
        seconds, content = valued(lambda: self._peer.get(Workload.id(number)))
        check(content.startswith(f"rare{number}x"), f"memory {number} is {content[:40]}")
        return seconds

    def _page(self) -> float:
        number = self._work.number()
        seconds, contents = valued(lambda: self._peer.page(Workload.id(number)))
        expected = [f"rare{n}x" for n in range(number + 1, min(number + 1 + PAGE, self._work.size))]
        check([content.partition("x")[0] + "x" for content in contents] == expected, f"the page after {number}")
        return seconds

    def _search_rare(self) -> float:
        number = self._work.number()
        seconds, found = valued(lambda: self._peer.search(f"rare{number}x"))
        check(found == [Workload.id(number)], f"found {found} instead of {number}")
        return seconds

    def _search_common(self) -> float:
        seconds, found = valued(lambda: self._peer.search(COMMON_WORD))
        check(len(found) == 10, f"found {len(found)} memories")
        return seconds

    def _naming(self, make: Callable[[str], None]) -> dict[str, Any]:
        def once() -> float:
            name = self._new_name()
            return timed(lambda: make(name))

        return self._repeated(self._scale.writes, once)

    def _commit(self) -> float:
        (record,) = self._work.changes(1, f"c{self._new_name()}")
        seconds = timed(lambda: self._peer.commit("main", [record]))
        check(self._peer.get(record.id) == record.content, "the commit is not there")
        return seconds

    def _branch_with_changes(self, numbers: list[int]) -> str:
        name = self._new_name()
        self._peer.branch(name)
        self._peer.commit(name, self._work.changes(0, f"b{name}", numbers))
        return name

    def _diff(self) -> float:
        numbers = self._work.numbers(self._scale.changed)
        name = self._branch_with_changes(numbers)
        seconds, found = valued(lambda: self._peer.diff(name))
        check(sorted(one.id for one in found) == sorted(map(Workload.id, numbers)), f"{len(found)} differ")
        check(all(one.before != one.after and f"b{name}" in one.after for one in found), "contents of the diff")
        return seconds

    def _merge(self) -> float:
        numbers = self._work.numbers(self._scale.changed + self._scale.changed_on_main)
        theirs, ours = numbers[: self._scale.changed], numbers[self._scale.changed :]
        name = self._branch_with_changes(theirs)
        self._peer.commit("main", self._work.changes(0, f"o{name}", ours))
        seconds = timed(lambda: self._peer.merge(name))
        check(f"b{name}" in self._peer.get(Workload.id(theirs[0])), "theirs is not merged")
        check(f"o{name}" in self._peer.get(Workload.id(ours[0])), "ours is lost")
        return seconds

    def _roll_back(self) -> float:
        records = self._work.changes(self._scale.changed, f"r{self._new_name()}")
        before = self._peer.get(records[0].id)
        self._peer.commit("main", records)
        seconds = timed(self._peer.roll_back)
        check(self._peer.get(records[0].id) == before, "not rolled back")
        return seconds


_clock = time.perf_counter


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    began = _clock()
    work()
    return _clock() - began


def valued(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that `work` takes, and what it returns."""
    began = _clock()
    value = work()
    return _clock() - began, value


class WrongResult(Exception):
    """What a store gave instead of what was right."""


def check(holds: bool, problem: str) -> None:
    """Raise WrongResult for a wrong result."""
    if not holds:
        raise WrongResult(problem)


def fsync_seconds(folder: Path, times: int = 20) -> list[float]:
    """What it costs to write 4 KiB to a file and have it on the disk: the floor of all that is durable."""
    with (folder / "fsync").open("wb", buffering=0) as file:

        def once() -> None:
            file.write(b"x" * 4096)
            os.fsync(file.fileno())

        return [timed(once) for _ in range(times)]


def tell(**facts: Any) -> None:
    """A line for whoever started this."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=MODULES)
    parser.add_argument("size", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--processor-time", action="store_true")
    given = parser.parse_args()
    if given.processor_time:
        global _clock
        _clock = time.process_time
    module = importlib.import_module(f".{MODULES[given.peer]}", __package__)
    tell(row="fsync", seconds=fsync_seconds(given.folder))
    store = given.folder / "store"
    store.mkdir()
    peer: Peer = module.opened(store, given.peer)
    tell(row="about", text=peer.about())
    rows = Measuring(peer, store, Workload(given.size, given.seed), QUICK if given.quick else Scale()).rows()
    for row in ROWS:
        tell(row=row, begins=True)
        try:
            tell(row=row, **rows[row]())
        except NotOffered as reason:
            tell(row=row, none=str(reason))
        except WrongResult as problem:
            tell(row=row, wrong=str(problem))
    peer.close()


if __name__ == "__main__":
    main()
