"""A short week of an agent that commits every second (make bench-week has the long one): what it keeps, what it costs.

Costs are counted in steps of SQLite's virtual machine: not how fast this machine is.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from memory_repository.core.memory import Memory, Put
from memory_repository.core.retention import Retention
from memory_repository.operations import branching, collecting, committing, reading, searching, verify
from memory_repository.storage import store
from memory_repository.storage.store import Repository
from thymos.database import SqliteConnection, open_sqlite

NOW = datetime(2025, 3, 1, tzinfo=UTC)
MEMORIES = 20


def lived(
    commits: int, retention: Retention | None = None, most: Callable[[Repository], None] | None = None
) -> Repository:
    """A repository of 20 memories that were rewritten so often, one each second."""
    db = open_sqlite(":memory:")
    db.executescript(store.SCHEMA)
    db.execute("BEGIN")
    repo = store.open_repository(db, "t", "a", now=NOW, key=b"k" * 32).repository
    for number in range(commits):
        change = Put(Memory(f"m{number * 7 % MEMORIES:02}", f"status of number{number % MEMORIES} is {number}"))
        committing.commit(repo, "main", [change], author="x", now=NOW + timedelta(seconds=number))
        if retention is not None and number % 50 == 0:
            collecting.collect(repo, retention, now=NOW + timedelta(seconds=number))
            assert most is not None
            most(repo)
    db.execute("COMMIT")
    return repo


def rows(repo: Repository) -> dict[str, int]:
    tables = ("commits", "commit_parent", "entry", "version", "reflog", "cut_parent", "held", "left_behind")
    return {table: repo.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


def test_an_agent_that_goes_on_and_on_stays_within_its_retention() -> None:
    def bounded(repo: Repository) -> None:
        # The newest 200, one step's worth that came since, a header or an entry for each visible memory.
        assert all(count <= 200 + 50 + MEMORIES + 1 for count in rows(repo).values()), rows(repo)

    repo = lived(800, Retention(200, timedelta(days=1)), bounded)
    assert rows(repo)["commits"] >= 200
    assert len(reading.memories(repo)) == MEMORIES
    assert len(searching.search(repo, "status", limit=100).hits) == MEMORIES
    found = verify.verify(repo)
    assert (found.ok, found.commits) == (True, rows(repo)["commits"] - found.headers)


def test_what_is_older_than_its_age_goes_whatever_the_number() -> None:
    repo = lived(300, Retention(10_000, timedelta(seconds=100)), lambda _: None)
    assert 100 <= rows(repo)["commits"] <= 100 + 50 + MEMORIES + 1


@pytest.fixture(scope="module")
def histories() -> tuple[Repository, Repository]:
    return lived(150), lived(1_800)


READS: dict[str, Callable[[Repository], object]] = {
    "get": lambda r: reading.get(r, "m05"),
    "list page": lambda r: reading.page(r, limit=5, after="m05"),
    "search, a word of one memory": lambda r: searching.search(r, "number5"),
    "search, a word of all": lambda r: searching.search(r, "status"),
    "log page": lambda r: reading.log(r, limit=20),
    "diff of adjacent commits": lambda r: reading.diff(r, "main~1", "main"),
    "a hundred commits back": lambda r: reading.log(r, "main~100", 1),
    "ancestor": lambda r: reading.is_ancestor(r, reading.log(r, "main~100", 1)[0], reading.log(r, limit=1)[0]),
    "create a branch": lambda r: branching.create_branch(r, "new", actor="x", now=NOW),
    "roll back": lambda r: committing.rollback(r, "main", "main~3", author="x", now=NOW + timedelta(days=1)),
}


def steps(repo: Repository, work: Callable[[Repository], object]) -> int:
    """Virtual machine steps of `work`, which is undone afterwards."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    assert isinstance(repo.db, SqliteConnection)
    repo.db.execute("BEGIN")
    repo.db.set_progress_handler(step, 1)
    try:
        work(repo)
    finally:
        repo.db.set_progress_handler(None, 0)
        repo.db.execute("ROLLBACK")
    return count


@pytest.mark.parametrize("read", READS)
def test_reads_cost_the_same_after_twelve_times_as_many_commits(
    histories: tuple[Repository, Repository], read: str
) -> None:
    short, long = (steps(repo, READS[read]) for repo in histories)
    assert long <= short * 1.5 + 100, f"{short} steps after 150 commits, {long} after 1,800"


def test_a_gc_looks_at_what_it_drops_and_only_counts_what_it_keeps(histories: tuple[Repository, Repository]) -> None:
    def drop_fifty(repo: Repository) -> None:
        collecting.collect(repo, Retention(rows(repo)["commits"] - 50), now=NOW + timedelta(hours=1))

    def drop_fifty_twice(repo: Repository) -> None:
        drop_fifty(repo)
        drop_fifty(repo)

    # What was stored since the last one is swept by the first.
    few, many = (steps(repo, drop_fifty_twice) - steps(repo, drop_fifty) for repo in histories)
    assert many <= few + 1_650 * 40, f"{few} steps where 50 commits stay, {many} where 1,700 do"
