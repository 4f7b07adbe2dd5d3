"""The lines of a history from where they are: a file of JSON lines, or a stream of git; and in batches."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import BinaryIO, Final

from memory_repository.core import limits
from memory_repository.core.transfer.fast_import import fast_import
from memory_repository.core.transfer.lines import NO_LINES, digest_after, encode, text_size
from thymos.errors import Refusal, RefusalCode

GIT_WORDS: Final = frozenset({b"blob", b"commit", b"feature", b"option", b"progress", b"reset", b"tag"})
"""With one of them a stream of git begins, and no line of JSON."""
Numbered = tuple[int, bytes]
"""A line of a history, without its end, and the number of the line that it was made from."""


def checked(source: BinaryIO, *needed: str) -> BinaryIO:
    """The same file, of which these methods are `needed`. Raises Refusal (invalid) for what is none, or one of text."""
    if not all(callable(getattr(source, name, None)) for name in needed):
        raise limits.invalid(f"the source is not a file but a {type(source).__name__}", "open one, in binary mode")
    if hasattr(source, "read") and not isinstance(source.read(0), bytes):
        raise limits.invalid("the source is a file of text", "open it in binary mode")
    return source


def skip(lines: Iterator[Numbered], next_line: int, digest: str) -> None:
    """Pass over the lines before `next_line`, which an import has already, with this digest of theirs.

    Raises:
        Refusal: conflict: they are not the same lines.
    """
    found = NO_LINES
    for _ in range(next_line - 1):
        _, line = next(lines, (0, b""))
        found = digest_after(found, line)
    if found != digest:
        message = f"the first {next_line - 1:,} lines are not those that came in before"
        raise Refusal(RefusalCode.CONFLICT, message, "give the same file, or abandon the import that is open")


def batches(lines: Iterable[Numbered], lines_max: int, bytes_max: int) -> Iterator[list[Numbered]]:
    """The same lines, as many together as go into one transaction."""
    batch: list[Numbered] = []
    size = 0
    for number, line in lines:
        if batch and (len(batch) == lines_max or size + text_size(line) > bytes_max):
            yield batch
            batch, size = [], 0
        batch.append((number, line))
        size += text_size(line)
    if batch:
        yield batch


def broken_off(next_line: int, hint: str = "") -> Refusal:
    """What is said where the lines end before their history does: `next_line` is the one that is missing. The hint is
    for what came in before."""
    if next_line == 1:
        return limits.invalid("line 1: the history breaks off before it begins: there is no line")
    return limits.invalid(f"line {next_line:,}: the history breaks off: its last line, of type 'end', is missing", hint)


def lines_of(source: BinaryIO) -> Generator[Numbered]:
    """The lines of a file. One that is over the limit is cut where that shows, so that it is refused.

    Raises Refusal (invalid) for a stream of git.
    """
    number = 0
    while line := source.readline(limits.LINE_BYTES_MAX + 2):
        number += 1
        if number == 1 and line.partition(b" ")[0].strip() in GIT_WORDS:
            hint = "import it as such: --git, or import_git of the library"
            raise limits.invalid("line 1: this is a stream of git, and no JSON lines", hint)
        yield number, line.removesuffix(b"\n")


def lines_of_git(source: BinaryIO) -> Generator[Numbered]:
    """The lines of a history that a stream of `git fast-export` holds. Raises Refusal with the line of the stream.

    May be read from one thread after the other; close it, so that its temporary file goes.
    """
    with closing(sqlite3.connect("", isolation_level=None, check_same_thread=False)) as db:
        for number, line in fast_import(source, _SpooledMarks(db)):
            yield number, encode(line)


class _SpooledMarks:
    """What marks stand for, in a temporary file that SQLite keeps and removes."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._db.execute("CREATE TABLE mark (mark INTEGER PRIMARY KEY, data BLOB)")
        self._db.execute("BEGIN")

    def put(self, mark: int, data: bytes | None) -> None:
        self._db.execute("INSERT OR REPLACE INTO mark VALUES (?, ?)", (mark, data))

    def file(self, mark: int) -> bytes | None:
        row = self._db.execute("SELECT data FROM mark WHERE mark = ?", (mark,)).fetchone()
        return None if row is None else row[0]

    def is_commit(self, mark: int) -> bool:
        return self._db.execute("SELECT 1 FROM mark WHERE mark = ? AND data IS NULL", (mark,)).fetchone() is not None
