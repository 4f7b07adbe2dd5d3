"""The values of checkpoints: bytes with a type, each kept once per repository, long ones in blocks that they share.

A channel that holds a growing list is written whole at every step, and all but its last elements are what they were.
Cut at fixed places after the first bytes, which hold the length, such values share all their blocks but the last: a
step costs what was added, not what there is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from memory_repository.core import limits
from thymos.database import Connection

BLOCK_BYTES: Final = 4 * 1024
START_BYTES: Final = 16
"""What stands before the first block: the number of elements and the like, which changes with every element."""

Typed = tuple[str, bytes]
"""How a value was encoded, and the bytes."""


def store_value(db: Connection, repo_id: int, value: Typed) -> int:
    """The number of a value, stored if it is not there yet. Raises Refusal (too_large)."""
    encoding, data = value
    limits.check_checkpoint_value(data)
    digest = hashlib.sha256(encoding.encode() + b"\x00" + data).digest()
    known = db.execute(
        "SELECT value_no FROM checkpoint_value WHERE repo_id = ? AND digest = ?", (repo_id, digest)
    ).fetchone()
    if known is not None:
        return int(known[0])
    blocks = max(0, len(data) - START_BYTES) // BLOCK_BYTES
    end = START_BYTES + blocks * BLOCK_BYTES
    (number,) = db.execute(
        "INSERT INTO checkpoint_value (repo_id, digest, type, blocks, ends) VALUES (?, ?, ?, ?, ?) RETURNING value_no",
        (repo_id, digest, encoding, blocks, data[:START_BYTES] + data[end:]),
    ).fetchone()
    places = range(START_BYTES, end, BLOCK_BYTES)
    db.executemany(
        "INSERT INTO checkpoint_value_block (value_no, position, block_no) VALUES (?, ?, ?)",
        [
            (number, position, _store_block(db, repo_id, data[place : place + BLOCK_BYTES]))
            for position, place in enumerate(places)
        ],
    )
    return int(number)


def load_value(db: Connection, value_no: int) -> Typed:
    """A stored value."""
    encoding, blocks, ends = db.execute(
        "SELECT type, blocks, ends FROM checkpoint_value WHERE value_no = ?", (value_no,)
    ).fetchone()
    if not blocks:
        return encoding, bytes(ends)
    rows = db.execute(
        "SELECT b.data FROM checkpoint_value_block v JOIN checkpoint_block b USING (block_no)"
        " WHERE v.value_no = ? ORDER BY v.position",
        (value_no,),
    )
    return encoding, b"".join([ends[:START_BYTES], *(data for (data,) in rows), ends[START_BYTES:]])


def drop_unused(db: Connection, value_nos: Iterable[int]) -> int:
    """Delete those of the values that no checkpoint and no write holds, and blocks that only they held.

    Returns how many values went.
    """
    dropped = 0
    for number in sorted(set(value_nos)):
        if _is_held(db, number):
            continue
        blocks = db.execute("SELECT block_no FROM checkpoint_value_block WHERE value_no = ?", (number,)).fetchall()
        db.execute("DELETE FROM checkpoint_value_block WHERE value_no = ?", (number,))
        db.execute("DELETE FROM checkpoint_value WHERE value_no = ?", (number,))
        _drop_unused_blocks(db, [block for (block,) in blocks])
        dropped += 1
    return dropped


def _store_block(db: Connection, repo_id: int, data: bytes) -> int:
    digest = hashlib.sha256(data).digest()
    known = db.execute(
        "SELECT block_no FROM checkpoint_block WHERE repo_id = ? AND digest = ?", (repo_id, digest)
    ).fetchone()
    if known is None:
        known = db.execute(
            "INSERT INTO checkpoint_block (repo_id, digest, data) VALUES (?, ?, ?) RETURNING block_no",
            (repo_id, digest, data),
        ).fetchone()
    return int(known[0])


def _is_held(db: Connection, value_no: int) -> bool:
    row = db.execute(
        "SELECT EXISTS (SELECT 1 FROM checkpoint_channel WHERE value_no = ?)"
        " OR EXISTS (SELECT 1 FROM checkpoint_write WHERE value_no = ?)",
        (value_no, value_no),
    ).fetchone()
    return bool(row[0])


def _drop_unused_blocks(db: Connection, block_nos: Sequence[int]) -> None:
    for number in sorted(set(block_nos)):
        db.execute(
            "DELETE FROM checkpoint_block WHERE block_no = ?"
            " AND NOT EXISTS (SELECT 1 FROM checkpoint_value_block WHERE block_no = ?)",
            (number, number),
        )
