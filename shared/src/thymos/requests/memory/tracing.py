"""Where memories come from: history, blame, merge bases, the search for the first bad commit."""

from typing import Annotated, Literal

from pydantic import Field

from thymos.message import Count, Id
from thymos.requests.base import Answer, Limit, Ref, Request
from thymos.requests.memory.reading import Commit, Memory

Refs = Annotated[list[Ref], Field(max_length=1_000)]


class ReadHistory(Request):
    """`history`: the commits that changed one memory, newest first; answered by `HistoryAnswer`."""

    id: Id
    ref: Ref = "main"
    limit: Limit = 50


class ReadBlame(Request):
    """`blame`: who wrote each part of a memory, after so many of them; answered by `BlameAnswer`."""

    id: Id
    ref: Ref = "main"
    after: Count = 0


class ReadMergeBase(Request):
    """`merge_base`: the best common ancestors of two revisions; answered by `LogAnswer`."""

    a: Ref
    b: Ref = "main"


class Bisect(Request):
    """`bisect`: which commit to test next, to find the first bad one; answered by `BisectAnswer`."""

    good: Annotated[list[Ref], Field(min_length=1, max_length=1_000)]
    bad: Ref = "main"
    skip: Refs = []


class HistoryEntry(Answer):
    """A commit that changed the memory, and what it made of it; None = deleted."""

    commit: Commit
    after: Memory | None = None


class HistoryAnswer(Answer):
    """Newest first; `truncated` when there is more than fits one message."""

    changes: list[HistoryEntry]
    truncated: bool = False


class BlamedPart(Answer):
    """A part of a memory and the commit that wrote it: `content` with the number of its line, `kind`, or `fields/…`."""

    part: str
    line: Count | None = None
    text: str | None = None
    commit: Id


class BlameAnswer(Answer):
    """The parts of the memory as it is at `commit`, and the commits that they name. `whole` is False when its history
    is too long to be looked through. `truncated` when there are more parts than fit one message: they come after so
    many as `next_after` says; ask for them at `commit`."""

    memory: Memory
    parts: list[BlamedPart]
    commits: list[Commit]
    whole: bool = True
    truncated: bool = False
    next_after: Count | None = None
    commit: Id | None = None


class BisectAnswer(Answer):
    """`test` the commit `next`, or `found` with the suspects: one, or more where commits were skipped."""

    result: Literal["test", "found"]
    next: Commit | None = None
    remaining: Count
    steps: Count
    suspects: list[Commit] = []
