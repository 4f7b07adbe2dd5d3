"""How a commit is named in words: `main`, `main~3`, `main^2`, `main@{2h}`, `main@{2026-03-01T12:00:00Z}`, `main@{1}`.

    revision = name [ "@{" (age | time | moves) "}" ] ( "~" [n] | "^" [n] )*

A name is a branch, tag, snapshot, or a commit id (of at least 8 characters, if no other begins so). `@{…}` asks the
reflog where a branch stood: so long ago, at a time, or so many moves ago. `~n` is the n-th first parent, `^n` the n-th
parent; both are 1 without a number. Pure: "so long ago" stays an age until somebody knows the time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from memory_repository.core import limits
from thymos.durations import parse_duration
from thymos.errors import Refusal

_REVISION = re.compile(r"(?P<name>[^~^@{}]+)(?:@\{(?P<moment>[^{}]{1,40})\})?(?P<steps>(?:[~^][0-9]*)*)")
_STEP = re.compile(r"([~^])([0-9]*)")
_HINT = "give a branch, a commit id, a tag or a snapshot, with ~n, ^n, @{2h}, @{<time>} or @{n} behind it"
CHARACTERS_MAX = 300
_NAME = re.compile(rf"[^~^@{{}}]{{1,{CHARACTERS_MAX}}}")
"""What most revisions are: a name and nothing behind it."""

Moment = timedelta | datetime | int
"""So long ago; at this time, UTC; so many moves ago."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit in words. `steps` are parents to go to, one after the other: 1 is the first parent."""

    name: str
    moment: Moment | None = None
    steps: tuple[int, ...] = ()


def parse(text: str) -> Revision:
    """Read a revision. Raises Refusal (invalid, too_large: more than 10,000 commits back)."""
    if isinstance(text, str) and _NAME.fullmatch(text):
        return Revision(limits.check_name("ref", text))
    match = _REVISION.fullmatch(text) if isinstance(text, str) and len(text) <= CHARACTERS_MAX else None
    if match is None:
        raise _unreadable(text)
    back = 0
    steps: list[int] = []
    for sign, digits in _STEP.findall(match["steps"]):
        number = int(digits or 1)
        back += number if sign == "~" else min(number, 1)
        if back > limits.ANCESTOR_STEPS_MAX:
            raise limits.too_large("the way back", back, limits.ANCESTOR_STEPS_MAX, "commits")
        steps += [1] * number if sign == "~" else [number] * min(number, 1)  # ^0 is the commit itself
    moment = match["moment"]
    return Revision(
        limits.check_name("ref", match["name"]), None if moment is None else _moment(text, moment), tuple(steps)
    )


def _moment(text: str, moment: str) -> Moment:
    if moment.isascii() and moment.isdigit():
        moves = int(moment)
        if moves > limits.ANCESTOR_STEPS_MAX:
            raise limits.too_large("the way back", moves, limits.ANCESTOR_STEPS_MAX, "moves")
        return moves
    try:
        return parse_duration(moment)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        raise _unreadable(text) from None
    return limits.check_time(f"{text!r:.80}: the time", at)


def _unreadable(text: object) -> Refusal:
    return limits.invalid(f"{text!r:.60} names no commit", _HINT)
