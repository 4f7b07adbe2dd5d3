"""Durations as people write them: ``500ms``, ``5s``, ``1m30s``, ``2h``, ``1d``.

A duration is one or more whole numbers, each followed by its unit, from the largest unit to the smallest,
each unit once, without spaces. Whole numbers only, so that what is read is exactly what was written.
"""

from __future__ import annotations

import re
from datetime import timedelta

# Largest first: the order in which the units are written, and the length of each in microseconds.
_UNITS = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1}

_PATTERN = re.compile(
    r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?(?:([0-9]+)ms)?(?:([0-9]+)us)?", re.ASCII
)

_RULE = (
    "a duration is whole numbers with a unit each (d, h, m, s, ms), largest unit first, "
    "like '500ms', '5s', '1m30s', '2h'"
)

_LONGEST_TEXT = 40
"""Characters: enough for any duration below the limit, and a bound on the work that hostile input causes."""

LONGEST = timedelta(days=36_500)
"""The longest duration that is accepted: a hundred years. Above it a unit was mistaken."""


def parse_duration(text: str) -> timedelta:
    """Read a duration such as ``1m30s``.

    Exact: no rounding takes place (the smallest unit, ``us``, is the resolution of `timedelta`). ``0s`` is a
    duration; whoever needs a positive one checks that.

    Raises:
        ValueError: `text` is not a duration; the message states the rule, the text and the remedy, where
            one is obvious.
    """
    if not isinstance(text, str):
        raise ValueError(f"{_RULE}; got {text!r}, which is not text")
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"{_RULE}; got {text[:_LONGEST_TEXT]!r}… of {len(text)} characters")
    match = _PATTERN.fullmatch(text)
    if match is None or not text:
        raise ValueError(f"{_RULE}; got {text!r}{_remedy(text)}")
    microseconds = sum(
        int(number) * length for number, length in zip(match.groups(), _UNITS.values(), strict=True) if number
    )
    if microseconds > LONGEST // timedelta(microseconds=1):
        raise ValueError(f"a duration is at most {format_duration(LONGEST)}; got {text!r}")
    return timedelta(microseconds=microseconds)


def format_duration(duration: timedelta) -> str:
    """Write a duration so that `parse_duration` reads the same one: ``timedelta(seconds=90)`` is ``1m30s``.

    Raises:
        ValueError: `duration` is negative.
    """
    left = duration // timedelta(microseconds=1)
    if left < 0:
        raise ValueError(f"a duration is never negative; got {duration!r}")
    parts: list[str] = []
    for unit, length in _UNITS.items():
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _remedy(text: str) -> str:
    """What to write instead, for the mistakes that have one obvious meaning."""
    if re.fullmatch(r"[0-9]+", text):
        return f": the unit is missing, write '{text}s' for seconds"
    if re.fullmatch(r"[0-9]+\.[0-9]+(ms|[dhms])", text):
        return ": no fractions, use a smaller unit"
    if text.startswith("-"):
        return ": a duration is never negative"
    if re.search(r"\s", text):
        return ": no spaces"
    return ""
