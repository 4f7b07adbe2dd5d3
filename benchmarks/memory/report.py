"""The table that people read: medians, and how many times the other store takes of what Thymos takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, Final

from .measuring import ROWS

Result = Mapping[str, Mapping[str, Any]]
"""What one store made of one size, by row: {"seconds": [...]}, {"bytes": n}, {"none": why}, {"over": seconds},
{"wrong": what}, {}."""

THYMOS: Final = "thymos"
GROWTH: Final = ("branch", "tag", "snapshot", "worktree", "commit of 1", "get", "list page of 100", "search, rare word",
                 "diff of 100", "merge of 100 into 150", "rollback of 100")  # fmt: skip
"""What must not grow with the memory."""


def table(results: Mapping[str, Result]) -> str:
    """The rows of one size, a column per store; `x3.1` is 3.1 times what Thymos takes (time, or space)."""
    peers = list(results)
    lines = [["", *peers]]
    for row in ROWS:
        base = figure(results.get(THYMOS, {}).get(row, {}))
        lines.append([row, *(cell(results[peer].get(row, {}), None if peer == THYMOS else base) for peer in peers)])
    return aligned(lines)


def wrong(results: Mapping[str, Result]) -> list[str]:
    """A line for each row in which a store gave a wrong result, and for none of which there is a figure."""
    return [
        f"{peer}, {row}: wrong, {found['wrong']}"
        for peer, rows in results.items()
        for row, found in rows.items()
        if "wrong" in found
    ]


def growth(results: Mapping[int, Result]) -> str:
    """What Thymos takes at the smallest and the largest size, and the ratio."""
    smallest, largest = min(results), max(results)
    lines = [["", f"{smallest:,}", f"{largest:,}", "ratio"]]
    for row in GROWTH:
        small, large = (figure(results[size].get(row, {})) for size in (smallest, largest))
        ratio = f"{large / small:.2f}" if small and large else ""
        lines.append([row, *(cell(results[size].get(row, {}), None) for size in (smallest, largest)), ratio])
    return aligned(lines)


def figure(found: Mapping[str, Any]) -> float | None:
    """The median in seconds, or the size in bytes; None where there is neither."""
    if "seconds" in found:
        return float(median(found["seconds"]))
    return float(found["bytes"]) if "bytes" in found else None


def cell(found: Mapping[str, Any], base: float | None) -> str:
    """A figure with its unit, and how many times `base` it is."""
    if "over" in found:
        return f"> {found['over']:g} s"
    for word in ("none", "wrong"):
        if word in found:
            return word
    value = figure(found)
    if value is None:
        return "not reached"
    shown = size(value) if "bytes" in found else duration(value)
    return (
        shown if not base else f"{shown} x{value / base:.2g}" if value / base < 100 else f"{shown} x{value / base:,.0f}"
    )


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def size(count: float) -> str:
    """Megabytes."""
    return f"{count / 1e6:,.1f} MB"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """The first column to the left, the others to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(_line(line, widths) for line in lines)


def _line(line: Iterable[str], widths: Sequence[int]) -> str:
    first, *others = zip(line, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]).rstrip()
