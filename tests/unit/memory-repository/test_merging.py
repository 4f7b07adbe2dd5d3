"""Merging branches."""

from collections.abc import Callable

import pytest

from memory_repository import ConflictKind, Delete, Memory, MemoryRepository, Modify, Put, Strategy
from memory_repository.core import limits
from memory_repository.operations.merge_plan import Plan, make_plan, nobody
from memory_repository.storage.store import Repository
from thymos.errors import Refusal, RefusalCode

BASE = [Put(Memory("a", "one\ntwo\nthree")), Put(Memory("b", "bee", fields={"tags": ["x"]})), Put(Memory("c", "sea"))]


@pytest.fixture
def forked(memory: MemoryRepository) -> MemoryRepository:
    """`main` and `idea` at the same commit of three memories."""
    memory.commit(BASE)
    memory.create_branch("idea")
    return memory


def contents(memory: MemoryRepository, ref: str = "main") -> dict[str, str]:
    return {found.id: found.content for found in memory.memories(ref)}


def test_clean_changes_of_both_sides_come_together(forked: MemoryRepository) -> None:
    forked.commit([Modify("a", content="ONE\ntwo\nthree"), Modify("b", fields={"tags": ["x", "m"]})])
    forked.commit(
        [
            Modify("a", content="one\ntwo\nTHREE"),
            Modify("b", fields={"tags": ["i"]}),
            Delete("c"),
            Put(Memory("d", "new")),
        ],
        branch="idea",
    )
    done = forked.merge("idea")
    assert done.changed
    assert contents(forked) == {"a": "ONE\ntwo\nTHREE", "b": "bee", "d": "new"}
    assert forked.get("b").memory.fields == {"tags": ["i", "m"]}
    assert done.commit.kind == "merge"
    assert forked.log(limit=1)[0].id == done.commit.id
    assert contents(forked, "idea")["a"] == "one\ntwo\nTHREE"


def test_what_came_from_one_side_alone_keeps_its_writer(forked: MemoryRepository) -> None:
    written = forked.commit([Put(Memory("d", "new"))], branch="idea").commit
    forked.commit([Put(Memory("e", "mine"))])
    forked.merge("idea")
    assert forked.get("d").commit == written.id


def test_a_dry_run_says_what_would_happen_and_does_nothing(forked: MemoryRepository) -> None:
    forked.commit([Put(Memory("d", "new"))], branch="idea")
    head = forked.log()[0].id
    done = forked.merge("idea", dry_run=True)
    assert (done.changes, done.changed, done.open) == (1, False, False)
    assert forked.log()[0].id == head


def test_a_merge_that_changes_nothing_says_so(forked: MemoryRepository) -> None:
    forked.commit([Put(Memory("d", "new"))])
    assert not forked.merge("idea").changed
    forked.commit([Put(Memory("d", "new"))], branch="idea")
    done = forked.merge("idea")
    assert (done.changed, done.changes, done.conflicts) == (False, 0, ())


def test_a_branch_that_was_merged_has_nothing_more_to_merge(forked: MemoryRepository) -> None:
    forked.commit([Put(Memory("d", "new"))], branch="idea")
    assert forked.merge("idea").changed
    assert not forked.merge("idea").changed
    forked.commit([Delete("d")])
    assert not forked.merge("idea").changed
    assert "d" not in contents(forked)


@pytest.fixture
def collided(forked: MemoryRepository) -> MemoryRepository:
    """All four kinds of conflict, and one clean change on either side."""
    forked.commit(
        [
            Modify("a", content="main\ntwo\nthree"),
            Modify("b", fields={"owner": "ann"}),
            Delete("c"),
            Put(Memory("d", "main's")),
            Put(Memory("clean", "main's")),
        ]
    )
    forked.commit(
        [
            Modify("a", content="idea\ntwo\nTHREE"),
            Modify("b", fields={"owner": "bob"}),
            Modify("c", content="ocean"),
            Put(Memory("d", "idea's")),
            Put(Memory("fresh", "idea's")),
        ],
        branch="idea",
    )
    return forked


@pytest.mark.parametrize("strategy", [Strategy.MANUAL, Strategy.AUTO_MERGE, Strategy.CUSTOM])
def test_conflicts_that_nobody_decides_are_data_and_change_nothing(
    collided: MemoryRepository, strategy: Strategy
) -> None:
    before = collided.log()[0].id
    done = collided.merge("idea", strategy=strategy)
    assert done.open
    assert [(conflict.id, conflict.kind) for conflict in done.conflicts] == [
        ("a", ConflictKind.CONTENT),
        ("b", ConflictKind.FIELD),
        ("c", ConflictKind.MODIFY_DELETE),
        ("d", ConflictKind.ADD_ADD),
    ]
    assert collided.log()[0].id == before


def test_ours_decides_the_conflicts_only(collided: MemoryRepository) -> None:
    done = collided.merge("idea", strategy=Strategy.OURS)
    assert len(done.conflicts) == 4
    assert contents(collided) == {
        "a": "main\ntwo\nTHREE", "b": "bee", "clean": "main's", "d": "main's", "fresh": "idea's",
    }  # fmt: skip
    assert collided.get("b").memory.fields["owner"] == "ann"
    assert done.commit.meta["conflicts"] == 4


def test_theirs_decides_the_conflicts_only(collided: MemoryRepository) -> None:
    collided.merge("idea", strategy=Strategy.THEIRS)
    assert contents(collided) == {
        "a": "idea\ntwo\nTHREE", "b": "bee", "c": "ocean", "clean": "main's", "d": "idea's", "fresh": "idea's",
    }  # fmt: skip
    assert collided.get("b").memory.fields["owner"] == "bob"


def test_conflicts_are_resolved_by_saying_what_the_memories_shall_be(collided: MemoryRepository) -> None:
    decided = {"a": Memory("a", "both"), "c": None, "d": Memory("d", "agreed")}
    assert collided.merge("idea", resolutions=decided).open
    done = collided.merge("idea", resolutions={**decided, "b": Memory("b", "bee")})
    assert done.changed
    assert contents(collided) == {"a": "both", "b": "bee", "clean": "main's", "d": "agreed", "fresh": "idea's"}


def test_a_resolution_must_be_of_the_memory_it_resolves(collided: MemoryRepository) -> None:
    with pytest.raises(Refusal, match="another id"):
        collided.merge("idea", strategy=Strategy.OURS, resolutions={"a": Memory("b", "x")})


def test_clean_merges_do_not_depend_on_the_direction(forked: MemoryRepository) -> None:
    forked.commit([Modify("a", content="ONE\ntwo\nthree"), Modify("b", fields={"tags": ["x", "m"]}), Delete("c")])
    forked.commit([Modify("a", content="one\ntwo\nTHREE"), Modify("b", fields={"tags": ["x", "i"]})], branch="idea")
    forked.create_branch("copy")
    one = forked.merge("idea", "main").commit
    other = forked.merge("copy", "idea").commit
    assert one.state_id == other.state_id


def test_criss_cross_merges_use_what_both_bases_agree_on(forked: MemoryRepository) -> None:
    """Both sides merged each other and then went on; against either base alone, one side's work would be undone."""
    forked.commit([Modify("a", content="main\ntwo\nthree")])
    forked.commit([Modify("b", content="idea")], branch="idea")
    forked.create_branch("main-then")
    forked.create_branch("idea-then", "idea")
    forked.merge("idea-then", "main")
    forked.merge("main-then", "idea")
    forked.commit([Modify("a", content="main\ntwo\nthree\nfour")])
    forked.commit([Modify("b", content="idea again")], branch="idea")
    done = forked.merge("idea")
    assert len(done.bases) == 2
    assert not done.conflicts
    assert contents(forked) == {"a": "main\ntwo\nthree\nfour", "b": "idea again", "c": "sea"}
    assert forked.verify().ok


def test_criss_cross_merges_that_decided_differently_are_a_conflict(forked: MemoryRepository) -> None:
    forked.commit([Modify("c", content="main's")])
    forked.commit([Modify("c", content="idea's")], branch="idea")
    forked.create_branch("main-then")
    forked.create_branch("idea-then", "idea")
    forked.merge("idea-then", "main", Strategy.OURS)
    forked.merge("main-then", "idea", Strategy.OURS)
    done = forked.merge("idea")
    assert done.open
    assert [conflict.id for conflict in done.conflicts] == ["c"]


def test_a_branch_that_keeps_taking_in_main_stays_readable_and_cheap(forked: MemoryRepository) -> None:
    forked.commit([Put(Memory("own", "idea's"))], branch="idea")
    for number in range(20):
        forked.commit([Put(Memory(f"m{number}", "x"))])
        done = forked.merge("main", "idea")
        assert (done.changed, done.changes) == (True, 1)
    assert contents(forked, "idea") == {**contents(forked), "own": "idea's"}
    assert forked.verify().ok


def test_a_decision_for_ours_is_recorded_although_nothing_changes(forked: MemoryRepository) -> None:
    forked.commit([Modify("c", content="main")])
    before = forked.commit([Modify("c", content="idea")], branch="idea").commit
    head = forked.log(limit=1)[0]
    plan = forked.merge("idea", strategy=Strategy.OURS, dry_run=True)
    assert (plan.changed, plan.open, len(plan.conflicts)) == (False, False, 1)
    done = forked.merge("idea", strategy=Strategy.OURS)
    assert (done.changed, done.changes, done.commit.state_id) == (True, 0, head.state_id)
    again = forked.merge("idea", strategy=Strategy.THEIRS)
    assert (again.changed, again.conflicts, again.bases) == (False, (), (before.id,))
    assert contents(forked)["c"] == "main", "what was decided stays decided"
    assert forked.verify().ok


@pytest.mark.parametrize(
    "change", [Modify("b", fields={"tags": ("x", "q")}), Put(Memory("b", "bee", fields={"tags": ("x", "q")}))]
)
def test_a_tuple_merges_as_the_list_that_it_will_be(forked: MemoryRepository, change: Modify | Put) -> None:
    read = forked.resolve("main").id
    forked.commit([Modify("b", fields={"tags": ["x", "p"]})])
    assert forked.commit([change], expected_head=read).rebased
    assert forked.get("b").memory.fields == {"tags": ["x", "p", "q"]}


@pytest.mark.parametrize("verb", ["merge", "cherry_pick", "commit"])
def test_a_merge_that_would_hold_up_everybody_is_refused(
    forked: MemoryRepository, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Texts of three lines with one change: six lines and an eighth of four, for each side."""
    read = forked.resolve("main").id
    forked.commit([Modify("a", content="ONE\ntwo\nthree")])
    change = [Modify("a", content="one\ntwo\nTHREE")]
    forked.commit(change, branch="idea")
    does: Callable[[], object] = {
        "merge": lambda: forked.merge("idea"),
        "cherry_pick": lambda: forked.cherry_pick("idea"),
        "commit": lambda: forked.commit(change, expected_head=read),
    }[verb]
    monkeypatch.setattr(limits, "MERGE_LINES_MAX", 11)
    with pytest.raises(Refusal, match="comparing more than 11 lines") as error:
        does()
    assert error.value.code == RefusalCode.TOO_LARGE
    assert contents(forked)["a"] == "ONE\ntwo\nthree"
    monkeypatch.setattr(limits, "MERGE_LINES_MAX", 12)
    does()
    assert contents(forked)["a"] == "ONE\ntwo\nTHREE"


def test_what_collides_counts_three_times(forked: MemoryRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    forked.commit([Modify("a", content="main\ntwo\nthree")])
    forked.commit([Modify("a", content="idea\ntwo\nthree")], branch="idea")
    monkeypatch.setattr(limits, "MERGE_LINES_MAX", 35)
    with pytest.raises(Refusal, match="comparing more than 35 lines"):
        forked.merge("idea", strategy=Strategy.OURS)
    monkeypatch.setattr(limits, "MERGE_LINES_MAX", 36)
    assert forked.merge("idea", strategy=Strategy.OURS).changed


def test_without_any_base_whatever_differs_is_a_conflict(forked: MemoryRepository) -> None:
    forked.commit([Modify("a", content="main's")])
    forked.commit([Put(Memory("d", "new"))], branch="idea")

    def planned(repo: Repository, _: object) -> Plan:
        return make_plan(repo, (), repo.resolve("main"), repo.resolve("idea"), Strategy.MANUAL, nobody, {})

    assert {conflict.id for conflict in forked.write(planned).conflicts} == {"a", "d"}
