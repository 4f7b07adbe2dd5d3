"""Working in worktrees."""

from __future__ import annotations

from collections.abc import Sequence

from memory_repository.core.memory import Change, Memory
from memory_repository.library.opening import OpenRepository
from memory_repository.operations import worktrees
from memory_repository.operations.committing import Committed
from memory_repository.operations.worktrees import Worktree
from memory_repository.storage.store import MAIN


class Worktrees(OpenRepository):
    """What works in worktrees; see MemoryRepository."""

    def open_worktree(self, worktree_id: str, branch: str = MAIN) -> Worktree:
        """Open a worktree on a branch's head. O(1)."""
        with self._writing() as (repo, now):
            return worktrees.open_worktree(repo, worktree_id, branch, owner=self._author, now=now)

    def stage(self, worktree_id: str, changes: Sequence[Change]) -> Worktree:
        """Stage changes in a worktree."""
        with self._writing() as (repo, _):
            return worktrees.stage(repo, worktree_id, changes)

    def staged(self, worktree_id: str) -> dict[str, Memory | None]:
        """What is staged in a worktree; None = deleted."""
        with self._reading() as repo:
            return worktrees.staged_memories(repo, worktree_id)

    def commit_worktree(self, worktree_id: str, *, message: str = "", author: str | None = None) -> Committed:
        """Commit what is staged: rebased if clean, else a conflict and everything stays staged."""
        with self._writing() as (repo, now):
            return worktrees.commit_worktree(repo, worktree_id, author=self._by(author), message=message, now=now)

    def close_worktree(self, worktree_id: str, *, force: bool = False) -> Worktree:
        """Close a worktree; refused with uncommitted changes unless forced."""
        with self._writing() as (repo, _):
            return worktrees.close_worktree(repo, worktree_id, force=force)

    def worktrees(self) -> list[Worktree]:
        """All open worktrees, by id."""
        with self._reading() as repo:
            return worktrees.list_worktrees(repo)
