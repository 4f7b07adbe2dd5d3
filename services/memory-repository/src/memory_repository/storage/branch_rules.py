"""What is declared about a repository's branches and fields: protected branches, rules for numbers."""

from __future__ import annotations

from datetime import datetime

from memory_repository.core.commit_id import timestamp
from memory_repository.core.number_rules import NumberRule
from thymos.database import Connection


def is_protected(db: Connection, repo_id: int, branch: str) -> bool:
    """Whether a branch is protected."""
    query = "SELECT 1 FROM protected_branch WHERE repo_id = ? AND branch = ?"
    return db.execute(query, (repo_id, branch)).fetchone() is not None


def protected(db: Connection, repo_id: int) -> set[str]:
    """The protected branches."""
    rows = db.execute("SELECT branch FROM protected_branch WHERE repo_id = ?", (repo_id,))
    return {branch for (branch,) in rows}


def protection(db: Connection, repo_id: int, branch: str) -> tuple[datetime, str, str] | None:
    """Since when a branch is protected, by whom and why; None when it is not."""
    query = "SELECT protected_at, actor, reason FROM protected_branch WHERE repo_id = ? AND branch = ?"
    row = db.execute(query, (repo_id, branch)).fetchone()
    return None if row is None else (datetime.fromisoformat(row[0]), row[1], row[2])


def protect(db: Connection, repo_id: int, branch: str, *, actor: str, now: datetime, reason: str) -> bool:
    """Protect a branch; False when it was."""
    done = db.execute(
        "INSERT INTO protected_branch (repo_id, branch, actor, protected_at, reason) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (repo_id, branch, actor, timestamp(now), reason),
    )
    return done.rowcount == 1


def unprotect(db: Connection, repo_id: int, branch: str) -> bool:
    """Protect a branch no longer; False when it was not."""
    done = db.execute("DELETE FROM protected_branch WHERE repo_id = ? AND branch = ?", (repo_id, branch))
    return done.rowcount == 1


def number_rules(db: Connection, repo_id: int) -> dict[str, NumberRule]:
    """The rules for numbers, by path."""
    rows = db.execute("SELECT path, rule FROM number_rule WHERE repo_id = ? ORDER BY path", (repo_id,))
    return {path: NumberRule(rule) for path, rule in rows}


def set_number_rule(db: Connection, repo_id: int, path: str, rule: NumberRule | None) -> None:
    """Declare the rule of a path, or none."""
    if rule is None:
        db.execute("DELETE FROM number_rule WHERE repo_id = ? AND path = ?", (repo_id, path))
        return
    db.execute(
        "INSERT INTO number_rule (repo_id, path, rule) VALUES (?, ?, ?)"
        " ON CONFLICT (repo_id, path) DO UPDATE SET rule = excluded.rule",
        (repo_id, path, str(rule)),
    )
