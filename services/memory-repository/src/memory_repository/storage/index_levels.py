"""The levels of SQLite's word index, kept few.

FTS5 keeps the segments of its index on levels, the newest below, and says which in one record. To make one segment of
all (erasing.py) it puts them on a new level, and what comes of them on another; SQLite 3.40 keeps the empty ones below,
and refuses the index as malformed when there are more than 2,000: after a thousand times nothing could be erased any
more. No statement of FTS5 takes levels away, so that is done here. The record's form is told at the head of SQLite's
ext/fts5/fts5_index.c ("STRUCTURE RECORD"); one of another form is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from thymos.database import Connection

LEVELS_MAX: Final = 1_000
"""Levels from which on the empty ones are taken away: half of what SQLite bears."""
_RECORD: Final = 10
"""The row of the record."""
_COOKIE_BYTES: Final = 4
_OTHER_FORM: Final = b"\xff\x00\x00\x01"
"""Stands behind the cookie where segments are told in another way (tables with contentless_delete)."""


def trim(db: Connection) -> bool:
    """Take empty levels away where there are many, in a transaction that writes. Returns whether it did."""
    (record,) = db.execute("SELECT block FROM version_terms_data WHERE id = ?", (_RECORD,)).fetchone()
    fewer = without_empty_levels(bytes(record), LEVELS_MAX)
    if fewer is None:
        return False
    # What FTS5 has read of it is forgotten when a change is taken back, and only then.
    db.execute("SAVEPOINT levels")
    db.execute("INSERT INTO version_terms (version_terms, rank) VALUES ('merge', 1)")
    db.execute("ROLLBACK TO levels")
    db.execute("RELEASE levels")
    db.execute("UPDATE version_terms_data SET block = ? WHERE id = ?", (fewer, _RECORD))
    return True


def without_empty_levels(record: bytes, most: int) -> bytes | None:
    """The record without levels that hold no segment; None where it tells of at most so many, or has another form.

    record = cookie (4 bytes), then numbers: levels, segments, writes; of each level how many of its segments are being
    merged into the level above, how many there are, and three numbers of each.
    """
    numbers = list(_numbers(record[_COOKIE_BYTES:]))
    if record[_COOKIE_BYTES:].startswith(_OTHER_FORM) or len(numbers) < 3 or numbers[0] <= most:
        return None
    count, segments, writes, *rest = numbers
    left = iter(rest)
    kept: list[Sequence[int]] = []
    merging = False
    for _ in range(count):
        level = _level(left)
        if level is None:
            return None
        if level[1] or merging:
            kept.append(level)
        merging = level[0] > 0
    if next(left, None) is not None:
        return None
    told = [len(kept), segments, writes, *(number for level in kept for number in level)]
    return record[:_COOKIE_BYTES] + b"".join(map(_encoded, told))


def _level(numbers: Iterator[int]) -> Sequence[int] | None:
    head = list(islice(numbers, 2))
    if len(head) < 2:
        return None
    segments = list(islice(numbers, 3 * head[1]))
    return [*head, *segments] if len(segments) == 3 * head[1] else None


def _numbers(encoded: bytes) -> Iterator[int]:
    """SQLite's varints: seven bits a byte, the highest first, a set bit before each byte but the last."""
    number = 0
    for byte in encoded:
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            yield number
            number = 0


def _encoded(number: int) -> bytes:
    found = [number & 0x7F]
    while number := number >> 7:
        found.append(number & 0x7F | 0x80)
    return bytes(reversed(found))
