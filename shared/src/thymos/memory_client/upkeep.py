"""Looking after an agent's memory."""

from collections.abc import Sequence

from thymos import requests as r
from thymos.memory_client.asking import Asking


class Upkeep(Asking):
    """What keeps a memory small and honest; see MemoryClient."""

    async def gc(self, *, dry_run: bool = False) -> r.CollectedAnswer:
        """One step of dropping what is older than the configured retention; again while there is `more`."""
        return await self._ask(r.CollectedAnswer, "gc", lambda: r.CollectGarbage(dry_run=dry_run))

    async def verify(self, after: str | None = None, limit: int = 500, known: Sequence[str] = ()) -> r.VerifiedAnswer:
        """Recompute one part of the history; the next one begins at the answer's `next_after`."""
        return await self._ask(
            r.VerifiedAnswer, "verify", lambda: r.VerifyMemory(after=after, limit=limit, known=list(known))
        )

    async def redact(self, id: str, *, reason: str, ref: str | None = None) -> r.RedactedAnswer:
        """Erase a memory from all history, or what is visible of it at `ref`."""
        return await self._ask(
            r.RedactedAnswer, "redact", lambda: r.RedactMemory(id=id, ref=ref, actor=self._author, reason=reason)
        )

    async def redactions(self, limit: int = 100, skip: int = 0) -> list[r.RedactionAnswer]:
        """What was erased, by whom and why, the newest first, without the newest `skip`."""
        answer = await self._ask(r.RedactionsAnswer, "redactions", lambda: r.ListRedactions(limit=limit, skip=skip))
        return answer.redactions
