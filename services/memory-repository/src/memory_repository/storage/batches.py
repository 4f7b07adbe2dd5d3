"""Asking for many rows at once: a statement costs as much as several rows, and on PostgreSQL a way there and back.

The lists have few lengths, so that few statements are prepared; a shorter one is filled up with its last item.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final, TypeVar

from thymos.database import Connection

T = TypeVar("T")

LENGTHS: Final = (1, 4, 16, 32, 64, 128, 256)


def select(
    db: Connection, sql: str, items: Sequence[Any], before: Sequence[Any] = (), after: Sequence[Any] = ()
) -> list[Any]:
    """The rows of `sql` for all items, in no order.

    Args:
        db: the connection.
        sql: where the items go, it says `{items}`, as in `IN ({items})`, or `{rows}`, as in `(VALUES {rows})`. An item
            must not be found twice in it.
        items: values for `{items}`; for `{rows}` values or tuples of them.
        before: values of what stands before the items.
        after: values of what stands behind them.
    """
    width = len(items[0]) if items and isinstance(items[0], tuple) else 1
    rows: list[Any] = []
    for part in parts(items):
        length = next(length for length in LENGTHS if length >= len(part))
        filled = [*part, *[part[-1]] * (length - len(part))]
        values = [value for row in filled for value in row] if width > 1 else filled
        rows += db.execute(_statement(sql, length, width), (*before, *values, *after)).fetchall()
    return rows


def parts(items: Sequence[T], most: int = LENGTHS[-1]) -> Iterator[Sequence[T]]:
    """The items in parts of at most `most`."""
    return (items[first : first + most] for first in range(0, len(items), most))


def exact_parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """The items in parts of the few lengths, for what cannot be filled up."""
    done = 0
    while done < len(items):
        length = next(length for length in reversed(LENGTHS) if length <= len(items) - done)
        yield items[done : done + length]
        done += length


@cache
def rows_of(length: int, width: int) -> str:
    """Placeholders for rows of values: `(?, ?), (?, ?)`."""
    return ", ".join([f"({', '.join('?' * width)})"] * length)


@cache
def _statement(sql: str, length: int, width: int) -> str:
    return sql.format(items=", ".join("?" * length), rows=rows_of(length, width))
