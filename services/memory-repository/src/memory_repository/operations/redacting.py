"""Erasing what a memory held, from all history, while the chain of commits still verifies.

A commit holds its memories by salted hashes only. Redaction removes body and salt, the words in the index, and copies
that wait somewhere: what is staged, what was decided about open conflicts. The hash stays, and without the salt nobody
can test a guess against it. What another memory holds is another version, even where it says the same, and stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from memory_repository.core import limits
from memory_repository.storage import erasing, open_merges, timeline, versions
from memory_repository.storage import redactions as log
from memory_repository.storage.redactions import Redaction
from memory_repository.storage.store import Repository
from thymos.errors import Refusal, RefusalCode


@dataclass(frozen=True, slots=True)
class Redacted:
    """What was erased.

    Attributes:
        memory_id: whose versions.
        versions: how many of them; `already` were erased before.
        unstaged: worktrees that had one of them staged, and have it no more.
    """

    memory_id: str
    versions: int
    already: int
    unstaged: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether anything was erased."""
        return self.versions > 0


def redact(
    repo: Repository, memory_id: str, *, ref: str | None = None, actor: str, reason: str, now: datetime
) -> Redacted:
    """Erase all versions of a memory, or the one that is visible at `ref`.

    What was erased before is counted and left alone: then nothing changes. Committing the same again is a new decision:
    it brings that version back, at every commit that holds it.

    Raises:
        Refusal: not_found (the repository never held the memory, or not at `ref`), invalid (no reason), too_large.
    """
    limits.check_memory_id(memory_id)
    if not limits.check_reason(reason).strip():
        raise limits.invalid("a redaction needs a reason", "say why, without what is to be erased")
    limits.check_author(actor)
    known = versions.versions_of(repo.db, repo.id, memory_id)
    if ref is not None:
        visible = timeline.visible(repo.db, timeline.view_of(repo.db, _place(repo, ref)), memory_id)
        known = [each for each in known if visible is not None and each[0] == visible.version]
    if not known:
        raise Refusal(RefusalCode.NOT_FOUND, f"there is no memory {memory_id}" + (f" at {ref}" if ref else ""))
    unstaged: set[str] = set()
    whole = [(version, digest) for version, digest, redacted in known if not redacted]
    for version, digest in whole:
        unstaged.update(_unstaged(repo, version))
        versions.erase(repo.db, repo.id, version)
        log.note(repo.db, repo.id, Redaction(memory_id, digest, now, actor, reason))
    if whole:
        # A draft that nothing but a worktree had: whoever takes the last name away removes the version, too.
        versions.remove_unused(repo.db, repo.id, [version for version, _ in whole])
        open_merges.forget_decisions(repo.db, repo.id, memory_id)
        erasing.begin(repo.db)
    return Redacted(memory_id, len(whole), len(known) - len(whole), tuple(sorted(unstaged)))


def redactions(repo: Repository, limit: int = 100, skip: int = 0) -> list[Redaction]:
    """The newest redactions, the newest first, without the newest `skip`. Raises Refusal (invalid, too_large)."""
    limits.check_page(limit)
    limits.check_skip(skip)
    return log.newest(repo.db, repo.id, limit, skip)


def _place(repo: Repository, ref: str) -> timeline.Place:
    return repo.resolve(ref).place


def _unstaged(repo: Repository, version: int) -> list[str]:
    """Take a version out of the worktrees that have it staged; returns which."""
    rows = repo.db.execute("SELECT worktree_id FROM staged WHERE repo_id = ? AND version_id = ?", (repo.id, version))
    found = [worktree for (worktree,) in rows.fetchall()]
    repo.db.execute("DELETE FROM staged WHERE repo_id = ? AND version_id = ?", (repo.id, version))
    return found
