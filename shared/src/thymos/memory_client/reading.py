"""Reading an agent's memory."""

from thymos import requests as r
from thymos.memory_client.asking import Asking


class Reading(Asking):
    """What reads; see MemoryClient."""

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

    async def log(self, limit: int = 50, ref: str | None = None) -> list[r.Commit]:
        """Commits, newest first."""
        answer = await self._ask(r.LogAnswer, "log", lambda: r.ReadLog(ref=ref or self.branch, limit=limit))
        return answer.commits

    async def diff(self, a: str, b: str, *, symmetric: bool = False) -> r.DiffAnswer:
        """Changes from `a` to `b` (from their merge base, if symmetric)."""
        return await self._ask(r.DiffAnswer, "diff", lambda: r.DiffRefs(a=a, b=b, symmetric=symmetric))
