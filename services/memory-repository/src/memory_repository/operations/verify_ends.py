"""Whether refs name commits, lines end at commits, and the history has the commits that were noted elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from memory_repository.core.proof import Problem
from memory_repository.storage import commits
from memory_repository.storage.store import Repository


def check(repo: Repository, known: Iterable[str]) -> Iterator[Problem]:
    """The problems, if any."""
    yield from _refs(repo)
    yield from _lines(repo)
    for identity in known:
        found = commits.by_prefix(repo.db, repo.id, identity)
        if not found or (found[0].id != identity):
            yield Problem(None, 0, f"the commit {identity[:64]}, which was noted elsewhere, is not in the history")


def _refs(repo: Repository) -> Iterator[Problem]:
    rows = repo.db.execute(
        "SELECT r.type, r.name FROM ref r WHERE r.repo_id = ? AND NOT EXISTS"
        " (SELECT 1 FROM commits c WHERE c.commit_no = r.commit_no AND c.repo_id = r.repo_id"
        " AND c.line_id NOT IN (SELECT line_id FROM attic))",
        (repo.id,),
    )
    for type_, name in rows.fetchall():
        yield Problem(None, 0, f"the {type_} {name} names no commit")


def _lines(repo: Repository) -> Iterator[Problem]:
    rows = repo.db.execute("SELECT line_id, tip_seq FROM line WHERE repo_id = ? ORDER BY line_id", (repo.id,))
    for line, tip in rows.fetchall():
        row = repo.db.execute(
            "SELECT memory_id FROM entry WHERE line_id = ? AND seq > ? LIMIT 1", (line, tip)
        ).fetchone()
        if row is not None:
            yield Problem(None, 0, f"{row[0]} waits beyond the last commit of a line: the next one would bring it in")
