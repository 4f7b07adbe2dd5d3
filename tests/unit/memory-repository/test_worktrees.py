"""Worktrees: staged changes, committing them beside others, closing."""

import pytest

from memory_repository import Delete, Memory, MemoryRepository, Modify, Put
from memory_repository.core import limits
from memory_repository.operations.committing import CommitConflictError
from thymos.errors import Refusal, RefusalCode


def note(memory_id: str, content: str) -> Put:
    return Put(Memory(memory_id, content))


def contents(memory: MemoryRepository, ref: str = "main") -> dict[str, str]:
    return {found.id: found.content for found in memory.memories(ref)}


def test_staged_changes_are_nobody_elses_until_they_are_committed(memory: MemoryRepository) -> None:
    memory.commit([note("a", "old")])
    memory.open_worktree("w1")
    memory.stage("w1", [Modify("a", content="new")])
    staged = memory.stage("w1", [note("b", "bee"), Modify("a", fields={"x": 1})])
    assert staged.staged == 2
    assert contents(memory) == {"a": "old"}
    done = memory.commit_worktree("w1", message="both")
    assert memory.memories() == [Memory("a", "new", fields={"x": 1}), Memory("b", "bee")]
    (open_worktree,) = memory.worktrees()
    assert (open_worktree.staged, open_worktree.base.id) == (0, done.commit.id)


def test_two_worktrees_on_one_branch_both_land(memory: MemoryRepository) -> None:
    memory.commit([note("a", "one\ntwo\nthree")])
    for worktree, text in (("w1", "ONE\ntwo\nthree"), ("w2", "one\ntwo\nTHREE")):
        memory.open_worktree(worktree)
        memory.stage(worktree, [Modify("a", content=text), note(worktree, "mine")])
    assert not memory.commit_worktree("w1").rebased
    assert memory.commit_worktree("w2").rebased
    assert contents(memory) == {"a": "ONE\ntwo\nTHREE", "w1": "mine", "w2": "mine"}


def test_the_later_of_two_colliding_worktrees_keeps_its_changes_staged(memory: MemoryRepository) -> None:
    memory.commit([note("a", "old")])
    for worktree in ("w1", "w2"):
        memory.open_worktree(worktree)
        memory.stage(worktree, [Modify("a", content=worktree)])
    memory.commit_worktree("w1")
    with pytest.raises(CommitConflictError, match="close the worktree by force, open it again and stage"):
        memory.commit_worktree("w2")
    assert contents(memory) == {"a": "w1"}
    assert [worktree.staged for worktree in memory.worktrees()] == [0, 1]
    memory.close_worktree("w2", force=True)
    memory.open_worktree("w2")
    memory.stage("w2", [Modify("a", content="w1 and w2")])
    memory.commit_worktree("w2")
    assert contents(memory) == {"a": "w1 and w2"}


def test_a_deletion_can_be_staged_and_taken_back(memory: MemoryRepository) -> None:
    memory.commit([note("a", "old")])
    memory.open_worktree("w1")
    memory.stage("w1", [Delete("a")])
    with pytest.raises(Refusal, match="modify a"):
        memory.stage("w1", [Modify("a", content="x")])
    memory.stage("w1", [note("a", "old")])
    assert not memory.commit_worktree("w1").changed


def test_a_worktree_with_uncommitted_changes_is_not_closed_by_accident(memory: MemoryRepository) -> None:
    memory.open_worktree("w1")
    memory.stage("w1", [note("a", "x")])
    with pytest.raises(Refusal, match="uncommitted"):
        memory.close_worktree("w1")
    memory.close_worktree("w1", force=True)
    assert memory.worktrees() == []
    with pytest.raises(Refusal, match="no worktree"):
        memory.commit_worktree("w1")


def test_opening_again_goes_on_where_it_was(memory: MemoryRepository) -> None:
    first = memory.open_worktree("w1")
    head = memory.commit([note("a", "x")]).commit
    assert memory.open_worktree("w1").base.id == head.id
    memory.stage("w1", [note("b", "y")])
    memory.commit([note("c", "z")])
    again = memory.open_worktree("w1")
    assert (again.base.id, again.staged) == (head.id, 1)
    assert first.base.id != head.id
    memory.create_branch("idea")
    with pytest.raises(Refusal, match="open on main"):
        memory.open_worktree("w1", "idea")


def test_a_branch_takes_its_worktrees_along_unless_they_hold_something(memory: MemoryRepository) -> None:
    memory.create_branch("idea")
    memory.open_worktree("clean", "idea")
    memory.delete_branch("idea")
    assert memory.worktrees() == []
    memory.create_branch("idea")
    memory.open_worktree("busy", "idea")
    memory.stage("busy", [note("a", "x")])
    with pytest.raises(Refusal, match="uncommitted"):
        memory.delete_branch("idea")
    memory.delete_branch("idea", force=True)
    assert memory.worktrees() == []


def test_worktrees_that_killed_agents_left_open_give_way(
    memory: MemoryRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WORKTREES_MAX", 3)
    memory.open_worktree("busy")
    memory.stage("busy", [note("a", "x")])
    for name in ("w1", "w2", "w3"):
        memory.open_worktree(name)
    assert [worktree.id for worktree in memory.worktrees()] == ["busy", "w2", "w3"]
    for name in ("w2", "w3"):
        memory.stage(name, [note(name, "x")])
    with pytest.raises(Refusal, check=lambda error: error.code is RefusalCode.TOO_LARGE):
        memory.open_worktree("w4")
