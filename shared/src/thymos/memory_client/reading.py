"""Reading an agent's memory."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from thymos import requests as r
from thymos.memory_client.asking import Asking


class Reading(Asking):
    """What reads; see MemoryClient."""

    async def search(
        self,
        query: str,
        limit: int = 10,
        kind: str | None = None,
        *,
        where: Mapping[str, Any] | None = None,
        skip: int = 0,
        mode: Literal["words", "meaning", "both"] = "words",
    ) -> list[r.Hit]:
        """Memories that go with `query`, best first; `where` narrows them by fields (`thymos.requests.memory`)."""
        answer = await self._ask(
            r.SearchAnswer,
            "search",
            lambda: r.SearchMemories(
                query=query, ref=self.branch, limit=limit, kind=kind, where=dict(where or {}), skip=skip, mode=mode
            ),
        )
        self._note(answer.commit, [hit.id for hit in answer.results])
        return answer.results

    async def get(self, id: str, ref: str | None = None) -> r.Memory:
        """One memory."""
        memory = await self._ask(r.Memory, "get", lambda: r.GetMemory(id=id, ref=ref or self.branch))
        self._note(memory.commit if ref is None else None, [memory.id])
        return memory

    async def page(
        self,
        limit: int = 100,
        after: str | None = None,
        ref: str | None = None,
        *,
        kind: str | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> r.MemoryPage:
        """A page of memories in the order of their ids, of one kind and with fields as `where` says, if given."""
        return await self._ask(
            r.MemoryPage,
            "list",
            lambda: r.ListMemories(
                ref=ref or self.branch, limit=limit, after=after, kind=kind, where=dict(where or {})
            ),
        )

    async def log(self, limit: int = 50, ref: str | None = None) -> list[r.Commit]:
        """Commits, newest first."""
        answer = await self._ask(r.LogAnswer, "log", lambda: r.ReadLog(ref=ref or self.branch, limit=limit))
        return answer.commits

    async def show(self, ref: str | None = None, limit: int = r.PAGE_MAX, after: str | None = None) -> r.ShowAnswer:
        """One commit, with its changes against its first parent; the next page begins at the answer's `next_after`."""
        return await self._ask(
            r.ShowAnswer, "show", lambda: r.ShowCommit(ref=ref or self.branch, limit=limit, after=after)
        )

    async def diff(
        self, a: str, b: str, *, symmetric: bool = False, limit: int = r.PAGE_MAX, after: str | None = None
    ) -> r.DiffAnswer:
        """Changes from `a` to `b` (from their merge base, if symmetric).

        The next page begins at the answer's `next_after`, from its `a` to its `b`: a branch may move meanwhile.
        """
        return await self._ask(
            r.DiffAnswer, "diff", lambda: r.DiffRefs(a=a, b=b, symmetric=symmetric, limit=limit, after=after)
        )

    async def history(self, id: str, limit: int = 50, ref: str | None = None) -> r.HistoryAnswer:
        """The commits that changed one memory, newest first."""
        return await self._ask(
            r.HistoryAnswer, "history", lambda: r.ReadHistory(id=id, ref=ref or self.branch, limit=limit)
        )

    async def blame(self, id: str, ref: str | None = None) -> r.BlameAnswer:
        """Who wrote each part of a memory."""
        return await self._all(
            r.BlameAnswer, "blame", lambda: r.ReadBlame(id=id, ref=ref or self.branch), "parts", "commits"
        )

    async def merge_base(self, a: str, b: str | None = None) -> list[r.Commit]:
        """The best common ancestors of two revisions."""
        answer = await self._ask(r.LogAnswer, "merge_base", lambda: r.ReadMergeBase(a=a, b=b or self.branch))
        return answer.commits

    async def bisect(self, good: Sequence[str], bad: str | None = None, skip: Sequence[str] = ()) -> r.BisectAnswer:
        """Which commit to test next, to find the first bad one."""
        return await self._ask(
            r.BisectAnswer,
            "bisect",
            lambda: r.Bisect(good=list(good), bad=bad or self.branch, skip=list(skip)),
        )
