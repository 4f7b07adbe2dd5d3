"""The versions of memories: one row per distinct body, shared by every commit and branch that holds it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from memory_repository.core.canonical import canonical_json
from memory_repository.core.commit_id import salt_of, version_hash
from memory_repository.core.memory import Memory
from memory_repository.core.ranking import memory_words
from memory_repository.storage import batches, cursors, embeddings, erasing, timeline, word_index
from memory_repository.storage.timeline import View
from thymos.database import Connection
from thymos.errors import Refusal, RefusalCode

_NAMING: Final = ("entry", "staged")
"""The tables that name versions by `version_id`, each with an index that begins with it."""
_IS_NAMED: Final = " OR ".join(
    f"EXISTS (SELECT 1 FROM {table} n WHERE n.version_id = v.version_id)" for table in _NAMING
)
_UNUSED: Final = f"SELECT version_id FROM version v WHERE NOT ({_IS_NAMED}) AND version_id IN ({{items}})"
_UNSWEPT: Final = (
    f"SELECT version_id, {_IS_NAMED} FROM version v WHERE repo_id = ? AND version_id > ? ORDER BY version_id LIMIT ?"
)


_decode = json.JSONDecoder().raw_decode
"""Fields are stored without anything around them."""


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version's row, its hash and its number of words; `again` when it had been erased and was written again."""

    version: int
    hash: str
    words: int
    again: bool = False


def store_version(db: Connection, repo_id: int, key: bytes, memory: Memory) -> StoredVersion:
    """Keep a memory's version and index its words; a version that is there already is used again."""
    return store_versions(db, repo_id, key, [memory])[0]


def store_versions(
    db: Connection, repo_id: int, key: bytes, memories: Sequence[Memory], *, landing: bool = True
) -> list[StoredVersion]:
    """Keep the versions of memories, as `store_version` does, at once.

    One that was erased is written again, at every commit that holds it: only if a commit is `landing` with it.

    Raises:
        Refusal: refused: one of them was erased, and nothing is landing.
    """
    drafts = [_draft(key, memory) for memory in memories]
    new: dict[_Name, _Draft] = {draft.name: draft for draft in drafts}
    rows: dict[_Name, int] = {}
    for part in batches.exact_parts(list(new.values())):
        sql = (
            "INSERT INTO version (repo_id, memory_id, hash, salt, content, kind, fields, words)"
            f" VALUES {batches.rows_of(len(part), 8)} ON CONFLICT (repo_id, memory_id, hash) DO NOTHING"
            " RETURNING memory_id, hash, version_id"
        )
        values = [value for draft in part for value in (repo_id, *draft.name, *draft.columns)]
        rows.update(((memory_id, digest), version) for memory_id, digest, version in db.execute(sql, values).fetchall())
    written = list(rows)
    known = [name for name in new if name not in rows]
    again: set[_Name] = set()
    counts = {draft.name: len(draft.words) for draft in drafts}
    for memory_id, digest, version, salt, words in batches.select(db, _KNOWN, known, after=(repo_id,)):
        rows[memory_id, digest] = version
        counts[memory_id, digest] = words
        if salt is None:
            # It was redacted and somebody writes it again: that is a new decision, and the body is back.
            if not landing:
                message = f"{memory_id} was erased with what it would hold"
                raise Refusal(RefusalCode.REFUSED, message, "commit it to a branch to write it anew")
            _write_again(db, version, new[memory_id, digest])
            written.append((memory_id, digest))
            again.add((memory_id, digest))
    word_index.add(db, repo_id, [(rows[name], new[name].words) for name in written])
    return [
        StoredVersion(rows[name], name[1], counts[name], again=name in again)
        for name in (draft.name for draft in drafts)
    ]


_Name = tuple[str, str]
"""A memory's id and a version's hash."""
_KNOWN: Final = (
    "WITH wanted (memory_id, hash) AS (VALUES {rows})"
    " SELECT v.memory_id, v.hash, v.version_id, v.salt, v.words FROM wanted w CROSS JOIN version v"
    " WHERE v.repo_id = ? AND v.memory_id = w.memory_id AND v.hash = w.hash"
)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A version to be stored: its name, and `columns` salt, content, kind, fields, count of words."""

    name: _Name
    columns: tuple[Any, ...]
    words: Sequence[str]


def _draft(key: bytes, memory: Memory) -> _Draft:
    fields = canonical_json(memory.fields).decode()
    body = memory.body_around(fields)
    salt = salt_of(key, body)
    words = memory_words(memory.content, memory.fields)
    columns = (salt, memory.content, memory.kind, fields, len(words))
    return _Draft((memory.id, version_hash(salt, body)), columns, words)


def _write_again(db: Connection, version: int, draft: _Draft) -> None:
    # Its count of words stays: commits have counted with it, and one that came in erased counts none.
    sql = "UPDATE version SET salt = ?, content = ?, kind = ?, fields = ? WHERE version_id = ?"
    db.execute(sql, (*draft.columns[:4], version))


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


def remove_unused(db: Connection, repo_id: int, versions: Iterable[int]) -> list[int]:
    """Remove those of the versions that nothing names any more, with their words; of each that went, the bytes of its
    content and fields."""
    unused = sorted(version for (version,) in batches.select(db, _UNUSED, list(dict.fromkeys(versions))))
    sizes: list[int] = []
    for version in unused:
        content, fields = forget_words(db, repo_id, version)
        db.execute("DELETE FROM version WHERE version_id = ?", (version,))
        sizes.append(len(content.encode()) + len(fields.encode()))
    if unused:
        cursors.versions_went(db)
        erasing.begin(db)
    return sizes


def sweep(db: Connection, repo_id: int, most: int) -> tuple[list[int], bool]:
    """Remove what was stored since the last sweep and is named by nothing, as `remove_unused` does; whether there is
    more to look at. Each version is looked at once: whoever takes a name away later removes the version himself.

    O(most), the versions that are looked at: the repository's own, so that neither what a sweep costs nor in how many
    steps it is done depends on what others have stored.
    """
    rows = db.execute(_UNSWEPT, (repo_id, cursors.last_version(db, repo_id), most)).fetchall()
    if rows:
        cursors.set_last_version(db, repo_id, rows[-1][0])
    return remove_unused(db, repo_id, [version for version, named in rows if not named]), len(rows) == most


def versions_of(db: Connection, repo_id: int, memory_id: str) -> list[tuple[int, str, bool]]:
    """All versions of a memory that are stored: row, hash, and whether it was redacted."""
    rows = db.execute(
        "SELECT version_id, hash, salt IS NULL FROM version WHERE repo_id = ? AND memory_id = ? ORDER BY version_id",
        (repo_id, memory_id),
    )
    return [(version, digest, bool(redacted)) for version, digest, redacted in rows.fetchall()]


def whole(db: Connection, versions: Sequence[int]) -> list[int]:
    """Those of the versions that were not redacted, in their order."""
    sql = "SELECT version_id FROM version WHERE salt IS NOT NULL AND version_id IN ({items})"
    found = {version for (version,) in batches.select(db, sql, versions)}
    return [version for version in versions if version in found]


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
    embeddings.forget(db, version)
    return content, fields


def hash_of(key: bytes, memory: Memory) -> str:
    """The hash that a memory's version has, stored or not."""
    body = memory.body()
    return version_hash(salt_of(key, body), body)


def load_memory(db: Connection, version: int) -> Memory:
    """The memory that a version holds; empty content and kind "redacted" once it is redacted."""
    return load_memories(db, [version])[version]


def load_memories(db: Connection, versions: Iterable[int]) -> dict[int, Memory]:
    """The memories that versions hold, as `load_memory` gives them, by the version's row."""
    sql = f"SELECT {_MEMORY} FROM version v WHERE v.version_id IN ({{items}})"
    rows = batches.select(db, sql, list(dict.fromkeys(versions)))
    return {version: memory_of(*columns) for version, *columns in rows}


def load_visible(db: Connection, view: View, versions: Iterable[int]) -> dict[int, Memory]:
    """Those that a view sees, of the memories that versions hold, as `load_memories` gives them."""
    rows = timeline.select_visible(db, _MEMORY, view, sorted(versions))
    return {version: memory_of(*columns) for version, *columns in rows}


_MEMORY: Final = "v.version_id, v.memory_id, v.hash, v.content, v.kind, v.fields"


def memory_of(memory_id: str, digest: str, content: str | None, kind: str | None, fields: str | None) -> Memory:
    """A memory from its columns; empty content, kind "redacted" and `erased` once it is redacted."""
    if content is None or kind is None or fields is None:
        return Memory(memory_id, "", "redacted", {}, erased=digest)
    return Memory(memory_id, content, kind, _decode(fields)[0])
