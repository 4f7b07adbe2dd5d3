"""How commits are named: parents, moments of a branch, and what is no name."""

from datetime import UTC, datetime, timedelta

import pytest

from memory_repository import Memory, MemoryRepository, Put, Strategy
from memory_repository.core.revisions import Revision, parse
from thymos.errors import Refusal, RefusalCode


def put(memory: MemoryRepository, content: str, branch: str = "main") -> str:
    return memory.commit([Put(Memory("a", content))], branch=branch, message=content).commit.id


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("main", Revision("main")),
        ("main~", Revision("main", None, (1,))),
        ("main~3", Revision("main", None, (1, 1, 1))),
        ("main^2~1^", Revision("main", None, (2, 1, 1))),
        ("main^0", Revision("main")),
        ("main@{2h}", Revision("main", timedelta(hours=2))),
        ("main@{1m30s}~2", Revision("main", timedelta(seconds=90), (1, 1))),
        ("main@{3}", Revision("main", 3)),
        ("main@{2026-03-01T13:00:00+01:00}", Revision("main", datetime(2026, 3, 1, 12, tzinfo=UTC))),
    ],
)
def test_a_revision_is_a_name_a_moment_and_steps(text: str, expected: Revision) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["", "~1", "main@{}", "main@{soon}", "main~x", "main@{2h", "a" * 301, "main@{1}@{2}"])
def test_what_is_no_revision_says_what_is(text: str) -> None:
    with pytest.raises(Refusal, match="names no commit") as caught:
        parse(text)
    assert "@{2h}" in caught.value.hint


def test_a_time_without_a_zone_is_nobodys_time() -> None:
    with pytest.raises(Refusal, match="no time zone"):
        parse("main@{2026-03-01T12:00:00}")


@pytest.mark.parametrize("text", ["main~10001", "main~99999999999", "main~9999~2", "main@{10001}"])
def test_the_way_back_is_bounded(text: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse(text)
    assert caught.value.code == RefusalCode.TOO_LARGE


def test_parents_of_a_merge(memory: MemoryRepository) -> None:
    memory.create_branch("idea")
    theirs, ours = put(memory, "idea", "idea"), memory.commit([Put(Memory("b", "main"))]).commit.id
    memory.merge("idea")
    assert memory.resolve("main^").id == memory.resolve("main^1").id == memory.resolve("main~1").id == ours
    assert memory.resolve("main^2").id == theirs
    with pytest.raises(Refusal, match="has no parent number 3"):
        memory.resolve("main^3")
    with pytest.raises(Refusal, match="beyond the first commit"):
        memory.resolve("main~9")


def test_where_a_branch_stood(memory: MemoryRepository) -> None:
    ids = [put(memory, str(number)) for number in range(3)]
    assert memory.get("a", "main@{1}").memory.content == "1"
    assert [memory.resolve(f"main@{{{moves}}}").id for moves in range(3)] == ids[::-1]
    times = [commit.at for commit in memory.log() if commit.id == ids[0]]
    assert memory.resolve(f"main@{{{times[0].isoformat()}}}").id == ids[0]
    just_before = times[0] - timedelta(milliseconds=1)
    assert memory.resolve(f"main@{{{just_before.isoformat()}}}").kind == "initial"
    with pytest.raises(Refusal, match="did not stand anywhere then"):
        memory.resolve(f"main@{{{(memory.log()[-1].at - timedelta(days=1)).isoformat()}}}")


@pytest.mark.parametrize("name", ["v1", "s1", "nowhere"])
def test_only_a_branch_is_asked_where_it_stood(memory: MemoryRepository, name: str) -> None:
    memory.tag("v1")
    memory.snapshot("s1")
    with pytest.raises(Refusal, match=f"the reflog knows no branch '{name}'") as caught:
        memory.resolve(f"{name}@{{0}}")
    assert caught.value.code is RefusalCode.NOT_FOUND
    assert caught.value.hint.startswith(
        "@{…} says where a branch stood; a tag, a snapshot or a commit is named without"
    )


def test_so_long_ago_counts_from_now(memory: MemoryRepository) -> None:
    first = put(memory, "first")  # the clock moves on by a second at each look
    put(memory, "second")
    put(memory, "third")
    assert memory.resolve("main@{3s}").id == first
    assert memory.get("a", "main@{0s}").memory.content == "third"


def test_a_deleted_branch_is_found_where_it_stood(memory: MemoryRepository) -> None:
    memory.create_branch("idea")
    lost = put(memory, "idea", "idea")
    memory.delete_branch("idea", force=True)
    assert [move.operation for move in memory.reflog("idea")] == ["delete", "commit", "create"]
    assert [move.operation for move in memory.reflog("idea", 2, skip=1)] == ["commit", "create"]
    assert memory.reflog("idea", skip=3) == [], "it was there, but not longer ago"
    assert memory.resolve("idea@{1}").id == lost
    with pytest.raises(Refusal, match="did not stand anywhere then"):
        memory.resolve("idea@{0}")


def test_a_renamed_branch_keeps_its_past_its_line_and_its_worktrees(memory: MemoryRepository) -> None:
    memory.create_branch("idea")
    before = put(memory, "idea", "idea")
    memory.open_worktree("w1", "idea")
    memory.rename_branch("idea", "plan", reason="it is more than that")
    assert memory.resolve("plan").id == before
    assert [move.operation for move in memory.reflog("plan")] == ["rename", "commit", "create"]
    assert [worktree.branch for worktree in memory.worktrees()] == ["plan"]
    put(memory, "more", "plan")
    assert memory.merge("plan", strategy=Strategy.MANUAL).changes == 1
    with pytest.raises(Refusal, match="there is no branch"):
        memory.rename_branch("idea", "other")


def test_main_keeps_its_name_and_takes_nobody_elses(memory: MemoryRepository) -> None:
    memory.create_branch("idea")
    with pytest.raises(Refusal, match="main cannot be renamed"):
        memory.rename_branch("main", "trunk")
    with pytest.raises(Refusal, match="exists already"):
        memory.rename_branch("idea", "main")


def test_a_name_that_was_used_before_has_a_past_of_its_own(memory: MemoryRepository) -> None:
    memory.create_branch("plan")
    put(memory, "old plan", "plan")
    memory.delete_branch("plan", force=True)
    memory.create_branch("idea")
    memory.rename_branch("idea", "plan")
    assert [move.operation for move in memory.reflog("plan")] == ["rename", "create"]


def test_tags_and_snapshots_are_listed_and_forgotten(memory: MemoryRepository) -> None:
    first = put(memory, "first")
    memory.tag("v1", reason="the first one")
    memory.snapshot("s1", metadata={"success": 0.9})
    put(memory, "second")
    (tag,), (snapshot,) = memory.tags(), memory.snapshots()
    assert (tag.name, tag.commit.id, tag.reason) == ("v1", first, "the first one")
    assert snapshot.meta == {"success": 0.9}
    memory.delete_tag("v1")
    memory.delete_snapshot("s1")
    assert (memory.tags(), memory.snapshots()) == ([], [])
    with pytest.raises(Refusal, match="there is no tag v1"):
        memory.delete_tag("v1")
