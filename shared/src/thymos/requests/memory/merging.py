"""Merging one branch into another, at once or over a while."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from thymos.message import BranchName, Count, Id, Reason
from thymos.requests.base import Answer, Limit, Nothing, Request, WriteRequest

NumberRule = Literal["sum", "max", "min"]
Take = Literal["ours", "theirs", "base", "value", "delete"]
MergeState = Literal["open", "awaiting_model", "awaiting_approval"]
Person = Annotated[str, Field(min_length=1, max_length=200)]
Path = Annotated[str, Field(min_length=1, max_length=1024)]
"""A field: its keys joined by "/", escaped as in RFC 6901."""
Part = Annotated[str, Field(min_length=1, max_length=70_000)]
"""What of a memory collides: "content", "kind", "fields/<path>" or "whole"."""


class Merge(WriteRequest):
    """`merge`: `source` into `target`; answered by `MergeAnswer`. With `keep` conflicts are kept, to be resolved later;
    with AutoMerge they are in any case. `resolver` names the one that the strategy Custom asks. `number_rules` say how
    numbers merge that both sides changed, instead of the repository's rules."""

    source: BranchName
    target: BranchName = "main"
    strategy: Literal["Ours", "Theirs", "Manual", "AutoMerge", "Custom"] = "Manual"
    dry_run: bool = False
    reason: Reason = ""
    keep: bool = False
    by: Person | None = None
    resolver: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    number_rules: Annotated[dict[Path, NumberRule], Field(max_length=100)] = {}


class ListMerges(Nothing):
    """`merges`: the merges that are kept; answered by `MergesAnswer`."""


class ShowMerge(Request):
    """`merge_show`: one of them with what collides, by memory, after the memory `after`; answered by
    `KeptMergeAnswer`."""

    merge_id: Id
    limit: Limit = 100
    after: Id | None = None


class ResolveConflict(WriteRequest):
    """`merge_resolve`: what becomes of a memory that collides, or of one `part` of it; answered by `MergeSummary`.

    `value` goes with `take` "value": a text for the content or the kind, JSON for a field, and for a whole memory
    {"content", "kind", "fields"}.
    """

    merge_id: Id
    memory_id: Id
    part: Part | None = None
    take: Take
    value: JsonValue = None
    by: Person
    reason: Annotated[str, Field(max_length=500)] = ""


class ContinueMerge(WriteRequest):
    """`merge_continue`: go on with a kept merge; answered by `MergeAnswer`."""

    merge_id: Id
    by: Person
    message: Annotated[str, Field(max_length=1024)] = ""


class ApproveMerge(WriteRequest):
    """`merge_approve`: go on with a merge in which a model has decided, into a protected branch; answered by
    `MergeAnswer`."""

    merge_id: Id
    by: Person


class AbortMerge(WriteRequest):
    """`merge_abort`: keep a merge no longer; answered by `MergeSummary` of what it was."""

    merge_id: Id
    by: Person
    reason: Reason = ""


class ReadNumberRules(Nothing):
    """`number_rules`: how numbers of this memory merge; answered by `NumberRulesAnswer`."""


class DeclareNumberRule(WriteRequest):
    """`number_rule`: how numbers of a field merge; without a `rule` they collide; answered by `NumberRulesAnswer`."""

    path: Path
    rule: NumberRule | None = None


class ConflictAnswer(Answer):
    """One conflict of a merge, long values cut; in a kept merge, with what was decided."""

    memory_id: Id
    kind: str
    field: str | None = None
    base: JsonValue = None
    ours: JsonValue = None
    theirs: JsonValue = None
    part: Part | None = None
    take: Take | None = None
    value: JsonValue = None
    by: str | None = None
    reason: str = ""


class MergeAnswer(Answer):
    """`merged` with the new head, `unchanged` (there was nothing to merge), or `conflicts` (nothing was changed). What
    is merged may have no `changes`: then the commit records how conflicts were decided. With `merge_id` and `state` the
    merge is kept. `target` is the branch that was merged into."""

    result: Literal["merged", "unchanged", "conflicts"]
    commit: Id
    base: Id | None = None
    changes: Count = 0
    conflicts: list[ConflictAnswer] = []
    dry_run: bool = False
    merge_id: Id | None = None
    state: MergeState | None = None
    reason: str = ""
    target: BranchName | None = None


class MergeSummary(Answer):
    """A kept merge: what it waits for, and how many of its conflicts are decided."""

    merge_id: Id
    source: BranchName
    target: BranchName
    source_commit: Id
    target_commit: Id
    strategy: str
    state: MergeState
    author: str
    opened_at: datetime
    reason: str
    conflicts: Count
    decided: Count


class MergesAnswer(Answer):
    """The kept merges, the oldest first."""

    merges: list[MergeSummary]


class KeptMergeAnswer(Answer):
    """A kept merge and a page of what collides; `next_after` is None on the last one."""

    merge: MergeSummary
    conflicts: list[ConflictAnswer]
    next_after: Id | None = None


class NumberRulesAnswer(Answer):
    """Rules by the path of their field."""

    rules: dict[str, NumberRule]
