"""Questions about a history of commits, over a callable that knows parents: ancestors, merge bases.

Pure: a history is `parents(commit) -> its parents` and `generation(commit) -> 1 + the highest generation of its
parents`. Generation numbers order the walk (Commit-Graph of git, 2018): a commit is visited before its ancestors, and
a walk stops as soon as what is left can only be reached from what is already common.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

C = TypeVar("C", bound=int | str)

Parents = Callable[[C], Iterable[C]]
Generation = Callable[[C], int]

_ONE, _OTHER, _BOTH, _STALE = 1, 2, 3, 4


def merge_bases(one: C, other: C, parents: Parents[C], generation: Generation[C]) -> list[C]:
    """The best common ancestors of two commits: none is an ancestor of another.

    Several when histories criss-cross, none when they have nothing in common; in descending order of generation,
    then of the commit itself. Work: the commits between the two and their bases.
    """
    if one == other:
        return [one]
    colours: dict[C, int] = {one: _ONE, other: _OTHER}
    queue = _Queue(generation, colours)
    waiting = Counter(colours.values())
    found: list[C] = []
    # A commit that is reached from both sides is common; its ancestors are stale: common, but not the best. All
    # descendants of a commit are popped before it, so that its colour is final by then. Another best one has to be
    # reached from commits of either colour that are not yet common, so that one colour alone need not be followed.
    while waiting[_BOTH] or (waiting[_ONE] and waiting[_OTHER]):
        commit = queue.pop()
        colour = colours[commit]
        waiting[colour] -= 1
        if colour == _BOTH:
            found.append(commit)
            colour |= _STALE
        for parent in parents(commit):
            before = colours.get(parent)
            if before is None:
                queue.push(parent)
            else:
                waiting[before] -= 1
            colours[parent] = (before or 0) | colour
            waiting[colours[parent]] += 1
    return found


def ancestors(commit: C, parents: Parents[C], generation: Generation[C]) -> Iterator[C]:
    """`commit` and all its ancestors, each once, every commit before its parents."""
    queue = _Queue(generation, [commit])
    seen = {commit}
    while queue:
        current = queue.pop()
        yield current
        for parent in parents(current):
            if parent not in seen:
                seen.add(parent)
                queue.push(parent)


def ancestors_without(commit: C, others: Iterable[C], parents: Parents[C], generation: Generation[C]) -> Iterator[C]:
    """`commit` and its ancestors that are neither one of `others` nor an ancestor of one, each before its parents.

    Work: the commits that are found, and those of `others` above the lowest of them.
    """
    left = {other: True for other in others}
    left.setdefault(commit, False)
    queue = _Queue(generation, left)
    wanted = sum(1 for stale in left.values() if not stale)
    while wanted:
        current = queue.pop()
        stale = left[current]
        if not stale:
            wanted -= 1
            yield current
        for parent in parents(current):
            before = left.get(parent)
            if before is None:
                queue.push(parent)
                wanted += not stale
            elif stale and not before:
                wanted -= 1
            left[parent] = stale or bool(before)


def ancestor_counts(commits: Sequence[C], parents: Parents[C]) -> dict[C, int]:
    """Of each of `commits`, in an order in which each stands before its parents: how many of them it descends from or
    is. O(commits) while none has two parents among them, O(commits^2 / 64) else."""
    inside = {commit: position for position, commit in enumerate(commits)}
    above = {commit: [parent for parent in parents(commit) if parent in inside] for commit in commits}
    if all(len(found) < 2 for found in above.values()):
        counts: dict[C, int] = {}
        for commit in reversed(commits):
            counts[commit] = 1 + sum(counts[parent] for parent in above[commit])
        return counts
    reached: dict[C, int] = {}
    for commit in reversed(commits):
        bits = 1 << inside[commit]
        for parent in above[commit]:
            bits |= reached[parent]
        reached[commit] = bits
    return {commit: bits.bit_count() for commit, bits in reached.items()}


def is_ancestor(old: C, new: C, parents: Parents[C], generation: Generation[C]) -> bool:
    """Whether `old` is `new` or one of its ancestors. Walks only commits above the generation of `old`."""
    oldest = generation(old)

    def above(commit: C) -> list[C]:
        return [parent for parent in parents(commit) if generation(parent) >= oldest]

    return any(commit == old for commit in ancestors(new, above, generation))


class _Queue(Generic[C]):
    """Commits by descending generation; equals by descending commit, so that every walk is deterministic."""

    def __init__(self, generation: Callable[[C], int], commits: Iterable[C]) -> None:
        self._generation = generation
        self._heap: list[tuple[int, _Descending]] = []
        for commit in commits:
            self.push(commit)

    def push(self, commit: C) -> None:
        heapq.heappush(self._heap, (-self._generation(commit), _Descending(commit)))

    def pop(self) -> C:
        commit: C = heapq.heappop(self._heap)[1].commit
        return commit

    def __bool__(self) -> bool:
        return bool(self._heap)


class _Descending:
    """Turns the order of commits round."""

    __slots__ = ("commit",)

    def __init__(self, commit: Any) -> None:
        self.commit = commit

    def __lt__(self, other: _Descending) -> bool:
        return bool(other.commit < self.commit)
