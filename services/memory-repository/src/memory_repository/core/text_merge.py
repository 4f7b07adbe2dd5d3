"""Three-way merge of text by line (diff3), as Khanna, Kunal and Pierce describe it (FSTTCS 2007).

Lines of the base that both sides kept are the fixed points; between two of them, a region that only one side changed
takes that side's lines, and a region that both changed differently is a conflict. Deterministic and bounded: beyond
500 edits on a side its changed region counts as one replaced block, which can only turn a clean merge into a
conflict, never the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

EDITS_MAX = 500
"""Edits on one side up to which the shortest edit script is looked for: the work is O(lines + edits squared)."""

Favour = Literal["ours", "theirs"]


@dataclass(frozen=True, slots=True)
class MergedText:
    """The merged text and the number of regions that collided (resolved by the favoured side, if one was given)."""

    text: str
    conflicts: int


def merge_text(base: str, ours: str, theirs: str, favour: Favour | None = None) -> MergedText:
    """Merge two versions of a text.

    Args:
        base: the common ancestor.
        ours: the text that is merged into.
        theirs: the text that is merged.
        favour: whose lines a colliding region takes; None takes ours, and the caller must look at `conflicts`.
    """
    if ours == theirs or base == theirs:
        return MergedText(ours, 0)
    if base == ours:
        return MergedText(theirs, 0)
    lines = base.split("\n"), ours.split("\n"), theirs.split("\n")
    merged: list[str] = []
    conflicts = 0
    for base_part, ours_part, theirs_part in _regions(*lines):
        if ours_part == theirs_part or base_part == theirs_part:
            merged += ours_part
        elif base_part == ours_part:
            merged += theirs_part
        else:
            conflicts += 1
            merged += theirs_part if favour == "theirs" else ours_part
    return MergedText("\n".join(merged), conflicts)


Region = tuple[list[str], list[str], list[str]]


def _regions(base: list[str], ours: list[str], theirs: list[str]) -> list[Region]:
    """Cut the three texts at the lines that all of them share."""
    in_ours, in_theirs = dict(matches(base, ours)), dict(matches(base, theirs))
    regions: list[Region] = []
    done = (0, 0, 0)
    for b in range(len(base)):
        if b in in_ours and b in in_theirs:
            o, t = in_ours[b], in_theirs[b]
            if (b, o, t) != done:
                regions.append((base[done[0] : b], ours[done[1] : o], theirs[done[2] : t]))
            regions.append(([base[b]], [ours[o]], [theirs[t]]))
            done = (b + 1, o + 1, t + 1)
    regions.append((base[done[0] :], ours[done[1] :], theirs[done[2] :]))
    return regions


def matches(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Index pairs of lines that both texts keep, increasing in both: Myers' shortest edit script (1986)."""
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    middle = _shortest(old[start : len(old) - end], new[start : len(new) - end])
    head = [(i, i) for i in range(start)]
    tail = [(len(old) - i, len(new) - i) for i in range(end, 0, -1)]
    return head + [(start + i, start + j) for i, j in middle] + tail


def _shortest(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Matches of the shortest edit script; none when it is longer than EDITS_MAX."""
    reached: dict[int, int] = {1: 0}
    trace: list[dict[int, int]] = []
    for edits in range(min(len(old) + len(new), EDITS_MAX) + 1):
        trace.append(dict(reached))
        for diagonal in range(-edits, edits + 1, 2):
            x = _step(reached, diagonal, edits)
            y = x - diagonal
            while x < len(old) and y < len(new) and old[x] == new[y]:
                x, y = x + 1, y + 1
            reached[diagonal] = x
            if x >= len(old) and y >= len(new):
                return _backtrack(trace, len(old), len(new))
    return []


def _step(reached: dict[int, int], diagonal: int, edits: int) -> int:
    down = diagonal == -edits or (diagonal != edits and reached.get(diagonal - 1, -1) < reached.get(diagonal + 1, -1))
    return reached[diagonal + 1] if down else reached[diagonal - 1] + 1


def _backtrack(trace: list[dict[int, int]], x: int, y: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for edits in range(len(trace) - 1, -1, -1):
        reached, diagonal = trace[edits], x - y
        start = _step(reached, diagonal, edits) if edits else 0
        while x > start and y > start - diagonal:
            x, y = x - 1, y - 1
            found.append((x, y))
        if edits:
            x, y = _before(reached, diagonal, edits)
    return found[::-1]


def _before(reached: dict[int, int], diagonal: int, edits: int) -> tuple[int, int]:
    down = diagonal == -edits or (diagonal != edits and reached.get(diagonal - 1, -1) < reached.get(diagonal + 1, -1))
    previous = diagonal + 1 if down else diagonal - 1
    return reached[previous], reached[previous] - previous
