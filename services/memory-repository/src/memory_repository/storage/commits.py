"""Commits as rows: reading them, walking them, writing one."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from memory_repository.core import fingerprint
from memory_repository.core.canonical import canonical_json
from memory_repository.core.commit_id import CommitHeader, commit_id, delta_hash, timestamp
from memory_repository.storage import batches, recent, states, timeline
from memory_repository.storage.timeline import Place, Slot, View
from thymos.database import Connection

_COLUMNS = (
    "commit_no, commit_id, line_id, seq, generation, delta, state_id, author, at, message, kind, meta, changes,"
    " memories, words"
)
_OF_REF = ", ".join(f"c.{column.strip()}" for column in _COLUMNS.split(","))


@dataclass(frozen=True, slots=True)
class CommitRow:
    """One commit.

    Attributes:
        no: its row number within the store; internal.
        id: its id, 64 hex digits.
        place: where its entries are stored; internal.
        generation: 1 + the highest generation of its parents; 1 without parents.
        state_id: equal for two commits exactly when the same memories are visible at both.
        at: when, UTC.
        kind: "initial", "commit", "merge" or "rollback".
        meta: further facts, part of the id.
        changes: how many memories differ from the first parent.
        memories: how many are visible; `words`: how many words they hold together.
    """

    no: int
    id: str
    place: Place
    generation: int
    delta: str
    state_id: str
    author: str
    at: datetime
    message: str
    kind: str
    meta: Mapping[str, Any]
    changes: int
    memories: int
    words: int


@dataclass(frozen=True, slots=True)
class Draft:
    """What a new commit says about itself."""

    branch: str
    author: str
    message: str
    at: datetime
    kind: str
    meta: Mapping[str, Any]


Delta = Mapping[str, tuple[Slot | None, Slot | None]]
"""Against the first parent: memory id -> (version before, version after), None where absent."""


def by_no(db: Connection, commit_no: int) -> CommitRow:
    """The commit with a row number."""
    return _row(db.execute(f"SELECT {_COLUMNS} FROM commits WHERE commit_no = ?", (commit_no,)).fetchone())


def find(db: Connection, commit_no: int) -> CommitRow | None:
    """The commit with a row number; None when it is gone."""
    row = db.execute(f"SELECT {_COLUMNS} FROM commits WHERE commit_no = ?", (commit_no,)).fetchone()
    return None if row is None else _row(row)


def first(db: Connection, repo_id: int) -> CommitRow:
    """The first commit of a repository, which all others descend from."""
    row = db.execute(f"SELECT {_COLUMNS} FROM commits WHERE repo_id = ? AND generation = 1", (repo_id,)).fetchone()
    return _row(row)


def named(db: Connection, repo_id: int, name: str) -> dict[str, CommitRow]:
    """The commits that a name stands for, by the type of the ref: "branch", "tag", "snapshot"."""
    rows = db.execute(
        f"SELECT r.type, {_OF_REF} FROM ref r JOIN commits c ON c.commit_no = r.commit_no"
        " WHERE r.repo_id = ? AND r.type IN ('branch', 'tag', 'snapshot') AND r.name = ?",
        (repo_id, name),
    )
    return {type_: _row(row) for type_, *row in rows.fetchall()}


def reachable(db: Connection, repo_id: int) -> array[int]:
    """Row numbers of all commits that a branch, tag or snapshot reaches, ascending: every commit after its parents,
    which were there when it was written. Eight bytes each. O(history)."""
    rows = db.execute(f"{_REACHED} SELECT commit_no FROM reached ORDER BY commit_no", (repo_id,))
    return array("q", (number for (number,) in rows))


def reachable_ids(db: Connection, repo_id: int) -> Iterator[tuple[int, str]]:
    """The same with their ids."""
    sql = "SELECT c.commit_no, c.commit_id FROM reached r JOIN commits c ON c.commit_no = r.commit_no"
    return iter(db.execute(f"{_REACHED} {sql} ORDER BY c.commit_no", (repo_id,)))


_REACHED: Final = (
    "WITH RECURSIVE reached (commit_no) AS (SELECT commit_no FROM ref WHERE repo_id = ?"
    " UNION SELECT p.parent_no FROM reached r JOIN commit_parent p ON p.commit_no = r.commit_no)"
)


def first_seeing(db: Connection, place: Place, view: View) -> CommitRow:
    """The first commit on the way to a view that sees what lies at one of its places: the one that wrote it there, or
    where that is gone, the next one above it."""
    nearer = [each.line for each in view].index(place.line)
    for each in reversed(view[: nearer + 1]):
        low = place.seq if each.line == place.line else 0
        sql = f"SELECT {_COLUMNS} FROM commits WHERE line_id = ? AND seq >= ? AND seq <= ? ORDER BY seq LIMIT 1"
        row = db.execute(sql, (each.line, low, each.seq)).fetchone()
        if row is not None:
            return _row(row)
    raise LookupError(f"no commit sees {place}")


def by_prefix(db: Connection, repo_id: int, prefix: str) -> list[CommitRow]:
    """The commits of a repository whose id begins with `prefix`, also those of which only the header is kept: at most
    two, which is enough to tell."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM commits WHERE repo_id = ? AND commit_id >= ? AND commit_id < ? LIMIT 2",
        (repo_id, prefix, prefix + "g"),
    )
    return [_row(row) for row in rows]


def number_of(db: Connection, repo_id: int, identity: str) -> int | None:
    """The row number of the commit with an id, also of one of which only the header is kept; None without one."""
    sql = "SELECT commit_no FROM commits WHERE repo_id = ? AND commit_id = ?"
    row = db.execute(sql, (repo_id, identity)).fetchone()
    return None if row is None else int(row[0])


def ordinals(db: Connection, repo_id: int, numbers: Iterable[int]) -> dict[int, int]:
    """How many commits of a repository are stored up to those of these row numbers: the same order, counted within the
    repository. O(its commits)."""
    found, count, last = dict[int, int](), 0, 0
    for number in sorted(set(numbers)):
        sql = "SELECT count(*) FROM commits WHERE repo_id = ? AND commit_no > ? AND commit_no <= ?"
        count += db.execute(sql, (repo_id, last, number)).fetchone()[0]
        found[number] = count
        last = number
    return found


def is_header(db: Connection, repo_id: int, commit: CommitRow) -> bool:
    """Whether only the header of a commit is kept, because it is older than the retention."""
    row = db.execute("SELECT 1 FROM attic WHERE repo_id = ? AND line_id = ?", (repo_id, commit.place.line)).fetchone()
    return row is not None


def parents_of(db: Connection, commit_no: int) -> list[int]:
    """Row numbers of a commit's parents, the first parent first."""
    rows = db.execute("SELECT parent_no FROM commit_parent WHERE commit_no = ? ORDER BY position", (commit_no,))
    return [parent for (parent,) in rows]


def first_ancestor(db: Connection, commit_no: int, steps: int) -> int | None:
    """The row number of the `steps`-th first parent; None where history is shorter."""
    row = db.execute(
        "WITH RECURSIVE back (commit_no, steps) AS (SELECT commit_no, 0 FROM commits WHERE commit_no = ? UNION ALL"
        " SELECT p.parent_no, b.steps + 1 FROM back b JOIN commit_parent p ON p.commit_no = b.commit_no"
        " WHERE p.position = 0 AND b.steps < ?) SELECT commit_no FROM back WHERE steps = ?",
        (commit_no, steps, steps),
    ).fetchone()
    return None if row is None else int(row[0])


def children_of(db: Connection, commit_no: int) -> list[tuple[int, int]]:
    """Row numbers of a commit's children, each with the commit's position among the child's parents."""
    rows = db.execute("SELECT commit_no, position FROM commit_parent WHERE parent_no = ?", (commit_no,))
    return [(child, position) for child, position in rows.fetchall()]


def place_of(db: Connection, commit_no: int) -> Place | None:
    """Where a commit is stored; None when there is no such commit."""
    row = db.execute("SELECT line_id, seq FROM commits WHERE commit_no = ?", (commit_no,)).fetchone()
    return None if row is None else Place(*row)


def generation_of(db: Connection, commit_no: int) -> int:
    """A commit's generation."""
    generation: int = db.execute("SELECT generation FROM commits WHERE commit_no = ?", (commit_no,)).fetchone()[0]
    return generation


def ids_of(db: Connection, commit_nos: Iterable[int]) -> list[str]:
    """The ids of commits, in their order."""
    numbers = list(commit_nos)
    ids = dict(
        batches.select(
            db, "SELECT commit_no, commit_id FROM commits WHERE commit_no IN ({items})", list(dict.fromkeys(numbers))
        )
    )
    return [ids[number] for number in numbers]


def write_initial(db: Connection, repo_id: int, draft: Draft) -> CommitRow:
    """Write the first commit of a repository: nothing visible, no parents."""
    header = _header(draft, [], {}, fingerprint.EMPTY)
    place = Place(timeline.new_line(db, repo_id, draft.branch), 1)
    return _insert(db, repo_id, header, [], place, fingerprint.EMPTY, _Counts(0, 0, 0))


def write_commit(
    db: Connection,
    repo_id: int,
    draft: Draft,
    parents: Sequence[CommitRow],
    delta: Delta,
    stored_on: CommitRow | None = None,
    entries: Delta | None = None,
    state: bytes | None = None,
) -> CommitRow:
    """Write a commit with its entries. O(changes).

    As in git, the same change to the same parents by the same author at the same time is the same commit: when it
    is there already, on whatever branch, that one is returned.

    Args:
        db: the connection, in the caller's transaction.
        repo_id: the repository.
        draft: who, when, why.
        parents: the first one is what `delta` changes.
        delta: the changes against the first parent.
        stored_on: the parent whose line the entries go on; the first one unless given.
        entries: the changes against `stored_on`, given with it.
        state: the fingerprint of what is visible with the changes, if it is known.
    """
    first, below = parents[0], stored_on or parents[0]
    if state is None:
        state = states.after_changes(states.state_of(db, first.no, first.place), delta)
    header = _header(draft, parents, delta, state)
    known = next(iter(by_prefix(db, repo_id, commit_id(header))), None)
    if known is not None and not is_header(db, repo_id, known):
        return known
    if known is not None:
        db.execute("UPDATE commits SET commit_id = '' WHERE commit_no = ?", (known.no,))
    place = timeline.next_place(db, repo_id, draft.branch, below.place)
    if place.line == below.place.line:
        states.passed(db, below.no, below.place, below.changes)
    memories = sum((new is not None) - (old is not None) for old, new in delta.values())
    words = sum((new.words if new else 0) - (old.words if old else 0) for old, new in delta.values())
    counts = _Counts(len(delta), first.memories + memories, first.words + words)
    row = _insert(db, repo_id, header, parents, place, state, counts)
    slots = {memory_id: new for memory_id, (_, new) in (delta if entries is None else entries).items()}
    timeline.write_entries(db, place, row.no, slots.items())
    recent.passed(db, place, counts.memories, (slot.version for slot in slots.values() if slot))
    if known is not None:
        _bring_back(db, known.no, row.no, {new.version if new else None for _, new in delta.values()})
    return row


def recount(db: Connection) -> None:
    """Count the words that each commit sees anew, from those of the versions. O(entries); where a commit's parent was
    dropped, O(what it sees)."""
    counted: dict[int, int] = {}
    rows = db.execute("SELECT commit_no, line_id, seq FROM commits ORDER BY commit_no").fetchall()
    places = {number: Place(line, seq) for number, line, seq in rows}
    for number, place in places.items():
        first = next(iter(parents_of(db, number)), None)
        view = timeline.view_of(db, place)
        if first in counted:
            found = timeline.difference(db, timeline.view_of(db, places[first]), view).values()
            counted[number] = counted[first] + sum(
                (new.words if new else 0) - (old.words if old else 0) for old, new in found
            )
        else:
            seen = (version for _, version, _ in timeline.listed(db, view))
            sql = "SELECT words FROM version WHERE version_id IN ({items})"
            counted[number] = sum(words for (words,) in batches.select(db, sql, list(seen)))
        db.execute("UPDATE commits SET words = ? WHERE commit_no = ?", (counted[number], number))


def _bring_back(db: Connection, header: int, commit: int, versions: Iterable[int | None]) -> None:
    """A commit was made again of which only the header was kept: what it wrote is now the new row's."""
    for version in versions:
        test, given = ("IS NULL", ()) if version is None else ("= ?", (version,))
        db.execute(
            f"UPDATE entry SET commit_no = ? WHERE version_id {test} AND commit_no = ?", (commit, *given, header)
        )
    for table in ("header_only", "cut_parent", "commits"):
        db.execute(f"DELETE FROM {table} WHERE commit_no = ?", (header,))


@dataclass(frozen=True, slots=True)
class _Counts:
    changes: int
    memories: int
    words: int


def _header(draft: Draft, parents: Sequence[CommitRow], delta: Delta, state: bytes) -> CommitHeader:
    return CommitHeader(
        parents=[parent.id for parent in parents],
        delta=delta_hash((memory_id, new.hash if new else None) for memory_id, (_, new) in delta.items()),
        state_id=fingerprint.state_id(state),
        author=draft.author,
        at=timestamp(draft.at),
        message=draft.message,
        kind=draft.kind,
        meta=draft.meta,
    )


def _insert(
    db: Connection,
    repo_id: int,
    header: CommitHeader,
    parents: Sequence[CommitRow],
    place: Place,
    state: bytes,
    counts: _Counts,
) -> CommitRow:
    generation = 1 + max((parent.generation for parent in parents), default=0)
    identity, meta = commit_id(header), canonical_json(header.meta).decode()
    (commit_no,) = db.execute(
        "INSERT INTO commits (repo_id, commit_id, line_id, seq, generation, delta, state, state_id,"
        " author, at, message, kind, meta, changes, memories, words)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING commit_no",
        (
            *(repo_id, identity, place.line, place.seq, generation, header.delta, state, header.state_id),
            *(header.author, header.at, header.message, header.kind, meta),
            *(counts.changes, counts.memories, counts.words),
        ),
    ).fetchone()
    db.executemany(
        "INSERT INTO commit_parent (commit_no, position, parent_no) VALUES (?, ?, ?)",
        [(commit_no, position, parent.no) for position, parent in enumerate(parents)],
    )
    return CommitRow(
        no=commit_no,
        id=identity,
        place=place,
        generation=generation,
        delta=header.delta,
        state_id=header.state_id,
        author=header.author,
        at=datetime.fromisoformat(header.at),
        message=header.message,
        kind=header.kind,
        meta=json.loads(meta),
        changes=counts.changes,
        memories=counts.memories,
        words=counts.words,
    )


def _row(row: Sequence[Any]) -> CommitRow:
    no, identity, line, seq, generation, delta, state_id, author, at, message, kind, meta, *counts = row
    return CommitRow(
        no=no,
        id=identity,
        place=Place(line, seq),
        generation=generation,
        delta=delta,
        state_id=state_id,
        author=author,
        at=datetime.fromisoformat(at),
        message=message,
        kind=kind,
        meta={} if meta == "{}" else json.loads(meta),
        changes=counts[0],
        memories=counts[1],
        words=counts[2],
    )
