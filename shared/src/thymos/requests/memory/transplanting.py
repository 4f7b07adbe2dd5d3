"""Bringing changes to where they were not made."""

from typing import Annotated, Literal

from pydantic import Field

from thymos.message import BranchName, Count, Id, Reason
from thymos.requests.base import Answer, Ref, WriteRequest
from thymos.requests.memory.reading import Commit

Author = Annotated[str, Field(min_length=1, max_length=200)]
Favour = Literal["Ours", "Theirs", "Manual"]
Mainline = Annotated[int, Field(ge=1, le=16)]


class CherryPick(WriteRequest):
    """`cherry_pick`: the changes of one commit once more, on a branch; answered by `CommitAnswer`."""

    commit: Ref
    branch: BranchName = "main"
    author: Author
    message: Annotated[str, Field(max_length=1024)] = ""
    strategy: Favour = "Manual"
    mainline: Mainline = 1


class Revert(WriteRequest):
    """`revert`: the changes of one commit taken back, and of none after it; answered by `CommitAnswer`."""

    commit: Ref
    branch: BranchName = "main"
    author: Author
    reason: Reason = ""
    strategy: Favour = "Manual"
    mainline: Mainline = 1


class Rebase(WriteRequest):
    """`rebase`: a branch's own commits once more, on top of `onto`; answered by `RebaseAnswer`."""

    branch: BranchName
    onto: Ref = "main"
    author: Author
    reason: Reason = ""
    strategy: Favour = "Manual"


class RebaseAnswer(Answer):
    """Where the branch stands now; `dropped` are the commits that change nothing any more. Of the commits made anew
    `replayed` has the first, as many as fit one message; `replayed_count` is how many they are, and `log` has all."""

    branch: BranchName
    onto: Id
    commit: Id
    previous_commit: Id
    replayed: list[Commit] = []
    dropped: list[Id] = []
    replayed_count: Count = 0
    truncated: bool = False
