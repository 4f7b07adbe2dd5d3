"""Three-way merge of text by line (diff3), as Khanna, Kunal and Pierce describe it (FSTTCS 2007).

Lines of the base that both sides kept are the fixed points; between two of them, a region that only one side changed
takes that side's lines, and a region that both changed differently is a conflict. Deterministic and bounded: beyond
500 edits on a side its changed region counts as one replaced block, which can only turn a clean merge into a
conflict, never the other way round.

Newlines end lines where all three texts end with one, as in files. Otherwise they stand between lines, because a memory
seldom ends with a newline: adding a last line, or a newline at the end, does not change the line before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from memory_repository.core.alignment import compared, matches

Favour = Literal["ours", "theirs"]


@dataclass(frozen=True, slots=True)
class MergedText:
    """The merged text and the number of regions that collided (resolved by the favoured side, if one was given);
    `lines` is what it took, as core/alignment.py counts."""

    text: str
    conflicts: int
    lines: int = field(default=0, compare=False)


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
    texts = (base, ours, theirs)
    ended = all(not text or text.endswith("\n") for text in texts)
    lines = [text.split("\n")[:-1] if ended else text.split("\n") for text in texts]
    merged: list[str] = []
    conflicts = 0
    regions, work = _regions(*lines)
    for base_part, ours_part, theirs_part in regions:
        if ours_part == theirs_part or base_part == theirs_part:
            merged += ours_part
        elif base_part == ours_part:
            merged += theirs_part
        else:
            conflicts += 1
            merged += theirs_part if favour == "theirs" else ours_part
    return MergedText("".join(f"{line}\n" for line in merged) if ended else "\n".join(merged), conflicts, work)


Region = tuple[list[str], list[str], list[str]]


def _regions(base: list[str], ours: list[str], theirs: list[str]) -> tuple[list[Region], int]:
    """The three texts, cut at the lines that all of them share; and what that took."""
    in_ours, in_theirs = dict(matches(base, ours)), dict(matches(base, theirs))
    work = sum(compared(len(base), len(side), len(kept)) for side, kept in ((ours, in_ours), (theirs, in_theirs)))
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
    return regions, work
