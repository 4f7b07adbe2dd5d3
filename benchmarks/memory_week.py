"""A week of an agent that commits every second, and what it costs: 604,800 commits with a clock that is made up.

    make bench-week    (ARGS="--commits 604800 --commits-max 100000 --memories 1000 --folder DIR --part both")

Two parts, each on a file of its own, through the library. In the first the agent lives with retention, as the service
applies it: every 500 commits the store drops what may go; rows and bytes are told day by day. In the second nothing is
dropped; then reads at the end of the long history are compared, in the same run, with the same reads in a repository of
1,000 commits that holds as many memories. Ratios are of medians. Durability is off and 500 commits share a transaction,
because here that is not what is measured.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from memory_repository import Memory, MemoryRepository, Put
from memory_repository.core.retention import Retention
from memory_repository.operations import committing

BEGIN = datetime(2025, 3, 1, tzinfo=UTC)
DAY = 86_400
STEP = 500
SHORT = 1_000
LOOKS = 400
WORDS = [f"word{number}" for number in range(2_000)]


class Week:
    """A repository whose clock moves on by a second with every commit."""

    def __init__(self, file: Path, memories: int) -> None:
        self._ticks = itertools.count()
        self._choose = random.Random(7)
        self.file = file
        self.memories = memories
        self.memory = MemoryRepository.open(f"sqlite:///{file}", clock=self._now)
        self.memory._connection.execute("PRAGMA synchronous = OFF")
        self.memory.commit([self._put(number) for number in range(memories)])

    def _now(self) -> datetime:
        return BEGIN + timedelta(seconds=next(self._ticks))

    def _put(self, number: int) -> Put:
        return Put(Memory(f"m{number:05}", " ".join(self._choose.choices(WORDS, k=25))))

    def commits(self, count: int) -> Iterator[int]:
        """Make so many commits, each of one memory, 500 in one transaction; yields after each transaction."""
        for start in range(0, count, STEP):
            done = min(start + STEP, count)
            with self.memory._writing() as (repo, _):
                for number in range(start, done):
                    change = self._put(self._choose.randrange(self.memories))
                    committing.commit(
                        repo, "main", [change], author="agent", message=f"commit {number}", now=self._now()
                    )
            yield done

    def rows(self) -> dict[str, int]:
        """How many rows there are of what grows."""
        tables = ("commits", "entry", "version", "reflog")
        count = self.memory._connection.execute
        return {table: count(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}

    def megabytes(self) -> float:
        """The size of the file and of the log beside it."""
        return sum(path.stat().st_size for path in self.file.parent.glob(f"{self.file.name}*")) / 1e6


READS: dict[str, Callable[[MemoryRepository, int], object]] = {
    "get": lambda memory, n: memory.get(f"m{n % 100:05}"),
    "search": lambda memory, n: memory.search(f"word{n} word{n + 1}"),
    "list page": lambda memory, n: memory.page(limit=100, after=f"m{n % 100:05}"),
    "log page": lambda memory, _: memory.log(limit=50),
    "diff of adjacent commits": lambda memory, n: memory.diff(f"main~{n % 50 + 1}", f"main~{n % 50}"),
    "main~900": lambda memory, _: memory.log("main~900", 1),
    "create a branch": lambda memory, n: memory.create_branch(f"b{n}"),
    "commit": lambda memory, n: memory.commit([Put(Memory("m00007", f"again {n}"))]),
}


def medians_ms(read: Callable[[MemoryRepository, int], object], *memories: MemoryRepository) -> list[float]:
    """The median of 400 looks at each memory, in milliseconds: at one and the other in turns, so that what else the
    machine does meanwhile falls on all."""
    found: list[list[float]] = [[] for _ in memories]
    for number in range(LOOKS):
        for memory, spent in zip(memories, found, strict=True):
            begun = time.perf_counter()
            read(memory, number)
            spent.append((time.perf_counter() - begun) * 1000)
    return [statistics.median(spent) for spent in found]


def with_retention(folder: Path, arguments: argparse.Namespace) -> bool:
    """The first part; whether rows stayed within the retention."""
    week = Week(folder / "retained.db", arguments.memories)
    retention = Retention(commits_max=arguments.commits_max)
    say(f"with retention: the newest {arguments.commits_max:,} commits")
    say(f"{'commits made':>14} {'kept':>9} {'headers':>8} {'entries':>9} {'versions':>9} {'reflog':>8} {'MB':>8}")
    day, most, longest, begun = 1, 0, 0.0, time.perf_counter()
    for number in week.commits(arguments.commits):
        step = time.perf_counter()
        week.memory.gc(retention)
        longest = max(longest, time.perf_counter() - step)
        most = max(most, week.rows()["commits"])
        if number >= day * DAY or number == arguments.commits:
            day += 1
            rows = week.rows()
            (headers,) = week.memory._connection.execute("SELECT count(*) FROM header_only").fetchone()
            say(
                f"{number:>14,} {rows['commits'] - headers:>9,} {headers:>8,} {rows['entry']:>9,}"
                f" {rows['version']:>9,} {rows['reflog']:>8,} {week.megabytes():>8.1f}"
            )
    say(f"{time.perf_counter() - begun:.0f} s; the longest gc took {longest * 1000:.0f} ms")
    found = week.memory.verify()
    say(f"verify: {found.commits:,} commits, {found.headers:,} headers, {found.problems_count} problems")
    # Commits, headers of what is visible, one step's worth, the first commit.
    bound = arguments.commits_max + arguments.memories + STEP + 1
    say(f"rows of commits: at most {most:,}; the bound is {bound:,}\n")
    week.memory.close()
    return most <= bound and found.ok


def without_retention(folder: Path, arguments: argparse.Namespace) -> bool:
    """The second part; whether no read is more than twice as slow."""
    short, long = (Week(folder / f"{name}.db", arguments.memories) for name in ("short", "long"))
    for week, count in ((short, SHORT), (long, arguments.commits)):
        begun = time.perf_counter()
        for _ in week.commits(count):
            pass
        spent = time.perf_counter() - begun
        say(f"without retention: {count:,} commits in {spent:.0f} s, {week.megabytes():.1f} MB")
    say(f"{'':28} {'after ' + format(SHORT, ','):>14} {'after ' + format(arguments.commits, ','):>14} {'ratio':>7}")
    worst = 0.0
    for name, read in READS.items():
        before, after = medians_ms(read, short.memory, long.memory)
        worst = max(worst, after / before)
        say(f"{name:28} {before:>11.3f} ms {after:>11.3f} ms {after / before:>7.2f}")
    for week in (short, long):
        week.memory.close()
    return worst <= 2


def say(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Run both parts; exits 1 when a bound is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--commits", type=int, default=7 * DAY)
    parser.add_argument("--commits-max", type=int, default=100_000)
    parser.add_argument("--memories", type=int, default=1_000)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--part", choices=("both", "retention", "reads"), default="both")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        parts = {"retention": with_retention, "reads": without_retention}
        chosen = [part for name, part in parts.items() if arguments.part in ("both", name)]
        fine = [part(Path(folder), arguments) for part in chosen]
    sys.exit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
