"""Embeddings of versions: a vector of 32-bit numbers, little-endian, per model. Made when a search first needs them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from thymos.database import Connection

AT_ONCE = 500


def known(db: Connection, model: str, versions: Sequence[int]) -> dict[int, bytes]:
    """The vectors of those versions that have one."""
    found: dict[int, bytes] = {}
    for start in range(0, len(versions), AT_ONCE):
        part = versions[start : start + AT_ONCE]
        marks = ", ".join("?" * len(part))
        sql = f"SELECT version_id, vector FROM embedding WHERE model = ? AND version_id IN ({marks})"
        found.update((version, bytes(vector)) for version, vector in db.execute(sql, (model, *part)))
    return found


def put(db: Connection, model: str, vectors: Iterable[tuple[int, bytes]]) -> None:
    """Keep vectors."""
    db.executemany(
        "INSERT INTO embedding (version_id, model, vector) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(version, model, vector) for version, vector in vectors],
    )


def forget(db: Connection, version: int) -> None:
    """Forget the vectors of a version: they tell of its content."""
    db.execute("DELETE FROM embedding WHERE version_id = ?", (version,))
