"""Worktrees: a checkout of a branch with staged changes that nobody else sees until they are committed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from memory_repository.core import limits
from memory_repository.core.commit_id import timestamp
from memory_repository.core.memory import CHANGES, Change, Memory
from memory_repository.operations.committing import Committed, applied, checked_draft, land
from memory_repository.storage import commits, refs, staging, timeline, versions
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import MAIN, Repository
from thymos.errors import Refusal, RefusalCode

BEGIN_ANEW: Final = "see what is staged, close the worktree by force, open it again and stage what shall be now"
"""What to do with staged changes that collide."""


@dataclass(frozen=True, slots=True)
class Worktree:
    """An open worktree: `base` is the commit that its changes are made against, `staged` how many memories changed."""

    id: str
    branch: str
    base: CommitRow
    owner: str
    staged: int


def open_worktree(repo: Repository, worktree_id: str, branch: str = MAIN, *, owner: str, now: datetime) -> Worktree:
    """Open a worktree on a branch's head. O(1).

    Opening it again on the same branch gives the same worktree, moved to the head if nothing is staged: an agent that
    was restarted goes on where it was. At 1,000 worktrees the oldest one without staged changes gives way: agents that
    were killed leave theirs open, and such a worktree holds nothing.

    Raises:
        Refusal: invalid, not_found, conflict (open on another branch), too_large (1,000 worktrees with
            staged changes).
    """
    limits.check_ref_id(worktree_id)
    head = refs.branch(repo.db, repo.id, branch).commit_no
    known = _find(repo, worktree_id)
    if known is None:
        _make_room(repo)
        repo.db.execute(
            "INSERT INTO worktree (repo_id, worktree_id, branch, base_commit, owner, opened_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (repo.id, worktree_id, branch, head, owner, timestamp(now)),
        )
    elif known.branch != branch:
        raise Refusal(RefusalCode.CONFLICT, f"the worktree {worktree_id} is open on {known.branch}", "close it first")
    elif not known.staged:
        _move(repo, worktree_id, head)
    return find_worktree(repo, worktree_id)


def find_worktree(repo: Repository, worktree_id: str) -> Worktree:
    """An open worktree. Raises Refusal (not_found, invalid)."""
    found = _find(repo, limits.check_name("worktree's id", worktree_id))
    if found is None:
        raise Refusal(RefusalCode.NOT_FOUND, f"there is no worktree {worktree_id!r:.80}", "open it first")
    return found


def list_worktrees(repo: Repository) -> list[Worktree]:
    """All open worktrees, by id."""
    rows = repo.db.execute("SELECT worktree_id FROM worktree WHERE repo_id = ? ORDER BY worktree_id", (repo.id,))
    return [find_worktree(repo, worktree_id) for (worktree_id,) in rows.fetchall()]


def stage(repo: Repository, worktree_id: str, changes: Sequence[Change]) -> Worktree:
    """Stage changes on top of the worktree's base and what is staged already.

    Raises:
        Refusal: not_found, invalid, too_large; refused: a memory would be what was erased of it. A draft would bring
            that back at every commit that holds it, and only a commit may: who commits it writes it anew.
    """
    worktree = find_worktree(repo, worktree_id)
    limits.check_changes(changes, CHANGES)
    view = timeline.view_of(repo.db, worktree.base.place)
    wanted = applied(repo, view, changes, staging.staged(repo.db, repo.id, worktree_id))
    memories = [memory for memory in wanted.values() if memory is not None]
    stored = versions.store_versions(repo.db, repo.id, repo.key, memories, landing=False)
    new: dict[str, int | None] = dict.fromkeys(wanted)
    new |= {memory.id: version.version for memory, version in zip(memories, stored, strict=True)}
    staging.put(repo.db, repo.id, worktree_id, new)
    worktree = find_worktree(repo, worktree_id)
    limits.check_changes_count(worktree.staged)
    return worktree


def staged_memories(repo: Repository, worktree_id: str) -> dict[str, Memory | None]:
    """What is staged: None = deleted. Raises Refusal (not_found)."""
    return dict(staged_after(repo, worktree_id, ""))


def staged_after(repo: Repository, worktree_id: str, after: str) -> Iterator[tuple[str, Memory | None]]:
    """What is staged, in the order of memory ids, beginning after an id. Lazy: costs what is taken. Raises Refusal."""
    find_worktree(repo, worktree_id)
    limits.check_name("place to begin", after)
    for memory_id, version in sorted(staging.staged(repo.db, repo.id, worktree_id).items()):
        if memory_id > after:
            yield memory_id, None if version is None else versions.load_memory(repo.db, version)


def commit_worktree(
    repo: Repository,
    worktree_id: str,
    *,
    author: str,
    message: str = "",
    now: datetime,
    meta: Mapping[str, Any] | None = None,
) -> Committed:
    """Commit what is staged to the worktree's branch, rebased if others committed meanwhile.

    On a conflict the staged changes stay as they are.

    Raises:
        CommitConflictError: the staged changes collide with later commits.
        Refusal: not_found, invalid, too_large.
    """
    worktree = find_worktree(repo, worktree_id)
    ref = refs.branch(repo.db, repo.id, worktree.branch)
    facts = {"worktree": worktree_id, **(meta or {})}
    draft = checked_draft(worktree.branch, author, message, now, "commit", facts)
    done = land(repo, ref, worktree.base, staged_memories(repo, worktree_id), draft, hint=BEGIN_ANEW)
    staging.forget(repo.db, repo.id, worktree_id)
    _move(repo, worktree_id, done.commit.no)
    return done


def close_worktree(repo: Repository, worktree_id: str, *, force: bool = False) -> Worktree:
    """Close a worktree. Raises Refusal: not_found, refused (uncommitted changes and not forced)."""
    worktree = find_worktree(repo, worktree_id)
    if worktree.staged and not force:
        changes = "1 uncommitted change" if worktree.staged == 1 else f"{worktree.staged} uncommitted changes"
        raise Refusal(
            RefusalCode.REFUSED,
            f"the worktree {worktree_id} has {changes}",
            "commit them, or force the close to lose them",
        )
    staging.forget(repo.db, repo.id, worktree_id)
    repo.db.execute("DELETE FROM worktree WHERE repo_id = ? AND worktree_id = ?", (repo.id, worktree_id))
    return worktree


def close_all(repo: Repository, branch: str, *, force: bool = False) -> None:
    """Close all worktrees on a branch. Raises Refusal as `close_worktree`."""
    rows = repo.db.execute("SELECT worktree_id FROM worktree WHERE repo_id = ? AND branch = ?", (repo.id, branch))
    for (worktree_id,) in rows.fetchall():
        close_worktree(repo, worktree_id, force=force)


def check_clean(repo: Repository, branch: str) -> None:
    """Refuse (refused) while a worktree on a branch has staged changes."""
    row = repo.db.execute(
        "SELECT worktree_id FROM worktree w WHERE repo_id = ? AND branch = ? AND EXISTS"
        " (SELECT 1 FROM staged s WHERE s.repo_id = w.repo_id AND s.worktree_id = w.worktree_id) LIMIT 1",
        (repo.id, branch),
    ).fetchone()
    if row is not None:
        raise Refusal(
            RefusalCode.REFUSED,
            f"the worktree {row[0]} on {branch} has uncommitted changes",
            "commit or close it first",
        )


def move_all(repo: Repository, branch: str, commit: CommitRow) -> None:
    """The worktrees on a branch, none of which has staged changes, stand on another commit from now on."""
    repo.db.execute(
        "UPDATE worktree SET base_commit = ? WHERE repo_id = ? AND branch = ?", (commit.no, repo.id, branch)
    )


def _make_room(repo: Repository) -> None:
    count = repo.db.execute("SELECT count(*) FROM worktree WHERE repo_id = ?", (repo.id,)).fetchone()[0]
    if count < limits.WORKTREES_MAX:
        return
    oldest = repo.db.execute(
        "SELECT worktree_id FROM worktree w WHERE repo_id = ? AND NOT EXISTS"
        " (SELECT 1 FROM staged s WHERE s.repo_id = w.repo_id AND s.worktree_id = w.worktree_id)"
        " ORDER BY opened_at, worktree_id LIMIT 1",
        (repo.id,),
    ).fetchone()
    if oldest is None:
        raise limits.too_large("the repository", count + 1, limits.WORKTREES_MAX, "worktrees")
    close_worktree(repo, oldest[0])


def _find(repo: Repository, worktree_id: str) -> Worktree | None:
    row = repo.db.execute(
        "SELECT branch, base_commit, owner FROM worktree WHERE repo_id = ? AND worktree_id = ?", (repo.id, worktree_id)
    ).fetchone()
    if row is None:
        return None
    branch, base, owner = row
    count = repo.db.execute(
        "SELECT count(*) FROM staged WHERE repo_id = ? AND worktree_id = ?", (repo.id, worktree_id)
    ).fetchone()[0]
    return Worktree(worktree_id, branch, commits.by_no(repo.db, base), owner, count)


def _move(repo: Repository, worktree_id: str, commit_no: int) -> None:
    repo.db.execute(
        "UPDATE worktree SET base_commit = ? WHERE repo_id = ? AND worktree_id = ?", (commit_no, repo.id, worktree_id)
    )
