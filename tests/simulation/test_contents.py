"""What merges and rollbacks left in memory is computed anew, and what is wrong in it is named."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from memory_repository.core.memory import Delete, Memory, Modify, Put
from memory_repository.core.merge import Strategy
from memory_repository.library import MemoryRepository
from memory_repository.storage.store import find_repository
from thymos.database import open_sqlite
from thymos.events import BranchMerged, CommitCreated

from .contents import Contents
from .test_mutations import _a_merge_loses_a_change, _a_rollback_leaves_out_a_memory

FIRST = [Put(Memory(name, f"what {name} was")) for name in ("a", "b", "c", "d")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A memory with a branch `idea`: both sides changed something, and something each alone."""
    path = tmp_path / "memory.db"
    with MemoryRepository.open(f"sqlite:///{path}") as memory:
        memory.commit(FIRST)
        memory.create_branch("idea")
        memory.commit([Modify("a", content="new"), Delete("b"), Put(Memory("e", "added"))], branch="idea")
        memory.commit([Modify("c", content="newer"), Modify("a", fields={"keywords": ["refund"]})])
    return path


@contextmanager
def contents_of(path: Path) -> Iterator[Contents]:
    connection = open_sqlite(path)
    try:
        yield Contents(find_repository(connection, "default", "default"))
    finally:
        connection.close()


def wrong_in(path: Path) -> list[str]:
    with contents_of(path) as contents:
        found = list(contents.wrong())
        assert contents.checked > 0
    return found


def test_a_merge_and_a_rollback_hold_what_they_must(path: Path) -> None:
    with MemoryRepository.open(f"sqlite:///{path}") as memory:
        merged = memory.merge("idea", "main", Strategy.MANUAL).commit
        memory.commit([Modify("c", content="damaged"), Delete("d"), Put(Memory("f", "nonsense"))])
        memory.rollback(merged.id)
        memory.commit([Modify("e", content="theirs")], branch="idea")
        memory.commit([Modify("e", content="ours")])
        memory.merge("idea", "main", Strategy.THEIRS)

    assert wrong_in(path) == []


def test_a_merge_that_loses_a_change_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _a_merge_loses_a_change(monkeypatch)

    with MemoryRepository.open(f"sqlite:///{path}") as memory:
        memory.merge("idea", "main", Strategy.MANUAL)
        assert memory.verify().problems == (), "its hashes are right"

    (problem,) = wrong_in(path)
    assert "does not hold what its sides come to: b" in problem, "of those that one side has as it is, the first"


def test_a_rollback_that_leaves_out_a_memory_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _a_rollback_leaves_out_a_memory(monkeypatch)

    with MemoryRepository.open(f"sqlite:///{path}") as memory:
        good = memory.log(limit=1)[0]
        memory.commit([Modify("c", content="damaged"), Delete("d")])
        memory.rollback(good.id)
        assert memory.verify().problems == (), "its hashes are right"

    (problem,) = wrong_in(path)
    assert f"does not hold what {good.id[:12]} holds: c" in problem


@pytest.mark.parametrize("merged", [True, False])
def test_a_merge_that_made_no_commit_must_have_had_nothing_to_bring(path: Path, merged: bool) -> None:
    with MemoryRepository.open(f"sqlite:///{path}") as memory:
        if merged:
            memory.merge("idea", "main", Strategy.MANUAL)
        head, tip = memory.log(limit=1)[0].id, memory.log("idea", limit=1)[0].id
    said = [
        CommitCreated(branch="idea", commit=tip, parents=[], author="x", message="y"),
        BranchMerged(source="idea", target="main", commit=head, previous_commit=head, strategy="Manual"),
    ]

    with contents_of(path) as contents:
        found = list(contents.wrong_without_commit(said))

    assert bool(found) is not merged
