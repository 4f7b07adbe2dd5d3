"""Recomputes what is recorded: every version's hash, every delta, every state, every commit id; and compares what is
kept beside it: who wrote what, what is counted, the word index, the names and their reflog.

In parts of bounded size, each of which says where the next one begins, so that a history of any length can be checked
over the bus and while others work. Commits are checked in an order in which parents come first; the first bad one is
where the history was changed, and what comes after it may only be wrong because of it.

Of a commit that lost a parent to the retention, the delta against that parent cannot be computed any more. Its id, its
parents' ids and everything visible at it are still checked. Of a commit that was dropped but wrote what is still
visible, the header is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from memory_repository.core.limits import check_page
from memory_repository.core.proof import Position, Problem
from memory_repository.operations import verify_commits, verify_ends, verify_versions
from memory_repository.storage.store import Repository
from thymos.database import Connection, SqliteConnection

PROBLEMS_MAX = 100
"""Problems that a report lists, the first in the order of commits; the others are only counted."""
PART_ROWS = 500
"""Rows that one part looks at: versions, commits with their changes, or memories."""
PART_ROWS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Part:
    """What one part found; `following` is where the next begins, None when this was the last."""

    commits: int = 0
    headers: int = 0
    versions: int = 0
    redacted: int = 0
    problems: tuple[Problem, ...] = ()
    following: Position | None = None


@dataclass(frozen=True, slots=True)
class Dependents:
    """What rests on a commit: how many commits descend from it, and which branches, tags and snapshots do."""

    commits: int
    refs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked and what is wrong with it.

    Attributes:
        commits, headers, versions: how many were checked; of the headers' commits the rest is gone.
        redacted: versions among them whose content was erased.
        problems: the first hundred, in the order of commits; `problems_count` are all.
        dependents: what rests on the first bad commit.
    """

    commits: int = 0
    headers: int = 0
    versions: int = 0
    redacted: int = 0
    problems: tuple[Problem, ...] = ()
    problems_count: int = 0
    dependents: Dependents | None = None

    @property
    def ok(self) -> bool:
        """Whether the history is what it was when it was written."""
        return not self.problems_count

    @property
    def first(self) -> Problem | None:
        """The first problem that concerns a commit: where the history was changed."""
        return next((problem for problem in self.problems if problem.commit is not None), None)

    def plus(self, part: Part) -> Verification:
        """With a further part."""
        problems = sorted({*self.problems, *part.problems}, key=lambda each: (each.commit is None, each.order))
        return replace(
            self,
            commits=self.commits + part.commits,
            headers=self.headers + part.headers,
            versions=self.versions + part.versions,
            redacted=self.redacted + part.redacted,
            problems=tuple(problems[:PROBLEMS_MAX]),
            problems_count=self.problems_count + len(part.problems),
        )


def verify(
    repo: Repository, *, known: Iterable[str] = (), progress: Callable[[Verification], None] | None = None
) -> Verification:
    """Recompute everything. O(history), in little memory. Writes nothing.

    Args:
        repo: the repository.
        known: ids of commits that were noted elsewhere: the history must have them.
        progress: is told after each part what was found so far.
    """
    found = Verification()
    at: Position | None = Position()
    while at is not None:
        part = verify_part(repo, at, known=known)
        found, at = found.plus(part), part.following
        if progress is not None:
            progress(found)
    return concluded(repo, found)


def concluded(repo: Repository, found: Verification) -> Verification:
    """With what rests on the first bad commit."""
    first = found.first
    return found if first is None else replace(found, dependents=dependents_of(repo, first))


def verify_part(repo: Repository, at: Position, *, most: int = PART_ROWS, known: Iterable[str] = ()) -> Part:
    """Check one part, of about `most` rows. Raises Refusal: invalid, too_large (`most` is not from 1 to 10,000)."""
    check_page(most, PART_ROWS_MAX)
    with _any_text(repo.db):
        return _part(repo, at, most, known)


@contextmanager
def _any_text(db: Connection) -> Iterator[None]:
    """Text that is no UTF-8 was written by somebody else: it is read with its bytes spelled out, and told as not being
    what was written."""
    if not isinstance(db, SqliteConnection):
        yield
        return
    usual, db.text_factory = db.text_factory, lambda text: text.decode(errors="backslashreplace")
    try:
        yield
    finally:
        db.text_factory = usual


def _part(repo: Repository, at: Position, most: int, known: Iterable[str]) -> Part:
    match at.phase:
        case "versions":
            versions = verify_versions.check(repo, at, most)
            return Part(
                versions=versions.count,
                redacted=versions.redacted,
                problems=versions.problems,
                following=versions.following,
            )
        case "commits":
            checked = verify_commits.check(repo, at, most)
            return Part(checked.commits, checked.headers, problems=checked.problems, following=checked.following)
        case _:
            ends = verify_ends.check(repo, at, most, known)
            return Part(problems=ends.problems, following=ends.following)


def dependents_of(repo: Repository, problem: Problem) -> Dependents:
    """What rests on a bad commit. O(its descendants)."""
    reached = (
        "WITH RECURSIVE reached (commit_no) AS (SELECT commit_no FROM commits WHERE commit_no = ?"
        " UNION SELECT p.commit_no FROM reached r JOIN commit_parent p ON p.parent_no = r.commit_no)"
    )
    (count,) = repo.db.execute(f"{reached} SELECT count(*) - 1 FROM reached", (problem.order,)).fetchone()
    names = repo.db.execute(
        f"{reached} SELECT type, name FROM ref WHERE repo_id = ? AND commit_no IN (SELECT commit_no FROM reached)"
        " ORDER BY type, name LIMIT 100",
        (problem.order, repo.id),
    )
    return Dependents(
        count, tuple(name if type_ == "branch" else f"{type_} {name}" for type_, name in names.fetchall())
    )
