"""Requests of memory-repository: an agent's memory, with the verbs of git."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from thymos.commands import MemoryChange
from thymos.message import BranchName, Count, Id, Reason
from thymos.requests.base import PAGE_MAX, Answer, Limit, Nothing, Ref, Request, WriteRequest


class GetMemory(Request):
    """`get`: one memory as it is at `ref`; answered by `Memory`."""

    id: Id
    ref: Ref = "main"


class ListMemories(Request):
    """`list`: memories at `ref` in the order of their ids, after `after`; answered by `MemoryPage`."""

    ref: Ref = "main"
    limit: Limit = 100
    after: Id | None = None


class SearchMemories(Request):
    """`search`: full text over what is visible at `ref`, best first; plain words; answered by `SearchAnswer`."""

    query: Annotated[str, Field(max_length=4_096)]
    ref: Ref = "main"
    limit: Annotated[int, Field(ge=1, le=100)] = 10
    kind: str | None = None


class CommitChanges(WriteRequest):
    """`commit`: changes to a branch; answered by `CommitAnswer`."""

    branch: BranchName = "main"
    changes: Annotated[list[MemoryChange], Field(min_length=1, max_length=10_000)]
    author: Annotated[str, Field(min_length=1, max_length=200)]
    message: Annotated[str, Field(max_length=1024)] = ""
    expected_head: Ref | None = None


class ReadLog(Request):
    """`log`: commits reachable from `ref`, newest first; answered by `LogAnswer`."""

    ref: Ref = "main"
    limit: Limit = 50


class ShowCommit(Request):
    """`show`: one commit with its changes against its first parent; answered by `ShowAnswer`."""

    ref: Ref = "main"


class DiffRefs(Request):
    """`diff`: changes from `a` to `b`; with `symmetric` from their merge base to `b`; answered by `DiffAnswer`."""

    a: Ref
    b: Ref
    symmetric: bool = False
    limit: Limit = PAGE_MAX


class ListBranches(Nothing):
    """`branches`: answered by `BranchesAnswer`."""


class NewBranch(WriteRequest):
    """`branch_create`: answered by `BranchAnswer`."""

    branch: BranchName
    from_ref: Ref = "main"
    reason: Reason = ""


class RemoveBranch(WriteRequest):
    """`branch_delete`: answered by `BranchAnswer` of the branch that was."""

    branch: BranchName
    force: bool = False
    reason: Reason = ""


class Merge(WriteRequest):
    """`merge`: `source` into `target`; answered by `MergeAnswer`."""

    source: BranchName
    target: BranchName = "main"
    strategy: Literal["Ours", "Theirs", "Manual", "AutoMerge"] = "Manual"
    dry_run: bool = False
    reason: Reason = ""


class Rollback(WriteRequest):
    """`rollback`: a branch back to the state of `to`, by a revert commit; answered by `CommitAnswer`."""

    branch: BranchName = "main"
    to: Ref
    reason: Reason = ""


class Snapshot(WriteRequest):
    """`snapshot`: keep a head under a name; answered by `SnapshotAnswer`."""

    ref: Ref = "main"
    reason: Reason = ""
    metadata: dict[str, JsonValue] = {}


class OpenWorktree(WriteRequest):
    """`worktree_open`: a checkout of a branch for one agent; answered by `WorktreeAnswer`."""

    worktree_id: Id
    branch: BranchName = "main"


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


class Memory(Answer):
    """One memory. `commit` is where it was last changed."""

    id: Id
    content: str
    kind: str = ""
    fields: dict[str, JsonValue] = {}
    commit: Id | None = None


class Hit(Memory):
    """A memory that was found; a higher `score` is better, comparable within one answer only."""

    score: float


class MemoryPage(Answer):
    """A page; `next_after` is None on the last one."""

    commit: Id
    memories: list[Memory]
    next_after: Id | None = None


class SearchAnswer(Answer):
    """What was found, as of `commit`; None where there is no memory yet."""

    commit: Id | None = None
    results: list[Hit]


class CommitAnswer(Answer):
    """Where the branch stands now."""

    branch: BranchName
    commit: Id
    previous_commit: Id
    changes: Count
    rebased: bool = False


class Commit(Answer):
    """One commit."""

    commit: Id
    parents: list[Id]
    author: str
    message: str
    time: datetime
    kind: str = "commit"
    state_id: Id
    branches: list[BranchName] = []


class LogAnswer(Answer):
    """Newest first."""

    commits: list[Commit]


class Change(Answer):
    """What became of one memory; `before` or `after` is None when it was added or deleted."""

    id: Id
    before: Memory | None = None
    after: Memory | None = None


class ShowAnswer(Answer):
    """A commit and its changes in the order of memory ids; `truncated` when there are more than fit one message."""

    commit: Commit
    changes: list[Change]
    truncated: bool = False


class DiffAnswer(Answer):
    """Changes in the order of memory ids; `truncated` when there are more than `limit`."""

    a: Id
    b: Id
    changes: list[Change]
    truncated: bool = False


class BranchAnswer(Answer):
    """A branch and its head."""

    branch: BranchName
    commit: Id


class BranchesAnswer(Answer):
    """All branches of an agent's memory."""

    branches: list[BranchAnswer]


class ConflictAnswer(Answer):
    """One conflict of a merge."""

    memory_id: Id
    kind: str
    field: str | None = None
    base: JsonValue = None
    ours: JsonValue = None
    theirs: JsonValue = None


class MergeAnswer(Answer):
    """`merged` with the new head, `unchanged`, or `conflicts` (nothing was changed)."""

    result: Literal["merged", "unchanged", "conflicts"]
    commit: Id
    base: Id | None = None
    changes: Count = 0
    conflicts: list[ConflictAnswer] = []
    dry_run: bool = False


class SnapshotAnswer(Answer):
    """A snapshot and the commit it keeps."""

    snapshot_id: Id
    commit: Id


class WorktreeAnswer(Answer):
    """A worktree of memory."""

    worktree_id: Id
    branch: BranchName
    commit: Id
    staged: Count = 0


class WorktreesAnswer(Answer):
    """All worktrees of an agent's memory."""

    worktrees: list[WorktreeAnswer]
