"""diff3 by line, against git and against itself."""

import random
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_repository.core.alignment import EDITS_MAX, matches
from memory_repository.core.text_merge import MergedText, merge_text

LINES = st.lists(st.sampled_from("abcde"), max_size=12)


@given(LINES, LINES)
def test_matches_are_a_longest_common_subsequence(old: list[str], new: list[str]) -> None:
    found = matches(old, new)
    assert all(old[i] == new[j] for i, j in found)
    assert all(a < c and b < d for (a, b), (c, d) in pairwise(found))
    assert len(found) == _longest(old, new)


def _longest(old: list[str], new: list[str]) -> int:
    row = [0] * (len(new) + 1)
    for line in old:
        before = row
        row = [0]
        for j, other in enumerate(new):
            row.append(before[j] + 1 if line == other else max(before[j + 1], row[j]))
    return row[-1]


def test_regions_that_only_one_side_changed_are_taken() -> None:
    merged = merge_text("a\nb\nc\nd\ne", "A\nb\nc\nd\ne", "a\nb\nc\ne\nf")
    assert (merged.text, merged.conflicts) == ("A\nb\nc\ne\nf", 0)


def test_a_region_that_both_changed_takes_the_favoured_lines_and_is_counted() -> None:
    sides = ("a\nb\nc\nd\ne", "a\nX\nc\nd\nE", "a\nY\nc\nD\ne\nf")
    assert merge_text(*sides, favour="ours").conflicts == 2
    assert merge_text("a\nb\nc", "a\nX\nc", "a\nY\nc", favour="ours").text == "a\nX\nc"
    assert merge_text("a\nb\nc", "a\nX\nc", "a\nY\nc", favour="theirs").text == "a\nY\nc"


def test_what_repeats_is_changed_as_far_down_as_it_goes() -> None:
    assert matches(["a", "b", "a", "b"], ["a", "b"]) == [(0, 0), (1, 1)]
    assert matches(["x", "a"], ["x", "a", "a"]) == [(0, 0), (1, 1)]


def test_a_change_stands_beside_one_of_the_other_text_if_it_can() -> None:
    """The first `b` became `c`; without that, the `b` that went would be the last of them."""
    assert matches(["a", "b", "b", "d"], ["a", "c", "b", "d"]) == [(0, 0), (2, 2), (3, 3)]


def test_newlines_end_lines_only_where_all_three_texts_end_with_one() -> None:
    assert merge_text("a\nb", "A\nb", "a\nb\nc") == MergedText("A\nb\nc", 0)
    assert merge_text("a\n", "", "a\n\n").conflicts == 1
    assert merge_text("a\n", "", "b\n", favour="ours").text == ""


def test_lines_that_only_one_text_has_are_no_edits_to_look_for() -> None:
    lines = [f"line {n}" for n in range(EDITS_MAX)]
    rewritten = [part for line in lines for part in (line, f"new {line}", f"newer {line}")]
    assert len(matches(lines, rewritten)) == len(lines)


def test_the_same_change_on_both_sides_is_no_conflict() -> None:
    assert merge_text("a\nb\nc", "a\nX\nc", "a\nX\nc\nd").conflicts == 0


def test_more_edits_than_the_limit_still_merge_where_nothing_overlaps() -> None:
    old = [f"line {n}" for n in range(3 * EDITS_MAX)]
    rewritten = [f"new {n}" for n in range(3 * EDITS_MAX)]
    merged = merge_text("\n".join(["top", *old]), "\n".join(["top", *rewritten]), "\n".join(["TOP", *old]))
    assert merged.conflicts == 1  # next to each other, and nothing in between that both kept
    merged = merge_text(
        "\n".join(["top", "-", *old]), "\n".join(["top", "-", *rewritten]), "\n".join(["TOP", "-", *old])
    )
    assert merged.text.split("\n")[:3] == ["TOP", "-", "new 0"]


@given(st.lists(st.sampled_from("abcd"), max_size=8).map("\n".join), LINES.map("\n".join), LINES.map("\n".join))
def test_swapping_the_sides_gives_the_same_text_and_the_same_conflicts(base: str, ours: str, theirs: str) -> None:
    one, other = merge_text(base, ours, theirs), merge_text(base, theirs, ours)
    assert one.conflicts == other.conflicts
    assert one.conflicts or one.text == other.text


@pytest.mark.skipif(shutil.which("git") is None, reason="git, the oracle of this test, is not installed")
def test_git_merges_the_same_way(tmp_path: Path) -> None:
    """Every line differs from every other: there is one way to align the texts, and git cannot choose another."""
    randomness = random.Random(7)
    for case in range(40):
        base = [f"line {n}" for n in range(12)]
        ours, theirs = (_edited(base, f"{side}{case}", randomness) for side in ("o", "t"))
        texts = ["\n".join(lines) for lines in (ours, base, theirs)]
        result = merge_text(texts[1], texts[0], texts[2], favour="ours")
        for name, text in zip(("ours", "base", "theirs"), texts, strict=True):
            (tmp_path / name).write_text(text + "\n")
        command = ["git", "merge-file", "-p", "--ours", "ours", "base", "theirs"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert result.text + "\n" == done.stdout, texts
        counted = subprocess.run(command[:3] + command[4:], cwd=tmp_path, capture_output=True, text=True, check=False)
        # git joins conflicts that lie less than four lines apart when it counts them: only clean or not compares.
        assert (result.conflicts == 0) == (counted.returncode == 0), texts


def _edited(base: list[str], mark: str, randomness: random.Random) -> list[str]:
    edited = []
    for number, line in enumerate(base):
        dice = randomness.random()
        if dice < 0.1:
            edited.append(f"changed {mark} {number}")
        elif dice < 0.2:
            edited += [line, f"inserted {mark} {number}"]
        elif dice > 0.1 + 0.8:
            continue
        else:
            edited.append(line)
    return edited
