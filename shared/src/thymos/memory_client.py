"""An agent's memory over the bus: git-shaped verbs, answered by memory-repository."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pydantic import JsonValue

from thymos import requests as r
from thymos import subjects
from thymos.client import Client
from thymos.commands import MemoryChange

Seen = Callable[[str, Sequence[str]], None]
"""Told of every read: the commit it saw, and the ids it recalled."""


class MemoryClient:
    """The memory of one agent, as seen from one branch. `connected` gives the client when it is first needed.

    Every method raises Refusal (the repository says no, with a hint) or UnavailableError (nobody answers).
    """

    def __init__(
        self,
        connected: Callable[[], Awaitable[Client]],
        agent: str,
        branch: str = "main",
        author: str = "",
        seen: Seen | None = None,
    ) -> None:
        self._connected = connected
        self.agent = agent
        self.branch = branch
        self._author = author or agent
        self._seen = seen

    async def _ask(self, verb: str, request: r.Request) -> Any:
        client = await self._connected()
        return await client.ask(subjects.MEMORY_REPOSITORY, self.agent, verb, request)

    def _note(self, commit: str | None, ids: Sequence[str]) -> None:
        if self._seen is not None and commit is not None:
            self._seen(commit, ids)

    async def search(self, query: str, limit: int = 10, kind: str | None = None) -> list[r.Hit]:
        """Memories that match the words of `query`, best first."""
        request = r.SearchMemories(query=query, ref=self.branch, limit=limit, kind=kind)
        answer = r.SearchAnswer.model_validate(await self._ask("search", request))
        self._note(answer.commit, [hit.id for hit in answer.results])
        return answer.results

    async def get(self, id: str, ref: str | None = None) -> r.Memory:
        """One memory."""
        memory = r.Memory.model_validate(await self._ask("get", r.GetMemory(id=id, ref=ref or self.branch)))
        self._note(memory.commit if ref is None else None, [memory.id])
        return memory

    async def page(self, limit: int = 100, after: str | None = None, ref: str | None = None) -> r.MemoryPage:
        """A page of memories in the order of their ids."""
        request = r.ListMemories(ref=ref or self.branch, limit=limit, after=after)
        return r.MemoryPage.model_validate(await self._ask("list", request))

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
        change = MemoryChange(op="put", id=id, content=content, kind=kind, fields=fields)
        return await self.commit([change], message or f"put {id}", idempotency_key=idempotency_key)

    async def delete(self, id: str, message: str = "") -> r.CommitAnswer:
        """Delete one memory, as a commit of its own; history keeps it."""
        return await self.commit([MemoryChange(op="delete", id=id)], message or f"delete {id}")

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
        request = r.CommitChanges(
            branch=self.branch,
            changes=list(changes),
            author=author or self._author,
            message=message,
            expected_head=expected_head,
            idempotency_key=idempotency_key,
        )
        return r.CommitAnswer.model_validate(await self._ask("commit", request))

    async def log(self, limit: int = 50, ref: str | None = None) -> list[r.Commit]:
        """Commits, newest first."""
        answer = await self._ask("log", r.ReadLog(ref=ref or self.branch, limit=limit))
        return r.LogAnswer.model_validate(answer).commits

    async def diff(self, a: str, b: str, *, symmetric: bool = False) -> r.DiffAnswer:
        """Changes from `a` to `b` (from their merge base, if symmetric)."""
        return r.DiffAnswer.model_validate(await self._ask("diff", r.DiffRefs(a=a, b=b, symmetric=symmetric)))

    async def branches(self) -> list[r.BranchAnswer]:
        """All branches."""
        return r.BranchesAnswer.model_validate(await self._ask("branches", r.ListBranches())).branches

    async def rollback(self, to: str, reason: str = "") -> r.CommitAnswer:
        """The branch back to the state of `to`, by a revert commit."""
        request = r.Rollback(branch=self.branch, to=to, reason=reason)
        return r.CommitAnswer.model_validate(await self._ask("rollback", request))

    async def open_worktree(self, worktree_id: str) -> r.WorktreeAnswer:
        """A checkout of the branch with changes of its own."""
        request = r.OpenWorktree(worktree_id=worktree_id, branch=self.branch)
        return r.WorktreeAnswer.model_validate(await self._ask("worktree_open", request))

    async def stage(self, worktree_id: str, changes: Sequence[MemoryChange]) -> r.WorktreeAnswer:
        """Changes that only the worktree sees until they are committed."""
        request = r.StageChanges(worktree_id=worktree_id, changes=list(changes))
        return r.WorktreeAnswer.model_validate(await self._ask("worktree_stage", request))

    async def commit_worktree(self, worktree_id: str, message: str) -> r.CommitAnswer:
        """Commit what is staged."""
        request = r.CommitWorktree(worktree_id=worktree_id, author=self._author, message=message)
        return r.CommitAnswer.model_validate(await self._ask("worktree_commit", request))

    async def close_worktree(self, worktree_id: str, *, force: bool = False) -> r.WorktreeAnswer:
        """Give a checkout up; refused with staged changes unless forced."""
        request = r.CloseWorktree(worktree_id=worktree_id, force=force)
        return r.WorktreeAnswer.model_validate(await self._ask("worktree_close", request))
