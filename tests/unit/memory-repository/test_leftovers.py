"""Nothing is kept for ever that nothing names: discarded drafts, merges that were only tried, names that are gone."""

from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest

from memory_repository import Memory, MemoryRepository, Put
from memory_repository.core.retention import Retention
from memory_repository.operations import collecting
from memory_repository.storage import versions
from thymos.errors import Refusal

YEAR = timedelta(days=365)


def count(memory: MemoryRepository, table: str) -> int:
    rows: int = memory.read(lambda repo: repo.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    return rows


def test_a_draft_that_is_discarded_leaves_nothing(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("a", "v1"))])
    memory.open_worktree("w")
    for number in range(3):
        memory.stage("w", [Put(Memory("draft", f"try {number}")), Put(Memory("a", "v1"))])
        assert count(memory, "version") == 2, "only the newest draft"
    memory.close_worktree("w", force=True)
    assert count(memory, "version") == 1
    assert memory.get("a").memory.content == "v1"
    assert memory.verify().ok


def test_a_draft_that_is_redacted_leaves_nothing(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("a", "v1"))])
    for looked_at in (False, True):
        memory.open_worktree("w")
        memory.stage("w", [Put(Memory("draft", "told in confidence"))])
        if looked_at:
            memory.gc(Retention())
        memory.redact("draft", reason="asked to")
        memory.close_worktree("w")
        assert count(memory, "version") == 1


@pytest.mark.sqlite
def test_of_an_import_that_is_abandoned_no_word_stays_in_the_file(tmp_path: Path) -> None:
    with MemoryRepository.open("sqlite://") as source:
        source.commit([Put(Memory("a", "xylophone"))])
        lines = list(source.export_lines())
    file = tmp_path / "memory.db"
    with MemoryRepository.open(f"sqlite:///{file}") as memory:
        with pytest.raises(Refusal, match="breaks off"):
            memory.import_lines(BytesIO(b"".join(lines[:-1])))
        memory.abandon_import()
        memory.gc()
    assert b"xylophone" not in file.read_bytes()


def test_what_two_have_staged_stays_for_the_other_one(memory: MemoryRepository) -> None:
    for worktree in ("w1", "w2"):
        memory.open_worktree(worktree)
        memory.stage(worktree, [Put(Memory("a", "both"))])
    memory.close_worktree("w1", force=True)
    assert memory.commit_worktree("w2").changed
    assert memory.get("a").memory.content == "both"


def test_a_draft_that_lands_as_something_else_leaves_nothing(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("a", "1\n2\n3"))])
    memory.open_worktree("w")
    memory.stage("w", [Put(Memory("a", "1\n2\nthree"))])
    memory.commit([Put(Memory("a", "one\n2\n3"))])
    memory.commit_worktree("w")
    assert memory.get("a").memory.content == "one\n2\nthree"
    assert count(memory, "version") == 3, "the base, main's, and what came of both"


def test_a_merge_that_is_only_tried_writes_nothing(memory: MemoryRepository) -> None:
    both_change(memory)
    tried = memory.merge("idea", dry_run=True)
    assert (tried.changes, tried.open) == (2, True)
    memory.merge("idea")
    memory.merge("idea", keep=True)
    assert count(memory, "version") == 8


def both_change(memory: MemoryRepository) -> None:
    """Two memories that merge cleanly, and one that collides: eight versions."""
    memory.commit([Put(Memory("a", "1\n2\n3")), Put(Memory("b", "1\n2\n3"))])
    memory.create_branch("idea")
    memory.commit([Put(Memory("a", "one\n2\n3")), Put(Memory("b", "one\n2\n3"))])
    memory.commit([Put(Memory("a", "1\n2\nthree")), Put(Memory("b", "1\n2\nthree"))], branch="idea")
    memory.commit([Put(Memory("c", "main's"))])
    memory.commit([Put(Memory("c", "idea's"))], branch="idea")
    assert count(memory, "version") == 8


def test_what_was_stored_and_never_named_goes_with_gc(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("a", "v1"))])
    lost = [Memory("lost", f"{number}") for number in range(3)]
    memory.write(lambda repo, _: versions.store_versions(repo.db, repo.id, repo.key, lost))
    tried = memory.gc(Retention(), dry_run=True)
    assert (tried.versions, count(memory, "version")) == (3, 4)
    assert memory.gc(Retention()).versions == 3
    assert (count(memory, "version"), [found.id for found in memory.memories()]) == (1, ["a"])
    assert not memory.gc(Retention()).versions


def test_what_goes_makes_room_for_what_is_looked_at_anew(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("a", "v1"))])
    for number in range(3):
        lost = [Memory("lost", f"{number}")]
        memory.write(lambda repo, _, lost=lost: versions.store_versions(repo.db, repo.id, repo.key, lost))  # type: ignore[misc]
        assert memory.gc(Retention()).versions == 1


@pytest.mark.parametrize("agents", [("support",), ("support", "sales")])
def test_what_is_written_after_the_newest_commits_went_is_held_or_dropped_as_all_else(
    store_url: str, agents: tuple[str, ...]
) -> None:
    """SQLite gives the numbers of the last rows anew, whosever they were: they have been looked at, but not what has
    them now."""
    clock = Clock()
    week = Retention(age_max=timedelta(days=7))
    with MemoryRepository.open(store_url, agent="support", clock=clock) as memory:
        for agent in agents:
            with MemoryRepository.open(store_url, agent=agent, clock=clock) as each:
                each.commit([Put(Memory("a", "base"))])
                each.create_branch("experiment")
                for number in range(30):
                    each.commit([Put(Memory("tried", f"{number}"))], branch="experiment")
                each.delete_branch("experiment", force=True)
        clock.now += timedelta(days=40)
        for agent in agents:
            with MemoryRepository.open(store_url, agent=agent, clock=clock) as each:
                each.gc(week)
        parted = memory.commit([Put(Memory("a", "parted here"))]).commit
        memory.create_branch("idea")
        memory.commit([Put(Memory("i", "idea's own"))], branch="idea")
        for _ in range(8):
            for number in range(10):
                memory.commit([Put(Memory("n", f"{number}"))])
            clock.now += timedelta(days=7)
            memory.gc(week)
        assert [base.id for base in memory.merge_bases("idea", "main")] == [parted.id]
        assert {change.id for change in memory.diff("main", "idea", symmetric=True).changes} == {"i"}
        assert memory.merge("idea", dry_run=True).conflicts == ()
        assert len(memory.log(limit=100)) < 20, "those of the last week, and what they stand on"
        assert memory.verify().ok


def test_so_it_is_with_what_is_stored(store_url: str) -> None:
    with MemoryRepository.open(store_url) as memory:
        memory.commit([Put(Memory("a", "v1"))])
        memory.create_branch("experiment")
        for number in range(5):
            memory.commit([Put(Memory("b", f"{number}"))], branch="experiment")
        memory.gc(Retention())
        memory.delete_branch("experiment", force=True)
        memory.gc(Retention(reflog_age=timedelta(0)))
        assert count(memory, "version") == 1
        memory.write(lambda repo, _: versions.store_versions(repo.db, repo.id, repo.key, [Memory("lost", "x")]))
        assert memory.gc(Retention()).versions == 1


def test_a_sweep_takes_as_many_steps_as_if_nobody_else_were_there(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "STEP_VERSIONS", 10)
    with (
        MemoryRepository.open(store_url, agent="mine") as mine,
        MemoryRepository.open(store_url, agent="theirs") as theirs,
    ):
        for number in range(12):
            mine.commit([Put(Memory(f"m{number}", "v"))])
            theirs.commit([Put(Memory(f"m{number}-{each}", "v")) for each in range(20)])
        steps = [mine.write(lambda repo, now: collecting.collect(repo, Retention(), now=now)).more for _ in range(3)]
    assert steps == [True, False, False]


def test_what_a_name_did_is_forgotten_some_time_after_it_was_deleted(store_url: str) -> None:
    clock = Clock()
    with MemoryRepository.open(store_url, clock=clock) as memory:
        for number in range(3):
            memory.create_branch(f"try{number}")
            memory.commit([Put(Memory("a", f"{number}"))], branch=f"try{number}")
            memory.delete_branch(f"try{number}", force=True)
        memory.create_branch("try0")
        memory.gc(Retention())
        assert len(memory.reflog("try1")) == 3
        clock.now += YEAR
        memory.gc(Retention())
        with pytest.raises(Refusal, match="never was a branch"):
            memory.reflog("try1")
        assert [move.operation for move in memory.reflog("try0")] == ["create"], "the branch that is there now"
        assert count(memory, "reflog") == 2


def test_a_commit_that_is_dated_ahead_holds_up_no_other(store_url: str) -> None:
    clock = Clock()
    with MemoryRepository.open(store_url, clock=clock) as memory:
        clock.now += 1000 * YEAR
        memory.commit([Put(Memory("a", "from afar"))], message="from afar")
        clock.now -= 1000 * YEAR
        for number in range(5):
            memory.commit([Put(Memory("a", f"{number}"))], message=f"{number}")
        clock.now += 2 * YEAR
        memory.commit([Put(Memory("a", "new"))], message="new")
        keep = Retention(age_max=YEAR)
        memory.gc(keep)
        assert [each.message for each in memory.log()] == ["new", "from afar"]
        clock.now += 998.5 * YEAR
        memory.commit([Put(Memory("a", "newest"))], message="newest")
        memory.gc(keep)
        assert [each.message for each in memory.log()] == ["newest", "from afar"], "its year has only begun"
        clock.now += 2 * YEAR
        memory.commit([Put(Memory("a", "last"))], message="last")
        memory.gc(keep)
        assert [each.message for each in memory.log()] == ["last"]
        assert memory.verify().ok


class Clock:
    """Moves on by a second with every look at it, and as far as it is told."""

    def __init__(self) -> None:
        self.now = datetime(2025, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now
