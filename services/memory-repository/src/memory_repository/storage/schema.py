"""The tables of a store, and of which version of them it is.

A store says which version it is of. An older one is brought over when it is opened, before anything is read; a newer
one is refused, because nobody here knows what its rows mean.

    0   of before stores said it
    1   words are indexed as those of their repository
    2   words of all scripts are cut (core/ranking.py); what old versions a line shows is noted (storage/recent.py)
    3   numbers that were given twice have been looked at again (storage/cursors.py)
"""

from __future__ import annotations

from typing import Final

from memory_repository.storage import commits, cursors, store, word_index
from thymos.database import Connection
from thymos.errors import Refusal, RefusalCode

VERSION: Final = 3
_NOTE: Final = """
CREATE TABLE IF NOT EXISTS memory_schema (
    singleton  INTEGER PRIMARY KEY,         -- 1
    version    INTEGER NOT NULL
);
"""
_HAS_COLUMN: Final = {
    "sqlite": "SELECT 1 FROM pragma_table_info(?) WHERE name = ?",
    "postgresql": "SELECT 1 FROM information_schema.columns"
    " WHERE table_schema = current_schema() AND table_name = ? AND column_name = ?",
}


def prepare(db: Connection) -> None:
    """Create the tables, or bring those of an older version over. O(memory) then, once.

    Raises:
        Refusal: refused: the store is of a newer version.
    """
    db.executescript(_NOTE)
    if _version(db) > VERSION:
        message = f"the store is of a newer version of Thymos (tables {_version(db)}; here {VERSION} are known)"
        hint = "open it with that version; to go back, export its memories with that one and import them with this one"
        raise Refusal(RefusalCode.REFUSED, message, hint)
    db.executescript(store.SCHEMA)
    if _version(db) == VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        db.take_turn("")
        if _version(db) < VERSION:
            _bring_over(db)
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _version(db: Connection) -> int:
    row = db.execute("SELECT version FROM memory_schema").fetchone()
    return 0 if row is None else int(row[0])


def _bring_over(db: Connection) -> None:
    """From an older version; of a new store there is nothing to bring."""
    if db.execute(_HAS_COLUMN[db.engine], ("erasing", "begun")).fetchone() is not None:
        db.execute("ALTER TABLE erasing RENAME COLUMN begun TO phase")
    if _version(db) < 2 and db.execute("SELECT 1 FROM version LIMIT 1").fetchone() is not None:
        word_index.rebuild(db)
        commits.recount(db)
    cursors.start_anew(db)
    db.execute(
        "INSERT INTO memory_schema (singleton, version) VALUES (1, ?)"
        " ON CONFLICT (singleton) DO UPDATE SET version = excluded.version",
        (VERSION,),
    )
