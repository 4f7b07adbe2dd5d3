"""What operations cost, counted in steps of SQLite's virtual machine: not how fast this machine is.

A repository of 100 memories and one of 10,000: what is O(1) or O(changes) must not cost more in the larger one, beyond
the few steps of a deeper tree.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from memory_repository.core.memory import Memory, Modify, Put
from memory_repository.core.merge import Strategy
from memory_repository.operations import branching, committing, merging, reading, searching, worktrees
from memory_repository.storage import store, timeline, versions
from memory_repository.storage.store import Repository
from thymos.database import SqliteConnection, open_sqlite

SMALL, LARGE = 100, 10_000
NOW = datetime(2025, 3, 1, tzinfo=UTC)


def filled(size: int) -> Repository:
    """A repository of `size` memories, with a branch `idea` ten commits ahead and `main` five."""
    db = open_sqlite(":memory:")
    db.executescript(store.SCHEMA)
    repo = store.open_repository(db, "t", "a", now=NOW, key=b"k" * 32).repository
    everything = [Put(Memory(f"m{n:06}", f"memory number{n} of many")) for n in range(size)]
    committing.commit(repo, "main", everything, author="x", now=NOW)
    branching.create_branch(repo, "idea", actor="x", now=NOW)
    for number in range(10):
        change = Modify(f"m{number:06}", content=f"idea number{number}")
        committing.commit(repo, "idea", [change], author="x", now=NOW + timedelta(seconds=number))
    for number in range(20, 25):
        change = Modify(f"m{number:06}", content=f"main number{number}")
        committing.commit(repo, "main", [change], author="x", now=NOW + timedelta(seconds=number))
    return repo


@pytest.fixture(scope="module")
def repositories() -> tuple[Repository, Repository]:
    return filled(SMALL), filled(LARGE)


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


def delete_tagged(repo: Repository) -> None:
    branching.create_tag(repo, "kept", "idea", actor="x", now=NOW)
    branching.delete_branch(repo, "idea", actor="x", now=NOW)


OPERATIONS: dict[str, Callable[[Repository], object]] = {
    "create a branch": lambda r: branching.create_branch(r, "new", actor="x", now=NOW),
    "delete a branch": delete_tagged,
    "tag": lambda r: branching.create_tag(r, "v1", actor="x", now=NOW),
    "snapshot": lambda r: branching.create_snapshot(r, "s1", actor="x", now=NOW),
    "open a worktree": lambda r: worktrees.open_worktree(r, "w1", owner="x", now=NOW),
    "commit one change": lambda r: committing.commit(r, "main", [Put(Memory("m000001", "x"))], author="x", now=NOW),
    "begin a line": lambda r: committing.commit(r, "idea", [Put(Memory("m000001", "x"))], author="x", now=NOW),
    "read one memory": lambda r: reading.get(r, "m000050", "idea"),
    "read a page": lambda r: reading.page(r, "idea", 10, "m000040"),
    "diff": lambda r: reading.diff(r, "main", "idea"),
    "merge": lambda r: merging.merge(r, "idea", "main", Strategy.MANUAL, author="x", now=NOW),
    "roll back": lambda r: committing.rollback(r, "main", "main~3", author="x", now=NOW),
    "log": lambda r: reading.log(r, "idea", 5),
    "sweep": lambda r: versions.sweep(r.db, r.id, 10),
    "find a rare word": lambda r: searching.search(r, "number77", "idea"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_cost_does_not_grow_with_the_memory(repositories: tuple[Repository, Repository], operation: str) -> None:
    small, large = (steps(repo, OPERATIONS[operation]) for repo in repositories)
    assert large <= small * 1.1 + 20, f"{small} steps at {SMALL} memories, {large} at {LARGE}"


def test_a_listing_does_cost_more_in_a_larger_memory(repositories: tuple[Repository, Repository]) -> None:
    """The measure measures: what must grow, grows."""
    small, large = (steps(repo, lambda r: reading.memories(r)) for repo in repositories)
    assert large > 50 * small


def test_a_branch_that_keeps_taking_in_main_pays_for_what_is_new() -> None:
    repo = filled(SMALL)
    costs = []
    for number in range(40):
        later = NOW + timedelta(minutes=number + 1)
        committing.commit(repo, "main", [Put(Memory(f"n{number}", "x"))], author="x", now=later)

        def take_in(repo: Repository, at: datetime = later) -> merging.Merge:
            return merging.merge(repo, "main", "idea", Strategy.MANUAL, author="x", now=at)

        costs.append(steps(repo, take_in))
        take_in(repo)
    assert max(costs[20:]) <= max(costs[:20]), costs


def test_main_stays_on_its_own_line_whatever_is_merged_into_it() -> None:
    repo = filled(SMALL)
    for number in range(30):
        later = NOW + timedelta(minutes=number + 1)
        committing.commit(repo, "idea", [Put(Memory(f"n{number}", "x"))], author="x", now=later)
        merging.merge(repo, "idea", "main", Strategy.MANUAL, author="x", now=later)
    assert len(timeline.view_of(repo.db, reading.log(repo, "main", 1)[0].place)) == 1


def test_a_search_does_not_read_what_other_repositories_hold() -> None:
    repo = filled(SMALL)
    alone = steps(repo, lambda r: searching.search(r, "number77"))
    other = store.open_repository(repo.db, "t", "other", now=NOW, key=b"k" * 32).repository
    many = [Put(Memory(f"m{n}", "number77")) for n in range(1_000)]
    committing.commit(other, "main", many, author="x", now=NOW)
    # The index itself grows by pages; a step or more for each of the thousand would be 10 times as much.
    assert steps(repo, lambda r: searching.search(r, "number77")) <= 3 * alone
