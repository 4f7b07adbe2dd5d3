"""Merge bases and ancestors on histories written down as parents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_repository.core.history import ancestors, is_ancestor, merge_bases

History = dict[int, list[int]]


def generation(history: History, commit: int) -> int:
    return 1 + max((generation(history, parent) for parent in history[commit]), default=0)


def bases(history: History, one: int, other: int) -> list[int]:
    return merge_bases(one, other, history.__getitem__, lambda commit: generation(history, commit))


LINEAR: History = {1: [], 2: [1], 3: [2]}
FORK: History = {1: [], 2: [1], 3: [2], 4: [2], 5: [4]}
CRISS_CROSS: History = {1: [], 2: [1], 3: [1], 4: [2, 3], 5: [3, 2]}
TWO_ROOTS: History = {1: [], 2: []}


@pytest.mark.parametrize(
    ("history", "one", "other", "expected"),
    [
        (LINEAR, 3, 3, [3]),
        (LINEAR, 1, 3, [1]),
        (LINEAR, 3, 2, [2]),
        (FORK, 3, 5, [2]),
        (CRISS_CROSS, 4, 5, [3, 2]),
        (TWO_ROOTS, 1, 2, []),
    ],
)
def test_merge_bases(history: History, one: int, other: int, expected: list[int]) -> None:
    assert bases(history, one, other) == expected


@st.composite
def histories(draw: st.DrawFn) -> History:
    history: History = {0: []}
    for commit in range(1, draw(st.integers(2, 14))):
        history[commit] = sorted(draw(st.sets(st.integers(0, commit - 1), min_size=1, max_size=2)))
    return history


def reachable(history: History, commit: int) -> set[int]:
    return {commit}.union(*(reachable(history, parent) for parent in history[commit]))


@given(histories(), st.data())
def test_merge_bases_are_the_common_ancestors_that_no_other_one_descends_to(
    history: History, data: st.DataObject
) -> None:
    one, other = (data.draw(st.sampled_from(sorted(history))) for _ in range(2))
    common = reachable(history, one) & reachable(history, other)
    best = {c for c in common if not any(c != d and c in reachable(history, d) for d in common)}
    assert set(bases(history, one, other)) == best
    assert bases(history, one, other) == bases(history, other, one)


@given(histories(), st.data())
def test_ancestors_come_before_their_parents_and_each_once(history: History, data: st.DataObject) -> None:
    commit = data.draw(st.sampled_from(sorted(history)))
    walk = list(ancestors(commit, history.__getitem__, lambda c: generation(history, c)))
    assert set(walk) == reachable(history, commit)
    assert len(walk) == len(set(walk))
    assert all(walk.index(c) < walk.index(parent) for c in walk for parent in history[c])
    old = data.draw(st.sampled_from(sorted(history)))
    found = is_ancestor(old, commit, history.__getitem__, lambda c: generation(history, c))
    assert found == (old in reachable(history, commit))
