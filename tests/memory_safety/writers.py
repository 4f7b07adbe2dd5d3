"""Two processes that commit to one branch: nothing is lost, nothing is there twice."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Final

from memory_repository import Memory, MemoryRepository, Put
from memory_repository.storage.commits import CommitRow

WRITERS: Final = ("anna", "berta")
COUNTERS: Final = 5
"""Memories that a writer writes over and over, beside a new one with each commit."""
PAGE: Final = 1_000


def write_together(commits: int, seed: int, folder: Path) -> Counter[str]:
    """Let both commit, `commits` in all, and compare what is there with what was acknowledged; counts what happened."""
    url = f"sqlite:///{folder}/shared.db"
    with MemoryRepository.open(url) as memory:
        before = len(memory.log())
    programs = [
        [sys.executable, "-m", "tests.memory_safety.writers", url, name, str(commits // len(WRITERS)), str(seed)]
        for name in WRITERS
    ]
    root = Path(__file__).parents[2]
    running = [subprocess.Popen(program, stdout=subprocess.PIPE, cwd=root) for program in programs]
    said = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], f"seed {seed}"
    acknowledged = [json.loads(line) for part in said for line in part.splitlines()]
    with MemoryRepository.open(url) as memory:
        history = whole_log(memory)
        assert len(history) == before + commits, f"seed {seed}: {len(history) - before} commits of {commits}"
        by_id = {row.id: row for row in history}
        assert len({each["commit"] for each in acknowledged}) == commits, f"seed {seed}: a commit answered twice"
        for each in acknowledged:
            row = by_id.get(each["commit"])
            assert row is not None, f"seed {seed}: {each} is lost"
            assert (row.author, row.message) == (each["author"], each["message"]), f"seed {seed}: {each}"
        wanted = {f"{each['author']}-{each['number']}": each["message"] for each in acknowledged}
        for each in acknowledged:  # in the order of each writer: the last one stays
            wanted[each["counter"]] = each["message"]
        assert {m.id: m.content for m in memory.memories()} == wanted, f"seed {seed}: not the union of both"
        assert not memory.verify().problems, f"seed {seed}"
    return Counter(what for each in acknowledged for what in each["how"]) + Counter(commits=len(acknowledged))


def whole_log(memory: MemoryRepository) -> list[CommitRow]:
    """All commits of main, page by page."""
    found = memory.log(limit=PAGE)
    while len(page := memory.log(found[-1].id, PAGE)) > 1:
        found += page[1:]
    return found


def write(url: str, author: str, commits: int, seed: int) -> None:
    """One writer. Half of its commits name a head that it has read, which the other may have moved on from. One that
    is told that the store is busy tries again."""
    choose = Random(f"{seed}/{author}")
    with MemoryRepository.open(url, author=author) as memory:
        for number in range(commits):
            how = []
            head = memory.resolve().id if choose.random() < 0.5 else None
            message, counter = f"{author} {number}", f"{author}-counter-{choose.randrange(COUNTERS)}"
            puts = [Put(Memory(f"{author}-{number}", message)), Put(Memory(counter, message))]
            while True:
                try:
                    done = memory.commit(puts, message=message, expected_head=head)
                    break
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error):
                        raise
                    how.append("busy")
            how += ["with a head"] * (head is not None) + ["rebased"] * done.rebased
            line = {
                "author": author, "number": number, "counter": counter, "message": message,
                "commit": done.commit.id, "how": how,
            }  # fmt: skip
            sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
