"""Merges rows with DoltLite: run as a process of its own, because it takes the place of SQLite in its process.

Reads {"columns": [...], "rows": [[id, base, ours, theirs], ...]} as JSON from standard input, where a side is a list of
the columns' values, or null where the row is absent. All rows are merged at once, from a branch `theirs` into `ours`.
Writes {"version": ..., "conflicts": [id, ...], "merged": {id: values}} to standard output; of a row with conflicts
the values are ours.
"""

import doltlite  # noqa: F401  # isort: skip  (before sqlite3)
import json
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any

Side = list[Any] | None


def write(db: sqlite3.Connection, rows: list[tuple[str, Side, Side]]) -> None:
    """Make each row what it shall be: (id, what it is now, what it shall be)."""
    db.execute("BEGIN")
    for name, now, wanted in rows:
        if wanted == now and [type(value) for value in wanted or []] == [type(value) for value in now or []]:
            continue
        db.execute("DELETE FROM memory WHERE id = ?", (name,))
        if wanted is not None:
            db.execute(f"INSERT INTO memory VALUES ({', '.join('?' * (len(wanted) + 1))})", (name, *wanted))
    db.execute("COMMIT")


def merge(folder: str, columns: list[str], rows: list[tuple[str, Side, Side, Side]]) -> dict[str, Any]:
    """What DoltLite makes of the rows."""
    db = sqlite3.connect(str(Path(folder) / "oracle.db"), isolation_level=None)
    db.execute(f"CREATE TABLE memory (id TEXT PRIMARY KEY, {', '.join(columns)})")
    write(db, [(name, None, base) for name, base, _, _ in rows])
    db.execute("SELECT dolt_commit('-A', '-m', 'base')")
    ours, theirs = [(row[0], row[1], row[2]) for row in rows], [(row[0], row[1], row[3]) for row in rows]
    for branch, changes in (("ours", ours), ("theirs", theirs)):
        db.execute("SELECT dolt_checkout('-b', ?, 'main')", (branch,))
        write(db, changes)
        db.execute("SELECT dolt_commit('-A', '--allow-empty', '-m', ?)", (branch,))
    db.execute("SELECT dolt_checkout('ours')")
    db.execute("BEGIN")
    conflicts: list[str] = []
    try:
        db.execute("SELECT dolt_merge('theirs')")
    except sqlite3.OperationalError as error:
        if "conflict" not in str(error):
            raise
        found = db.execute("SELECT coalesce(base_id, our_id, their_id) FROM dolt_conflicts_memory")
        conflicts = sorted(name for (name,) in found)
    merged = {name: values for name, *values in db.execute("SELECT * FROM memory ORDER BY id")}
    db.execute("ROLLBACK" if conflicts else "COMMIT")
    (version_text,) = db.execute("SELECT dolt_version()").fetchone()
    db.close()
    return {"version": version_text, "conflicts": conflicts, "merged": merged}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as scratch:
        json.dump(merge(scratch, asked["columns"], asked["rows"]), sys.stdout)
