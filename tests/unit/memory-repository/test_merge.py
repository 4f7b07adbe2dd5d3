"""The three-way merge of one memory, without any storage."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_repository.core.memory import Memory
from memory_repository.core.merge import UNKNOWN, ConflictKind, MergedMemory, merge_bases_of, merge_memory, merged_set

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "three_way_merge.json").read_text())


def note(content: str = "text", kind: str = "note", **fields: Any) -> Memory:
    return Memory("m", content, kind, fields)


def merged(base: Memory | None, ours: Memory | None, theirs: Memory | None, favour: Any = None) -> MergedMemory:
    return merge_memory("m", base, ours, theirs, favour)


@pytest.mark.parametrize(
    "case", VECTORS["cases"], ids=lambda case: "-".join(str(case[k]) for k in ("base", "ours", "theirs"))
)
def test_the_truth_table(case: dict[str, Any]) -> None:
    base, ours, theirs = (None if case[side] is None else note(case[side]) for side in ("base", "ours", "theirs"))
    result = merged(base, ours, theirs)
    if "conflict" in case:
        assert [conflict.kind for conflict in result.conflicts] == [case["conflict"]]
    else:
        assert not result.conflicts
        assert (result.value.content if result.value else None) == case["merged"]


def test_sides_that_touch_different_lines_both_count() -> None:
    result = merged(note("one\ntwo\nthree"), note("ONE\ntwo\nthree"), note("one\ntwo\nTHREE"))
    assert result == MergedMemory(note("ONE\ntwo\nTHREE"))


def test_sides_that_touch_different_parts_both_count() -> None:
    result = merged(note("text", "note", a=1), note("new text", "note", a=1), note("text", "answer", a=2))
    assert result == MergedMemory(note("new text", "answer", a=2))


def test_fields_merge_by_key_and_nested_objects_by_key_again() -> None:
    base = note(owner="ann", limits={"days": 30, "items": 3}, old=True)
    ours = note(owner="ann", limits={"days": 60, "items": 3}, old=True, ours=1)
    theirs = note(owner="bob", limits={"days": 30, "items": 5})
    assert merged(base, ours, theirs).value == note(owner="bob", limits={"days": 60, "items": 5}, ours=1)


def test_lists_of_distinct_scalars_merge_as_sets() -> None:
    base, ours, theirs = note(tags=["a", "b", "c"]), note(tags=["a", "c", "z"]), note(tags=["a", "b", "d"])
    assert merged(base, ours, theirs).value == note(tags=["a", "d", "z"])


def test_both_sides_may_begin_the_same_set() -> None:
    assert merged(note(), note(keywords=["b"]), note(keywords=["a"])).value == note(keywords=["a", "b"])


@pytest.mark.parametrize(
    ("base", "ours", "theirs"),
    [
        ([1, 1], [1, 1, 2], [1, 1, 3]),  # repetitions: it is a sequence, not a set
        ([{"a": 1}], [{"a": 2}], [{"a": 3}]),
        (1, 2, 3),
        (1, 2, None),
        (True, 1, 1.0),  # equal for Python, three different values in JSON
    ],
)
def test_a_value_that_both_changed_differently_is_a_field_conflict(base: Any, ours: Any, theirs: Any) -> None:
    (conflict,) = merged(note(deep={"x": base}), note(deep={"x": ours}), note(deep={"x": theirs})).conflicts
    assert (conflict.kind, conflict.path) == (ConflictKind.FIELD, "deep/x")
    assert (conflict.base, conflict.ours, conflict.theirs) == (base, ours, theirs)


def test_a_key_that_one_side_removed_and_the_other_changed_is_a_conflict() -> None:
    (conflict,) = merged(note(a=1), note(), note(a=2)).conflicts
    assert (conflict.path, conflict.base, conflict.ours, conflict.theirs) == ("a", 1, None, 2)


def test_null_is_a_value_and_not_the_absence_of_one() -> None:
    assert merged(note(a=None), note(a=None), note()).value == note()
    assert merged(note(), note(a=None), note()).value == note(a=None)


def test_a_favoured_side_wins_conflicts_and_keeps_the_other_sides_clean_changes() -> None:
    base = note("one\ntwo\nthree", x=1, y=1)
    ours = note("ONE\ntwo\nthree", x=2, y=1)
    theirs = note("uno\ntwo\nTHREE", x=3, y=5)
    for favour, first, x in (("ours", "ONE", 2), ("theirs", "uno", 3)):
        result = merged(base, ours, theirs, favour)
        assert result.value == note(f"{first}\ntwo\nTHREE", x=x, y=5)
        assert len(result.conflicts) == 2


def test_a_favoured_side_wins_a_deletion_too() -> None:
    assert merged(note("a"), None, note("b"), "ours").value is None
    assert merged(note("a"), None, note("b"), "theirs").value == note("b")


def test_of_two_additions_the_favoured_one_wins_and_what_only_the_other_has_stays() -> None:
    result = merged(None, note("a", x=1, mine=1), note("b", x=2, yours=1), "ours")
    assert result.value == note("a", x=1, mine=1, yours=1)
    assert [conflict.kind for conflict in result.conflicts] == [ConflictKind.ADD_ADD]


def test_a_base_on_which_the_merge_bases_disagree_decides_nothing() -> None:
    assert merge_bases_of("m", note("a"), note("b"), note("c"))[0] is UNKNOWN
    assert merge_bases_of("m", note("a"), note("a"), note("c"))[0] == note("c")
    assert merge_memory("m", UNKNOWN, note("b"), note("b")).value == note("b")
    assert merge_memory("m", UNKNOWN, note("b"), note("c")).conflicts
    assert merge_memory("m", UNKNOWN, None, note("c")).conflicts


SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a", "b"]) | st.sampled_from([0.0, 1.0])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=5,
)
TEXTS = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=5).map("\n".join)
MEMORIES = st.none() | st.builds(
    Memory,
    id=st.just("m"),
    content=TEXTS,
    kind=st.sampled_from(["note", "answer"]),
    fields=st.dictionaries(st.sampled_from(["p", "q", "r"]), VALUES, max_size=3),
)


def same(one: Memory | None, other: Memory | None) -> bool:
    return other is None if one is None else one.same_as(other)


@given(MEMORIES, MEMORIES, MEMORIES)
def test_swapping_the_sides_gives_the_same_memory_or_the_same_conflicts(
    base: Memory | None, ours: Memory | None, theirs: Memory | None
) -> None:
    one, other = merged(base, ours, theirs), merged(base, theirs, ours)
    assert [(c.kind, c.path, c.ours, c.theirs) for c in one.conflicts] == [
        (c.kind, c.path, c.theirs, c.ours) for c in other.conflicts
    ]
    assert one.conflicts or same(one.value, other.value)


@given(MEMORIES, MEMORIES, MEMORIES)
def test_a_favoured_side_decides_exactly_what_collides(
    base: Memory | None, ours: Memory | None, theirs: Memory | None
) -> None:
    plain, favoured = merged(base, ours, theirs), merged(base, ours, theirs, "theirs")
    assert plain.conflicts == favoured.conflicts
    assert plain.conflicts or same(plain.value, favoured.value)


@given(MEMORIES, MEMORIES)
def test_what_one_side_left_alone_becomes_what_the_other_made_of_it(
    base: Memory | None, changed: Memory | None
) -> None:
    for result in (merged(base, base, changed), merged(base, changed, base), merged(base, changed, changed)):
        assert not result.conflicts
        assert same(result.value, changed)


SOME = st.sets(st.sampled_from("abcdef")).map(sorted)


@given(SOME, SOME, SOME, SOME)
def test_a_set_holds_what_both_kept_and_what_either_added(
    base: list[str], kept: list[str], more: list[str], others: list[str]
) -> None:
    ours = [item for item in base if item in kept] + [item.upper() for item in more]
    theirs = base + [item.upper() for item in others]
    expected = (set(base) & set(ours)) | {item.upper() for item in (*more, *others)}
    result = merged_set(base, ours, theirs)
    if [item for item in ours if item in theirs] == [item for item in theirs if item in ours]:
        assert result is not None
        assert (set(result), len(result)) == (expected, len(expected))
        assert result == merged_set(base, theirs, ours)


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "expected"),
    [
        (["a"], ["a", "b"], ["a", "c"], ["a", "b", "c"]),
        (["a", "b", "c"], ["a", "c"], ["a", "b", "c", "d"], ["a", "c", "d"]),
        ([], ["vip"], ["late"], ["late", "vip"]),
        ([7, 8], [7, 8, 9], [8], [8, 9]),
        ([5, 20], [9, 20], [10, 20], None),  # a range
        ([], [9, 20], [10, 20], None),
        (["wash", "rinse", "dry"], ["wash", "rinse", "dry", "fold"], ["dry", "rinse", "wash"], None),  # steps
        (["a", "b", "c"], ["b", "a", "c"], ["c", "b", "a"], None),
        ([], ["a", "b"], ["b", "a"], None),
        (["a"], ["b"], ["a", "c"], ["b", "c"]),
        ([1], [2], [1, 3], None),  # 2 for 1
        (["a", "a"], ["a", "b"], ["a", "c"], None),
        ([["a"]], [["a"], "b"], [["a"], "c"], None),
        ("a", ["a"], ["b"], None),
    ],
)
def test_a_list_merges_by_element_where_it_looks_like_a_set_and_else_collides(
    base: Any, ours: Any, theirs: Any, expected: list[Any] | None
) -> None:
    for one, other in ((ours, theirs), (theirs, ours)):
        assert merged_set(base, one, other) == expected
        was, our, their = (Memory("m", "", fields={"list": side}) for side in (base, one, other))
        result = merge_memory("m", was, our, their)
        assert bool(result.conflicts) == (expected is None)
