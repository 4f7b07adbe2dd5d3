"""Names for commits: branches and snapshots."""

from pydantic import JsonValue

from thymos.message import BranchName, Id, Reason
from thymos.requests.base import Answer, Nothing, Ref, WriteRequest


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


class Snapshot(WriteRequest):
    """`snapshot`: keep a head under a name; answered by `SnapshotAnswer`."""

    ref: Ref = "main"
    reason: Reason = ""
    metadata: dict[str, JsonValue] = {}


class BranchAnswer(Answer):
    """A branch and its head."""

    branch: BranchName
    commit: Id


class BranchesAnswer(Answer):
    """All branches of an agent's memory."""

    branches: list[BranchAnswer]


class SnapshotAnswer(Answer):
    """A snapshot and the commit it keeps."""

    snapshot_id: Id
    commit: Id
