"""Which commits go, on random graphs: what stays has the ancestors and the merge bases that it had."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory_repository.core import history
from memory_repository.core.retention import Retention, rewired, thinned
from thymos.errors import Refusal, RefusalCode

Graph = dict[int, list[int]]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Graph, set[int], int]:
    """Parents by commit, all descending from 1; which are named; from where on all are young."""
    choose = random.Random(draw(st.integers(0, 2**32)))
    size = draw(st.integers(1, 16))
    parents: Graph = {1: []}
    for commit in range(2, size + 1):
        # Mostly long lines, often merges of what is near, now and then of what is far.
        near = range(max(1, commit - choose.choice((1, 2, 4, 20))), commit)
        parents[commit] = choose.sample(near, min(len(near), choose.choice((1, 1, 1, 2, 2, 3))))
    named = {commit for commit in parents if choose.random() < draw(st.sampled_from([0.0, 0.1, 0.4]))}
    return parents, named, draw(st.integers(1, size + 1))


def generations(parents: Graph) -> dict[int, int]:
    found: dict[int, int] = {}
    for commit in sorted(parents):
        found[commit] = 1 + max((found[parent] for parent in parents[commit]), default=0)
    return found


def children_in(parents: Graph, commit: int) -> list[tuple[int, int]]:
    return [(child, above.index(commit)) for child, above in parents.items() if commit in above]


def ancestors(parents: Graph, commit: int) -> set[int]:
    return {commit}.union(*(ancestors(parents, parent) for parent in parents[commit]))


def after(parents: Graph, named: set[int], young: int) -> Graph:
    """The graph that is left."""
    old = [commit for commit in sorted(parents, reverse=True) if commit < young]
    found = thinned(old, lambda commit: children_in(parents, commit), lambda commit: commit in named)
    new = rewired(found, lambda commit: parents[commit])
    assert found.kept.keys() | found.dropped.keys() == set(old)
    return {commit: new.get(commit, above) for commit, above in parents.items() if commit not in found.dropped}


def bases(parents: Graph, one: int, other: int) -> set[int]:
    found = generations(parents)
    return set(history.merge_bases(one, other, lambda commit: parents[commit], lambda commit: found[commit]))


def first_parents(parents: Graph, commit: int) -> list[int]:
    chain = [commit]
    while parents[chain[-1]]:
        chain.append(parents[chain[-1]][0])
    return chain


def same_relations(before: Graph, left: Graph) -> None:
    for commit in left:
        assert all(parent in left for parent in left[commit])
        assert len(set(left[commit])) == len(left[commit])
        assert ancestors(left, commit) == ancestors(before, commit) & left.keys()
        assert first_parents(left, commit) == [each for each in first_parents(before, commit) if each in left]
    for one in left:
        for other in left:
            assert bases(left, one, other) == bases(before, one, other)


@settings(max_examples=100)
@given(graph=graphs())
def test_what_stays_has_the_merge_bases_and_ancestors_that_it_had(graph: tuple[Graph, set[int], int]) -> None:
    parents, named, young = graph
    heads = {commit for commit in parents if not children_in(parents, commit)}
    left = after(parents, named | heads, young)
    assert left.keys() >= named | heads | {commit for commit in parents if commit >= young}
    same_relations(parents, left)
    again = after(left, heads, len(parents) + 1)
    same_relations(parents, again)


def test_of_a_line_only_what_is_named_and_what_is_young_stays() -> None:
    line: Graph = {1: [], **{commit: [commit - 1] for commit in range(2, 101)}}
    assert after(line, {40}, 96) == {40: [], 96: [40], 97: [96], 98: [97], 99: [98], 100: [99]}


def test_what_nothing_reaches_goes_and_a_junction_stays() -> None:
    """1 - 2 - 3 - 4 (named), 2 - 5 - 6 (named), 3 - 7 (nothing names it)."""
    graph: Graph = {1: [], 2: [1], 3: [2], 4: [3], 5: [2], 6: [5], 7: [3]}
    assert after(graph, {4, 6}, 100) == {2: [], 4: [2], 6: [2]}


@pytest.mark.parametrize("kept", [{4}, {4, 3}, {4, 2}])
def test_the_first_parent_stays_the_first(kept: set[int]) -> None:
    """4 merges 3 into 2."""
    graph: Graph = {1: [], 2: [1], 3: [1], 4: [2, 3]}
    assert (
        after(graph, kept, 100)
        == {
            frozenset({4}): {4: []},
            frozenset({4, 3}): {1: [], 3: [1], 4: [1, 3]},
            frozenset({4, 2}): {1: [], 2: [1], 4: [2, 1]},
        }[frozenset(kept)]
    )


@pytest.mark.parametrize("commits_max", [0, -1, 1_000_000_001, 1.5, "1", None, True])
def test_a_history_of_no_commits_is_refused(commits_max: Any) -> None:
    with pytest.raises(Refusal, match="must be a whole number from 1 to 1,000,000,000") as caught:
        Retention(commits_max=commits_max)
    assert caught.value.code == RefusalCode.INVALID
