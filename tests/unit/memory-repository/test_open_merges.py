"""Merges that are kept, resolved over a while, and continued."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memory_repository import (
    Conflict,
    Delete,
    Memory,
    MemoryRepository,
    MergeState,
    Modify,
    Put,
    Resolution,
    Strategy,
    Take,
)
from memory_repository.core import limits
from memory_repository.core.memory import Change
from memory_repository.core.retention import Retention
from thymos.errors import Refusal, RefusalCode

BASE: list[Change] = [
    Put(Memory("a", "one\ntwo\nthree")),
    Put(Memory("b", "bee", fields={"owner": "none", "days": {"min": 1, "max": 9}})),
    Put(Memory("c", "sea")),
]
OURS: list[Change] = [
    Modify("a", content="main\ntwo\nthree"),
    Modify("b", fields={"owner": "ann", "days": {"min": 2, "max": 9}}),
    Delete("c"),
    Put(Memory("d", "main's", fields={"x": 1})),
]
THEIRS: list[Change] = [
    Modify("a", content="idea\ntwo\nTHREE"),
    Modify("b", fields={"owner": "bob", "days": {"min": 3, "max": 9}}),
    Modify("c", content="ocean"),
    Put(Memory("d", "idea's", fields={"y": 2})),
    Put(Memory("fresh", "idea's")),
]


def collide(memory: MemoryRepository) -> MemoryRepository:
    """`main` and `idea` with five conflicts in four memories, and a clean change."""
    memory.commit(BASE)
    memory.create_branch("idea")
    memory.commit(OURS)
    memory.commit(THEIRS, branch="idea")
    return memory


@pytest.fixture
def collided(memory: MemoryRepository) -> MemoryRepository:
    return collide(memory)


@pytest.fixture
def kept(collided: MemoryRepository) -> str:
    """The id of a merge that is kept."""
    return str(collided.merge("idea", keep=True).merge_id)


def contents(memory: MemoryRepository, ref: str = "main") -> dict[str, str]:
    return {found.id: found.content for found in memory.memories(ref)}


def parts(memory: MemoryRepository, merge_id: str) -> list[tuple[str, str]]:
    return [(conflict.id, conflict.part) for each in memory.collisions(merge_id) for conflict in each.open]


def test_a_merge_is_kept_with_its_conflicts_and_changes_nothing(collided: MemoryRepository) -> None:
    head = collided.log(limit=1)[0].id
    done = collided.merge("idea", keep=True)
    assert (done.open, done.changed, done.state) == (True, False, MergeState.OPEN)
    (merge,) = collided.merges()
    assert (merge.id, merge.source, merge.target) == (done.merge_id, "idea", "main")
    assert (merge.conflicts, merge.decided, merge.target_commit.id) == (5, 0, head)
    assert parts(collided, merge.id) == [
        ("a", "content"),
        ("b", "fields/days/min"),
        ("b", "fields/owner"),
        ("c", "whole"),
        ("d", "whole"),
    ]
    assert collided.log(limit=1)[0].id == head


def test_what_nobody_wants_kept_is_not_and_a_clean_merge_never_is(collided: MemoryRepository) -> None:
    assert collided.merge("idea").merge_id is None
    assert collided.merge("idea", keep=True, dry_run=True).merge_id is None
    collided.create_branch("clean", "idea~1")
    collided.commit([Put(Memory("new", "x"))], branch="clean")
    assert collided.merge("clean", keep=True).changed
    assert collided.merges() == []


def test_conflicts_are_decided_one_by_one_and_the_merge_goes_on(collided: MemoryRepository, kept: str) -> None:
    assert collided.resolve_conflict(kept, "a", "theirs").decided == 1
    collided.resolve_conflict(kept, "b", "ours", part="fields/owner", reason="ann answers the phone")
    collided.resolve_conflict(kept, "b", "value", value=5, part="fields/days/min")
    collided.resolve_conflict(kept, "c", "delete")
    again = collided.continue_merge(kept)
    assert (again.open, again.changed, again.state) == (True, False, MergeState.OPEN)
    assert parts(collided, kept) == [("d", "whole")]
    collided.resolve_conflict(kept, "d", "value", value={"content": "agreed", "fields": {"z": 3}})
    done = collided.continue_merge(kept)
    assert (done.changed, done.open, done.merge_id) == (True, False, kept)
    assert contents(collided) == {"a": "idea\ntwo\nTHREE", "b": "bee", "d": "agreed", "fresh": "idea's"}
    assert collided.get("b").memory.fields == {"owner": "ann", "days": {"min": 5, "max": 9}}
    assert collided.get("d").memory.fields == {"z": 3}
    assert collided.merges() == []
    assert collided.verify().ok


def test_the_merge_commit_says_who_decided_what_and_why(collided: MemoryRepository, kept: str) -> None:
    for memory_id in "acd":
        collided.resolve_conflict(kept, memory_id, "ours")
    collided.resolve_conflict(kept, "b", "theirs", reason="bob has the newer list", by="jo")
    meta = collided.continue_merge(kept).commit.meta
    assert (meta["strategy"], meta["source"], meta["conflicts"], meta["merge_id"]) == ("Manual", "idea", 5, kept)
    assert meta["decisions"][1] == {
        "memory": "b", "part": "fields/days/min", "take": "theirs", "by": "jo", "rationale": "bob has the newer list",
    }  # fmt: skip


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_taking_a_side_keeps_the_clean_changes_of_the_other(collided: MemoryRepository, kept: str, side: str) -> None:
    """As the strategies Ours and Theirs do."""
    collided.create_branch("straight")
    straight = collided.merge("idea", "straight", Strategy(side.capitalize())).commit
    for memory_id in "abcd":
        collided.resolve_conflict(kept, memory_id, side)
    assert collided.continue_merge(kept).commit.state_id == straight.state_id


def test_the_base_can_be_taken_back(collided: MemoryRepository, kept: str) -> None:
    for memory_id in "abcd":
        collided.resolve_conflict(kept, memory_id, "base")
    collided.continue_merge(kept)
    assert contents(collided) == {"a": "one\ntwo\nthree", "b": "bee", "c": "sea", "fresh": "idea's"}
    assert collided.get("b").memory.fields == {"owner": "none", "days": {"min": 1, "max": 9}}


def test_a_decision_can_be_changed_until_the_merge_goes_on(collided: MemoryRepository, kept: str) -> None:
    collided.resolve_conflict(kept, "b", "delete")
    assert collided.resolve_conflict(kept, "b", "ours", part="fields/owner").decided == 1, (
        "about a part: the whole is open again"
    )
    assert collided.resolve_conflict(kept, "b", "theirs").decided == 2
    assert collided.resolve_conflict(kept, "b", "value", value={"content": "bee", "kind": "answer"}).decided == 2
    for memory_id in "acd":
        collided.resolve_conflict(kept, memory_id, "ours")
    collided.continue_merge(kept)
    assert collided.get("b").memory == Memory("b", "bee", "answer", {})


@pytest.mark.parametrize(
    ("memory_id", "part", "take", "value", "said"),
    [
        ("fresh", None, "ours", None, "does not collide"),
        ("a", "kind", "ours", None, "nothing collides in 'kind'"),
        ("a", "content", "delete", None, "has to be text"),
        ("a", "content", "value", 7, "has to be text"),
        ("a", "content", "value", "x" * 70_000, "the limit is"),
        ("a", None, "value", "text", "is no memory"),
        ("a", None, "value", {"content": "x", "id": "other"}, "is no memory"),
        ("b", "fields/owner", "value", float("nan"), "finite"),
        ("a", None, "mine", None, "nothing to take"),
        ("bad id", None, "ours", None, "memory id"),
    ],
)
def test_a_decision_that_cannot_be_is_refused_and_nothing_is_decided(
    collided: MemoryRepository, kept: str, memory_id: str, part: str | None, take: str, value: Any, said: str
) -> None:
    with pytest.raises(Refusal, match=said):
        collided.resolve_conflict(kept, memory_id, take, part=part, value=value)
    assert collided.kept_merge(kept).decided == 0


def test_nobody_decides_in_the_name_of_a_model(collided: MemoryRepository, kept: str) -> None:
    with pytest.raises(Refusal, match="name of models"):
        collided.resolve_conflict(kept, "a", "ours", by="model:trust-me")


def test_a_merge_goes_on_against_the_head_that_the_target_has_then(collided: MemoryRepository, kept: str) -> None:
    """What was decided stays where nothing has changed; what collides differently, or anew, is asked again."""
    for memory_id in "abcd":
        collided.resolve_conflict(kept, memory_id, "theirs")
    collided.commit([Modify("a", content="later\ntwo\nthree"), Put(Memory("fresh", "main's")), Put(Memory("own", "x"))])
    head = collided.log(limit=1)[0].id
    done = collided.continue_merge(kept)
    assert done.open
    assert parts(collided, kept) == [("a", "content"), ("fresh", "whole")]
    merge = collided.kept_merge(kept)
    assert "2 memories collide anew" in merge.reason
    assert (merge.conflicts, merge.decided, merge.target_commit.id) == (6, 4, head)
    for memory_id in ("a", "fresh"):
        collided.resolve_conflict(kept, memory_id, "ours")
    collided.continue_merge(kept)
    assert contents(collided) == {
        "a": "later\ntwo\nTHREE", "b": "bee", "c": "ocean", "d": "idea's", "fresh": "main's", "own": "x",
    }  # fmt: skip


def test_what_the_source_does_later_is_not_part_of_the_merge(collided: MemoryRepository, kept: str) -> None:
    collided.commit([Put(Memory("later", "x"))], branch="idea")
    for memory_id in "abcd":
        collided.resolve_conflict(kept, memory_id, "ours")
    collided.continue_merge(kept)
    assert "later" not in contents(collided)
    assert collided.merge("idea").changes == 1


def test_the_same_merge_again_is_the_same_kept_merge_with_its_decisions(collided: MemoryRepository, kept: str) -> None:
    collided.resolve_conflict(kept, "a", "theirs")
    collided.commit([Modify("c", content="wide ocean")], branch="idea")
    again = collided.merge("idea", keep=True)
    assert again.merge_id == kept
    assert (collided.kept_merge(kept).decided, len(collided.merges())) == (1, 1)
    assert parts(collided, kept)[0] == ("b", "fields/days/min")


def test_a_merge_of_the_pair_by_other_means_does_away_with_the_kept_one(collided: MemoryRepository, kept: str) -> None:
    assert collided.merge("idea", strategy=Strategy.THEIRS).merge_id == kept
    assert collided.merges() == []
    with pytest.raises(Refusal, match="no merge is kept"):
        collided.continue_merge(kept)


def test_an_aborted_merge_leaves_everything_as_it_was(collided: MemoryRepository, kept: str) -> None:
    before = contents(collided)
    collided.resolve_conflict(kept, "a", "theirs")
    collided.abort_merge(kept)
    assert (contents(collided), collided.merges()) == (before, [])
    assert collided.merge("idea", keep=True).merge_id != kept
    assert collided.merges()[0].decided == 0


def test_a_branch_with_a_kept_merge_goes_only_by_force_and_the_merge_with_it(
    collided: MemoryRepository, kept: str
) -> None:
    with pytest.raises(Refusal, match=f"{kept} from or into idea waits"):
        collided.delete_branch("idea")
    assert [each.id for each in collided.delete_branch("idea", force=True).aborted] == [kept]
    assert collided.merges() == []


def test_a_decision_holds_only_while_the_rules_for_numbers_do(collided: MemoryRepository, kept: str) -> None:
    collided.resolve_conflict(kept, "b", "ours")
    collided.declare_number_rule("days/min", "max")
    assert ("b", "fields/owner") in parts(collided, kept), "what collides there is no longer what was decided about"


def test_pages_of_collisions_follow_the_ids(collided: MemoryRepository, kept: str) -> None:
    assert [each.contested.id for each in collided.collisions(kept, limit=2)] == ["a", "b"]
    assert [each.contested.id for each in collided.collisions(kept, after="b")] == ["c", "d"]


def test_kept_merges_have_limits(memory: MemoryRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OPEN_MERGES_MAX", 1)
    collide(memory)
    memory.create_branch("other", "idea")
    memory.merge("idea", keep=True)
    with pytest.raises(Refusal, match="2 kept merges; the limit is 1"):
        memory.merge("other", keep=True)
    monkeypatch.setattr(limits, "OPEN_MERGES_MAX", 100)
    monkeypatch.setattr(limits, "OPEN_CONFLICTS_MAX", 3)
    with pytest.raises(Refusal, match="4 memories in conflict; the limit is 3"):
        memory.merge("other", keep=True)
    assert len(memory.merges()) == 1, "a merge that cannot be kept leaves nothing behind"


def test_a_custom_resolver_decides_what_it_wants_and_the_rest_is_kept(collided: MemoryRepository) -> None:
    def resolver(conflict: Conflict) -> Resolution | None:
        if conflict.part == "content":
            return Resolution(Take.VALUE, f"{conflict.ours}\n{conflict.theirs}", rationale="both")
        return Resolution(Take.OURS) if conflict.part.startswith("fields/") else None

    done = collided.merge("idea", strategy=Strategy.CUSTOM, resolver=resolver, keep=True)
    assert parts(collided, str(done.merge_id)) == [("c", "whole"), ("d", "whole")]
    for memory_id in "cd":
        collided.resolve_conflict(str(done.merge_id), memory_id, "ours")
    meta = collided.continue_merge(str(done.merge_id)).commit.meta
    assert contents(collided)["a"] == "main\ntwo\nthree\nidea\ntwo\nTHREE"
    assert [each["by"] for each in meta["decisions"]] == ["resolver", "resolver", "resolver", "test", "test"]


def test_a_resolver_that_fails_changes_nothing(collided: MemoryRepository) -> None:
    def resolver(conflict: Conflict) -> Resolution | None:
        raise ZeroDivisionError(conflict.id)

    head = collided.log(limit=1)[0].id
    with pytest.raises(ZeroDivisionError):
        collided.merge("idea", strategy=Strategy.CUSTOM, resolver=resolver)
    assert collided.log(limit=1)[0].id == head


def test_a_hundred_decisions_are_named_and_the_others_counted(memory: MemoryRepository) -> None:
    names = [f"m{number:03}" for number in range(120)]
    memory.commit([Put(Memory(name, "base")) for name in names])
    memory.create_branch("idea")
    memory.commit([Modify(name, content="main") for name in names])
    memory.commit([Modify(name, content="idea") for name in names], branch="idea")
    meta = memory.merge("idea", strategy=Strategy.CUSTOM, resolver=lambda _: Resolution(Take.THEIRS)).commit.meta
    assert (len(meta["decisions"]), meta["decisions_not_listed"]) == (100, 20)


CHOICES = st.sampled_from(["ours", "theirs", "base"])


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(order=st.permutations(range(5)), choices=st.lists(CHOICES, min_size=5, max_size=5), closed=st.integers(0, 5))
def test_the_order_of_decisions_and_a_restart_in_between_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], choices: list[str], closed: int
) -> None:
    """And what was decided is what comes of it: no side wins silently."""
    conflicts = [("a", "content"), ("b", "fields/days/min"), ("b", "fields/owner"), ("c", "whole"), ("d", "whole")]

    def merged(url: str, indices: list[int], reopen_after: int) -> list[Memory]:
        memory = MemoryRepository.open(url)
        try:
            merge_id = str(collide(memory).merge("idea", keep=True).merge_id)
            for step, index in enumerate(indices):
                if step == reopen_after:
                    memory.close()
                    memory = MemoryRepository.open(url)
                memory_id, part = conflicts[index]
                memory.resolve_conflict(merge_id, memory_id, choices[index], part=part)
            assert memory.continue_merge(merge_id).changed
            return memory.memories()
        finally:
            memory.close()

    folder = tmp_path_factory.mktemp("order")
    assert merged("sqlite://", [0, 1, 2, 3, 4], 9) == merged(f"sqlite:///{folder}/m.db", order, closed)


def test_a_protected_branch_is_not_deleted(memory: MemoryRepository) -> None:
    memory.create_branch("release")
    assert memory.protect_branch("release", reason="customers read it").changed
    assert not memory.protect_branch("release").changed
    for force in (False, True):
        with pytest.raises(Refusal, match="release is protected and cannot be deleted"):
            memory.delete_branch("release", force=force)
    memory.commit([Put(Memory("m", "x"))], branch="release")
    assert memory.unprotect_branch("release").changed
    memory.delete_branch("release", force=True)
    with pytest.raises(Refusal, match="no branch release"):
        memory.protect_branch("release")


def test_a_protected_branch_is_neither_renamed_nor_rebased(memory: MemoryRepository) -> None:
    memory.create_branch("release")
    memory.protect_branch("release")
    with pytest.raises(Refusal, match="release is protected and cannot be renamed"):
        memory.rename_branch("release", "other")
    with pytest.raises(Refusal, match="release is protected and cannot be rebased"):
        memory.rebase("release")


def test_a_kept_merge_goes_on_when_its_branches_have_other_names(collided: MemoryRepository) -> None:
    collided.create_branch("trunk")
    merge_id = str(collided.merge("idea", "trunk", keep=True).merge_id)
    collided.rename_branch("idea", "thought")
    collided.rename_branch("trunk", "stem")
    kept = collided.kept_merge(merge_id)
    assert (kept.source, kept.target) == ("thought", "stem")
    for memory_id in "abcd":
        collided.resolve_conflict(merge_id, memory_id, "theirs")
    assert collided.continue_merge(merge_id).changed
    assert contents(collided, "stem")["c"] == "ocean"


def test_what_was_decided_about_a_memory_goes_with_its_redaction(collided: MemoryRepository, kept: str) -> None:
    collided.resolve_conflict(kept, "d", "value", value={"content": "the secret"}, reason="the secret is known")
    before = collided.kept_merge(kept)
    collided.redact("d", reason="asked to")
    after = collided.kept_merge(kept)
    assert (before.decided, after.decided, after.revision) == (1, 0, before.revision + 1)
    assert not any(each.resolutions for each in collided.collisions(kept))


def test_retention_keeps_the_commits_of_a_kept_merge(collided: MemoryRepository) -> None:
    head = collided.log("idea", limit=1)[0].id
    merge_id = str(collided.merge(head, keep=True).merge_id)
    collided.delete_branch("idea", force=True)
    collided.commit([Put(Memory("later", "x"))])
    collided.gc(Retention(commits_max=1, reflog_age=timedelta(0)))
    for memory_id in "abcd":
        collided.resolve_conflict(merge_id, memory_id, "theirs")
    assert collided.continue_merge(merge_id).changed
    assert contents(collided)["c"] == "ocean"
    assert collided.verify().ok


def test_counters_add_up_in_a_cherry_pick(memory: MemoryRepository) -> None:
    memory.declare_number_rule("hits", "sum")
    memory.commit([Put(Memory("m", "text", fields={"hits": 1}))])
    memory.create_branch("idea")
    picked = memory.commit([Modify("m", fields={"hits": 4})], branch="idea").commit
    memory.commit([Modify("m", fields={"hits": 2})])
    memory.cherry_pick(picked.id)
    assert memory.get("m").memory.fields == {"hits": 5}


def reused(memory: MemoryRepository) -> str:
    """A kept merge from the tag `rel`, with a decision; since then the tag means a commit of another line. Its id."""
    memory.tag("rel", "idea")
    merge_id = str(memory.merge("rel", keep=True).merge_id)
    memory.resolve_conflict(merge_id, "a", "theirs")
    memory.delete_tag("rel")
    memory.create_branch("other", "idea~1")
    memory.commit([Put(Memory("other", "x"))], branch="other")
    memory.tag("rel", "other")
    return merge_id


def test_a_kept_merge_stays_when_its_name_has_come_to_mean_something_else(collided: MemoryRepository) -> None:
    merge_id = reused(collided)
    done = collided.merge("rel")
    assert (done.changed, done.merge_id) == (True, None)
    assert [(each.id, each.decided) for each in collided.merges()] == [(merge_id, 1)]
    for memory_id in "bcd":
        collided.resolve_conflict(merge_id, memory_id, "theirs")
    assert collided.continue_merge(merge_id).changed
    assert contents(collided)["a"] == "idea\ntwo\nTHREE"


def test_what_was_decided_is_not_given_to_another_merge_of_the_same_name(collided: MemoryRepository) -> None:
    merge_id = reused(collided)
    collided.commit([Modify("a", content="other\ntwo\nthree")], branch="other")
    collided.delete_tag("rel")
    collided.tag("rel", "other")
    with pytest.raises(Refusal, match=f"{merge_id} is kept for another commit that was called rel") as caught:
        collided.merge("rel", keep=True)
    assert caught.value.code is RefusalCode.CONFLICT
    assert collided.merge("other", keep=True).open, "by another name it is another merge"
    assert len(collided.merges()) == 2


def test_a_merge_of_what_the_source_has_become_does_away_with_the_kept_one(
    collided: MemoryRepository, kept: str
) -> None:
    collided.commit([Put(Memory("later", "x"))], branch="idea")
    assert collided.merge("idea", strategy=Strategy.OURS).merge_id == kept
    assert collided.merges() == []


def test_a_kept_merge_from_a_step_back_belongs_to_the_branch_that_it_is_named_by(collided: MemoryRepository) -> None:
    collided.commit([Put(Memory("later", "x"))], branch="idea")
    collided.tag("saved", "idea")
    merge_id = str(collided.merge("idea~1", keep=True).merge_id)
    collided.create_branch("ide")
    collided.delete_branch("ide")
    collided.rename_branch("idea", "thought")
    assert collided.kept_merge(merge_id).source == "thought~1"
    with pytest.raises(Refusal, match=f"{merge_id} from or into thought waits"):
        collided.delete_branch("thought")
    assert [each.id for each in collided.delete_branch("thought", force=True).aborted] == [merge_id]
