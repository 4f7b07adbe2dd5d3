"""Names for commits: branches and snapshots."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, JsonValue

from thymos.message import BranchName, Id, Reason
from thymos.requests.base import After, Answer, Limit, Ref, Request, Skip, WriteRequest

By = Annotated[str, Field(min_length=1, max_length=200)]
"""Who asks; the reflog names them."""


class ListBranches(Request):
    """`branches`: in the order of their names, after `after`; answered by `BranchesAnswer`."""

    after: After | None = None


class NewBranch(WriteRequest):
    """`branch_create`: answered by `BranchAnswer`."""

    branch: BranchName
    from_ref: Ref = "main"
    reason: Reason = ""
    by: By | None = None


class RemoveBranch(WriteRequest):
    """`branch_delete`: answered by `BranchAnswer` of the branch that was. Without `force` it is refused when the branch
    holds commits that no other branch, tag or snapshot reaches, staged changes, or a kept merge."""

    branch: BranchName
    force: bool = False
    reason: Reason = ""
    by: By | None = None


class ProtectBranch(WriteRequest):
    """`branch_protect`: it is not deleted, and no model merges into it without approval; answered by `BranchAnswer`."""

    branch: BranchName
    by: By
    reason: Reason = ""


class UnprotectBranch(WriteRequest):
    """`branch_unprotect`: answered by `BranchAnswer`."""

    branch: BranchName
    by: By
    reason: Reason = ""


class Snapshot(WriteRequest):
    """`snapshot`: keep a head under a name, a new one unless `snapshot_id` says which; answered by `SnapshotAnswer`."""

    ref: Ref = "main"
    reason: Reason = ""
    metadata: dict[str, JsonValue] = {}
    by: By | None = None
    snapshot_id: Id | None = None


class BranchAnswer(Answer):
    """A branch and its head."""

    branch: BranchName
    commit: Id
    protected: bool = False


class BranchesAnswer(Answer):
    """In the order of their names, as many as fit one message; `next_after` is None on the last page."""

    branches: list[BranchAnswer]
    truncated: bool = False
    next_after: str | None = None


class SnapshotAnswer(Answer):
    """A snapshot and the commit it keeps."""

    snapshot_id: Id
    commit: Id


class RenameBranch(WriteRequest):
    """`branch_rename`: answered by `BranchAnswer`."""

    branch: BranchName
    new_name: BranchName
    reason: Reason = ""
    by: By | None = None


class ReadReflog(Request):
    """`reflog`: where a branch has stood, newest first, also after it was deleted; answered by `ReflogAnswer`."""

    branch: BranchName = "main"
    limit: Limit = 50
    skip: Skip = 0


class ListTags(Request):
    """`tags`: in the order of their names, after `after`; answered by `NamedCommitsAnswer`."""

    after: After | None = None


class ListSnapshots(Request):
    """`snapshots`: in the order of their names, after `after`; answered by `NamedCommitsAnswer`."""

    after: After | None = None


class NewTag(WriteRequest):
    """`tag_create`: a name for a commit, for good; answered by `NamedCommit`."""

    tag: Id
    ref: Ref = "main"
    reason: Reason = ""
    by: By | None = None


class RemoveTag(WriteRequest):
    """`tag_delete`: answered by `NamedCommit`."""

    tag: Id
    reason: Reason = ""
    by: By | None = None


class RemoveSnapshot(WriteRequest):
    """`snapshot_delete`: answered by `NamedCommit`."""

    snapshot_id: Id
    reason: Reason = ""
    by: By | None = None


class NamedCommit(Answer):
    """A tag or a snapshot, and the commit that it names."""

    name: Id
    commit: Id
    created_at: datetime | None = None
    reason: str = ""
    metadata: dict[str, JsonValue] = {}


class NamedCommitsAnswer(Answer):
    """In the order of their names; `truncated` when more follow than fit one message, after `next_after`."""

    named: list[NamedCommit]
    truncated: bool = False
    next_after: str | None = None


class RefMove(Answer):
    """One move of a branch. `old` is None where it begins, `new` where it ends."""

    at: datetime
    actor: str
    operation: str
    old: Id | None = None
    new: Id | None = None
    reason: str = ""


class ReflogAnswer(Answer):
    """Newest first."""

    moves: list[RefMove]
