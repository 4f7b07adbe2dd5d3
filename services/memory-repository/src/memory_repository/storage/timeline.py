"""Reading at a commit: which version of a memory is visible there, and what lies between two commits.

A commit is a place (line, sequence); its view is that place and, nearest first, the ancestor lines with the sequence
to read up to. A point read costs at most one index probe per line of the view; a listing reads its page; a difference
reads the entries that lie between the two views, whatever the memory's size.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Any, Final, NamedTuple

from memory_repository.storage import batches
from thymos.database import Connection

DEPTH_MAX = 32
"""Lines of a view. A line that would lie deeper starts with a copy of what it sees: O(memory), once in 32 nestings."""

PLACES_FEW = 3
"""With fewer places PostgreSQL is asked for one after the other."""
PART, PART_MAX = 128, 8_192
"""Memories of a listing that PostgreSQL is asked for first, and later at once."""


class Place(NamedTuple):
    """Where a commit stands: (line, sequence)."""

    line: int
    seq: int


class Slot(NamedTuple):
    """A visible version: its row, its hash, its number of words and the commit that wrote it first.

    `commit_no` is 0 for a version that the commit being made writes itself.
    """

    version: int
    hash: str
    words: int
    commit_no: int


View = tuple[Place, ...]
"""The commit's own place, then the ancestor lines with the sequence to read up to, nearest first."""


def view_of(db: Connection, place: Place) -> View:
    """The view of a commit."""
    rows = db.execute("SELECT anc_line, max_seq FROM lineage WHERE line_id = ? ORDER BY depth", (place.line,))
    return (place, *(Place(line, seq) for line, seq in rows))


def visible(db: Connection, view: View, memory_id: str) -> Slot | None:
    """The version of a memory that a view sees; None where it is absent or deleted."""
    for place in _holding(db, view, memory_id):
        row = db.execute(
            "SELECT e.version_id, v.hash, v.words, e.commit_no FROM entry e LEFT JOIN version v USING (version_id)"
            " WHERE e.line_id = ? AND e.memory_id = ? AND e.seq <= ? ORDER BY e.seq DESC LIMIT 1",
            (place.line, memory_id, place.seq),
        ).fetchone()
        if row is not None:
            return None if row[0] is None else Slot._make(row)
    return None


_VISIBLE: Final = (
    "WITH wanted (memory_id) AS (VALUES {rows})"
    " SELECT w.memory_id, e.version_id, v.hash, v.words, e.commit_no FROM wanted w CROSS JOIN entry e"
    " LEFT JOIN version v ON v.version_id = e.version_id"
    " WHERE e.line_id = ? AND e.memory_id = w.memory_id AND e.seq = (SELECT max(n.seq) FROM entry n"
    " WHERE n.line_id = ? AND n.memory_id = w.memory_id AND n.seq <= ?)"
)


def visible_many(db: Connection, view: View, memory_ids: Iterable[str]) -> dict[str, Slot]:
    """What a view sees of memories, by id, without those that are absent or deleted there."""
    found: dict[str, Slot] = {}
    wanted = list(memory_ids)
    for place in view:
        if not wanted:
            break
        rows = batches.select(db, _VISIBLE, wanted, after=(place.line, place.line, place.seq))
        here = {row[0]: row for row in rows}
        found.update((memory_id, Slot._make(row[1:])) for memory_id, row in here.items() if row[1] is not None)
        wanted = [memory_id for memory_id in wanted if memory_id not in here]
    return found


@cache
def _seen(places: int) -> str:
    """The version that a view of so many places sees of the memory `v.memory_id`; 0 for none."""
    at_one = (
        "(SELECT coalesce(e.version_id, 0) FROM entry e"  # 0: it was deleted there
        " WHERE e.line_id = ? AND e.memory_id = v.memory_id AND e.seq <= ? ORDER BY e.seq DESC LIMIT 1)"
    )
    return f"coalesce({', '.join([at_one] * places)}, 0)"


def select_visible(db: Connection, columns: str, view: View, versions: Sequence[int]) -> list[Any]:
    """Columns of the table of versions, for those of the versions that a view sees, in no order."""
    sql = f"SELECT {columns} FROM version v WHERE v.version_id IN ({{items}}) AND v.version_id = {_seen(len(view))}"
    return batches.select(db, sql, versions, after=[value for place in view for value in place])


Read = tuple[int, str, str, str | None, str | None, str | None]
"""A visible version: its row, the id of the commit that wrote it first, its hash; its content, kind and fields, None
once it is redacted."""


def read(db: Connection, view: View, memory_id: str) -> Read | None:
    """All that is known of a memory as a view sees it; None where it is absent or deleted."""
    for place in _holding(db, view, memory_id):
        row = db.execute(
            "SELECT e.version_id, c.commit_id, v.hash, v.content, v.kind, v.fields FROM entry e"
            " LEFT JOIN commits c ON c.commit_no = e.commit_no LEFT JOIN version v ON v.version_id = e.version_id"
            " WHERE e.line_id = ? AND e.memory_id = ? AND e.seq <= ? ORDER BY e.seq DESC LIMIT 1",
            (place.line, memory_id, place.seq),
        ).fetchone()
        if row is not None:
            found: Read | None = None if row[0] is None else row
            return found
    return None


def place_of(db: Connection, view: View, memory_id: str) -> Place | None:
    """Where the row lies that a view sees of a memory, deleted or not; None where it sees none."""
    for place in _holding(db, view, memory_id):
        row = db.execute(
            "SELECT seq FROM entry WHERE line_id = ? AND memory_id = ? AND seq <= ? ORDER BY seq DESC LIMIT 1",
            (place.line, memory_id, place.seq),
        ).fetchone()
        if row is not None:
            return Place(place.line, row[0])
    return None


def _holding(db: Connection, view: View, memory_id: str) -> View:
    """Where to look for a memory, nearest first: in PostgreSQL, where each look is a way to the server and back, only
    at the place that has it, found with one look at all of them."""
    if db.engine == "sqlite" or len(view) < PLACES_FEW:
        return view
    row = db.execute(
        "SELECT p.line, p.seq"
        " FROM unnest(CAST(? AS BIGINT[]), CAST(? AS BIGINT[])) WITH ORDINALITY AS p (line, seq, depth)"
        " WHERE EXISTS (SELECT 1 FROM entry e WHERE e.line_id = p.line AND e.memory_id = ? AND e.seq <= p.seq)"
        " ORDER BY p.depth LIMIT 1",
        ([place.line for place in view], [place.seq for place in view], memory_id),
    ).fetchone()
    return () if row is None else (Place(*row),)


Listed = tuple[str, int, int]
"""A visible memory: its id, its version's row, the commit that wrote it first."""


def listed(db: Connection, view: View, after: str = "") -> Iterator[Listed]:
    """The visible memories in the order of their ids, after `after`. Lazy: costs what is taken."""
    lines = [_line_rows(db, depth, place, after) for depth, place in enumerate(view)]
    for _, rows in groupby(heapq.merge(*lines), key=lambda row: row[0]):
        memory_id, _, version, commit_no = next(rows)
        if version is not None:
            yield memory_id, version, commit_no


def _line_rows(db: Connection, depth: int, place: Place, after: str) -> Iterator[tuple[str, int, int | None, int]]:
    if db.engine == "sqlite" and _is_crowded(db, place.line, after):
        # From name to name by the key, past the older rows of each. The rows come in the order in which they are made.
        rows = db.execute(_NAME_BY_NAME, (place.line, after, place.line, place.line, place.line, place.seq))
        for memory_id, version, commit_no in rows:
            yield memory_id, depth, version, commit_no
        return
    if db.engine == "sqlite":
        # With a single max() the other columns come from the row that holds it ("bare columns in an aggregate").
        rows = db.execute(
            "SELECT memory_id, version_id, commit_no, max(seq) FROM entry"
            " WHERE line_id = ? AND memory_id > ? AND seq <= ? GROUP BY memory_id ORDER BY memory_id",
            (place.line, after, place.seq),
        )
        for memory_id, version, commit_no, _ in rows:
            yield memory_id, depth, version, commit_no
        return
    # PostgreSQL sends all that a statement finds: it is asked for a part, and for a larger one when that was read.
    limit = PART
    while True:
        part = db.execute(
            "SELECT DISTINCT ON (memory_id) memory_id, version_id, commit_no FROM entry"
            " WHERE line_id = ? AND memory_id > ? AND seq <= ? ORDER BY memory_id, seq DESC LIMIT ?",
            (place.line, after, place.seq, limit),
        ).fetchall()
        for memory_id, version, commit_no in part:
            yield memory_id, depth, version, commit_no
        if len(part) < limit:
            return
        limit, after = min(limit * 4, PART_MAX), part[-1][0]


_NAME_BY_NAME = """
WITH RECURSIVE name (memory_id) AS (
    SELECT min(memory_id) FROM entry WHERE line_id = ? AND memory_id > ?
    UNION ALL
    SELECT (SELECT min(e.memory_id) FROM entry e WHERE e.line_id = ? AND e.memory_id > name.memory_id)
    FROM name WHERE name.memory_id IS NOT NULL)
SELECT name.memory_id, e.version_id, e.commit_no FROM name CROSS JOIN entry e
ON e.line_id = ? AND e.memory_id = name.memory_id AND e.seq = (
    SELECT max(s.seq) FROM entry s WHERE s.line_id = ? AND s.memory_id = name.memory_id AND s.seq <= ?)
"""
_SAMPLE, _CROWDED = 48, 6
"""Rows that are looked at to tell how many rows a memory has on a line; so many are too many to read them all."""


def _is_crowded(db: Connection, line: int, after: str) -> bool:
    """Whether the memories of a line, from `after` on, were rewritten so often there that most rows are old."""
    names = db.execute(
        "SELECT memory_id FROM entry WHERE line_id = ? AND memory_id > ? ORDER BY memory_id LIMIT ?",
        (line, after, _SAMPLE),
    ).fetchall()
    return len(names) == _SAMPLE and len(set(names)) * _CROWDED < _SAMPLE


def entries_between(db: Connection, one: View, other: View) -> list[str]:
    """The memory of every entry that lies between two views: whoever has none is the same in both.

    An entry that both views read has the same rank in both, because the views of two commits agree on the order of
    the lines they share. So two views differ on a memory only if one of them reads an entry that the other does not.
    """
    ends, other_ends = _ends(one), _ends(other)
    found: list[str] = []
    for line in sorted(ends.keys() | other_ends.keys()):
        low, high = sorted((ends.get(line, 0), other_ends.get(line, 0)))
        rows = db.execute("SELECT memory_id FROM entry WHERE line_id = ? AND seq > ? AND seq <= ?", (line, low, high))
        found += (memory_id for (memory_id,) in rows)
    return found


def _ends(view: View) -> dict[int, int]:
    return {place.line: place.seq for place in view}


Differing = dict[str, tuple[Slot | None, Slot | None]]


def difference(db: Connection, before: View, after: View, among: Iterable[str] | None = None) -> Differing:
    """The memories whose version differs, by id, with both versions. O(entries between the views).

    `among` are the memories of those entries, if the caller knows them already.
    """
    wanted = sorted(set(entries_between(db, before, after) if among is None else among))
    olds, news = visible_many(db, before, wanted), visible_many(db, after, wanted)
    return changed(wanted, olds, news)


def changed(memory_ids: Iterable[str], olds: Mapping[str, Slot], news: Mapping[str, Slot]) -> Differing:
    """Those of the memories whose version is another in the two."""
    found: Differing = {}
    for memory_id in memory_ids:
        old, new = olds.get(memory_id), news.get(memory_id)
        if (old and old.version) != (new and new.version):
            found[memory_id] = (old, new)
    return found


def rows_in(differing: Differing) -> list[int]:
    """The rows of all versions in a difference."""
    return [slot.version for slots in differing.values() for slot in slots if slot is not None]


def next_place(db: Connection, repo_id: int, branch: str, parent: Place) -> Place:
    """Where the next commit of `branch` on `parent` goes: on the same line if the branch owns its tip, else on a
    new line that forks there."""
    extended = db.execute(
        "UPDATE line SET tip_seq = tip_seq + 1 WHERE line_id = ? AND owner = ? AND tip_seq = ?",
        (parent.line, branch, parent.seq),
    )
    if extended.rowcount == 1:
        return Place(parent.line, parent.seq + 1)
    view = view_of(db, parent)
    line = new_line(db, repo_id, branch)
    if len(view) >= DEPTH_MAX:
        _copy(db, view, line)
        db.execute("UPDATE line SET tip_seq = 2 WHERE line_id = ?", (line,))
        return Place(line, 2)
    db.executemany(
        "INSERT INTO lineage (line_id, depth, anc_line, max_seq) VALUES (?, ?, ?, ?)",
        [(line, depth, place.line, place.seq) for depth, place in enumerate(view, start=1)],
    )
    return Place(line, 1)


def new_line(db: Connection, repo_id: int, branch: str) -> int:
    """A line without ancestors whose first commit has sequence 1."""
    sql = "INSERT INTO line (repo_id, owner, tip_seq) VALUES (?, ?, 1) RETURNING line_id"
    line: int = db.execute(sql, (repo_id, branch)).fetchone()[0]
    return line


def write_entries(db: Connection, place: Place, commit_no: int, slots: Iterable[tuple[str, Slot | None]]) -> None:
    """Append a commit's rows: memory id -> what is visible from now on, None for deleted."""
    db.executemany(
        "INSERT INTO entry (line_id, memory_id, seq, version_id, commit_no) VALUES (?, ?, ?, ?, ?)",
        [
            (place.line, name, place.seq, slot and slot.version, (slot and slot.commit_no) or commit_no)
            for name, slot in slots
        ],
    )


def _copy(db: Connection, view: View, line: int) -> None:
    db.executemany(
        "INSERT INTO entry (line_id, memory_id, seq, version_id, commit_no) VALUES (?, ?, 1, ?, ?)",
        ((line, memory_id, version, commit_no) for memory_id, version, commit_no in listed(db, view)),
    )
