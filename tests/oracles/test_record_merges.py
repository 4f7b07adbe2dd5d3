"""Whole histories beside libgit2: the same results and the same conflicts at every merge."""

from pathlib import Path

from memory_repository.core.memory import Memory
from memory_repository.core.merge import ConflictKind, merge_memory

from .record_merges import MERGES_PER_HISTORY, Git, compare

HISTORIES = 100
"""A thousand merges; `make oracles` runs more."""


def test_libgit2_merges_a_thousand_times_the_same_way(tmp_path: Path) -> None:
    tally = compare(range(HISTORIES), tmp_path)
    assert tally.problems == []
    assert tally.counts["merges"] == HISTORIES * MERGES_PER_HISTORY
    assert tally.counts["with several bases"] > 20
    assert tally.counts["merges with conflicts"] > 200
    # Only bases that collide with one another can make us more cautious, and they are rare.
    assert tally.counts["cautious"] < tally.counts["conflicts"] / 50


def test_an_empty_file_that_both_added_is_something_to_git_only_with_a_line_in_it(tmp_path: Path) -> None:
    """A documented difference: an empty memory says something, an empty file holds no line that could collide."""
    git = Git(tmp_path)
    base = git.commit({}, [])
    ours, theirs = git.commit({"m": ""}, [base]), git.commit({"m": "red"}, [base])
    assert git.merge({base}, ours, theirs).conflicts == {}
    (conflict,) = merge_memory("m", None, Memory("m", ""), Memory("m", "red")).conflicts
    assert conflict.kind is ConflictKind.ADD_ADD
