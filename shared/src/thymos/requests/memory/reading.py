"""Reading memory, and what is answered."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from thymos.message import BranchName, Count, Id
from thymos.requests.base import PAGE_MAX, After, Answer, Limit, Ref, Request

Where = Annotated[dict[str, JsonValue], Field(max_length=32)]
"""Conditions on fields that all have to hold, such as {"topic": "refunds", "weight": {"$gte": 3}}: a path whose parts
are joined by "." and what stands there, or one of $eq $ne $gt $gte $lt $lte $in $nin $contains $exists. There is no
$and, $or or $not, and no path begins with "$"."""


class GetMemory(Request):
    """`get`: one memory as it is at `ref`; answered by `Memory`."""

    id: Id
    ref: Ref = "main"


class ListMemories(Request):
    """`list`: memories at `ref` in the order of their ids, after `after`; answered by `MemoryPage`."""

    ref: Ref = "main"
    limit: Limit = 100
    after: Id | None = None
    kind: str | None = None
    where: Where = {}


class SearchMemories(Request):
    """`search`: full text over what is visible at `ref`, best first; plain words; answered by `SearchAnswer`."""

    query: Annotated[str, Field(max_length=4_096)]
    ref: Ref = "main"
    limit: Annotated[int, Field(ge=1, le=100)] = 10
    kind: str | None = None
    where: Where = {}
    skip: Annotated[int, Field(ge=0, le=1_000)] = 0
    mode: Literal["words", "meaning", "both"] = "words"


class ReadLog(Request):
    """`log`: commits reachable from `ref`, newest first; answered by `LogAnswer`."""

    ref: Ref = "main"
    limit: Limit = 50


class ShowCommit(Request):
    """`show`: one commit with its changes against its first parent, after the memory `after`; answered by
    `ShowAnswer`. Of a page whose one change is so large that no message holds the commit's `meta` beside it, `meta` is
    empty: a page after it has it, the last one, with no change left, in any case."""

    ref: Ref = "main"
    limit: Limit = PAGE_MAX
    after: After | None = None


class DiffRefs(Request):
    """`diff`: changes from `a` to `b`, after the memory `after`; with `symmetric` from their merge base to `b`;
    answered by `DiffAnswer`."""

    a: Ref
    b: Ref
    symmetric: bool = False
    limit: Limit = PAGE_MAX
    after: After | None = None


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
    """What was found, as of `commit`; None where there is no memory yet. `total` is how many were ranked, at most
    1,000; the next page skips those before it and these."""

    commit: Id | None = None
    results: list[Hit]
    total: Count = 0


class Commit(Answer):
    """One commit; `branches` are those whose head it is, the first hundred by name."""

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
    """A commit and its changes in the order of memory ids; `truncated` when there are more than `limit` or than fit one
    message: they come after `next_after`. `meta` is what else stands in the commit: who decided and approved a merge,
    which commit it was before; empty where it did not fit, and then there is a page after `next_after`."""

    commit: Commit
    changes: list[Change]
    truncated: bool = False
    meta: dict[str, JsonValue] = {}
    next_after: str | None = None


class DiffAnswer(Answer):
    """Changes in the order of memory ids; `truncated` when there are more than `limit` or than fit one message: they
    come after `next_after`."""

    a: Id
    b: Id
    changes: list[Change]
    truncated: bool = False
    next_after: str | None = None
