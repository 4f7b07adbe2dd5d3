"""The versions of memories: one row per distinct body, shared by every commit and branch that holds it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from memory_repository.core.canonical import canonical_json
from memory_repository.core.commit_id import salt_of, version_hash
from memory_repository.core.memory import Memory
from memory_repository.core.ranking import memory_words
from memory_repository.storage import word_index
from thymos.database import Connection

_NAMING = ("entry", "staged")
"""The tables that name versions by `version_id`, each with an index that begins with it."""


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version's row, its hash and its number of words."""

    version: int
    hash: str
    words: int


def store_version(db: Connection, repo_id: int, key: bytes, memory: Memory) -> StoredVersion:
    """Keep a memory's version and index its words; a version that is there already is used again."""
    body = memory.body()
    salt = salt_of(key, body)
    digest = version_hash(salt, body)
    row = db.execute(
        "SELECT version_id, hash, words, salt FROM version WHERE repo_id = ? AND memory_id = ? AND hash = ?",
        (repo_id, memory.id, digest),
    ).fetchone()
    if row is not None and row[3] is not None:
        return StoredVersion(*row[:3])
    found = memory_words(memory.content, memory.fields)
    values = (salt, memory.content, memory.kind, canonical_json(memory.fields).decode(), len(found))
    if row is None:
        (version,) = db.execute(
            "INSERT INTO version (salt, content, kind, fields, words, repo_id, memory_id, hash)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING version_id",
            (*values, repo_id, memory.id, digest),
        ).fetchone()
    else:
        # It was redacted and somebody writes it again: that is a new decision, and the body is back.
        version = row[0]
        db.execute(
            "UPDATE version SET salt = ?, content = ?, kind = ?, fields = ?, words = ? WHERE version_id = ?",
            (*values, version),
        )
    word_index.add(db, repo_id, version, found)
    return StoredVersion(version, digest, len(found))


def store_redacted(db: Connection, repo_id: int, memory_id: str, digest: str) -> StoredVersion:
    """Keep a version of which only the hash is known, as redaction leaves it; one that is there is used again."""
    row = db.execute(
        "SELECT version_id, hash, words FROM version WHERE repo_id = ? AND memory_id = ? AND hash = ?",
        (repo_id, memory_id, digest),
    ).fetchone()
    if row is None:
        row = db.execute(
            "INSERT INTO version (repo_id, memory_id, hash, words) VALUES (?, ?, ?, 0)"
            " RETURNING version_id, hash, words",
            (repo_id, memory_id, digest),
        ).fetchone()
    return StoredVersion(*row)


def load_sealed(db: Connection, version: int) -> tuple[str, bytes | None, Memory | None]:
    """A version's hash, and its salt and memory; None for both once it is redacted."""
    memory_id, digest, salt, content, kind, fields = db.execute(
        "SELECT memory_id, hash, salt, content, kind, fields FROM version WHERE version_id = ?", (version,)
    ).fetchone()
    if salt is None:
        return digest, None, None
    return digest, bytes(salt), Memory(memory_id, content, kind, json.loads(fields))


def remove_unused(db: Connection, repo_id: int, version: int) -> int | None:
    """Remove a version that nothing names any more, with its words; returns the bytes of its content and fields, or
    None when something still names it."""
    for table in _NAMING:
        if db.execute(f"SELECT 1 FROM {table} WHERE version_id = ? LIMIT 1", (version,)).fetchone() is not None:
            return None
    content, fields = forget_words(db, repo_id, version)
    db.execute("DELETE FROM version WHERE version_id = ?", (version,))
    return len(content.encode()) + len(fields.encode())


def versions_of(db: Connection, repo_id: int, memory_id: str) -> list[tuple[int, str, bool]]:
    """All versions of a memory that are stored: row, hash, and whether it was redacted."""
    rows = db.execute(
        "SELECT version_id, hash, salt IS NULL FROM version WHERE repo_id = ? AND memory_id = ? ORDER BY version_id",
        (repo_id, memory_id),
    )
    return [(version, digest, bool(redacted)) for version, digest, redacted in rows.fetchall()]


def erase(db: Connection, repo_id: int, version: int) -> None:
    """Remove a version's body, its salt and all that was derived from them. The row stays, with the hash."""
    forget_words(db, repo_id, version)
    db.execute(
        "UPDATE version SET salt = NULL, content = NULL, kind = NULL, fields = NULL WHERE version_id = ?", (version,)
    )


def forget_words(db: Connection, repo_id: int, version: int) -> tuple[str, str]:
    """Take what was derived from a version's body out of the indexes, while the body is still there. Returns its
    content and its fields as they are stored; both are empty when it was redacted."""
    content, fields = db.execute("SELECT content, fields FROM version WHERE version_id = ?", (version,)).fetchone()
    if content is None:
        return "", ""
    word_index.remove(db, repo_id, version, memory_words(content, json.loads(fields)))
    return content, fields


def load_memory(db: Connection, version: int) -> Memory:
    """The memory that a version holds; empty content and kind "redacted" once it is redacted."""
    memory_id, content, kind, fields = db.execute(
        "SELECT memory_id, content, kind, fields FROM version WHERE version_id = ?", (version,)
    ).fetchone()
    if content is None:
        return Memory(memory_id, "", "redacted", {})
    return Memory(memory_id, content, kind, json.loads(fields))
