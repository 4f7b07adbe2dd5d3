"""Worktrees of memory: changes that nobody else sees until they are committed."""

from typing import Annotated

from pydantic import Field

from thymos.commands import MemoryChange
from thymos.message import BranchName, Count, Id
from thymos.requests.base import After, Answer, Nothing, Request, WriteRequest
from thymos.requests.memory.reading import Memory


class OpenWorktree(WriteRequest):
    """`worktree_open`: a checkout of a branch for one agent; answered by `WorktreeAnswer`."""

    worktree_id: Id
    branch: BranchName = "main"
    by: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class StageChanges(WriteRequest):
    """`worktree_stage`: changes that only this worktree sees; answered by `WorktreeAnswer`."""

    worktree_id: Id
    changes: Annotated[list[MemoryChange], Field(min_length=1, max_length=10_000)]


class CommitWorktree(WriteRequest):
    """`worktree_commit`: commit what is staged; rebased if clean, else a conflict; answered by `CommitAnswer`."""

    worktree_id: Id
    author: Annotated[str, Field(min_length=1, max_length=200)]
    message: Annotated[str, Field(max_length=1024)] = ""


class CloseWorktree(WriteRequest):
    """`worktree_close`: refused with staged changes unless forced; answered by `WorktreeAnswer`."""

    worktree_id: Id
    force: bool = False


class ListWorktrees(Nothing):
    """`worktrees`: answered by `WorktreesAnswer`."""


class WorktreeAnswer(Answer):
    """A worktree of memory."""

    worktree_id: Id
    branch: BranchName
    commit: Id
    staged: Count = 0


class WorktreesAnswer(Answer):
    """All worktrees of an agent's memory."""

    worktrees: list[WorktreeAnswer]


class ReadStaged(Request):
    """`staged`: what is staged in a worktree, after the memory `after`; answered by `StagedAnswer`."""

    worktree_id: Id
    after: After | None = None


class StagedMemory(Answer):
    """A memory as it is staged; None = deleted."""

    id: Id
    memory: Memory | None = None


class StagedAnswer(Answer):
    """In the order of memory ids; `truncated` when more follow than fit one message, after `next_after`."""

    staged: list[StagedMemory]
    truncated: bool = False
    next_after: str | None = None
