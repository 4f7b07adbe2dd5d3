"""Worktrees of an agent's memory."""

from collections.abc import Sequence

from thymos import requests as r
from thymos.commands import MemoryChange
from thymos.memory_client.asking import Asking


class Worktrees(Asking):
    """What works in worktrees; see MemoryClient."""

    async def open_worktree(self, worktree_id: str) -> r.WorktreeAnswer:
        """A checkout of the branch with changes of its own."""
        return await self._ask(
            r.WorktreeAnswer,
            "worktree_open",
            lambda: r.OpenWorktree(worktree_id=worktree_id, branch=self.branch, by=self._author),
        )

    async def worktrees(self) -> list[r.WorktreeAnswer]:
        """All worktrees of the memory, also those on other branches."""
        return (await self._ask(r.WorktreesAnswer, "worktrees", r.ListWorktrees)).worktrees

    async def stage(self, worktree_id: str, changes: Sequence[MemoryChange]) -> r.WorktreeAnswer:
        """Changes that only the worktree sees until they are committed."""
        return await self._ask(
            r.WorktreeAnswer, "worktree_stage", lambda: r.StageChanges(worktree_id=worktree_id, changes=list(changes))
        )

    async def commit_worktree(self, worktree_id: str, message: str) -> r.CommitAnswer:
        """Commit what is staged."""
        return await self._ask(
            r.CommitAnswer,
            "worktree_commit",
            lambda: r.CommitWorktree(worktree_id=worktree_id, author=self._author, message=message),
        )

    async def close_worktree(self, worktree_id: str, *, force: bool = False) -> r.WorktreeAnswer:
        """Give a checkout up; refused with staged changes unless forced."""
        return await self._ask(
            r.WorktreeAnswer, "worktree_close", lambda: r.CloseWorktree(worktree_id=worktree_id, force=force)
        )

    async def staged(self, worktree_id: str, after: str | None = None) -> r.StagedAnswer:
        """What is staged in a worktree; the next page begins at the answer's `next_after`."""
        return await self._ask(r.StagedAnswer, "staged", lambda: r.ReadStaged(worktree_id=worktree_id, after=after))
