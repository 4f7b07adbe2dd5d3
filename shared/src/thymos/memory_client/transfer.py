"""Taking a history out, and bringing one in. The format of the lines: docs/memory-export.md."""

from collections.abc import Sequence

from thymos import requests as r
from thymos.memory_client.asking import Asking


class Transfer(Asking):
    """What takes histories out and in; see MemoryClient."""

    async def export_page(
        self, after: str | None = None, *, with_key: bool = False, whole: bool = False
    ) -> r.ExportAnswer:
        """The next lines of the whole history: first without `after`, then with `next_after` of the page before.

        `with_key` puts the repository's key in, so that an import gives the same commit ids; with `whole` every put has
        its content, instead of referring to an earlier line.
        """
        return await self._ask(
            r.ExportAnswer, "export", lambda: r.ExportHistory(after=after, with_key=with_key, whole=whole)
        )

    async def import_lines(
        self, first_line: int, lines: Sequence[str], *, idempotency_key: str | None = None
    ) -> r.ImportAnswer:
        """Take the next lines of a history in, all or none. The agent has no memory until the last one is in."""
        return await self._ask(
            r.ImportAnswer,
            "import",
            lambda: r.ImportHistory(first_line=first_line, lines=list(lines), idempotency_key=idempotency_key),
        )

    async def import_standing(self) -> r.ImportAnswer:
        """Where an import into this agent stands: at line 1 when none is open."""
        return await self._ask(r.ImportAnswer, "import_standing", r.ReadImport)

    async def abandon_import(self) -> r.ImportAnswer:
        """Forget an import that is open, with all that came in."""
        return await self._ask(r.ImportAnswer, "import_abandon", r.AbandonImport)
