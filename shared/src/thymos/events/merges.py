"""What happens to merges that are kept, and to branches that wait for approval. Published by memory-repository."""

from typing import Annotated, ClassVar

from pydantic import Field

from thymos.events.base import Event
from thymos.message import BranchName, Count, Id, Reason

Actor = Annotated[str, Field(min_length=1, max_length=300)]
"""Who did it: a person, a program, or a model as "model:<name>"."""


class BranchProtected(Event):
    """A branch is protected: it is not deleted, and no model merges into it without a person's approval."""

    NAME: ClassVar[str] = "branch.protected"
    branch: BranchName
    by: Actor
    reason: Reason = ""


class BranchUnprotected(Event):
    """A branch is protected no longer."""

    NAME: ClassVar[str] = "branch.unprotected"
    branch: BranchName
    by: Actor
    reason: Reason = ""


class MergeOpened(Event):
    """A merge with conflicts is kept, and a model is asked: `branch.merged` or `merge.conflicted` follows."""

    NAME: ClassVar[str] = "merge.opened"
    merge_id: Id
    source: BranchName
    target: BranchName
    conflict_count: Count
    experiment_id: Id | None = None


class MergeResolved(Event):
    """Somebody has decided conflicts of a kept merge; `open_count` are left. Nothing is merged by that."""

    NAME: ClassVar[str] = "merge.resolved"
    merge_id: Id
    source: BranchName
    target: BranchName
    memory_ids: Annotated[list[Id], Field(max_length=100)]
    by: Actor
    open_count: Count
    experiment_id: Id | None = None
    reason: Reason = ""


class MergeAborted(Event):
    """A merge is kept no longer, and nothing of it was merged by it."""

    NAME: ClassVar[str] = "merge.aborted"
    merge_id: Id
    source: BranchName
    target: BranchName
    by: Actor
    experiment_id: Id | None = None
    reason: Reason = ""
