"""Whether names stand where their reflog ends, and the history leads to the commits that were noted elsewhere."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from memory_repository.core import limits
from memory_repository.core.proof import Position, Problem
from memory_repository.operations.verify_commits import ILLEGIBLE
from memory_repository.storage import commits, reflog
from memory_repository.storage.store import MAIN, Repository

_NEXT = " UNION ".join(
    f"SELECT type, name FROM (SELECT type, name FROM {table} WHERE repo_id = ? AND (type, name) > (?, ?)"
    f" ORDER BY type, name LIMIT 1) in_{table}"
    for table in ("ref", "reflog")
)
"""The next name that stands somewhere or once did."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A part of the names; with the last of them, what was noted elsewhere."""

    problems: tuple[Problem, ...]
    following: Position | None


def check(repo: Repository, at: Position, most: int, known: Iterable[str]) -> Checked:
    """The next names, in the order of types and names; after the last one the commits that have to be there."""
    problems: list[Problem] = []
    type_, name = at.after or ("", "")
    for _ in range(most):
        before = (type_, name)
        row = repo.db.execute(
            f"SELECT type, name FROM ({_NEXT}) found ORDER BY type, name LIMIT 1", (repo.id, *before) * 2
        ).fetchone()
        if row is not None:
            type_, name = row
            what = _problem(repo, type_, name)
            if what:
                problems.append(Problem(None, 0, f"the {type_} {name} {what}"))
        # Not back: where text is no UTF-8, the next ones cannot be asked for.
        if row is None or row <= before:
            return Checked((*problems, *_main(repo), *_known(repo, known)), None)
    return Checked(tuple(problems), Position("ends", (type_, name)))


def _problem(repo: Repository, type_: str, name: str) -> str:
    """What is wrong with a name, in words; empty if nothing is."""
    try:
        return _standing(repo, type_, name)
    except (*ILLEGIBLE, IndexError):
        return "or its reflog cannot be read"


def _standing(repo: Repository, type_: str, name: str) -> str:
    row = repo.db.execute(
        "SELECT r.commit_no, c.commit_no FROM ref r LEFT JOIN commits c ON c.commit_no = r.commit_no"
        " AND c.repo_id = r.repo_id AND c.line_id NOT IN (SELECT line_id FROM attic)"
        " WHERE r.repo_id = ? AND r.type = ? AND r.name = ?",
        (repo.id, type_, name),
    ).fetchone()
    moves = reflog.of(repo.db, repo.id, type_, name, 1)
    if row is None:
        return "is gone, and its reflog says nothing of it" if moves[0].new is not None else ""
    if row[1] is None:
        return "names no commit"
    if not moves:
        return "has no reflog"
    return "" if moves[0].new == row[0] else "stands elsewhere than its reflog ends"


def _main(repo: Repository) -> Iterator[Problem]:
    sql = "SELECT 1 FROM ref WHERE repo_id = ? AND type = 'branch' AND name = ?"
    if repo.db.execute(sql, (repo.id, MAIN)).fetchone() is None:
        yield Problem(None, 0, f"there is no branch {MAIN}, which every repository has")


def _known(repo: Repository, known: Iterable[str]) -> Iterator[Problem]:
    """A commit that was noted elsewhere has to be there, and a name has to lead to it: one that was moved back to an
    older commit leads to less. Of one that the retention dropped the header says that it was there. O(history), if any
    is given."""
    reached = None
    for identity in known:
        limits.check_name("commit", identity)
        number = commits.number_of(repo.db, repo.id, identity)
        noted = f"the commit {identity[:64]}, which was noted elsewhere,"
        if number is None:
            yield Problem(None, 0, f"{noted} is not in the history")
        elif not _is_header(repo, number):
            reached = commits.reachable(repo.db, repo.id) if reached is None else reached
            at = bisect_left(reached, number)
            if at == len(reached) or reached[at] != number:
                yield Problem(None, 0, f"{noted} is stored, but no branch, tag or snapshot leads to it")


def _is_header(repo: Repository, number: int) -> bool:
    sql = "SELECT 1 FROM commits c JOIN attic a ON a.line_id = c.line_id WHERE c.commit_no = ?"
    return repo.db.execute(sql, (number,)).fetchone() is not None
