"""Getting rid of bytes that were written, once no row has them any more. SQLite only: PostgreSQL's VACUUM does it.

A page that gives up bytes writes zeros over them (`PRAGMA secure_delete`). Two places keep old bytes nevertheless: the
word index, whose segments are only merged now and then, and the log beside the file, until it is cut off.
"""

from __future__ import annotations

from typing import Final

from memory_repository.storage import index_levels
from thymos.database import Connection

PAGES_STEP: Final = 500
"""Pages of the word index that one step merges."""
_WANTED, _MERGING, _MERGED = 0, 1, 2


def begin(db: Connection) -> None:
    """Something was erased: the word index is to be merged."""
    db.execute(
        "INSERT INTO erasing (singleton, phase) VALUES (1, ?)"
        " ON CONFLICT (singleton) DO UPDATE SET phase = excluded.phase",
        (_WANTED,),
    )


def is_pending(db: Connection) -> bool:
    """Whether there is something to do."""
    return db.execute("SELECT 1 FROM erasing").fetchone() is not None


def step(db: Connection, pages: int = PAGES_STEP) -> bool:
    """Merge so many pages of the word index; True once nothing of what was erased is left in it.

    A negative number begins anew: all segments there are become one, without what was deleted. Positive ones go on,
    until one changes nothing (SQLite's documentation of FTS5, section 6.8).
    """
    row = db.execute("SELECT phase FROM erasing").fetchone()
    if db.engine != "sqlite" or row is None or row[0] == _MERGED:
        return True
    if row[0] == _WANTED:
        index_levels.trim(db)
    before = _changes(db)
    db.execute(
        "INSERT INTO version_terms (version_terms, rank) VALUES ('merge', ?)",
        (pages if row[0] == _MERGING else -pages,),
    )
    # The statement itself counts as one change.
    merged = row[0] == _MERGING and _changes(db) - before < 2
    db.execute("UPDATE erasing SET phase = ?", (_MERGED if merged else _MERGING,))
    return bool(merged)


def finish(db: Connection) -> None:
    """Done: the index is merged and the log was cut off since. What was erased meanwhile is begun with anew."""
    if db.engine == "sqlite":
        db.execute("DELETE FROM erasing WHERE phase = ?", (_MERGED,))
    else:
        db.execute("DELETE FROM erasing")


def _changes(db: Connection) -> int:
    changes: int = db.execute("SELECT total_changes()").fetchone()[0]
    return changes


def cut_log(db: Connection) -> bool:
    """Cut off the log beside the file, outside of a transaction; False while somebody still reads from it."""
    if db.engine != "sqlite":
        return True
    return bool(db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
