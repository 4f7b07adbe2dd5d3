"""How far a long verb is."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thymos.audit import LogRecord

PROGRESS_EVERY = 1_000


class Progress:
    """How far a long verb is, on stderr when that is a terminal."""

    def __init__(self, doing: str, noun: str = "events") -> None:
        self._doing = doing
        self._noun = noun
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def at(self, done: int) -> None:
        """So many are done."""
        if self._shown:
            sys.stderr.write(f"\r{self._doing} {done} {self._noun}")
            sys.stderr.flush()

    async def counting(self, records: AsyncIterator[LogRecord]) -> AsyncIterator[LogRecord]:
        """The same records, counted."""
        read = 0
        async for record in records:
            read += 1
            if read % PROGRESS_EVERY == 0:
                self.at(read)
            yield record
