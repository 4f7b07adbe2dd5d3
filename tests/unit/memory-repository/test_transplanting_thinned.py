"""Cherry-pick, revert and rebase where the retention has dropped parents: of one commit, or not at all."""

import pytest

from memory_repository import Memory, MemoryRepository, Put
from memory_repository.core.retention import Retention
from memory_repository.storage.commits import CommitRow
from thymos.errors import Refusal, RefusalCode


def commit(memory: MemoryRepository, name: str, branch: str = "main") -> CommitRow:
    return memory.commit([Put(Memory(name, name))], branch=branch, message=name).commit


def held(memory: MemoryRepository, ref: str = "main") -> list[str]:
    return [found.id for found in memory.memories(ref)]


@pytest.fixture
def thinned(memory: MemoryRepository) -> MemoryRepository:
    """Ten commits of a memory each, of which the newest three and a tagged one are left."""
    for number in range(10):
        commit(memory, f"m{number}")
    memory.tag("v1", "main~9")
    memory.gc(Retention(commits_max=3))
    assert [each.message for each in memory.log()] == ["m9", "m8", "m7", "m0"]
    return memory


def test_a_commit_whose_parent_is_gone_is_neither_reverted_nor_picked(thinned: MemoryRepository) -> None:
    before = held(thinned)
    thinned.create_branch("old", "v1")
    with pytest.raises(Refusal, match="older than what the retention keeps") as caught:
        thinned.revert("main~2")
    assert caught.value.code is RefusalCode.REFUSED
    with pytest.raises(Refusal, match="older than what the retention keeps"):
        thinned.cherry_pick("main~2", "old")
    assert (held(thinned), held(thinned, "old")) == (before, ["m0"])


def test_one_whose_parent_is_left_is(thinned: MemoryRepository) -> None:
    thinned.create_branch("old", "v1")
    assert thinned.cherry_pick("main", "old").changed
    assert held(thinned, "old") == ["m0", "m9"]
    assert thinned.revert("main~1").changed
    assert held(thinned) == [f"m{number}" for number in range(10) if number != 8]


def test_a_commit_that_lost_all_its_ancestors_is_not_called_the_first(memory: MemoryRepository) -> None:
    for number in range(6):
        commit(memory, f"m{number}")
    memory.gc(Retention(commits_max=2))
    with pytest.raises(Refusal, match="older than what the retention keeps"):
        memory.revert("main~1")


def test_the_parents_of_a_merge_are_counted_as_they_were(memory: MemoryRepository) -> None:
    commit(memory, "base")
    memory.create_branch("side")
    commit(memory, "s1", "side")
    side = commit(memory, "s2", "side")
    commit(memory, "m1")
    memory.tag("kept", "main")
    commit(memory, "m2")
    memory.merge("side")
    commit(memory, "newest")
    memory.tag("side-kept", side.id)
    memory.gc(Retention(commits_max=2))
    with pytest.raises(Refusal, match="older than what the retention keeps"):
        memory.revert("main~1", mainline=1)
    with pytest.raises(Refusal, match="no parent number 3"):
        memory.revert("main~1", mainline=3)
    assert memory.revert("main~1", mainline=2).changed
    assert held(memory) == ["base", "newest", "s1", "s2"]


def diverged(memory: MemoryRepository) -> None:
    """A branch of two lines that came together and went on by two commits, beside a commit on main."""
    commit(memory, "base")
    memory.create_branch("feat")
    commit(memory, "p1", "feat")
    memory.tag("t1", "feat")
    memory.create_branch("side", "feat~1")
    commit(memory, "p2", "side")
    memory.tag("t2", "side")
    memory.merge("side", "feat")
    memory.delete_branch("side")
    commit(memory, "c", "feat")
    commit(memory, "d", "feat")
    commit(memory, "on-main")


def test_a_rebase_leaves_no_commit_out_because_the_merge_below_it_is_gone(memory: MemoryRepository) -> None:
    diverged(memory)
    memory.gc(Retention(commits_max=3))
    with pytest.raises(Refusal, match="merge the branch instead"):
        memory.rebase("feat")
    assert held(memory, "feat") == ["base", "c", "d", "p1", "p2"]


def test_with_the_merge_it_is_rebased_whole(memory: MemoryRepository) -> None:
    diverged(memory)
    assert [each.message for each in memory.rebase("feat").replayed] == ["p1", "p2", "c", "d"]
    assert held(memory, "feat") == ["base", "c", "d", "on-main", "p1", "p2"]


def test_a_rebase_brings_along_what_a_line_lost(memory: MemoryRepository) -> None:
    commit(memory, "base")
    memory.create_branch("feat")
    for number in range(4):
        commit(memory, f"f{number}", "feat")
    commit(memory, "on-main")
    memory.gc(Retention(commits_max=2))
    assert [each.message for each in memory.rebase("feat").replayed] == ["f3"]
    assert held(memory, "feat") == ["base", "f0", "f1", "f2", "f3", "on-main"]
