"""Merging one branch into another."""

from typing import Literal

from pydantic import JsonValue

from thymos.message import BranchName, Count, Id, Reason
from thymos.requests.base import Answer, WriteRequest


class Merge(WriteRequest):
    """`merge`: `source` into `target`; answered by `MergeAnswer`."""

    source: BranchName
    target: BranchName = "main"
    strategy: Literal["Ours", "Theirs", "Manual", "AutoMerge"] = "Manual"
    dry_run: bool = False
    reason: Reason = ""


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
