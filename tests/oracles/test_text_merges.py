"""Texts beside `git merge-file`."""

from pathlib import Path

from .text_merges import Case, Git, Outcome, by_us, compare


def test_git_merges_texts_the_same_way(tmp_path: Path) -> None:
    tally = compare(["distinct", "repeated"], range(150), tmp_path)
    tally.add(compare(["long", "few"], range(20), tmp_path))
    assert tally.problems == []
    assert tally.counts["conflicts"] > 100
    assert tally.counts["without a final newline"] > 100


def test_without_a_newline_at_the_end_git_takes_a_line_that_is_added_for_a_change_of_the_line_before(
    tmp_path: Path,
) -> None:
    """A documented difference: for git the last line now ends with a newline, for us a line follows it."""
    sides = Case(base="red\ngreen", ours="RED\ngreen", theirs="red\ngreen\nblue")
    assert not Git(tmp_path).outcome(sides).clean
    assert by_us(sides) == Outcome(True, "RED\ngreen\nblue", "RED\ngreen\nblue")
    assert Git(tmp_path).same_lines(sides) == by_us(sides)
