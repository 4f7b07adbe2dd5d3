"""Recomputes a repository's whole history: every version's hash, every delta, every state, every commit id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from memory_repository.core import fingerprint
from memory_repository.core.commit_id import CommitHeader, commit_id, delta_hash, timestamp, version_hash
from memory_repository.core.memory import Memory
from memory_repository.operations import reading
from memory_repository.storage import commits, refs, timeline
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import Repository

PROBLEMS_MAX = 100
"""Problems that a report lists; the rest is only counted by stopping there."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked and what is wrong with it; at most 100 problems are listed."""

    commits: int
    versions: int
    redacted: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the history is what it was when it was written."""
        return not self.problems


def verify(repo: Repository) -> Verification:
    """Recompute everything that is recorded. O(history). Writes nothing."""
    versions, redacted, problems = _versions(repo)
    numbers = [
        number
        for (number,) in repo.db.execute(
            "SELECT commit_no FROM commits WHERE repo_id = ? ORDER BY generation, commit_no", (repo.id,)
        )
    ]
    for number in numbers:
        problems += _commit_problems(repo, commits.by_no(repo.db, number))
    for ref in refs.every(repo.db, repo.id, "branch"):
        if ref.commit_no not in set(numbers):
            problems.append(f"the branch {ref.name} names no commit")
    return Verification(len(numbers), versions, redacted, tuple(problems[:PROBLEMS_MAX]))


def _versions(repo: Repository) -> tuple[int, int, list[str]]:
    count = redacted = 0
    problems = []
    rows = repo.db.execute(
        "SELECT memory_id, hash, salt, content, kind, fields FROM version WHERE repo_id = ?", (repo.id,)
    )
    for memory_id, digest, salt, content, kind, fields in rows:
        count += 1
        if salt is None:
            redacted += 1
        elif version_hash(salt, Memory(memory_id, content, kind, json.loads(fields)).body()) != digest:
            problems.append(f"a version of {memory_id} is not what was written ({digest[:12]})")
    return count, redacted, problems


def _commit_problems(repo: Repository, commit: CommitRow) -> Iterator[str]:
    above = [commits.by_no(repo.db, number) for number in commits.parents_of(repo.db, commit.no)]
    stored: bytes = repo.db.execute("SELECT state FROM commits WHERE commit_no = ?", (commit.no,)).fetchone()[0]
    if above:
        before: bytes = repo.db.execute("SELECT state FROM commits WHERE commit_no = ?", (above[0].no,)).fetchone()[0]
        delta = reading.differing(repo, above[0], commit)
    else:
        before, delta = fingerprint.EMPTY, {}
    added = [(memory_id, new.hash) for memory_id, (_, new) in delta.items() if new]
    removed = [(memory_id, old.hash) for memory_id, (old, _) in delta.items() if old]
    state = fingerprint.updated(before, added, removed)
    if state != stored or fingerprint.state_id(state) != commit.state_id:
        yield f"commit {commit.id[:12]}: its memories are not those that it recorded"
    header = CommitHeader(
        parents=[parent.id for parent in above],
        delta=delta_hash((memory_id, new.hash if new else None) for memory_id, (_, new) in delta.items()),
        state_id=fingerprint.state_id(state),
        author=commit.author,
        at=timestamp(commit.at),
        message=commit.message,
        kind=commit.kind,
        meta=commit.meta,
    )
    if commit_id(header) != commit.id:
        yield f"commit {commit.id[:12]}: its id does not follow from what it holds"
    if not above and timeline.entries_between(repo.db, (), timeline.view_of(repo.db, commit.place)):
        yield f"commit {commit.id[:12]}: the first commit is not empty"
