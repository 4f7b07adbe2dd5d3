"""Getting rid of bytes that were written, once no row has them any more. SQLite only: PostgreSQL's VACUUM does it.

A page that gives up bytes writes zeros over them (`PRAGMA secure_delete`). Two places keep old bytes nevertheless: the
word index, whose segments are only merged now and then, and the log beside the file, until it is cut off.
"""

from __future__ import annotations

from typing import Final

from thymos.database import Connection

PAGES_STEP: Final = 200
"""Pages of the word index that one step merges."""


def begin(db: Connection) -> None:
    """Something was erased: the word index is to be merged."""
    db.execute(
        "INSERT INTO erasing (singleton, begun) VALUES (1, 0)"
        " ON CONFLICT (singleton) DO UPDATE SET begun = excluded.begun"
    )


def is_pending(db: Connection) -> bool:
    """Whether there is something to do."""
    return db.execute("SELECT 1 FROM erasing").fetchone() is not None


def step(db: Connection, pages: int = PAGES_STEP) -> bool:
    """Merge so many pages of the word index; True once none is left that may hold what was erased.

    A negative number begins anew: all segments there are become one, without what was deleted. Positive ones go on,
    until one changes nothing (SQLite's documentation of FTS5, section 6.8).
    """
    if db.engine != "sqlite":
        db.execute("DELETE FROM erasing")
        return True
    row = db.execute("SELECT begun FROM erasing").fetchone()
    if row is None:
        return True
    before = db.execute("SELECT total_changes()").fetchone()[0]
    db.execute("INSERT INTO version_words (version_words, rank) VALUES ('merge', ?)", (pages if row[0] else -pages,))
    # The statement itself counts as one change.
    done = row[0] and db.execute("SELECT total_changes()").fetchone()[0] - before < 2
    db.execute("DELETE FROM erasing" if done else "UPDATE erasing SET begun = 1")
    return bool(done)


def cut_log(db: Connection) -> bool:
    """Cut off the log beside the file, outside of a transaction; False while somebody still reads from it."""
    if db.engine != "sqlite":
        return True
    return bool(db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
