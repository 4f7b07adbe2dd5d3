"""The word index is merged as often as one likes: its levels stay few (storage/index_levels.py)."""

import sqlite3
from pathlib import Path

import pytest

from memory_repository import Memory, MemoryRepository, Put
from memory_repository.core.retention import Retention
from memory_repository.storage import index_levels
from memory_repository.storage.index_levels import without_empty_levels

COOKIE = b"\x00\x00\x00\x07"


@pytest.fixture
def stored(tmp_path: Path) -> MemoryRepository:
    memory = MemoryRepository.open(f"sqlite:///{tmp_path}/memory.db", agent="support")
    # Enough that what comes does not lie on the same level.
    memory.commit([Put(Memory(f"m{n}", " ".join(f"word{n * k % 997}" for k in range(1, 30)))) for n in range(100)])
    return memory


def levels(memory: MemoryRepository) -> int:
    (record,) = memory._connection.execute("SELECT block FROM version_terms_data WHERE id = 10").fetchone()
    return next(index_levels._numbers(record[4:]))


def live(memory: MemoryRepository, rounds: range) -> None:
    """An agent that rewrites a memory under a retention of two commits; each gc merges the whole index."""
    for number in rounds:
        memory.commit([Put(Memory("a", f"always now{number}"))])
        memory.gc(Retention(commits_max=2))


def test_after_more_merges_than_sqlite_bears_levels_for_it_is_still_searched_and_erased(
    stored: MemoryRepository,
) -> None:
    with stored as memory:
        live(memory, range(1_200))
        assert levels(memory) <= index_levels.LEVELS_MAX + 10
        assert [hit.memory.id for hit in memory.search("now1199").hits] == ["a"]
        assert memory.search("word1").hits
        assert not memory.search("now1100").hits
        memory._connection.execute("INSERT INTO version_terms (version_terms) VALUES ('integrity-check')")
        assert memory.verify().ok


def test_another_process_that_has_the_store_open_goes_on(
    stored: MemoryRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_levels, "LEVELS_MAX", 5)
    with stored as memory, MemoryRepository.open(f"sqlite:///{tmp_path}/memory.db", agent="support") as other:
        for number in range(0, 40, 2):
            live(memory, range(number, number + 1))
            assert [hit.memory.content for hit in other.search("always").hits] == [f"always now{number}"]
            live(other, range(number + 1, number + 2))
            assert [hit.memory.content for hit in memory.search("always").hits] == [f"always now{number + 1}"]
        assert levels(memory) <= 15


def test_what_fails_afterwards_takes_it_back(stored: MemoryRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    with stored as memory:
        live(memory, range(20))
        before = levels(memory)
        monkeypatch.setattr(index_levels, "LEVELS_MAX", 5)
        db = memory._connection
        db.execute("BEGIN IMMEDIATE")
        assert index_levels.trim(db)
        assert levels(memory) < before
        db.execute("ROLLBACK")
        assert levels(memory) == before
        assert [hit.memory.id for hit in memory.search("always").hits] == ["a"]
        live(memory, range(20, 25))
        assert [hit.memory.content for hit in memory.search("always").hits] == ["always now24"]


@pytest.mark.parametrize(
    ("record", "fewer"),
    [
        ([3, 2, 9, 0, 1, 1, 1, 1, 0, 0, 0, 1, 2, 1, 300], [2, 2, 9, 0, 1, 1, 1, 1, 0, 1, 2, 1, 300]),
        ([3, 0, 9, 0, 0, 0, 0, 0, 0], [0, 0, 9]),
        # What is being merged goes to the level above, whatever is there.
        ([4, 1, 9, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0], [2, 1, 9, 1, 1, 1, 1, 1, 0, 0]),
        ([2, 1, 9, 0, 0, 0, 1, 1, 1, 1], None),  # few
        ([3, 1, 9, 0, 1, 1, 1], None),  # of another form: ends too early, or too late
        ([3, 0, 9, 0, 0, 0, 0, 0, 0, 7], None),
    ],
)
def test_only_levels_that_hold_nothing_go(record: list[int], fewer: list[int] | None) -> None:
    def written(numbers: list[int]) -> bytes:
        return COOKIE + b"".join(map(index_levels._encoded, numbers))

    assert without_empty_levels(written(record), 2) == (None if fewer is None else written(fewer))


def test_a_record_of_a_later_form_is_left_as_it_is() -> None:
    assert without_empty_levels(COOKIE + index_levels._OTHER_FORM + b"\x09" * 40, 2) is None


def test_sqlite_writes_records_of_the_form_that_is_read_here() -> None:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE version_terms USING fts5 (words, content = '')")
    for number in range(40):
        db.execute("INSERT INTO version_terms (rowid, words) VALUES (?, ?)", (number, f"word{number}"))
        db.commit()
    (record,) = db.execute("SELECT block FROM version_terms_data WHERE id = 10").fetchone()
    count, segments, _, *rest = index_levels._numbers(record[4:])
    assert len(rest) == 2 * count + 3 * segments
