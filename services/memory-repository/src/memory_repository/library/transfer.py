"""Exporting a history and importing one: JSON lines, and streams for git."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from typing import BinaryIO, Final

from memory_repository.core.transfer.fast_export import fast_export
from memory_repository.core.transfer.lines import decode, renumbered
from memory_repository.library.opening import OpenRepository
from memory_repository.library.sources import Numbered, batches, broken_off, checked, lines_of, lines_of_git, skip
from memory_repository.operations import export_order, exporting, importing
from memory_repository.operations.exporting import Options
from memory_repository.operations.importing import Imported
from memory_repository.storage import store
from thymos.errors import Refusal, RefusalCode

PAGE_BYTES: Final = 4 * 1024 * 1024
"""Lines that are read or written in one transaction."""
BATCH_LINES: Final = 1_000


class Transfer(OpenRepository):
    """What takes a history out and in; see MemoryRepository."""

    def export_lines(self, *, with_key: bool = False) -> Iterator[bytes]:
        """The whole history as JSON lines, each with its end (docs/memory-export.md), as of when it begins.

        With the key, a repository that imports them has the same commit ids. Whoever has the key can also test
        guesses at erased contents, so that it is left out unless asked for.
        """
        for line in self._exported(Options(with_key=with_key)):
            yield line + b"\n"

    def export_git(self) -> Iterator[bytes]:
        """The whole history as a stream for `git fast-import`."""
        return fast_export(decode(line) for line in self._exported(Options(whole=True)))

    def import_lines(self, source: BinaryIO, *, resume: bool = False) -> Imported:
        """Bring a history in from JSON lines. This repository must hold nothing yet.

        The lines are taken in in batches; until the last one nobody sees any of them. If it breaks off, `resume`
        goes on where it stood, with the same file.

        Raises:
            Refusal: conflict (the repository holds something, an import is open and not resumed, or none is and
                one is to be resumed), invalid and
                too_large with the number of the line.
        """
        return self._import(lines_of(checked(source, "readline")), resume=resume)

    def import_git(self, source: BinaryIO, *, resume: bool = False) -> Imported:
        """Bring a history in from a stream of `git fast-export`. As `import_lines`."""
        with closing(lines_of_git(checked(source, "read", "readline"))) as lines:
            return self._import(lines, resume=resume)

    def abandon_import(self) -> Imported:
        """Forget an import that broke off, with all that came in."""
        with self._writing() as (repo, _):
            return importing.abandon(repo.db, repo.tenant, repo.agent)

    def _exported(self, options: Options) -> Iterator[bytes]:
        with self._reading() as repo:
            among = export_order.order(repo)
            page = exporting.page(repo, among, None, options, PAGE_BYTES)
        yield from page.lines
        while page.next_after is not None:
            with self._reading() as repo:
                page = exporting.page(repo, among, page.next_after, options, PAGE_BYTES)
            yield from page.lines

    def _import(self, lines: Iterator[Numbered], *, resume: bool) -> Imported:
        with self._reading() as repo:
            standing = importing.standing(repo.db, repo.tenant, repo.agent)
        if standing.next_line > 1 and not resume:
            message = f"an import is open, at line {standing.next_line:,}"
            raise Refusal(RefusalCode.CONFLICT, message, "resume or abandon it")
        if standing.next_line == 1 and resume:
            raise Refusal(RefusalCode.CONFLICT, "no import is open", "begin one, without `resume`")
        skip(lines, standing.next_line, standing.digest)
        for batch in batches(lines, BATCH_LINES, PAGE_BYTES):
            standing = self._taken(standing.next_line, batch)
        if standing.repository is None:
            raise broken_off(standing.next_line)
        return standing

    def _taken(self, first: int, batch: list[Numbered]) -> Imported:
        try:
            with self._writing() as (repo, now):
                return importing.take(
                    repo.db,
                    repo.tenant,
                    repo.agent,
                    first,
                    [line for _, line in batch],
                    now=now,
                    key=secrets.token_bytes(store.KEY_BYTES),
                    replace_blank=True,
                )
        except Refusal as refusal:
            raise renumbered(refusal, lambda number: batch[number - first][0]) from None
