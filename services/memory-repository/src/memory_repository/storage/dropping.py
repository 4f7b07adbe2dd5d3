"""Dropping commits: out of their lines, out of the graph, and out of the store unless something visible is theirs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from memory_repository.storage import cursors, reflog, timeline
from memory_repository.storage.timeline import Place
from thymos.database import Connection

Written = Mapping[int, set[int | None]]
"""Commit -> the versions that it wrote first (None = it deleted something) and that were visible at it."""


def find_attic(db: Connection, repo_id: int) -> int | None:
    """The line where headers are kept; None when nothing was ever dropped."""
    row = db.execute("SELECT line_id FROM attic WHERE repo_id = ?", (repo_id,)).fetchone()
    return None if row is None else int(row[0])


def cut_commits(db: Connection, repo_id: int) -> list[int]:
    """Row numbers of the commits that have lost a parent."""
    rows = db.execute(
        "SELECT DISTINCT p.commit_no FROM cut_parent p JOIN commits c ON c.commit_no = p.commit_no WHERE c.repo_id = ?",
        (repo_id,),
    )
    return [number for (number,) in rows.fetchall()]


def _attic(db: Connection, repo_id: int) -> int:
    found = find_attic(db, repo_id)
    if found is not None:
        return found
    # Nobody owns it, so that nobody commits there.
    line = timeline.new_line(db, repo_id, "")
    db.execute("INSERT INTO attic (repo_id, line_id) VALUES (?, ?)", (repo_id, line))
    return line


def written_by(db: Connection, places: Mapping[int, Place]) -> dict[int, set[int | None]]:
    """What the commits at these places wrote."""
    found: dict[int, set[int | None]] = {}
    for commit, place in places.items():
        # A range, for with `seq = ?` SQLite reads the whole line instead of the index by sequence.
        rows = db.execute(
            "SELECT version_id FROM entry WHERE line_id = ? AND seq >= ? AND seq <= ? AND commit_no = ?",
            (place.line, place.seq, place.seq, commit),
        )
        found[commit] = {version for (version,) in rows.fetchall()}
    return found


def leave_lines(db: Connection, repo_id: int, commits: Collection[int]) -> None:
    """Move commits to the attic: no line ends at them any more."""
    attic = _attic(db, repo_id)
    db.executemany(
        "UPDATE commits SET line_id = ?, seq = commit_no WHERE commit_no = ?", [(attic, commit) for commit in commits]
    )


def keep_parent_ids(db: Connection, commits: Collection[int]) -> None:
    """Keep the ids of all parents of commits that lose one, for they are part of the commits' own ids."""
    for commit in commits:
        if db.execute("SELECT 1 FROM cut_parent WHERE commit_no = ? LIMIT 1", (commit,)).fetchone() is None:
            db.execute(
                "INSERT INTO cut_parent (commit_no, position, parent_id)"
                " SELECT p.commit_no, p.position, c.commit_id FROM commit_parent p"
                " JOIN commits c ON c.commit_no = p.parent_no WHERE p.commit_no = ?",
                (commit,),
            )


def parent_ids(db: Connection, commit: int) -> list[str] | None:
    """The ids of all parents of a commit that lost one; None for any other."""
    rows = db.execute("SELECT parent_id FROM cut_parent WHERE commit_no = ? ORDER BY position", (commit,))
    return [parent for (parent,) in rows.fetchall()] or None


def leave_graph(db: Connection, commits: Collection[int], parents: Mapping[int, Sequence[int]]) -> None:
    """Take commits out of the graph; `parents` are the new ones of those commits that lose one."""
    numbers = [(commit,) for commit in (*commits, *parents)]
    db.executemany("DELETE FROM commit_parent WHERE commit_no = ?", numbers)
    db.executemany(
        "INSERT INTO commit_parent (commit_no, position, parent_no) VALUES (?, ?, ?)",
        [(commit, position, parent) for commit, new in parents.items() for position, parent in enumerate(new)],
    )


def remove(db: Connection, repo_id: int, commits: Collection[int], headers: Mapping[int, int]) -> None:
    """Remove what is left of commits; of those in `headers` the header stays, with its number of visible versions."""
    db.executemany("INSERT INTO dropping (commit_no) VALUES (?)", [(commit,) for commit in commits])
    gone = "SELECT commit_no FROM dropping"
    reflog.drop(db, repo_id, gone)
    for table in ("held", "left_behind"):
        db.execute(f"DELETE FROM {table} WHERE repo_id = ? AND commit_no IN ({gone})", (repo_id,))
    db.execute("DELETE FROM dropping")
    db.executemany("UPDATE commits SET state = ? WHERE commit_no = ?", [(b"", commit) for commit in headers])
    db.executemany("INSERT INTO header_only (commit_no, versions) VALUES (?, ?)", list(headers.items()))
    _delete(db, [commit for commit in commits if commit not in headers])


def release(db: Connection, gone: Mapping[int, int]) -> int:
    """Versions of a header's commit are nowhere visible any more: so many each. Returns how many headers went."""
    done = []
    for commit, count in gone.items():
        row = db.execute("SELECT versions FROM header_only WHERE commit_no = ?", (commit,)).fetchone()
        if row is None:
            continue
        if row[0] > count:
            db.execute("UPDATE header_only SET versions = versions - ? WHERE commit_no = ?", (count, commit))
        else:
            db.execute("DELETE FROM header_only WHERE commit_no = ?", (commit,))
            done.append(commit)
    _delete(db, done)
    return len(done)


def _delete(db: Connection, commits: Collection[int]) -> None:
    numbers = [(commit,) for commit in commits]
    db.executemany("DELETE FROM cut_parent WHERE commit_no = ?", numbers)
    db.executemany("DELETE FROM commits WHERE commit_no = ?", numbers)
    cursors.commits_went(db)
