"""What was erased is no text without words: nothing is merged with it, and nothing is made of it."""

import pytest

from memory_repository import Memory, MemoryRepository, Modify, Put, Strategy, Take
from memory_repository.core.memory import apply_change
from memory_repository.core.merge import UNKNOWN, ConflictKind, merge_bases_of, merge_memory
from memory_repository.operations.committing import CommitConflictError
from thymos.errors import Refusal, RefusalCode

FULL = Memory("a", "calls back", "fact", {"keep": 1, "phone": "555"})
WITHOUT = Memory("a", "calls back", "fact", {"keep": 1})


@pytest.fixture
def withdrawn(memory: MemoryRepository) -> MemoryRepository:
    """`main` has deleted a field that `idea` still has; and the version that both come from is erased."""
    memory.commit([Put(FULL)])
    memory.create_branch("idea")
    memory.commit([Put(WITHOUT)])
    memory.commit([Modify("a", fields={"more": 2})], branch="idea")
    memory.redact("a", ref="main~1", reason="the phone number")
    return memory


def test_what_was_deleted_does_not_come_back_because_the_base_is_erased(withdrawn: MemoryRepository) -> None:
    done = withdrawn.merge("idea")
    assert (done.open, done.changed) == (True, False)
    assert [(conflict.kind, conflict.base) for conflict in done.conflicts] == [(ConflictKind.ADD_ADD, None)]
    assert withdrawn.merge("idea", strategy=Strategy.OURS).changed
    assert withdrawn.get("a").memory == WITHOUT


def test_nobody_can_decide_for_an_erased_base(withdrawn: MemoryRepository) -> None:
    kept = withdrawn.merge("idea", keep=True)
    with pytest.raises(Refusal, match="was erased"):
        withdrawn.resolve_conflict(str(kept.merge_id), "a", Take.BASE)
    withdrawn.resolve_conflict(str(kept.merge_id), "a", Take.THEIRS)
    assert withdrawn.continue_merge(str(kept.merge_id)).changed


def test_so_it_is_with_a_cherry_pick_a_revert_and_a_rebase(withdrawn: MemoryRepository) -> None:
    with pytest.raises(CommitConflictError):
        withdrawn.cherry_pick("idea")
    with pytest.raises(CommitConflictError):
        withdrawn.revert("main~1", "idea")
    with pytest.raises(CommitConflictError):
        withdrawn.rebase("idea")
    assert withdrawn.get("a").memory == WITHOUT


def test_and_with_what_a_worktree_has_staged(memory: MemoryRepository) -> None:
    memory.commit([Put(FULL)])
    memory.open_worktree("w")
    memory.stage("w", [Modify("a", fields={"more": 1})])
    memory.commit([Put(WITHOUT)])
    memory.redact("a", ref="main~1", reason="the phone number")
    with pytest.raises(CommitConflictError):
        memory.commit_worktree("w")
    assert memory.get("a").memory == WITHOUT


def test_an_erased_side_collides_as_a_whole_and_can_be_taken(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("a", "v1", "fact"))])
    memory.create_branch("idea")
    memory.commit([Put(Memory("a", "v2 of a secret", "fact"))])
    memory.commit([Modify("a", fields={"z": 1})], branch="idea")
    memory.redact("a", ref="main", reason="a secret")
    (conflict,) = memory.merge("idea").conflicts
    assert (conflict.kind, conflict.part) == (ConflictKind.ADD_ADD, "whole")
    assert memory.merge("idea", strategy=Strategy.OURS).changed
    assert memory.get("a").memory.erased
    found = memory.verify()
    assert (found.ok, found.redacted) == (True, 1)


def test_a_change_that_changes_nothing_leaves_what_was_erased_meanwhile(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("a", "v1"))])
    seen = memory.resolve().id
    memory.commit([Put(Memory("a", "secret"))])
    memory.redact("a", ref="main", reason="a secret")
    done = memory.commit([Put(Memory("a", "v1")), Put(Memory("b", "new"))], expected_head=seen)
    assert (done.rebased, done.commit.changes) == (True, 1)
    assert memory.get("a").memory.erased


def test_nothing_is_made_of_an_erased_memory_but_another_one_in_its_place(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("a", "secret", "fact", {"k": 1}))])
    memory.redact("a", reason="a secret")
    for change in (Modify("a", fields={"new": 1}), Put(memory.get("a").memory)):
        with pytest.raises(Refusal, match="was erased") as caught:
            memory.commit([change])
        assert caught.value.code is RefusalCode.REFUSED
    assert memory.commit([Put(Memory("a", "new"))]).changed


def test_an_erased_memory_is_the_same_as_itself_alone() -> None:
    erased, other = (Memory("a", "", "redacted", erased=digit * 64) for digit in "12")
    told = Memory("a", "", "redacted")
    assert erased == told
    assert not erased.same_as(told)
    assert not erased.same_as(other)
    assert merge_memory("a", erased, erased, WITHOUT).value is WITHOUT
    assert merge_bases_of("a", erased, erased, WITHOUT)[0] is WITHOUT
    assert merge_bases_of("a", None, erased, WITHOUT)[0] is UNKNOWN
    assert apply_change(Put(FULL), erased) == FULL
