"""Writing to the branch of a client."""

from collections.abc import Sequence

from pydantic import JsonValue

from thymos import requests as r
from thymos.commands import MemoryChange
from thymos.memory_client.asking import Asking, built
from thymos.requests.memory.transplanting import Favour


class Writing(Asking):
    """What changes the branch; see MemoryClient."""

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
        change = built(lambda: MemoryChange(op="put", id=id, content=content, kind=kind, fields=fields))
        return await self.commit([change], message or f"put {id}", idempotency_key=idempotency_key)

    async def delete(self, id: str, message: str = "") -> r.CommitAnswer:
        """Delete one memory, as a commit of its own; history keeps it."""
        change = built(lambda: MemoryChange(op="delete", id=id))
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
        """Commit changes to the branch; with `expected_head`, a commit id, they are rebased if it has moved on since,
        or refused if they collide."""
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

    async def rollback(self, to: str, reason: str = "") -> r.CommitAnswer:
        """The branch back to the state of `to`, by a revert commit."""
        return await self._ask(
            r.CommitAnswer,
            "rollback",
            lambda: r.Rollback(branch=self.branch, to=to, reason=reason, author=self._author),
        )

    async def cherry_pick(
        self, commit: str, message: str = "", strategy: Favour = "Manual", *, mainline: int = 1
    ) -> r.CommitAnswer:
        """The changes of one commit once more, on the branch; of a merge, those against its parent `mainline`."""
        return await self._ask(
            r.CommitAnswer,
            "cherry_pick",
            lambda: r.CherryPick(
                commit=commit,
                branch=self.branch,
                author=self._author,
                message=message,
                strategy=strategy,
                mainline=mainline,
            ),
        )

    async def revert(
        self, commit: str, reason: str = "", strategy: Favour = "Manual", *, mainline: int = 1
    ) -> r.CommitAnswer:
        """The changes of one commit taken back, and of none after it; of a merge, those against its parent
        `mainline`."""
        return await self._ask(
            r.CommitAnswer,
            "revert",
            lambda: r.Revert(
                commit=commit,
                branch=self.branch,
                author=self._author,
                reason=reason,
                strategy=strategy,
                mainline=mainline,
            ),
        )

    async def rebase(self, onto: str = "main", reason: str = "", strategy: Favour = "Manual") -> r.RebaseAnswer:
        """The branch's own commits once more, on top of `onto`."""
        return await self._ask(
            r.RebaseAnswer,
            "rebase",
            lambda: r.Rebase(branch=self.branch, onto=onto, author=self._author, reason=reason, strategy=strategy),
        )
