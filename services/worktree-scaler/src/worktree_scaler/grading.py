"""Is an answer right? Named graders, pure: expectation and output in, a grade with its reason out.

An expectation is a text, or a list of texts of which one must match. Other JSON is compared by value.

- `exact`: the output equals the expectation
- `contains`: the output contains it
- `normalised`: it equals it but for case, spaces and punctuation
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

SHOWN = 80
"""Characters of an answer that a reason repeats."""


@dataclass(frozen=True)
class Grade:
    """Whether the answer is right, and why."""

    correct: bool
    reason: str


Matches = Callable[[str, str], bool]


def normalised(text: str) -> str:
    """The text's letters and digits in one case, words separated by one space."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in folded).split())


def _exact(expected: str, output: str) -> bool:
    return output == expected


def _contains(expected: str, output: str) -> bool:
    return expected in output


def _normalised(expected: str, output: str) -> bool:
    return normalised(output) == normalised(expected)


GRADERS: Mapping[str, Matches] = {"exact": _exact, "contains": _contains, "normalised": _normalised}


def grade(grader: str, expected: JsonValue, output: str | None) -> Grade:
    """Grade an output. No output is never right. Raises KeyError for an unknown grader."""
    matches = GRADERS[grader]
    if output is None:
        return Grade(False, "no output")
    accepted = expected if isinstance(expected, list) else [expected]
    for one in accepted:
        if matches(_text(one), output):
            return Grade(True, f"{grader}: as expected")
    return Grade(False, f"{grader}: {output[:SHOWN]!r} is not what is expected")


def _text(value: JsonValue) -> str:
    """An expectation as the text an agent would answer: texts as they are, the rest as JSON writes it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
