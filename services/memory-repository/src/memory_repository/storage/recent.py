"""Of a line that was written to for long: above which version lies all that it shows, but for some older ones.

An agent that rewrites its memories leaves ever more versions behind, and what is visible are the last ones, with a few
that it never touched again. So a search need not look at the others: of a line it is noted now and then, as of one of
its commits, which versions that sees are the oldest, and what the lowest of the rest is above. From then on a commit
that shows a version from below (a rollback, a merge, ...) adds it to the oldest. O(memories) for each note, which is
made after as many commits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from memory_repository.storage import timeline
from memory_repository.storage.timeline import Place, View
from thymos.database import Connection

COMMITS_LEAST: Final = 128
"""Commits of a line between two notes; as many as memories are visible where that is more."""
OLD_MAX: Final = 16
"""Versions that a note names as old."""
ENTRIES_MAX: Final = 5_000
"""Entries of lines without a note that one search looks through, on the way to a line that has one."""


def passed(db: Connection, place: Place, memories: int, versions: Iterable[int]) -> None:
    """A commit was written at a place, which shows so many memories, and has these versions in its entries."""
    if place.seq < COMMITS_LEAST:
        return
    noted = _noted(db, place.line)
    if place.seq % COMMITS_LEAST == 0 and place.seq - (noted[0] if noted else 0) >= memories:
        _note(db, place)
    elif noted:
        _add_old(db, place.line, (version for version in versions if version <= noted[1]))


def versions_above(db: Connection, view: View) -> tuple[int, set[int]] | None:
    """A version above which lie all that a view sees, but for those that are given with it; some of these it may see no
    more. None where nothing is noted of what the view sees."""
    old: set[int] = set()
    left = ENTRIES_MAX
    for depth, place in enumerate(view):
        noted = _noted(db, place.line)
        if noted is None or noted[0] > place.seq:
            continue
        _, above = noted
        for line, seq in view[:depth]:
            sql = "SELECT version_id FROM entry WHERE line_id = ? AND seq <= ? LIMIT ?"
            rows = db.execute(sql, (line, seq, left + 1)).fetchall()
            left -= len(rows)
            if left < 0:
                return None
            old.update(version for (version,) in rows if version is not None and version <= above)
        rows = db.execute("SELECT version_id FROM old_version WHERE line_id = ?", (place.line,)).fetchall()
        return above, old.union(version for (version,) in rows)
    return None


def _noted(db: Connection, line: int) -> tuple[int, int] | None:
    row = db.execute("SELECT seq, above FROM recent WHERE line_id = ?", (line,)).fetchone()
    return None if row is None else (row[0], row[1])


def _note(db: Connection, place: Place) -> None:
    visible = sorted(version for _, version, _ in timeline.listed(db, timeline.view_of(db, place)))
    old = visible[: min(OLD_MAX, len(visible) // 2)]
    above = old[-1] if old else min(visible, default=1) - 1
    db.execute("DELETE FROM old_version WHERE line_id = ?", (place.line,))
    db.execute(
        "INSERT INTO recent (line_id, seq, above) VALUES (?, ?, ?)"
        " ON CONFLICT (line_id) DO UPDATE SET seq = excluded.seq, above = excluded.above",
        (*place, above),
    )
    _add_old(db, place.line, old)


def _add_old(db: Connection, line: int, versions: Iterable[int]) -> None:
    db.executemany(
        "INSERT INTO old_version (line_id, version_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(line, version) for version in versions],
    )
