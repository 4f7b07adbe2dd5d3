"""Looking after a memory: dropping what is old, checking what was written, erasing."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from thymos.message import Count, Id, Reason
from thymos.requests.base import Answer, Limit, Ref, Request, Skip, WriteRequest


class CollectGarbage(WriteRequest):
    """`gc`: one step of dropping what is older than the configured retention; answered by `CollectedAnswer`."""

    dry_run: bool = False


class CollectedAnswer(Answer):
    """What a step dropped, or would drop; ask again while there is `more`."""

    commits: Count
    unreachable: Count
    entries: Count
    versions: Count
    content_bytes: Count
    more: bool
    dry_run: bool = False


class VerifyMemory(Request):
    """`verify`: recompute a part of the history's hashes, from `after` on; answered by `VerifiedAnswer`."""

    after: Annotated[str, Field(max_length=8_192)] | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 500
    known: Annotated[list[Id], Field(max_length=100)] = []


class ProblemAnswer(Answer):
    """Something that is not as it was written; `order` grows from parents to children and counts the
    repository's own commits."""

    commit: Id | None = None
    order: int = 0
    what: str


class DependentsAnswer(Answer):
    """What rests on a bad commit: how many commits, and which branches, tags and snapshots (a hundred at most)."""

    commit: Id
    commits: Count
    refs: list[str]


class VerifiedAnswer(Answer):
    """What a part held and what is wrong with it; `next_after` is None on the last one."""

    commits: Count
    headers: Count
    versions: Count
    redacted: Count
    problems: list[ProblemAnswer]
    problems_count: Count
    dependents: DependentsAnswer | None = None
    next_after: str | None = None


class RedactMemory(WriteRequest):
    """`redact`: erase a memory from all history, or what is visible of it at `ref`; answered by `RedactedAnswer`."""

    id: Id
    ref: Ref | None = None
    actor: Annotated[str, Field(min_length=1, max_length=200)]
    reason: Annotated[str, Field(min_length=1, max_length=4096)]


class RedactedAnswer(Answer):
    """How many versions were erased; `already` were before; worktrees that had one of them staged."""

    id: Id
    versions: Count
    already: Count
    unstaged: list[Id]


class ListRedactions(Request):
    """`redactions`: what was erased, by whom and why, the newest first; answered by `RedactionsAnswer`."""

    limit: Limit = 100
    skip: Skip = 0


class RedactionAnswer(Answer):
    """A version that was erased."""

    id: Id
    hash: str
    at: datetime
    actor: str
    reason: Reason


class RedactionsAnswer(Answer):
    """The newest first."""

    redactions: list[RedactionAnswer]
