"""The history of one memory, and who wrote each part of it."""

import random
from collections.abc import Mapping

import pytest

from memory_repository import Delete, Memory, MemoryRepository, Modify, Put, Strategy
from memory_repository.core.alignment import compared
from memory_repository.core.memory import Change
from memory_repository.operations import tracing
from memory_repository.operations.tracing import Blame
from thymos.errors import Refusal


def commit(memory: MemoryRepository, *changes: Change, branch: str = "main", message: str = "") -> str:
    return memory.commit(changes, branch=branch, message=message).commit.id


def note(content: str, **fields: object) -> Put:
    return Put(Memory("a", content, fields=fields))


def told(memory: MemoryRepository, ref: str = "main") -> list[tuple[str, str | None]]:
    return [(c.commit.message, None if c.after is None else c.after.content) for c in memory.history("a", ref)]


def by_line(blame: Blame) -> list[tuple[str, str]]:
    return [(part.text or "", part.commit.message) for part in blame.parts if part.part == "content"]


def test_each_change_is_told_and_nothing_else(memory: MemoryRepository) -> None:
    commit(memory, note("one"), message="begin")
    commit(memory, Put(Memory("b", "other")), message="elsewhere")
    commit(memory, note("two"), message="change")
    commit(memory, Delete("a"), message="delete")
    commit(memory, note("three"), message="again")
    assert told(memory) == [("again", "three"), ("delete", None), ("change", "two"), ("begin", "one")]
    assert memory.history("a", "main~1")[0].after is None
    assert len(memory.history("a", limit=2)) == 2


def test_a_rollback_is_a_change_like_others(memory: MemoryRepository) -> None:
    first = commit(memory, note("one"), message="begin")
    commit(memory, note("two"), message="change")
    memory.rollback(first)
    assert [content for _, content in told(memory)] == ["one", "two", "one"]
    assert memory.history("a")[0].commit.kind == "rollback"


def test_a_merge_that_takes_one_side_is_passed_over(memory: MemoryRepository) -> None:
    commit(memory, note("base"), message="begin")
    memory.create_branch("idea")
    commit(memory, note("better"), branch="idea", message="improve")
    commit(memory, Put(Memory("b", "other")), message="elsewhere")
    memory.merge("idea", message="bring it in")
    assert told(memory) == [("improve", "better"), ("begin", "base")]


def test_a_merge_that_makes_something_new_is_told_with_both_sides(memory: MemoryRepository) -> None:
    commit(memory, note("1\n2\n3"), message="begin")
    memory.create_branch("idea")
    commit(memory, note("1\n2\nTHREE"), branch="idea", message="theirs")
    commit(memory, note("ONE\n2\n3"), message="ours")
    memory.merge("idea", message="both")
    assert [message for message, _ in told(memory)] == ["both", "ours", "theirs", "begin"]
    assert by_line(memory.blame("a")) == [("ONE", "ours"), ("2", "begin"), ("THREE", "theirs")]


def test_fields_and_the_kind_have_their_writers(memory: MemoryRepository) -> None:
    commit(memory, note("text", a=1, b=1), message="begin")
    commit(memory, Modify("a", fields={"b": True}), message="b is true now")
    commit(memory, Modify("a", kind="answer"), message="an answer")
    parts = {part.part: part.commit.message for part in memory.blame("a").parts}
    expected = {"content": "begin", "kind": "an answer", "fields/a": "begin", "fields/b": "b is true now"}
    assert parts == expected, "1 and true are different values"


def test_what_was_deleted_and_written_again_is_the_second_writers(memory: MemoryRepository) -> None:
    commit(memory, note("same"), message="first")
    commit(memory, Delete("a"), message="gone")
    commit(memory, note("same"), message="second")
    assert by_line(memory.blame("a")) == [("same", "second")]


def test_a_memory_that_never_was(memory: MemoryRepository) -> None:
    with pytest.raises(Refusal, match="there never was a memory x"):
        memory.history("x")
    with pytest.raises(Refusal, match="there is no memory x"):
        memory.blame("x")


def test_nested_branches_lose_no_history(memory: MemoryRepository) -> None:
    """Beyond 32 nestings a line begins with a copy: the copies are nobody's changes."""
    commit(memory, note("0"), message="begin")
    branch = "main"
    for number in range(40):
        memory.create_branch(f"b{number}", branch)
        branch = f"b{number}"
        commit(memory, note(f"{number}") if number % 10 == 5 else Put(Memory("b", str(number))), branch=branch)
    assert [content for _, content in told(memory, branch)] == ["35", "25", "15", "5", "0"]


@pytest.mark.parametrize("seed", range(5))
def test_random_histories_are_told_as_walking_every_commit_tells_them(memory: MemoryRepository, seed: int) -> None:
    chance = random.Random(seed)
    commit(memory, note("0"))
    branches = ["main"]
    for number in range(40):
        branch = chance.choice(branches)
        match chance.randrange(6):
            case 0:
                branches.append(f"b{number}")
                memory.create_branch(branches[-1], branch)
            case 1:
                memory.merge(chance.choice(branches), branch, Strategy.THEIRS)
            case 2:
                commit(memory, Put(Memory("b", str(number))), branch=branch)
            case _:
                commit(memory, note(str(chance.randrange(4)), n=chance.randrange(3)), branch=branch)
    for branch in branches:
        found = [change.commit.id for change in memory.history("a", branch, limit=1000)]
        assert sorted(found) == sorted(walked(memory, branch))
        assert {part.commit.id for part in memory.blame("a", branch).parts} <= set(found)


def walked(memory: MemoryRepository, branch: str) -> set[str]:
    """The commits that changed `a`, found by looking at every commit, following one same parent where there is one."""

    def seen_at(ref: str) -> Mapping[str, object] | None:
        return next(({"c": m.content, "f": m.fields} for m in memory.memories(ref) if m.id == "a"), None)

    found, waiting, done = set(), [memory.resolve(branch).id], set()
    while waiting:
        here = waiting.pop()
        if here in done:
            continue
        done.add(here)
        parents: list[str] = []
        while True:
            try:
                parents.append(memory.resolve(f"{here}^{len(parents) + 1}").id)
            except Refusal:
                break
        same = [parent for parent in parents if seen_at(parent) == seen_at(here)]
        if parents and not same:
            found.add(here)
        waiting += same[:1] or parents
    return found


def test_a_blame_stops_where_it_would_hold_everybody_up(
    memory: MemoryRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines that are compared are bounded, not only the changes: what is older than that is laid to the oldest
    commit that is known to have it."""
    lines = [str(number % 7) for number in range(1_000)]
    commits = []
    for number in range(8):
        lines[number * 100] = f"changed by {number}"
        commits.append(memory.commit([Put(Memory("long", "\n".join(lines)))]).commit)
    assert memory.blame("long").whole
    monkeypatch.setattr(tracing, "WORK_MAX", 5_999)  # three comparisons of 1,000 lines with 1,000 others
    blame = memory.blame("long")
    assert not blame.whole
    culprits = {part.text: part.commit.id for part in blame.parts if part.text}
    assert culprits["changed by 7"] == commits[7].id
    assert culprits["changed by 5"] == commits[5].id
    assert culprits["changed by 0"] == culprits["1"] == commits[4].id


def test_a_blame_counts_what_edits_cost() -> None:
    """Short texts that repeat a few lines in ever another order take longer than their lines say."""
    assert compared(olds=600, news=600, kept=600) == 1_200
    assert compared(olds=600, news=600, kept=400) == 1_200 + 400 * 400 // 8
    assert compared(olds=600, news=600, kept=0) == 1_200 + 500 * 500 // 8
