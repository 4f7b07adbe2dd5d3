"""How the command line speaks: data on stdout, messages on stderr, colour only on a terminal that wants it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

PIPE_WIDTH = 10_000
"""Columns where nobody looks: a pipe gets every row whole, on one line."""
SHORT_ID = 12


def say(message: str) -> None:
    """One line to the person, on stderr."""
    sys.stderr.write(f"{one_line(message)}\n")
    sys.stderr.flush()


def emit(data: Any) -> None:
    """One line of JSON on stdout, at once."""
    sys.stdout.write(json.dumps(data, ensure_ascii=False, default=_jsonable) + "\n")
    sys.stdout.flush()


def line(text: str) -> None:
    """One line of text on stdout, at once."""
    sys.stdout.write(f"{one_line(text)}\n")
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str = "nothing") -> None:
    """A table on stdout; where there are no rows, `empty` on stderr. Numbers are flush right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    given = [list(row) for row in rows]
    if not given:
        say(empty)
        return
    shown = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for index, name in enumerate(columns):
        numbers = all(isinstance(row[index], int | float | None) for row in given)
        shown.add_column(Text(name), justify="right" if numbers else "left", overflow="fold")
    for row in given:
        shown.add_row(*(Text(cell(value)) for value in row))
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False).print(shown)


def pairs(rows: Iterable[tuple[str, Any]]) -> None:
    """Names and values, one a line; values that are absent are left out."""
    present = [(name, value) for name, value in rows if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in present), default=0)
    for name, value in present:
        line(f"{name:<{width}}  {cell(value)}")


def cell(value: Any) -> str:
    """A value as a person reads it, on one line, without anything that moves the cursor."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, list | dict):
        return one_line(json.dumps(value, ensure_ascii=False, default=_jsonable)) if value else "-"
    return one_line(str(value))


def short(commit: str | None) -> str:
    """The beginning of a commit's id: enough to name it again."""
    return (commit or "-")[:SHORT_ID]


def count(number: int, noun: str) -> str:
    """`1 change`, `2 changes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def one_line(text: str) -> str:
    """Text on one line; control characters, which a terminal would obey, are shown instead."""
    joined = " ".join(text.split()) if "\n" in text or "\r" in text or "\t" in text else text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in joined)


def _jsonable(value: object) -> object:
    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} is not data")
