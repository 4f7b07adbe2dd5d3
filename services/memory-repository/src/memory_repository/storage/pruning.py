"""Removing rows that no commit sees any more: entries, then versions, then lines.

An entry is seen at the next place above it on its line where a commit stands or another line forks, unless a newer
entry of the same memory lies between. When such a place goes, what only it saw goes: for each memory that has a newer
entry up to the next such place, the entries before that one, down to the place below. O(entries between).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from memory_repository.storage import timeline, versions
from memory_repository.storage.timeline import Place
from thymos.database import Connection


@dataclass(slots=True)
class Pruned:
    """What went. `unwritten`: commit -> how many of the versions that it wrote first are nowhere visible any more."""

    entries: int = 0
    versions: int = 0
    lines: int = 0
    content_bytes: int = 0
    unwritten: Counter[int] = field(default_factory=Counter)


Entry = tuple[int, str, int, int | None, int]
"""A line, a memory, a sequence, a version (None = deleted), the commit that wrote it first."""


def prune(db: Connection, repo_id: int, left: Iterable[Place]) -> Pruned:
    """Remove what nobody sees after commits have left these places."""
    pruned = Pruned()
    removed: list[Entry] = []
    waiting: dict[int, set[int]] = defaultdict(set)
    for place in left:
        waiting[place.line].add(place.seq)
    while waiting:
        # Lines fork from older ones, so that what a line's end leaves behind there is looked at afterwards.
        line = max(waiting)
        removed += _prune_line(db, line, waiting.pop(line))
        for place in _ended(db, line, pruned):
            waiting[place.line].add(place.seq)
    pruned.entries = len(removed)
    for version, writer in {(entry[3], entry[4]) for entry in removed}:
        if not _is_visible(db, version, writer):
            pruned.unwritten[writer] += 1
    sizes = versions.remove_unused(db, repo_id, (entry[3] for entry in removed if entry[3] is not None))
    pruned.versions, pruned.content_bytes = len(sizes), sum(sizes)
    return pruned


def _prune_line(db: Connection, line: int, left: Iterable[int]) -> list[Entry]:
    removed: list[Entry] = []
    done = 0
    for seq in sorted(left):
        if seq < done or _end(db, line, seq, seq) is not None:
            continue
        below, above = _end(db, line, None, seq - 1) or 0, _end(db, line, seq + 1, None)
        removed += _truncated(db, line, below) if above is None else _collapsed(db, line, below, seq, above)
        if above is None:
            break
        done = above
    return removed


def _end(db: Connection, line: int, low: int | None, high: int | None) -> int | None:
    """The place on a line where somebody looks from: the first at or above `low`, else the last at or below `high`."""
    if low is None:
        choose, test, given = "max", "{0} <= ?", [high]
    elif high is None:
        choose, test, given = "min", "{0} >= ?", [low]
    else:
        choose, test, given = "max", "{0} >= ? AND {0} <= ?", [low, high]
    found = [
        db.execute(f"SELECT {choose}({column}) FROM {table} WHERE {of} = ? AND {test.format(column)}", (line, *given))
        for table, of, column in (("commits", "line_id", "seq"), ("lineage", "anc_line", "max_seq"))
    ]
    ends = [row[0] for row in (rows.fetchone() for rows in found) if row[0] is not None]
    if not ends:
        return None
    return int(max(ends) if choose == "max" else min(ends))


def _collapsed(db: Connection, line: int, below: int, left: int, above: int) -> list[Entry]:
    """The next place is `above`: what it does not see, and nothing from `below` down did, goes."""
    names = db.execute(
        "SELECT DISTINCT memory_id FROM entry WHERE line_id = ? AND seq > ? AND seq <= ?", (line, left, above)
    ).fetchall()
    removed: list[Entry] = []
    for (name,) in names:
        rows = db.execute(
            "SELECT line_id, memory_id, seq, version_id, commit_no FROM entry"
            " WHERE line_id = ? AND memory_id = ? AND seq > ? AND seq <= ? ORDER BY seq",
            (line, name, below, above),
        ).fetchall()
        *superseded, newest = (tuple(row) for row in rows)
        removed += superseded
        if newest[3] is None and not _hides(db, line, name, below):
            removed.append(newest)
    _delete(db, removed)
    return removed


def _truncated(db: Connection, line: int, below: int) -> list[Entry]:
    """Nobody looks from above `below` any more."""
    rows = db.execute(
        "SELECT line_id, memory_id, seq, version_id, commit_no FROM entry WHERE line_id = ? AND seq > ?", (line, below)
    )
    removed: list[Entry] = [tuple(row) for row in rows.fetchall()]
    _delete(db, removed)
    return removed


def _hides(db: Connection, line: int, memory_id: str, below: int) -> bool:
    """Whether something would be visible again if the deletion of a memory above `below` were forgotten."""
    older = db.execute(
        "SELECT 1 FROM entry WHERE line_id = ? AND memory_id = ? AND seq <= ? LIMIT 1", (line, memory_id, below)
    )
    view = timeline.view_of(db, Place(line, 0))[1:]
    return older.fetchone() is not None or timeline.visible(db, view, memory_id) is not None


def _delete(db: Connection, entries: Iterable[Entry]) -> None:
    db.executemany(
        "DELETE FROM entry WHERE line_id = ? AND memory_id = ? AND seq = ?", [entry[:3] for entry in entries]
    )


def _ended(db: Connection, line: int, pruned: Pruned) -> list[Place]:
    """Where a line without commits no longer looks from; the line itself goes when no other forks from it."""
    if db.execute("SELECT 1 FROM commits WHERE line_id = ? LIMIT 1", (line,)).fetchone() is not None:
        return []
    rows = db.execute("SELECT anc_line, max_seq FROM lineage WHERE line_id = ?", (line,)).fetchall()
    db.execute("DELETE FROM lineage WHERE line_id = ?", (line,))
    if db.execute("SELECT 1 FROM lineage WHERE anc_line = ? LIMIT 1", (line,)).fetchone() is None:
        db.execute("DELETE FROM line WHERE line_id = ?", (line,))
        pruned.lines += 1
    return [Place(*row) for row in rows]


def _is_visible(db: Connection, version: int | None, writer: int) -> bool:
    """Whether an entry of a version by its first writer is left."""
    if version is None:
        rows = db.execute("SELECT 1 FROM entry WHERE version_id IS NULL AND commit_no = ? LIMIT 1", (writer,))
    else:
        rows = db.execute("SELECT 1 FROM entry WHERE version_id = ? AND commit_no = ? LIMIT 1", (version, writer))
    return rows.fetchone() is not None


def headers(written: Mapping[int, set[int | None]], unwritten: Counter[int]) -> dict[int, int]:
    """Of the commits that are dropped, those that wrote what is still visible, and how many versions that is."""
    left = {commit: len(found) - unwritten[commit] for commit, found in written.items()}
    return {commit: count for commit, count in left.items() if count > 0}
