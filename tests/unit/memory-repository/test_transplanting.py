"""Cherry-pick, revert, rebase, bisect."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from memory_repository import Delete, Memory, MemoryRepository, Modify, Put, Strategy
from memory_repository.core import limits
from memory_repository.core.history import ancestor_counts, ancestors_without
from memory_repository.core.memory import Change
from memory_repository.operations.committing import CommitConflictError
from thymos.errors import Refusal, RefusalCode


def note(memory_id: str, content: str) -> Put:
    return Put(Memory(memory_id, content))


def commit(memory: MemoryRepository, *changes: Change, branch: str = "main", message: str = "") -> str:
    return memory.commit(changes, branch=branch, message=message, author="jo").commit.id


def contents(memory: MemoryRepository, ref: str = "main") -> dict[str, str]:
    return {found.id: found.content for found in memory.memories(ref)}


def test_one_commit_is_picked_and_no_other(memory: MemoryRepository) -> None:
    commit(memory, note("a", "1\n2\n3"))
    memory.create_branch("idea")
    commit(memory, note("b", "not this"), branch="idea")
    picked = commit(memory, Modify("a", content="1\n2\nTHREE"), branch="idea", message="three")
    commit(memory, Modify("a", content="ONE\n2\n3"))
    done = memory.cherry_pick(picked)
    assert contents(memory) == {"a": "ONE\n2\nTHREE"}
    assert (done.commit.kind, done.commit.message) == ("cherry_pick", "three")
    assert done.commit.meta == {"picked_commit": picked, "picked_author": "jo"}
    assert not memory.cherry_pick(picked).changed, "it holds that already"


def test_a_pick_that_collides_changes_nothing_unless_a_side_wins(memory: MemoryRepository) -> None:
    commit(memory, note("a", "base"))
    memory.create_branch("idea")
    picked = commit(memory, note("a", "idea"), note("b", "new"), branch="idea")
    commit(memory, note("a", "main"))
    with pytest.raises(CommitConflictError) as caught:
        memory.cherry_pick(picked)
    assert [(c.id, c.base, c.ours, c.theirs) for c in caught.value.conflicts] == [("a", "base", "main", "idea")]
    assert contents(memory) == {"a": "main"}
    memory.create_branch("ours")
    memory.cherry_pick(picked, "ours", strategy=Strategy.OURS)
    memory.cherry_pick(picked, strategy=Strategy.THEIRS)
    assert contents(memory, "ours") == {"a": "main", "b": "new"}
    assert contents(memory) == {"a": "idea", "b": "new"}


def test_one_commit_is_reverted_and_what_came_after_stays(memory: MemoryRepository) -> None:
    commit(memory, note("a", "1\n2\n3"), note("gone", "back again"))
    bad = commit(memory, Modify("a", content="BAD\n2\n3"), note("b", "bad"), Delete("gone"))
    commit(memory, Modify("a", content="BAD\n2\nthree"))
    done = memory.revert(bad, reason="it was wrong")
    assert contents(memory) == {"a": "1\n2\nthree", "gone": "back again"}
    assert done.commit.message == f"revert {bad[:12]}: it was wrong"
    memory.revert(done.commit.id)
    assert contents(memory) == {"a": "BAD\n2\nthree", "b": "bad"}


def test_a_commit_that_says_nothing_is_reverted_without_a_word_about_it(memory: MemoryRepository) -> None:
    silent = commit(memory, note("a", "x"))
    assert memory.revert(silent).commit.message == f"revert {silent[:12]}"


def test_a_merge_is_reverted_against_the_parent_that_is_named(memory: MemoryRepository) -> None:
    commit(memory, note("a", "a"))
    memory.create_branch("idea")
    commit(memory, note("theirs", "t"), branch="idea")
    commit(memory, note("ours", "o"))
    merged = memory.merge("idea").commit.id
    memory.create_branch("second")
    memory.revert(merged)
    memory.revert(merged, "second", mainline=2)
    assert set(contents(memory)) == {"a", "ours"}
    assert set(contents(memory, "second")) == {"a", "theirs"}
    with pytest.raises(Refusal, match="no parent number 3"):
        memory.revert(merged, mainline=3)


def test_the_first_commit_cannot_be_picked_or_reverted(memory: MemoryRepository) -> None:
    first = memory.log()[-1].id
    for verb in (memory.cherry_pick, memory.revert):
        with pytest.raises(Refusal, match="has no changes"):
            verb(first)


def test_a_branch_is_rebased(memory: MemoryRepository) -> None:
    commit(memory, note("a", "1\n2\n3"))
    memory.create_branch("idea")
    for number in range(3):
        commit(memory, note(f"i{number}", "x"), branch="idea", message=f"idea {number}")
    old = memory.resolve("idea").id
    commit(memory, note("a", "ONE\n2\n3"))
    memory.open_worktree("w1", "idea")
    done = memory.rebase("idea")
    assert [commit.message for commit in memory.log("idea")][:3] == ["idea 2", "idea 1", "idea 0"]
    assert memory.resolve("idea~3").id == memory.resolve("main").id
    assert contents(memory, "idea") == {"a": "ONE\n2\n3", "i0": "x", "i1": "x", "i2": "x"}
    assert [(each.author, each.meta["rebased_commit"]) for each in done.replayed][-1] == ("jo", old)
    assert memory.resolve("idea@{1}").id == old, "the old head is in the reflog"
    assert memory.worktrees()[0].base.id == done.commit.id
    assert memory.rebase("idea").replayed == (), "it stands there already"
    assert memory.verify().ok


def test_what_the_new_base_has_already_is_dropped_and_merges_are_flattened(memory: MemoryRepository) -> None:
    commit(memory, note("a", "a"))
    memory.create_branch("idea")
    same = commit(memory, note("b", "b"), branch="idea")
    commit(memory, note("c", "c"))
    memory.merge("main", "idea")
    commit(memory, note("d", "d"), branch="idea", message="last")
    commit(memory, note("b", "b"))
    done = memory.rebase("idea")
    assert done.dropped == (same,)
    assert [each.message for each in done.replayed] == ["last"]
    assert contents(memory, "idea") == {"a": "a", "b": "b", "c": "c", "d": "d"}


def test_a_rebase_that_collides_names_the_commit_and_changes_nothing(memory: MemoryRepository) -> None:
    commit(memory, note("a", "base"))
    memory.create_branch("idea")
    commit(memory, note("b", "fine"), branch="idea")
    bad = commit(memory, note("a", "idea"), branch="idea", message="collides")
    commit(memory, note("a", "main"))
    with pytest.raises(CommitConflictError, match=rf"{bad[:12]} \(collides\)"):
        memory.rebase("idea")
    assert memory.resolve("idea").id == bad
    assert len(memory.log("idea")) == 4
    memory.rebase("idea", strategy=Strategy.THEIRS)
    assert contents(memory, "idea") == {"a": "idea", "b": "fine"}


def test_main_and_branches_with_staged_changes_are_not_rebased(
    memory: MemoryRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.create_branch("idea")
    commit(memory, note("i", "i"), branch="idea")
    commit(memory, note("m", "m"))
    with pytest.raises(Refusal, match="main cannot be rebased"):
        memory.rebase("main", "idea")
    memory.open_worktree("w1", "idea")
    memory.stage("w1", [note("x", "staged")])
    with pytest.raises(Refusal, match="w1 on idea has uncommitted changes"):
        memory.rebase("idea")
    memory.close_worktree("w1", force=True)
    monkeypatch.setattr(limits, "REBASE_COMMITS_MAX", 0)
    with pytest.raises(Refusal) as caught:
        memory.rebase("idea")
    assert caught.value.code == RefusalCode.TOO_LARGE


@pytest.mark.parametrize("first_bad", [1, 7, 20])
def test_the_first_bad_commit_is_found_in_few_tests(memory: MemoryRepository, first_bad: int) -> None:
    good = memory.resolve().id
    ids = [commit(memory, note("n", str(number))) for number in range(1, 21)]
    known_good, bad, tests = [good], "main", 0
    while (step := memory.bisect(known_good, bad)).next is not None:
        tests += 1
        assert tests <= 6
        if ids.index(step.next.id) + 1 >= first_bad:
            bad = step.next.id
        else:
            known_good.append(step.next.id)
    assert [suspect.id for suspect in step.suspects] == [ids[first_bad - 1]]


def test_skipped_commits_stay_suspects(memory: MemoryRepository) -> None:
    good = memory.resolve().id
    ids = [commit(memory, note("n", str(number))) for number in range(3)]
    step = memory.bisect([good], "main", skip=ids[:2])
    assert step.next is None
    assert {suspect.id for suspect in step.suspects} == set(ids)


@pytest.mark.parametrize("seed", range(12))
def test_the_first_bad_commit_is_found_on_whatever_line_it_came_in(memory: MemoryRepository, seed: int) -> None:
    chance = random.Random(seed)
    good = memory.resolve().id
    made: dict[int, str] = {}
    bad_at = chance.randrange(25)
    for number in range(25):
        memory.create_branch(f"b{number}", chance.choice(["main", *made.values()]))
        bad = note("bad", "x") if number == bad_at else note(f"m{number}", "x")
        made[number] = commit(memory, bad, branch=f"b{number}")
        if made and chance.random() < 0.5:
            memory.merge(chance.choice(list(made.values())), f"b{number}")
    for number in made:
        memory.merge(f"b{number}")
    known_good, bad_commit = [good], "main"
    while (step := memory.bisect(known_good, bad_commit)).next is not None:
        if "bad" in contents(memory, step.next.id):
            bad_commit = step.next.id
        else:
            known_good.append(step.next.id)
    assert [suspect.id for suspect in step.suspects] == [made[bad_at]]


def test_a_bad_commit_is_none_that_a_good_one_descends_from(memory: MemoryRepository) -> None:
    memory.create_branch("idea")
    commit(memory, note("a", "a"), branch="idea")
    refused = "is said to be bad, and what descends from it to be good"
    for good, words in ((["idea"], refused), ([], "no commit is known"), (["main"], refused)):
        with pytest.raises(Refusal, match=words):
            memory.bisect(good, "main")


@pytest.mark.parametrize("seed", range(20))
def test_ancestors_are_counted_as_a_plain_walk_counts_them(seed: int) -> None:
    chance = random.Random(seed)
    parents: dict[int, list[int]] = {0: []}
    for number in range(1, 30):
        parents[number] = sorted(chance.sample(range(number), min(number, chance.choice((1, 1, 2)))))
    generation: dict[int, int] = {}
    for number in parents:
        generation[number] = 1 + max((generation[parent] for parent in parents[number]), default=0)

    def reached(start: int) -> set[int]:
        found, waiting = set(), [start]
        while waiting:
            here = waiting.pop()
            if here not in found:
                found.add(here)
                waiting += parents[here]
        return found

    one, others = 29, chance.sample(range(30), 2)
    found = list(ancestors_without(one, others, parents.__getitem__, generation.__getitem__))
    expected = reached(one) - reached(others[0]) - reached(others[1])
    assert set(found) == expected
    assert len(found) == len(expected)
    assert ancestor_counts(found, parents.__getitem__) == {n: len(reached(n) & expected) for n in found}


@pytest.mark.parametrize("how", ["cherry_pick", "revert", "rebase"])
def test_a_strategy_may_be_given_as_text_and_there_are_no_others(memory: MemoryRepository, how: str) -> None:
    memory.commit([Put(Memory("a", "base"))])
    memory.create_branch("idea")
    changed = memory.commit([Put(Memory("a", "idea"))], branch="idea").commit.id
    memory.commit([Put(Memory("a", "main"))])
    work: dict[str, Callable[[Any], object]] = {
        "cherry_pick": lambda strategy: memory.cherry_pick(changed, strategy=strategy),
        "revert": lambda strategy: memory.revert(changed, strategy=strategy),
        "rebase": lambda strategy: memory.rebase("idea", strategy=strategy),
    }
    with pytest.raises(Refusal, match="'ours' is no strategy") as caught:
        work[how]("ours")
    assert caught.value.code == RefusalCode.INVALID
    with pytest.raises(Refusal, match=r"collide|conflict"):
        work[how]("Manual")
    work[how]("Theirs")
