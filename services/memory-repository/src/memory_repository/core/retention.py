"""Which commits of a history may go, so that what stays has exactly the ancestors and merge bases that it had.

A commit that is wanted (a branch names it, it is young, ...) stays. So does a junction: one that is reached from two
different commits that stay, with only commits that go in between. Every other one goes, and is reached from at most one
that stays. So a best common ancestor of two commits that stay always stays itself: else both would reach it through one
and the same commit, which would be a better one. And ancestry among what stays is the old one once each commit has its
nearest staying ancestors as parents.

One pass from the newest to the oldest, O(commits that are looked at).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from memory_repository.core import limits

Children = Callable[[int], Iterable[tuple[int, int]]]
"""A commit's children, each with the position that the commit has among the child's parents."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How much history a repository keeps; what is named (branches, tags, worktrees, ...) stays whatever its age.

    Attributes:
        commits_max: the newest so many commits stay: 1 to 1,000,000,000.
        age_max: of these only those that are younger than this, by their own time.
        reflog_age: how long the last commits of a deleted or moved branch count as named.
    """

    commits_max: int = 100_000
    age_max: timedelta = timedelta(days=365)
    reflog_age: timedelta = timedelta(days=30)

    def __post_init__(self) -> None:
        """Raises Refusal (invalid): no history is that short or long, no time lies so far back."""
        limits.check_whole("the number of commits that stay", self.commits_max, 1, limits.COMMITS_KEPT_MAX)
        limits.check_age("the greatest age of a commit", self.age_max)
        limits.check_age("the age of the reflog", self.reflog_age)


@dataclass(slots=True)
class Thinned:
    """What a pass found.

    Attributes:
        dropped: commits that go -> the one staying commit that reaches them through others that go, and whether it
            does so along first parents only; None when nothing reaches them.
        kept: commits that were looked at and stay -> the same for each staying commit that reaches them so.
        cut: commits that stay and lose a parent.
    """

    dropped: dict[int, tuple[int, bool] | None] = field(default_factory=dict)
    kept: dict[int, Mapping[int, bool]] = field(default_factory=dict)
    cut: set[int] = field(default_factory=set)


def thinned(
    old: Iterable[int], children: Children, wanted: Callable[[int], bool], gone: Collection[int] = ()
) -> Thinned:
    """Look at `old`, in which every commit stands before its parents; all others stay, but for `gone`.

    Args:
        old: what is looked at.
        children: of a commit, whether looked at or not.
        wanted: whether a commit stays for a reason of its own.
        gone: commits that nothing reaches and that go too.
    """
    found = Thinned(dict.fromkeys(gone))
    for commit in old:
        if commit in found.dropped:
            continue
        through: dict[int, bool] = {}
        direct: list[int] = []
        for child, position in children(commit):
            if child in found.dropped:
                below = found.dropped[child]
                if below is None:
                    continue
                staying, first = below[0], below[1] and position == 0
            else:
                staying, first = child, position == 0
                direct.append(child)
            through[staying] = through.get(staying, False) or first
        if wanted(commit) or len(through) > 1:
            found.kept[commit] = through
        else:
            found.dropped[commit] = next(iter(through.items()), None)
            found.cut.update(direct)
    return found


def rewired(found: Thinned, parents_of: Callable[[int], Sequence[int]]) -> dict[int, list[int]]:
    """The new parents of every commit that lost one: the first parent (or its nearest staying first-parent ancestor)
    first, then what stays of the others in their order, then nearest staying ancestors, newest first."""
    nearest: dict[int, list[tuple[int, bool]]] = {commit: [] for commit in found.cut}
    for ancestor, through in found.kept.items():
        for staying, first in through.items():
            if staying in nearest:
                nearest[staying].append((ancestor, first))
    parents: dict[int, list[int]] = {}
    for commit in found.cut:
        stay = [parent for parent in parents_of(commit) if parent not in found.dropped]
        along_first = [ancestor for ancestor, first in nearest[commit] if first]
        others = sorted((ancestor for ancestor, _ in nearest[commit]), reverse=True)
        parents[commit] = list(dict.fromkeys([*along_first, *stay, *others]))
    return parents
