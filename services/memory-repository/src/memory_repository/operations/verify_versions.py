"""Whether versions of memories are what was written, under the repository's key, and found by their words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from memory_repository.core.commit_id import salt_of, version_hash
from memory_repository.core.memory import Memory
from memory_repository.core.proof import Position, Problem
from memory_repository.core.ranking import memory_words
from memory_repository.storage import word_index
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
        "SELECT memory_id, hash, version_id, salt, content, kind, fields, words FROM version"
        f" WHERE repo_id = ? {beyond} ORDER BY memory_id, hash LIMIT ?",
        (repo.id, *given, most),
    ).fetchall()
    # Not the one that was read when the repository was opened: it may have been replaced since.
    key = bytes(repo.db.execute("SELECT key FROM repository WHERE repo_id = ?", (repo.id,)).fetchone()[0])
    problems = tuple(
        _problem(repo, version, f"the version {str(digest)[:12]} of {memory_id} {what}")
        for memory_id, digest, version, *columns in rows
        if (what := _wrong(repo, key, memory_id, digest, version, *columns))
    )
    redacted = sum(1 for row in rows if row[3] is None)
    last = tuple(map(str, rows[-1][:2])) if rows else ()
    # Not back: where text is no UTF-8, the next ones cannot be asked for.
    following = Position("versions", last) if len(rows) == most and last > at.after else Position("commits")
    return Checked(len(rows), redacted, problems, following)


def _wrong(repo: Repository, key: bytes, memory_id: str, digest: str, version: int, *columns: Any) -> str:
    """What is wrong with a version, in words; empty if nothing is."""
    salt, content, kind, fields, words = columns
    if salt is None:
        return "" if content is None and kind is None and fields is None else "is not what was written"
    try:
        memory = Memory(memory_id, content, kind, json.loads(fields))
        body = memory.body()
        if version_hash(bytes(salt), body) != digest:
            return "is not what was written"
        found = memory_words(memory.content, memory.fields)
    except (ValueError, TypeError, AttributeError):
        return "is not what was written"
    if salt_of(key, body) != bytes(salt):
        return "has a salt that does not follow from the repository's key"
    # One that came in erased, by an import, counts none: also when it was written again.
    if words not in (0, len(found)):
        return "counts another number of words"
    return "" if word_index.holds(repo.db, repo.id, version, found) else "is not found by its words"


def _problem(repo: Repository, version: int, what: str) -> Problem:
    row = repo.db.execute("SELECT min(commit_no) FROM entry WHERE version_id = ?", (version,)).fetchone()
    if row[0] is None:
        return Problem(None, 0, what)
    found = repo.db.execute("SELECT commit_id FROM commits WHERE commit_no = ?", row).fetchone()
    return Problem(found and found[0], row[0], what)
