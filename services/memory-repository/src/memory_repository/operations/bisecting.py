"""Finding the commit that made something bad: halve the commits between good ones and a bad one until one is left.

The search keeps nothing: whoever searches says each time what is known to be good, bad, or not to be tested, and gets
the commit to test next. So it survives every restart, and two may search at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from memory_repository.core import history, limits
from memory_repository.operations import reading
from memory_repository.storage import commits
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import Repository
from thymos.errors import Refusal, RefusalCode

SUSPECTS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Bisection:
    """How far a search has come.

    Attributes:
        next: the commit to test; None when the search is over.
        remaining: how many commits may still be the first bad one.
        steps: tests that are left, at most, if none is skipped.
        suspects: when it is over: the first bad commit; or, where commits in between were skipped, all that it may
            be, newest first, at most 50.
    """

    next: CommitRow | None
    remaining: int
    steps: int
    suspects: tuple[CommitRow, ...] = ()


def bisect(repo: Repository, good: Sequence[str], bad: str, skip: Sequence[str] = ()) -> Bisection:
    """Which commit to test next, to find the first bad one in the history of `bad`. O(commits between).

    Args:
        repo: the repository.
        good: revisions that are known to be good, with all that they descend from; at least one.
        bad: one that is known to be bad.
        skip: commits that cannot be tested.

    Raises:
        Refusal: not_found, invalid; refused when `bad` is a good one or an ancestor of one; too_large for more than
            20,000 commits that may be the one.
    """
    if not good:
        raise limits.invalid("no commit is known to be good", "name one with --good")
    bad_commit = repo.resolve(bad)
    known_good = [repo.resolve(each).no for each in good]
    graph = reading.graph(repo.db)
    # A good one beside the bad one, on another of the lines that a merge brought together, vouches for what both have.
    numbers = list(islice(history.ancestors_without(bad_commit.no, known_good, *graph), limits.BISECT_COMMITS_MAX + 1))
    if not numbers:
        message = f"{bad_commit.id[:12]} is said to be bad, and what descends from it to be good"
        raise Refusal(RefusalCode.REFUSED, message, "give a good commit that is older than the bad one")
    if len(numbers) > limits.BISECT_COMMITS_MAX:
        raise limits.too_large("the search", len(numbers), limits.BISECT_COMMITS_MAX, "commits")
    skipped = {repo.resolve(each).no for each in skip}
    counts = history.ancestor_counts(numbers, graph[0])
    testable = [number for number in numbers if number not in skipped and number != bad_commit.no]
    if not testable:
        suspects = (commits.by_no(repo.db, number) for number in numbers[:SUSPECTS_SHOWN])
        return Bisection(None, len(numbers), 0, tuple(suspects))
    middle = max(testable, key=lambda number: min(counts[number], len(numbers) - counts[number]))
    return Bisection(commits.by_no(repo.db, middle), len(numbers), (len(numbers) - 1).bit_length())
