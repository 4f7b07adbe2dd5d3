"""The index of words: which versions hold any of some words, the likeliest first. FTS5 in SQLite, GIN in PostgreSQL.

The words are those that core/ranking.py cuts, on both engines, so that both find the same versions. Each stands in the
index as a word of its repository, so that a search reads entries of that repository alone: how long it takes says
nothing of anybody else's memories. The order here only says which of very many are ranked (operations/searching.py);
it is each engine's own.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from memory_repository.core.ranking import memory_words
from thymos.database import Connection, Rows

RANKED_MAX = 4_000
"""Versions that hold a word of the query, up to which SQLite ranks them."""
AT_ONCE = 4_000
"""Versions that PostgreSQL is asked for first; SQLite gives them one by one."""
POSITION_MAX = 16_383
"""The highest that PostgreSQL keeps of a word in a text; what comes later counts as there."""


def add(db: Connection, repo_id: int, versions: Sequence[tuple[int, Sequence[str]]]) -> None:
    """Index the words of versions, in their order."""
    if db.engine == "sqlite":
        db.executemany(
            "INSERT INTO version_terms (rowid, words) VALUES (?, ?)",
            [(version, _text(repo_id, words)) for version, words in versions],
        )
        return
    db.executemany(
        "INSERT INTO version_words (version_id, words) VALUES (?, CAST(? AS TSVECTOR))"
        " ON CONFLICT (version_id) DO UPDATE SET words = excluded.words",
        [(version, _vector(repo_id, words)) for version, words in versions],
    )


def remove(db: Connection, repo_id: int, version: int, words: Sequence[str]) -> None:
    """Take a version out of the index; `words` are those that it was indexed with, which FTS5 does not keep."""
    if db.engine == "sqlite":
        db.execute(
            "INSERT INTO version_terms (version_terms, rowid, words) VALUES ('delete', ?, ?)",
            (version, _text(repo_id, words)),
        )
        return
    db.execute("DELETE FROM version_words WHERE version_id = ?", (version,))


def holds(db: Connection, repo_id: int, version: int, words: Sequence[str]) -> bool:
    """Whether a version is indexed under its words. SQLite's index cannot be asked for the words of a version at a
    bearable price: there only whether it was given any, and none was taken out since."""
    if db.engine == "sqlite":
        return db.execute("SELECT 1 FROM version_terms_docsize WHERE id = ?", (version,)).fetchone() is not None
    sql = "SELECT words = CAST(? AS TSVECTOR) FROM version_words WHERE version_id = ?"
    row = db.execute(sql, (_vector(repo_id, words), version)).fetchone()
    return row is not None and bool(row[0])


def holding(db: Connection, repo_id: int, terms: Sequence[str], kind: str | None) -> Iterator[tuple[int, str]]:
    """The versions of a repository that hold any of the terms, with their memory's id; of one kind if it is given.

    Terms are words: letters and digits only, so that a quoted one cannot end its quotes. Costs what is taken; in SQLite
    up to RANKED_MAX are ranked by the index, and of more those with a rare term come first, then those with all terms,
    then the others, the newest first.
    """
    if db.engine == "sqlite":
        yield from _holding_sqlite(db, [f'"{_text(repo_id, [term])}"' for term in terms], kind)
        return
    query = " | ".join(_lexeme(repo_id, term) for term in terms)
    limit, offset = AT_ONCE, 0
    while True:
        rows = db.execute(
            "SELECT v.version_id, v.memory_id FROM version_words w JOIN version v ON v.version_id = w.version_id"
            " WHERE w.words @@ CAST(? AS TSQUERY) AND (CAST(? AS TEXT) IS NULL OR v.kind = ?)"
            " ORDER BY ts_rank(w.words, CAST(? AS TSQUERY), 1) DESC, v.version_id LIMIT ? OFFSET ?",
            (query, kind, kind, query, limit, offset),
        ).fetchall()
        yield from rows
        if len(rows) < limit:
            return
        limit, offset = limit * 8, offset + limit


def holds_more(db: Connection, repo_id: int, terms: Sequence[str], most: int) -> bool:
    """Whether more than so many versions of a repository hold any of the terms. O(most)."""
    if db.engine == "sqlite":
        return not _at_most(db, " OR ".join(f'"{_text(repo_id, [term])}"' for term in terms), most)
    query = " | ".join(_lexeme(repo_id, term) for term in terms)
    sql = "SELECT version_id FROM version_words WHERE words @@ CAST(? AS TSQUERY) LIMIT 1 OFFSET ?"
    return db.execute(sql, (query, most)).fetchone() is not None


def rows_holding(db: Connection, repo_id: int, terms: Sequence[str], most: int, above: int = 0) -> set[int] | None:
    """The versions of a repository that hold any of the terms, in no order; None when there are more than so many.
    Of those `above` a version. O(most), and a thirtieth of what `holding` costs for each; PostgreSQL, whose index knows
    no order, reads also those below."""
    if db.engine == "sqlite":
        words = " OR ".join(f'"{_text(repo_id, [term])}"' for term in terms)
        sql = "SELECT rowid FROM version_terms WHERE version_terms MATCH ? AND rowid > ? LIMIT ?"
    else:
        words = " | ".join(_lexeme(repo_id, term) for term in terms)
        sql = "SELECT version_id FROM version_words WHERE words @@ CAST(? AS TSQUERY) AND version_id > ? LIMIT ?"
    rows = db.execute(sql, (words, above, most + 1))
    found = {version for (version,) in rows.fetchall()}
    return found if len(found) <= most else None


def _holding_sqlite(db: Connection, terms: Sequence[str], kind: str | None) -> Iterator[tuple[int, str]]:
    any_term = " OR ".join(terms)
    if _at_most(db, any_term, RANKED_MAX):
        yield from _versions(db, any_term, kind, "w.rank, v.version_id")
        return
    # The index would have to rank them all, however many: where a word is in so many memories, that says little.
    rare = [term for term in terms if _at_most(db, term, RANKED_MAX)]
    given: set[int] = set()
    for expression, order in (
        (" OR ".join(rare), "w.rank, v.version_id"),
        (" AND ".join(terms) if len(terms) > 1 else "", "w.rowid DESC"),
        (any_term, "w.rowid DESC"),
    ):
        for version, memory_id in _versions(db, expression, kind, order) if expression else ():
            if version not in given:
                given.add(version)
                yield version, memory_id


def _at_most(db: Connection, expression: str, most: int) -> bool:
    sql = "SELECT count(*) FROM (SELECT rowid FROM version_terms WHERE version_terms MATCH ? LIMIT ?)"
    return bool(db.execute(sql, (expression, most + 1)).fetchone()[0] <= most)


def _versions(db: Connection, expression: str, kind: str | None, order: str) -> Rows:
    return db.execute(
        "SELECT v.version_id, v.memory_id FROM version_terms w CROSS JOIN version v ON v.version_id = w.rowid"
        f" WHERE version_terms MATCH ? AND (? IS NULL OR v.kind = ?) ORDER BY {order}",
        (expression, kind, kind),
    )


def rebuild(db: Connection) -> None:
    """Index every version anew, and count its words, for what an older Thymos has cut otherwise. O(memory)."""
    if db.engine == "sqlite":
        db.execute("DROP TABLE IF EXISTS version_words")
        db.execute("INSERT INTO version_terms (version_terms) VALUES ('delete-all')")
    last = 0
    while rows := db.execute(_HELD, (last, REBUILT_AT_ONCE)).fetchall():
        for version, repo_id, content, fields in rows:
            found = memory_words(content, json.loads(fields))
            add(db, repo_id, [(version, found)])
            db.execute("UPDATE version SET words = ? WHERE version_id = ?", (len(found), version))
        last = rows[-1][0]


REBUILT_AT_ONCE: Final = 1_000
_HELD: Final = (
    "SELECT version_id, repo_id, content, fields FROM version"
    " WHERE version_id > ? AND content IS NOT NULL ORDER BY version_id LIMIT ?"
)


def _text(repo_id: int, words: Sequence[str]) -> str:
    """Words as those of a repository, for FTS5: `12xfoo`. The number ends at the first x: no two are the same."""
    return f"{repo_id}x" + f" {repo_id}x".join(words) if words else ""


def _lexeme(repo_id: int, word: str) -> str:
    return f"'r{repo_id}:{word}'"


def _vector(repo_id: int, words: Sequence[str]) -> str:
    positions: dict[str, list[str]] = defaultdict(list)
    for position, word in enumerate(words, start=1):
        positions[word].append(str(min(position, POSITION_MAX)))
    return " ".join(f"{_lexeme(repo_id, word)}:{','.join(found)}" for word, found in positions.items())
