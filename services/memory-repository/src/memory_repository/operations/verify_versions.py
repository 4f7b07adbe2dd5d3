"""Whether versions of memories are what was written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from memory_repository.core.commit_id import version_hash
from memory_repository.core.memory import Memory
from memory_repository.core.proof import Position, Problem
from memory_repository.storage.store import Repository


@dataclass(frozen=True, slots=True)
class Checked:
    """A part of the versions."""

    count: int
    redacted: int
    problems: tuple[Problem, ...]
    following: Position


def check(repo: Repository, at: Position, most: int) -> Checked:
    """The next versions, in the order of memories and hashes."""
    beyond, given = ("AND (memory_id, hash) > (?, ?)", at.after) if at.after else ("", ())
    rows = repo.db.execute(
        "SELECT memory_id, hash, version_id, salt, content, kind, fields FROM version"
        f" WHERE repo_id = ? {beyond} ORDER BY memory_id, hash LIMIT ?",
        (repo.id, *given, most),
    ).fetchall()
    problems = tuple(
        _problem(repo, version, f"the version {digest[:12]} of {memory_id} is not what was written")
        for memory_id, digest, version, *body in rows
        if not _is_right(memory_id, digest, *body)
    )
    redacted = sum(1 for row in rows if row[3] is None)
    following = Position("versions", tuple(rows[-1][:2])) if len(rows) == most else Position("commits")
    return Checked(len(rows), redacted, problems, following)


def _is_right(memory_id: str, digest: str, salt: Any, content: Any, kind: Any, fields: Any) -> bool:
    if salt is None:
        return content is None and kind is None and fields is None
    try:
        return version_hash(bytes(salt), Memory(memory_id, content, kind, json.loads(fields)).body()) == digest
    except (ValueError, TypeError):
        return False


def _problem(repo: Repository, version: int, what: str) -> Problem:
    row = repo.db.execute("SELECT min(commit_no) FROM entry WHERE version_id = ?", (version,)).fetchone()
    if row[0] is None:
        return Problem(None, 0, what)
    found = repo.db.execute("SELECT commit_id FROM commits WHERE commit_no = ?", row).fetchone()
    return Problem(found and found[0], row[0], what)
