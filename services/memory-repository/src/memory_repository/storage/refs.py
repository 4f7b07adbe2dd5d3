"""Names for commits: branches, tags and snapshots. Moved only by compare-and-swap; every move is in the reflog."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Literal

from memory_repository.core import limits, revisions
from memory_repository.core.canonical import canonical_json
from memory_repository.core.commit_id import timestamp
from memory_repository.storage import commits, pins, reflog
from memory_repository.storage.commits import CommitRow
from thymos.database import Connection
from thymos.errors import Refusal, RefusalCode

RefType = Literal["branch", "tag", "snapshot"]
_HEX = re.compile(r"[0-9a-f]{8,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Ref:
    """A name for a commit. `revision` counts its moves; a move names the revision that it has seen."""

    type: str
    name: str
    commit_no: int
    revision: int
    reason: str
    meta: Mapping[str, Any]
    created_at: datetime


def find(db: Connection, repo_id: int, type_: RefType, name: str) -> Ref | None:
    """The ref of that name, or None."""
    row = db.execute(
        "SELECT type, name, commit_no, revision, reason, meta, created_at FROM ref"
        " WHERE repo_id = ? AND type = ? AND name = ?",
        (repo_id, type_, name),
    ).fetchone()
    return None if row is None else _ref(row)


def branch(db: Connection, repo_id: int, name: str) -> Ref:
    """The branch of that name. Raises Refusal: not_found, invalid."""
    found = find(db, repo_id, "branch", limits.check_branch_name(name))
    if found is None:
        raise Refusal(RefusalCode.NOT_FOUND, f"there is no branch {name}")
    return found


def every(db: Connection, repo_id: int, type_: RefType, after: str = "") -> list[Ref]:
    """All refs of a type, by name, or those after a name."""
    rows = db.execute(
        "SELECT type, name, commit_no, revision, reason, meta, created_at FROM ref"
        " WHERE repo_id = ? AND type = ? AND name > ? ORDER BY name",
        (repo_id, type_, after),
    )
    return [_ref(row) for row in rows]


def creator(db: Connection, repo_id: int, ref: Ref) -> str | None:
    """Who made a ref, as far as the reflog knows."""
    row = db.execute(
        "SELECT actor FROM reflog WHERE repo_id = ? AND type = ? AND name = ? AND operation = 'create'"
        " ORDER BY at DESC LIMIT 1",
        (repo_id, ref.type, ref.name),
    ).fetchone()
    return None if row is None else row[0]


def create(
    db: Connection,
    repo_id: int,
    type_: RefType,
    name: str,
    commit: CommitRow,
    *,
    actor: str,
    now: datetime,
    reason: str = "",
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Name a commit; the caller has made sure that the name is free. O(1)."""
    limits.check_object("the metadata", meta or {})
    stored = canonical_json(meta or {}).decode()
    if len(stored) > limits.META_BYTES_MAX:
        raise limits.too_large("the metadata", len(stored), limits.META_BYTES_MAX)
    db.execute(
        "INSERT INTO ref (repo_id, type, name, commit_no, revision, reason, meta, created_at)"
        " VALUES (?, ?, ?, ?, 1, ?, ?, ?)",
        (repo_id, type_, name, commit.no, limits.check_reason(reason), stored, timestamp(now)),
    )
    reflog.note(db, repo_id, type_, name, now, actor, "create", None, commit.no, reason)


def move(
    db: Connection,
    repo_id: int,
    seen: Ref,
    commit: CommitRow,
    *,
    actor: str,
    now: datetime,
    operation: str,
    reason: str = "",
    on_top: bool = False,
) -> None:
    """Move a branch on from where the caller has seen it, `on_top` if the commit is a child of the one seen there.

    Raises Refusal (conflict) when it has moved since.
    """
    moved = db.execute(
        "UPDATE ref SET commit_no = ?, revision = revision + 1"
        " WHERE repo_id = ? AND type = ? AND name = ? AND revision = ?",
        (commit.no, repo_id, seen.type, seen.name, seen.revision),
    )
    if moved.rowcount != 1:
        raise Refusal(RefusalCode.CONFLICT, f"{seen.name} has moved meanwhile", "read it again and try again")
    if not on_top and commit.no != seen.commit_no and seen.commit_no not in commits.parents_of(db, commit.no):
        pins.note_left(db, repo_id, seen.commit_no, now)
    reflog.note(db, repo_id, seen.type, seen.name, now, actor, operation, seen.commit_no, commit.no, reason)


def delete(db: Connection, repo_id: int, seen: Ref, *, actor: str, now: datetime, reason: str = "") -> None:
    """Remove a name; the commits stay, reachable by their ids and through the reflog."""
    db.execute("DELETE FROM ref WHERE repo_id = ? AND type = ? AND name = ?", (repo_id, seen.type, seen.name))
    pins.note_left(db, repo_id, seen.commit_no, now)
    reflog.note(db, repo_id, seen.type, seen.name, now, actor, "delete", seen.commit_no, None, reason)


def is_only_name(db: Connection, repo_id: int, ref: Ref) -> bool:
    """Whether no other branch, tag or snapshot reaches the commit of a branch. O(commits that descend from it)."""
    row = db.execute(
        "WITH RECURSIVE above (commit_no) AS (SELECT commit_no FROM commits WHERE commit_no = ?"
        " UNION SELECT p.commit_no FROM above a JOIN commit_parent p ON p.parent_no = a.commit_no)"
        " SELECT 1 FROM above WHERE commit_no IN (SELECT commit_no FROM ref"
        " WHERE repo_id = ? AND NOT (type = ? AND name = ?)) LIMIT 1",
        (ref.commit_no, repo_id, ref.type, ref.name),
    ).fetchone()
    return row is None


def rename(db: Connection, repo_id: int, seen: Ref, name: str, *, actor: str, now: datetime, reason: str = "") -> None:
    """Give a branch another name; its lines, its worktrees and its reflog go with it. The caller has made sure that the
    name is free."""
    columns = (("ref", "name", " AND type = 'branch'"), ("line", "owner", ""), ("worktree", "branch", ""))
    for table, column, further in columns:
        sql = f"UPDATE {table} SET {column} = ? WHERE repo_id = ? AND {column} = ?{further}"
        db.execute(sql, (name, repo_id, seen.name))
    # What an earlier branch of that name did stays its own: it is told under a name that no branch can have.
    moved = "UPDATE reflog SET name = ? WHERE repo_id = ? AND type = 'branch' AND name = ?"
    db.execute(moved, (f"{name} (until {timestamp(now)})", repo_id, name))
    db.execute(moved, (name, repo_id, seen.name))
    said = f"{seen.name} → {name}" + (f": {reason}" if reason else "")
    reflog.note(db, repo_id, "branch", name, now, actor, "rename", seen.commit_no, seen.commit_no, said)


def resolve(db: Connection, repo_id: int, text: str, now: datetime | None = None) -> CommitRow:
    """The commit that a text names (core/revisions.py). A whole commit id is that commit, whatever else bears its name;
    of a branch, a tag, a snapshot and a commit that begins so, the first one wins. `now` is what `@{2h}` counts from.

    Raises:
        Refusal: not_found, invalid (ambiguous prefix, malformed), too_large (more than 10,000 steps back).
    """
    revision = revisions.parse(text)
    if revision.moment is None:
        commit = _named(db, repo_id, revision.name)
    else:
        commit = _at_moment(db, repo_id, revision.name, revision.moment, now)
    for parent, times in groupby(revision.steps):
        commit = _up(db, text, commit, parent, sum(1 for _ in times))
    return commit


def by_id(db: Connection, repo_id: int, text: str) -> CommitRow:
    """The commit of that id, or whose id alone begins so.

    Raises:
        Refusal: invalid (not an id, more than one begins so), not_found.
    """
    if not isinstance(text, str) or not _HEX.fullmatch(text):
        hint = f"its 64 hex digits, or at least the first {limits.PREFIX_MIN}"
        raise limits.invalid(f"this has to be a commit id, not {text!r:.80}", hint)
    found = _begun(db, repo_id, text)
    if found is None:
        raise Refusal(RefusalCode.NOT_FOUND, f"there is no commit {text}")
    return found


def _up(db: Connection, text: str, commit: CommitRow, parent: int, times: int) -> CommitRow:
    """So many times to the parent of that number."""
    if parent == 1:
        number = commits.first_ancestor(db, commit.no, times)
        if number is None:
            raise Refusal(RefusalCode.NOT_FOUND, f"{text} goes back beyond the first commit")
        return commits.by_no(db, number)
    for _ in range(times):
        parents = commits.parents_of(db, commit.no)
        if len(parents) < parent:
            raise Refusal(RefusalCode.NOT_FOUND, f"{text} has no parent number {parent}")
        commit = commits.by_no(db, parents[parent - 1])
    return commit


def _at_moment(db: Connection, repo_id: int, name: str, moment: revisions.Moment, now: datetime | None) -> CommitRow:
    """Where a branch stood. A branch that was deleted has a reflog still."""
    if isinstance(moment, timedelta):
        if now is None:
            raise limits.invalid(f"{name}: nobody knows here what time it is", "give the time itself, such as @{…Z}")
        moment = now - moment
    found = reflog.at(db, repo_id, name, moment)
    if found is None:
        moves, since = reflog.reach(db, repo_id, name)
        if not moves:
            hint = f"@{{…}} says where a branch stood; a tag, a snapshot or a commit is named without it: {name}"
            raise Refusal(RefusalCode.NOT_FOUND, f"the reflog knows no branch {name!r:.80}", hint)
        hint = f"its reflog goes back to {name}@{{{moves - 1}}}, {since}"
        raise Refusal(RefusalCode.NOT_FOUND, f"{name} did not stand anywhere then", hint)
    return commits.by_no(db, found)


def _named(db: Connection, repo_id: int, name: str) -> CommitRow:
    found = {} if limits.is_commit_id(name) else commits.named(db, repo_id, name)
    for type_ in ("branch", "tag", "snapshot"):
        if type_ in found:
            return found[type_]
    begun = _begun(db, repo_id, name) if _HEX.fullmatch(name) else None
    if begun is not None:
        return begun
    hint = f"a commit id needs at least {limits.PREFIX_MIN} characters" if len(name) < limits.PREFIX_MIN else ""
    raise Refusal(RefusalCode.NOT_FOUND, f"there is no branch, tag, snapshot or commit {name!r:.80}", hint)


def _begun(db: Connection, repo_id: int, digits: str) -> CommitRow | None:
    begun = commits.by_prefix(db, repo_id, digits)
    if len(begun) > 1:
        raise limits.invalid(f"more than one commit begins with {digits}", "give more of it")
    if begun and commits.is_header(db, repo_id, begun[0]):
        hint = "of what it wrote, what is still visible can be read at later commits"
        raise Refusal(RefusalCode.NOT_FOUND, f"{digits} is older than what the retention keeps", hint)
    return begun[0] if begun else None


def _ref(row: tuple[Any, ...]) -> Ref:
    type_, name, commit_no, revision, reason, meta, created_at = row
    return Ref(type_, name, commit_no, revision, reason, json.loads(meta), datetime.fromisoformat(created_at))
