"""The fingerprints of what is visible at commits: 2 KiB each, so kept at some of them and computed at the others.

A commit's is kept while it is the newest of its line, and for good at every 16th place of a line and where much
changed. Any other is at most 15 commits of at most 16 changes away from one below it on its line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from memory_repository.core import fingerprint
from memory_repository.storage import timeline
from memory_repository.storage.timeline import Place, Slot
from thymos.database import Connection

Changes = Mapping[str, tuple[Slot | None, Slot | None]]

KEPT_EVERY: Final = 16
CHANGES_MAX: Final = 16
"""A commit of more changes keeps its fingerprint."""


def state_of(db: Connection, commit_no: int, place: Place) -> bytes:
    """The fingerprint of everything visible at a commit: kept, or computed from one below it on its line."""
    stored = kept(db, commit_no)
    if stored is not None:
        return stored
    seq, state = db.execute(
        "SELECT seq, state FROM commits WHERE line_id = ? AND seq < ? AND length(state) > 0 ORDER BY seq DESC LIMIT 1",
        (place.line, place.seq),
    ).fetchone()
    before, after = (timeline.view_of(db, each) for each in (Place(place.line, seq), place))
    return after_changes(bytes(state), timeline.difference(db, before, after))


def kept(db: Connection, commit_no: int) -> bytes | None:
    """The fingerprint of a commit if it is kept."""
    return bytes(db.execute("SELECT state FROM commits WHERE commit_no = ?", (commit_no,)).fetchone()[0]) or None


def after_changes(state: bytes, delta: Changes) -> bytes:
    """The fingerprint after changes."""
    added = [(memory_id, new.hash) for memory_id, (_, new) in delta.items() if new]
    removed = [(memory_id, old.hash) for memory_id, (old, _) in delta.items() if old]
    return fingerprint.updated(state, added, removed)


def keep(db: Connection, commit_no: int, place: Place) -> None:
    """Keep a commit's fingerprint for good: what it would be computed from goes."""
    if kept(db, commit_no) is None:
        db.execute("UPDATE commits SET state = ? WHERE commit_no = ?", (state_of(db, commit_no, place), commit_no))


def passed(db: Connection, commit_no: int, place: Place, changes: int) -> None:
    """The line goes on after a commit, so that its fingerprint can be computed when it is asked for."""
    # A line begins at 1, or at 2 if it starts with a copy. Below a commit that lost a parent there may be none.
    if place.seq > 2 and place.seq % KEPT_EVERY != 1 and changes <= CHANGES_MAX:
        db.execute(
            "UPDATE commits SET state = ? WHERE commit_no = ?"
            " AND NOT EXISTS (SELECT 1 FROM cut_parent p WHERE p.commit_no = commits.commit_no)",
            (b"", commit_no),
        )


def keep_above(db: Connection, line: int, seq: int, dropped: frozenset[int]) -> int:
    """Commits of a line are dropped from `seq` on: the first one above them that is not keeps its fingerprint. Returns
    where it stands; a place beyond all commits if there is none."""
    rows = db.execute(
        "SELECT commit_no, seq FROM commits WHERE line_id = ? AND seq > ? ORDER BY seq LIMIT ?",
        (line, seq, len(dropped) + 1),
    ).fetchall()
    for commit_no, above in rows:
        if commit_no not in dropped:
            keep(db, commit_no, Place(line, above))
            return int(above)
    return rows[-1][1] + 1 if rows else seq + 1
