"""An agent's memory over the bus: git-shaped verbs, answered by memory-repository."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import PydanticSerializationError

from thymos import requests as r
from thymos import subjects
from thymos.client import Client
from thymos.commands import MemoryChange
from thymos.envelope import first_problem
from thymos.errors import Refusal, RefusalCode, UnavailableError

A = TypeVar("A", bound=BaseModel)
B = TypeVar("B", bound=BaseModel)
Seen = Callable[[str, Sequence[str]], None]
"""Told of every read: the commit it saw, and the ids it recalled."""
ATTEMPT = timedelta(seconds=3)
AGAIN_SECONDS = 0.2
"""One attempt of a patient client, and the pause before the next."""


class MemoryClient:
    """The memory of one agent, as seen from one branch. `connected` gives the client when it is first needed.

    With `patience` a request is made again, for so long, while memory-repository does not answer, as when it is started
    anew; a write carries a key then, so that it is carried out once. Without, each request is made once.

    Every method raises Refusal (the repository says no, with a hint) or UnavailableError (nobody answers).
    """

    def __init__(
        self,
        connected: Callable[[], Awaitable[Client]],
        agent: str,
        branch: str = "main",
        author: str = "",
        seen: Seen | None = None,
        patience: timedelta | None = None,
    ) -> None:
        self._connected = connected
        self.agent = agent
        self.branch = branch
        self._author = author or agent
        self._seen = seen
        self._patience = patience

    async def _ask(self, answer: type[A], verb: str, request: Callable[[], r.Request]) -> A:
        built = _built(request)
        client = await self._connected()
        try:
            data = await self._answer(client, verb, built)
        except PydanticSerializationError as error:
            raise Refusal(RefusalCode.INVALID, f"{verb}: this is no text: {error}") from error
        try:
            return answer.model_validate(data)
        except ValidationError as error:
            raise UnavailableError(f"{verb}: the answer cannot be read: {first_problem(error)}") from error

    async def _answer(self, client: Client, verb: str, request: r.Request) -> Any:
        if self._patience is None:
            return await client.ask(subjects.MEMORY_REPOSITORY, self.agent, verb, request)
        if isinstance(request, r.WriteRequest) and request.idempotency_key is None:
            request = request.model_copy(update={"idempotency_key": str(uuid.uuid4())})
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience.total_seconds()
        while True:
            try:
                return await client.ask(subjects.MEMORY_REPOSITORY, self.agent, verb, request, ATTEMPT)
            except (Refusal, UnavailableError) as error:
                if not _is_away(error) or clock() + AGAIN_SECONDS > deadline:
                    raise
            await asyncio.sleep(AGAIN_SECONDS)

    def _note(self, commit: str | None, ids: Sequence[str]) -> None:
        if self._seen is not None and commit is not None:
            self._seen(commit, ids)

    async def search(self, query: str, limit: int = 10, kind: str | None = None) -> list[r.Hit]:
        """Memories that match the words of `query`, best first."""
        answer = await self._ask(
            r.SearchAnswer,
            "search",
            lambda: r.SearchMemories(query=query, ref=self.branch, limit=limit, kind=kind),
        )
        self._note(answer.commit, [hit.id for hit in answer.results])
        return answer.results

    async def get(self, id: str, ref: str | None = None) -> r.Memory:
        """One memory."""
        memory = await self._ask(r.Memory, "get", lambda: r.GetMemory(id=id, ref=ref or self.branch))
        self._note(memory.commit if ref is None else None, [memory.id])
        return memory

    async def page(self, limit: int = 100, after: str | None = None, ref: str | None = None) -> r.MemoryPage:
        """A page of memories in the order of their ids."""
        return await self._ask(
            r.MemoryPage, "list", lambda: r.ListMemories(ref=ref or self.branch, limit=limit, after=after)
        )

    async def put(
        self,
        id: str,
        content: str,
        *,
        kind: str | None = None,
        fields: dict[str, JsonValue] | None = None,
        message: str = "",
        idempotency_key: str | None = None,
    ) -> r.CommitAnswer:
        """Create or replace one memory, as a commit of its own."""
        change = _built(lambda: MemoryChange(op="put", id=id, content=content, kind=kind, fields=fields))
        return await self.commit([change], message or f"put {id}", idempotency_key=idempotency_key)

    async def delete(self, id: str, message: str = "") -> r.CommitAnswer:
        """Delete one memory, as a commit of its own; history keeps it."""
        change = _built(lambda: MemoryChange(op="delete", id=id))
        return await self.commit([change], message or f"delete {id}")

    async def commit(
        self,
        changes: Sequence[MemoryChange],
        message: str,
        *,
        expected_head: str | None = None,
        author: str | None = None,
        idempotency_key: str | None = None,
    ) -> r.CommitAnswer:
        """Commit changes to the branch; with `expected_head`, only if nothing came in between."""
        return await self._ask(
            r.CommitAnswer,
            "commit",
            lambda: r.CommitChanges(
                branch=self.branch,
                changes=list(changes),
                author=author or self._author,
                message=message,
                expected_head=expected_head,
                idempotency_key=idempotency_key,
            ),
        )

    async def log(self, limit: int = 50, ref: str | None = None) -> list[r.Commit]:
        """Commits, newest first."""
        answer = await self._ask(r.LogAnswer, "log", lambda: r.ReadLog(ref=ref or self.branch, limit=limit))
        return answer.commits

    async def diff(self, a: str, b: str, *, symmetric: bool = False) -> r.DiffAnswer:
        """Changes from `a` to `b` (from their merge base, if symmetric)."""
        return await self._ask(r.DiffAnswer, "diff", lambda: r.DiffRefs(a=a, b=b, symmetric=symmetric))

    async def branches(self) -> list[r.BranchAnswer]:
        """All branches."""
        return (await self._ask(r.BranchesAnswer, "branches", r.ListBranches)).branches

    async def rollback(self, to: str, reason: str = "") -> r.CommitAnswer:
        """The branch back to the state of `to`, by a revert commit."""
        return await self._ask(r.CommitAnswer, "rollback", lambda: r.Rollback(branch=self.branch, to=to, reason=reason))

    async def open_worktree(self, worktree_id: str) -> r.WorktreeAnswer:
        """A checkout of the branch with changes of its own."""
        return await self._ask(
            r.WorktreeAnswer, "worktree_open", lambda: r.OpenWorktree(worktree_id=worktree_id, branch=self.branch)
        )

    async def stage(self, worktree_id: str, changes: Sequence[MemoryChange]) -> r.WorktreeAnswer:
        """Changes that only the worktree sees until they are committed."""
        return await self._ask(
            r.WorktreeAnswer, "worktree_stage", lambda: r.StageChanges(worktree_id=worktree_id, changes=list(changes))
        )

    async def commit_worktree(self, worktree_id: str, message: str) -> r.CommitAnswer:
        """Commit what is staged."""
        return await self._ask(
            r.CommitAnswer,
            "worktree_commit",
            lambda: r.CommitWorktree(worktree_id=worktree_id, author=self._author, message=message),
        )

    async def close_worktree(self, worktree_id: str, *, force: bool = False) -> r.WorktreeAnswer:
        """Give a checkout up; refused with staged changes unless forced."""
        return await self._ask(
            r.WorktreeAnswer, "worktree_close", lambda: r.CloseWorktree(worktree_id=worktree_id, force=force)
        )


def _is_away(error: Refusal | UnavailableError) -> bool:
    return isinstance(error, UnavailableError) or error.code == RefusalCode.UNAVAILABLE


def _built(build: Callable[[], B]) -> B:
    """A request, or what is part of one. Raises Refusal when the caller's values are out of bounds."""
    try:
        return build()
    except ValidationError as error:
        raise Refusal(RefusalCode.INVALID, first_problem(error)) from error
