"""Exporting a history and importing one: JSON lines, and streams for git."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from memory_repository.core import limits
from memory_repository.core.transfer.fast_export import fast_export
from memory_repository.core.transfer.fast_import import fast_import
from memory_repository.core.transfer.lines import NO_LINES, decode, digest_after, encode, renumbered
from memory_repository.library.opening import OpenRepository
from memory_repository.operations import exporting, importing
from memory_repository.operations.exporting import Options
from memory_repository.operations.importing import Imported
from memory_repository.storage import store
from thymos.errors import Refusal, RefusalCode

PAGE_BYTES: Final = 4 * 1024 * 1024
"""Lines that are read or written in one transaction."""
BATCH_LINES: Final = 1_000

Numbered = tuple[int, bytes]
"""A line of a history, without its end, and the number of the line that it was made from."""


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
            Refusal: conflict (the repository holds something, or an import is open and not resumed), invalid and
                too_large with the number of the line.
        """
        return self._import(_lines_of(source), resume=resume)

    def import_git(self, source: BinaryIO, *, resume: bool = False) -> Imported:
        """Bring a history in from a stream of `git fast-export`. As `import_lines`."""
        with _SpooledMarks() as marks:
            lines = ((number, encode(line)) for number, line in fast_import(source, marks))
            return self._import(lines, resume=resume)

    def abandon_import(self) -> Imported:
        """Forget an import that broke off, with all that came in."""
        with self._writing() as (repo, _):
            return importing.abandon(repo.db, repo.tenant, repo.agent)

    def _exported(self, options: Options) -> Iterator[bytes]:
        with self._reading() as repo:
            among = exporting.order(repo)
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
        skip(lines, standing)
        for batch in batches(lines):
            standing = self._taken(standing.next_line, batch)
            if standing.repository is not None:
                self._repo = standing.repository
        if standing.repository is None:
            raise limits.invalid("the history breaks off: its last line, of type 'end', is missing")
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


def skip(lines: Iterator[Numbered], standing: Imported) -> None:
    """Pass over the lines that an import has already. Raises Refusal (conflict): they are not the same lines."""
    digest = NO_LINES
    for _ in range(standing.next_line - 1):
        _, line = next(lines, (0, b""))
        digest = digest_after(digest, line)
    if digest != standing.digest:
        message = f"the first {standing.next_line - 1:,} lines are not those that came in before"
        raise Refusal(RefusalCode.CONFLICT, message, "give the same file, or abandon the import that is open")


def batches(lines: Iterable[Numbered], bytes_max: int = PAGE_BYTES) -> Iterator[list[Numbered]]:
    """The same lines, as many together as go into one transaction."""
    batch: list[Numbered] = []
    size = 0
    for number, line in lines:
        if batch and (len(batch) == BATCH_LINES or size + len(line) > bytes_max):
            yield batch
            batch, size = [], 0
        batch.append((number, line))
        size += len(line)
    if batch:
        yield batch


def _lines_of(source: BinaryIO) -> Iterator[Numbered]:
    """The lines of a file. One that is over the limit is cut where that shows, so that it is refused."""
    number = 0
    while line := source.readline(limits.LINE_BYTES_MAX + 2):
        number += 1
        yield number, line.removesuffix(b"\n")


class _SpooledMarks:
    """What marks stand for, in a temporary file that SQLite keeps and removes."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("CREATE TABLE mark (mark INTEGER PRIMARY KEY, data BLOB)")
        self._db.execute("BEGIN")

    def __enter__(self) -> _SpooledMarks:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def put(self, mark: int, data: bytes | None) -> None:
        self._db.execute("INSERT OR REPLACE INTO mark VALUES (?, ?)", (mark, data))

    def file(self, mark: int) -> bytes | None:
        row = self._db.execute("SELECT data FROM mark WHERE mark = ?", (mark,)).fetchone()
        return None if row is None else row[0]

    def is_commit(self, mark: int) -> bool:
        return self._db.execute("SELECT 1 FROM mark WHERE mark = ? AND data IS NULL", (mark,)).fetchone() is not None
