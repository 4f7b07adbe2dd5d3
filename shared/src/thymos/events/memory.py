"""What happens to memory: branches, commits, snapshots, merges. Published by memory-repository."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from thymos.events.base import Event, Evidence
from thymos.message import BranchName, Count, Id, Reason, Value
from thymos.metrics import AgentMetrics


class BranchCreated(Event):
    """A branch of memory begins at a commit."""

    NAME: ClassVar[str] = "branch.created"
    branch: BranchName
    from_commit: Id
    state_id: Id | None = None
    experiment_id: Id | None = None
    reason: Reason = ""


class BranchDeleted(Event):
    """A branch of memory is gone; its commits stay reachable by id until collected."""

    NAME: ClassVar[str] = "branch.deleted"
    branch: BranchName
    from_commit: Id
    experiment_id: Id | None = None
    reason: Reason = ""


class BranchMerged(Event):
    """A branch was merged into another; `commit` is the target's new head."""

    NAME: ClassVar[str] = "branch.merged"
    source: BranchName
    target: BranchName
    commit: Id
    previous_commit: Id
    state_id: Id | None = None
    strategy: str
    experiment_id: Id | None = None
    reason: Reason = ""
    evidence: Evidence = {}
    merge_id: Id | None = None
    model: str | None = None
    approved_by: str | None = None


class BranchRolledBack(Event):
    """A branch was brought back to the state of `restored_commit` by the revert commit `revert_commit`."""

    NAME: ClassVar[str] = "branch.rolled_back"
    branch: BranchName
    restored_commit: Id
    revert_commit: Id
    previous_commit: Id | None = None
    state_id: Id | None = None
    experiment_id: Id | None = None
    reason: Reason = ""
    evidence: Evidence = {}


class CommitCreated(Event):
    """A branch moved to a new commit. `state_id` is equal for commits that hold the same memories."""

    NAME: ClassVar[str] = "commit.created"
    branch: BranchName
    commit: Id
    parents: Annotated[list[Id], Field(max_length=16)]
    author: str
    message: str
    state_id: Id | None = None
    changes: Count = 0
    experiment_id: Id | None = None


class CommitMarkedGood(Event):
    """A commit has proven itself (or was declared good); rollbacks may go back to it."""

    NAME: ClassVar[str] = "commit.marked_good"
    branch: BranchName
    commit: Id
    samples: Count
    criteria: dict[str, JsonValue] = {}
    restart_baseline: bool = False


class SnapshotCreated(Event):
    """A commit was kept under a snapshot's name."""

    NAME: ClassVar[str] = "snapshot.created"
    snapshot_id: Id
    commit: Id
    branch: BranchName = "main"
    experiment_id: Id | None = None
    reason: Reason = ""
    metrics: AgentMetrics | None = None


class VariantChange(Value):
    """A variant ready to be tested: a branch with its changes committed."""

    name: BranchName
    description: str
    branch: BranchName
    commit: Id
    changes: Count


class VariantSkipped(Value):
    """A variant that was not prepared, and why."""

    name: BranchName
    reason: Reason


class VariantsPrepared(Event):
    """The control branch and the variants' branches of an experiment exist, each with its changes committed."""

    NAME: ClassVar[str] = "variants.prepared"
    experiment_id: Id
    base_commit: Id
    control_branch: BranchName
    variants: Annotated[list[VariantChange], Field(max_length=32)]
    skipped: Annotated[list[VariantSkipped], Field(max_length=32)] = []
    generator: str
    model: str | None = None
    prompt_digest: str | None = None
    outcomes_used: Count = 0


class MergeConflict(Value):
    """One conflict of a merge; values are the memory's content, or a field's value; null where absent. `part` names
    what collides: "content", "kind", "fields/<path>" or "whole"."""

    memory_id: Id
    kind: Literal["content", "field", "modify_delete", "add_add"]
    field: str | None = None
    base: JsonValue = None
    ours: JsonValue = None
    theirs: JsonValue = None
    part: str | None = None


class MergeConflicted(Event):
    """A merge found conflicts that are left to a person; nothing was changed. With `merge_id` it is kept, to be
    resolved and continued: `state` is `open`, or `awaiting_approval` where a model has decided and the target is
    protected.
    """

    NAME: ClassVar[str] = "merge.conflicted"
    source: BranchName
    target: BranchName
    conflicts: Annotated[list[MergeConflict], Field(max_length=100)]
    conflict_count: Count
    experiment_id: Id | None = None
    merge_id: Id | None = None
    state: str | None = None
    reason: Reason = ""


class BranchRenamed(Event):
    """A branch has another name; its commits are the same."""

    NAME: ClassVar[str] = "branch.renamed"
    branch: BranchName
    new_name: BranchName
    commit: Id
    reason: Reason = ""


class BranchRebased(Event):
    """The commits of a branch were made anew on top of another commit; `commit` is its head now."""

    NAME: ClassVar[str] = "branch.rebased"
    branch: BranchName
    onto: Id
    commit: Id
    previous_commit: Id
    state_id: Id | None = None
    replayed: Count
    dropped: Count = 0
    reason: Reason = ""


class TagCreated(Event):
    """A commit has a name for good."""

    NAME: ClassVar[str] = "tag.created"
    tag: Id
    commit: Id
    reason: Reason = ""


class TagDeleted(Event):
    """A commit lost a tag."""

    NAME: ClassVar[str] = "tag.deleted"
    tag: Id
    commit: Id
    reason: Reason = ""


class SnapshotDeleted(Event):
    """A snapshot is kept no more."""

    NAME: ClassVar[str] = "snapshot.deleted"
    snapshot_id: Id
    commit: Id
    reason: Reason = ""


class HistoryImported(Event):
    """An agent without memory has one from now on, with a whole history; `commit` is the head of main.

    `ids_kept` says whether the commits are named as where they came from.
    """

    NAME: ClassVar[str] = "history.imported"
    commit: Id
    state_id: Id
    commits: Count
    refs: Count
    lines: Count
    digest: Id
    ids_kept: bool


class MemoryCollected(Event):
    """Commits that are older than the retention, or that nothing reached, were dropped, and what only they showed."""

    NAME: ClassVar[str] = "memory.collected"
    commits: Count
    unreachable: Count = 0
    entries: Count = 0
    versions: Count = 0
    content_bytes: Count = 0


class MemoryRedacted(Event):
    """Versions of a memory were erased from all history, or the one that was visible at `ref`. Tells no content."""

    NAME: ClassVar[str] = "memory.redacted"
    memory_id: Id
    versions: Count
    ref: str | None = None
    actor: str
    reason: Reason
