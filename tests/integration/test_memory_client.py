"""The memory of an agent in Python, over the bus: what `agent.memory` can do of what the command line can."""

from collections.abc import Iterator

import pytest
from tests.integration.command_line import tenants

import thymos
from thymos import MemoryChange
from thymos.sync_sdk import SyncConnection


@pytest.fixture
def bus(suite_url: str) -> Iterator[SyncConnection]:
    """A connection of a tenant of its own."""
    with thymos.connect_sync(suite_url, tenant=next(tenants)) as connection:
        yield connection


def test_a_branch_is_created_worked_on_and_deleted(bus: SyncConnection) -> None:
    memory = bus.agent("support").memory
    memory.put("refunds", "14 days")
    begun = memory.create_branch("idea", reason="longer")
    bus.agent("support", branch="idea").memory.put("refunds", "30 days")
    assert [branch.branch for branch in memory.branches()] == ["idea", "main"]
    with pytest.raises(thymos.Refusal, match="nowhere else"):
        memory.delete_branch("idea")
    memory.delete_branch("idea", force=True)
    assert memory.create_branch("idea", "idea@{2}").commit == begun.commit
    moves = bus.agent("support", branch="idea").memory.reflog()
    assert {move.actor for move in moves} == {"support"}
    assert bus.agent("support", branch="idea").memory.reflog(2, skip=1) == moves[1:3]


def test_a_snapshot_keeps_a_state_under_a_name_that_may_be_chosen(bus: SyncConnection) -> None:
    memory = bus.agent("support").memory
    memory.put("refunds", "14 days")
    first, again = memory.snapshot(snapshot_id="v1", metadata={"ticket": 7}), memory.snapshot(reason="once more")
    assert (first.snapshot_id, first.commit) == ("v1", again.commit)
    memory.put("refunds", "30 days")
    assert memory.get("refunds", "v1").content == "14 days"
    assert {kept.name: kept.metadata for kept in memory.snapshots()}["v1"] == {"ticket": 7}
    assert memory.rollback("v1").changes == 1
    assert memory.log(1)[0].author == "support"


def test_number_rules_are_declared_and_taken_back(bus: SyncConnection) -> None:
    memory = bus.agent("support").memory
    memory.put("refunds", "14 days")
    assert memory.declare_number_rule("hits", "sum") == {"hits": "sum"}
    assert memory.number_rules() == {"hits": "sum"}
    assert memory.declare_number_rule("hits", None) == {}


def test_several_changes_are_one_commit_or_wait_in_a_worktree(bus: SyncConnection) -> None:
    memory = bus.agent("support").memory
    changes = [MemoryChange(op="put", id="a", content="x"), MemoryChange(op="put", id="b", content="y")]
    assert memory.commit(changes, "both").changes == 2
    memory.open_worktree("desk")
    memory.stage("desk", [MemoryChange(op="delete", id="a")])
    assert [(each.worktree_id, each.staged) for each in memory.worktrees()] == [("desk", 1)]


def test_a_page_holds_what_is_of_a_kind_and_has_a_field(bus: SyncConnection) -> None:
    memory = bus.agent("support").memory
    memory.put("a", "x", kind="note", fields={"weight": 1})
    memory.put("b", "x", kind="note", fields={"weight": 5})
    memory.put("c", "x", kind="rule", fields={"weight": 5})
    page = memory.page(kind="note", where={"weight": {"$gte": 3}})
    assert [found.id for found in page.memories] == ["b"]


def test_a_merge_is_taken_back_and_made_once_more_against_a_parent_that_is_named(bus: SyncConnection) -> None:
    memory = bus.agent("support").memory
    memory.put("a", "x")
    memory.create_branch("idea")
    memory.create_branch("other", "idea")
    bus.agent("support", branch="idea").memory.put("b", "of idea")
    memory.put("c", "of main")
    merged = memory.merge("idea").commit
    memory.revert(merged, mainline=2)  # what main brought to idea
    assert [found.id for found in memory.page().memories] == ["a", "b"]
    other = bus.agent("support", branch="other").memory
    other.cherry_pick(merged, mainline=2)
    assert [found.id for found in other.page().memories] == ["a", "c"]


def test_a_memory_without_an_event_loop_names_all_that_it_can_do(bus: SyncConnection) -> None:
    memory = bus.agent("support").memory
    assert {"create_branch", "search", "branch", "agent"} <= set(dir(memory))
    assert not [name for name in dir(memory) if not name.startswith("_") and not hasattr(memory, name)]


def test_a_log_of_redactions_that_no_message_holds_comes_in_pages(bus: SyncConnection) -> None:
    memory = bus.agent("support").memory
    for number in range(300):
        memory.put("grete", f"lives at {number}")
    assert memory.redact("grete", reason="she asked " * 400).versions == 300
    pages = [memory.redactions(1_000)]
    while pages[-1]:
        pages.append(memory.redactions(1_000, skip=sum(map(len, pages))))
    hashes = [each.hash for page in pages for each in page]
    assert (len(pages[0]) < 300, len(hashes), len(set(hashes))) == (True, 300, 300)
