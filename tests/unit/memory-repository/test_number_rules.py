"""Numbers that both sides changed: by declared rule, else a conflict."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_repository import Memory, MemoryRepository, Modify, Put
from memory_repository.core.canonical import canonical_json
from memory_repository.core.limits import INTEGER_MAX
from memory_repository.core.merge import MergedMemory, merge_memory
from memory_repository.core.number_rules import NumberRule, merged_number, pointer
from thymos.errors import Refusal


def merged(base: Any, ours: Any, theirs: Any, rules: dict[str, NumberRule]) -> MergedMemory:
    was, our, their = (Memory("m", "text", fields=fields) for fields in (base, ours, theirs))
    return merge_memory("m", was, our, their, rules=rules)


@pytest.mark.parametrize(
    ("rule", "base", "ours", "theirs", "expected"),
    [
        ("sum", 10, 13, 11, 14),
        ("sum", 10, 7, 15, 12),
        ("sum", None, 2, 3, 5),  # both began to count
        ("sum", 0.5, 1.5, 1.0, 2.0),
        ("max", 10, 13, 11, 13),
        ("min", 10, 13, 11, 11),
        ("max", 0, 1, 1.0, 1.0),  # equal, yet two different values in JSON: the same one from both sides
        ("sum", 1, True, 3, None),
        ("sum", "1", 2, 3, None),
        ("max", 1, "2", 3, None),
        ("sum", 0, INTEGER_MAX - 1, 1, None),
        ("sum", 0.0, 1.7e308, 1.7e308, None),
    ],
)
def test_a_rule_says_what_two_changed_numbers_become(
    rule: str, base: Any, ours: Any, theirs: Any, expected: Any
) -> None:
    for one, other in ((ours, theirs), (theirs, ours)):
        assert canonical_json(merged_number(NumberRule(rule), base, one, other)) == canonical_json(expected)


def test_a_rule_is_of_one_field_and_the_others_collide() -> None:
    result = merged({"hits": 1, "cost": 1}, {"hits": 3, "cost": 2}, {"hits": 4, "cost": 3}, {"hits": NumberRule.SUM})
    (conflict,) = result.conflicts
    assert (conflict.path, conflict.part) == ("cost", "fields/cost")
    assert result.value is not None
    assert result.value.fields["hits"] == 6


def test_a_path_names_one_value_whatever_its_keys_hold() -> None:
    assert pointer(("a/b", "c~d")) == "a~1b/c~0d"
    rules = {"a/b": NumberRule.MAX}
    assert not merged({"a": {"b": 1}}, {"a": {"b": 2}}, {"a": {"b": 3}}, rules).conflicts
    assert merged({"a/b": 1}, {"a/b": 2}, {"a/b": 3}, rules).conflicts


def test_a_number_that_one_side_removed_collides_in_spite_of_a_rule() -> None:
    assert merged({"hits": 1}, {}, {"hits": 2}, {"hits": NumberRule.SUM}).conflicts


NUMBERS = st.integers(-(10**6), 10**6)


@given(NUMBERS, st.lists(NUMBERS, min_size=2, max_size=5), st.randoms())
def test_counters_add_up_in_whatever_order_branches_are_merged(base: int, added: list[int], random: Any) -> None:
    order = list(added)
    random.shuffle(order)
    total = base
    for step in order:
        merged_so_far = merged_number(NumberRule.SUM, base, total, base + step)
        assert merged_so_far is not None
        total = int(merged_so_far)
    assert total == base + sum(added)


@pytest.mark.parametrize(
    ("base", "both", "expected"),
    [
        ({"hits": 10}, {"hits": 11}, {"hits": 12}),
        ({}, {"hits": 1}, {"hits": 2}),
        ({"hits": 10}, {"hits": 10, "owner": "ann"}, {"hits": 10, "owner": "ann"}),
        ({"hits": 10}, {"hits": 11, "seen": 11, "tags": ["a"]}, {"hits": 12, "seen": 11, "tags": ["a"]}),
        ({"hits": 10}, {"hits": "many"}, {"hits": "many"}),
        ({"hits": "few"}, {"hits": 11}, {"hits": 11}),
        ({"hits": 10}, {}, {}),
        ({"of": {"hits": 10}}, {"of": {"hits": 11}}, {"of": {"hits": 12}}),
        ({"of": 1}, {"of": {"hits": 11}}, {"of": {"hits": 11}}),
    ],
)
def test_sides_that_arrived_at_the_same_number_have_each_counted(base: Any, both: Any, expected: Any) -> None:
    result = merged(base, both, both, {"hits": NumberRule.SUM, "of/hits": NumberRule.SUM, "seen": NumberRule.MAX})
    assert not result.conflicts
    assert result.value is not None
    assert result.value.fields == expected


def test_an_equal_sum_beyond_the_limits_collides() -> None:
    assert merged({"hits": 0}, {"hits": INTEGER_MAX - 1}, {"hits": INTEGER_MAX - 1}, {"hits": NumberRule.SUM}).conflicts


def test_two_that_add_the_same_memory_both_count() -> None:
    one = Memory("m", "text", fields={"hits": 1})
    assert merge_memory("m", None, one, one) == MergedMemory(one)
    result = merge_memory("m", None, one, one, rules={"hits": NumberRule.SUM})
    assert (result.value, result.conflicts) == (Memory("m", "text", fields={"hits": 2}), ())
    assert merge_memory("m", one, None, None, rules={"hits": NumberRule.SUM}) == MergedMemory(None)


def counter(memory: MemoryRepository) -> int:
    hits: int = memory.get("m").memory.fields["hits"]
    return hits


@pytest.fixture
def counting(memory: MemoryRepository) -> MemoryRepository:
    """A counter that stands at 10 on main and on a branch `idea`."""
    memory.declare_number_rule("hits", "sum")
    memory.commit([Put(Memory("m", "text", fields={"hits": 10})), Put(Memory("other", "x", fields={"hits": 1}))])
    memory.create_branch("idea")
    return memory


def count(memory: MemoryRepository, branch: str = "main") -> None:
    hits = memory.get("m", branch).memory.fields["hits"]
    memory.commit([Modify("m", fields={"hits": hits + 1})], branch=branch)


def test_no_count_is_lost_in_a_merge(counting: MemoryRepository) -> None:
    count(counting)
    count(counting, "idea")
    planned = counting.merge("idea", dry_run=True)
    assert (planned.changes, planned.conflicts) == (1, ())
    assert counting.merge("idea").changes == 1
    assert counter(counting) == 12
    assert not counting.merge("idea").changed, "what was merged is not counted again"
    count(counting)
    counting.merge("main", "idea")
    assert counting.get("m", "idea").memory.fields["hits"] == 13
    assert not counting.verify().problems


def test_no_count_is_lost_after_merges_in_both_directions(counting: MemoryRepository) -> None:
    count(counting)
    count(counting, "idea")
    counting.create_branch("main-then")
    counting.merge("idea")
    counting.merge("main-then", "idea")
    assert [counting.get("m", branch).memory.fields["hits"] for branch in ("main", "idea")] == [12, 12]
    count(counting)
    count(counting, "idea")
    counting.merge("idea")
    assert counter(counting) == 14


def test_no_count_is_lost_when_a_commit_is_rebased(counting: MemoryRepository) -> None:
    head = counting.resolve().id
    for _ in range(2):
        counting.commit([Modify("m", fields={"hits": 11})], expected_head=head)
    assert counter(counting) == 12


def test_no_count_is_lost_between_two_worktrees(counting: MemoryRepository) -> None:
    for worktree in ("one", "two"):
        counting.open_worktree(worktree)
        counting.stage(worktree, [Modify("m", fields={"hits": 11})])
    for worktree in ("one", "two"):
        assert counting.commit_worktree(worktree).changed
    assert counter(counting) == 12


def test_no_count_is_lost_when_a_branch_is_rebased_or_a_commit_picked(counting: MemoryRepository) -> None:
    count(counting)
    count(counting, "idea")
    counting.cherry_pick("idea")
    assert counter(counting) == 12
    assert len(counting.rebase("idea", "main~1").replayed) == 1
    assert counting.get("m", "idea").memory.fields["hits"] == 12


def test_rules_are_of_the_repository_or_of_one_merge(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("m", "text", fields={"hits": 1, "seen": 1}))])
    memory.create_branch("idea")
    memory.commit([Modify("m", fields={"hits": 3, "seen": 5})])
    memory.commit([Modify("m", fields={"hits": 4, "seen": 3})], branch="idea")
    assert len(memory.merge("idea").conflicts) == 2
    memory.declare_number_rule("hits", "sum")
    assert [conflict.path for conflict in memory.merge("idea", dry_run=True).conflicts] == ["seen"]
    assert memory.merge("idea", number_rules={"seen": "max"}).changed
    assert memory.get("m").memory.fields == {"hits": 6, "seen": 5}
    assert memory.declare_number_rule("hits", None) == {}


def test_a_rule_counts_for_commits_that_are_rebased(memory: MemoryRepository) -> None:
    head = memory.commit([Put(Memory("m", "text", fields={"hits": 1}))]).commit
    memory.commit([Modify("m", fields={"hits": 3})])
    with pytest.raises(Refusal, match="collide"):
        memory.commit([Modify("m", fields={"hits": 5})], expected_head=head.id)
    memory.declare_number_rule("hits", "sum")
    assert memory.commit([Modify("m", fields={"hits": 5})], expected_head=head.id).rebased
    assert memory.get("m").memory.fields == {"hits": 7}


@pytest.mark.parametrize(
    ("path", "rule", "said"), [("hits", "mean", "no rule for numbers"), ("", "sum", "path is empty")]
)
def test_what_is_no_rule_is_refused(memory: MemoryRepository, path: str, rule: str, said: str) -> None:
    with pytest.raises(Refusal, match=said):
        memory.declare_number_rule(path, rule)


def test_a_repository_has_at_most_a_hundred_rules(memory: MemoryRepository) -> None:
    for number in range(100):
        memory.declare_number_rule(f"field{number}", "max")
    with pytest.raises(Refusal, match="101 rules; the limit is 100"):
        memory.declare_number_rule("one too many", "max")
