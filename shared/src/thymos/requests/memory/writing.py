"""Writing to a branch, and bringing one back."""

from typing import Annotated

from pydantic import Field

from thymos.commands import MemoryChange
from thymos.message import BranchName, Count, Id, Reason
from thymos.requests.base import Answer, Ref, WriteRequest


class CommitChanges(WriteRequest):
    """`commit`: changes to a branch; answered by `CommitAnswer`."""

    branch: BranchName = "main"
    changes: Annotated[list[MemoryChange], Field(min_length=1, max_length=10_000)]
    author: Annotated[str, Field(min_length=1, max_length=200)]
    message: Annotated[str, Field(max_length=1024)] = ""
    expected_head: Ref | None = None


class Rollback(WriteRequest):
    """`rollback`: a branch back to the state of `to`, by a revert commit; answered by `CommitAnswer`."""

    branch: BranchName = "main"
    to: Ref
    reason: Reason = ""
    author: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class CommitAnswer(Answer):
    """Where the branch stands now."""

    branch: BranchName
    commit: Id
    previous_commit: Id
    changes: Count
    rebased: bool = False
