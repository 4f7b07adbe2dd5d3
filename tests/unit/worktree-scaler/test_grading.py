"""Grading: what counts as right under each named grader."""

import pytest
from pydantic import JsonValue

from worktree_scaler.grading import grade, normalised


@pytest.mark.parametrize(
    ("grader", "expected", "output", "correct"),
    [
        ("exact", "refund", "refund", True),
        ("exact", "refund", "Refund", False),
        ("exact", "refund", " refund", False),
        ("contains", "42", "The answer is 42.", True),
        ("contains", "42", "The answer is 24.", False),
        ("normalised", "Thirty days", "  thirty   DAYS!", True),
        ("normalised", "Straße", "STRASSE", True),
        ("normalised", "don't", "don t", True),
        ("normalised", "thirty days", "thirtydays", False),
        ("exact", ["yes", "y"], "y", True),
        ("exact", 42, "42", True),
        ("exact", True, "true", True),
        ("exact", None, "null", True),
        ("exact", {"b": 1, "a": 2}, '{"a": 2, "b": 1}', True),
    ],
)
def test_an_answer_is_right_when_its_grader_says_so(
    grader: str, expected: JsonValue, output: str, correct: bool
) -> None:
    assert grade(grader, expected, output).correct is correct


def test_no_output_is_never_right() -> None:
    assert not grade("contains", "", None).correct


def test_a_wrong_answer_is_shown_shortened() -> None:
    assert len(grade("exact", "a", "x" * 10_000).reason) < 200


def test_an_unknown_grader_is_an_error() -> None:
    with pytest.raises(KeyError):
        grade("vibes", "a", "a")


def test_normalising_twice_changes_nothing() -> None:
    assert normalised(normalised("Ünïted—States!")) == normalised("Ünïted—States!")
