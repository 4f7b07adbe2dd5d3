"""Where records come from: the live log, up to what it holds now, or an exported file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from thymos import subjects
from thymos.audit.chain import Seal
from thymos.audit.closing import COVER, END, End, cover_of_line, end_of_line
from thymos.audit.record import RECORD, BadLine, LogRecord, NotARecordError, guessed_names, of_line
from thymos.bus import MESSAGE_ID_HEADER, Bus, Stored
from thymos.errors import ThymosError, UnavailableError

EVERY_EVENT = subjects.event_subject("*", "*", ">")
LINE_BYTES_MAX = 8 * subjects.MIB
"""More than the longest line that `thymos export` writes: an event whose every character is escaped."""
QUIET_SECONDS = 15.0
"""Longer than this between two stored events, and the bus is away."""


@dataclass(frozen=True)
class MisplacedSeal:
    """A line that holds a seal of the file's own, before its last event: no export writes it there."""

    line: int


Line = LogRecord | Seal | End | BadLine | MisplacedSeal


def record_of(stored: Stored) -> LogRecord:
    """A stored event as the log's record of it."""
    message_id = stored.headers.get(MESSAGE_ID_HEADER, "")
    return LogRecord(stored.sequence, stored.stored_at, stored.subject, message_id, stored.body)


async def past(
    bus: Bus,
    pattern: str = EVERY_EVENT,
    since: datetime | None = None,
    to_sequence: int | None = None,
    from_sequence: int = 1,
) -> AsyncGenerator[LogRecord, None]:
    """The events on `pattern` that are stored by now, in order: from `since` or else from `from_sequence` on, and up to
    `to_sequence` if that is given, which must be one of them.

    Raises:
        UnavailableError: the bus is away.
    """
    if to_sequence is None:
        last = await bus.last(subjects.EVENTS, pattern)
        if last is None or (since is not None and last.stored_at < since):
            return
        to_sequence = last.sequence
    start = None if since is not None else from_sequence
    async with aclosing(bus.follow(subjects.EVENTS, pattern, since, start)) as messages:
        while True:
            try:
                stored = await asyncio.wait_for(anext(messages), QUIET_SECONDS)
            except TimeoutError as error:
                raise UnavailableError("the event log cannot be read to its end; try again") from error
            if stored.sequence > to_sequence:
                return
            yield record_of(stored)
            if stored.sequence == to_sequence:
                return


def file_lines(path: Path, last_event_line: int = 0) -> Iterator[Line]:
    """What an exported file holds, line by line; a line that cannot be read is a `BadLine`, a seal before the line of
    the last event a `MisplacedSeal`.

    Raises:
        ThymosError: the file cannot be opened or read.
    """
    for number, line in _numbered(path):
        if number < last_event_line and line.startswith(COVER):
            yield MisplacedSeal(number)
        elif len(line) == LINE_BYTES_MAX and not line.endswith(b"\n"):
            yield _bad(number, line, f"it is longer than {LINE_BYTES_MAX} bytes")
        else:
            yield _read(number, line)


def last_event_line(path: Path) -> int:
    """The number of the last line that begins as an event's does; 0 when there is none. Raises ThymosError."""
    return max((number for number, line in _numbered(path) if line.startswith(RECORD)), default=0)


def _numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers, from 1 on; of one that is too long, the beginning."""
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(LINE_BYTES_MAX):
                number += 1
                yield number, line
                if len(line) == LINE_BYTES_MAX and not line.endswith(b"\n"):
                    _pass_over_rest(file)
    except OSError as error:
        raise ThymosError(f"{path} cannot be read: {error.strerror}") from error


def file_records(path: Path, cut_off: Callable[[], object] | None = None) -> Iterator[LogRecord]:
    """The events of an exported file, for whoever does not judge it; `cut_off` is called when its last line is not
    there.

    Raises:
        ThymosError: the file cannot be read, or a line of it is none of an export.
    """
    ended = False
    for line in file_lines(path):
        if isinstance(line, BadLine):
            words = "`thymos replay --verify` tells all that is wrong"
            raise ThymosError(f"{path}: line {line.line}: {line.why}; {words}")
        ended = ended or isinstance(line, End)
        if isinstance(line, LogRecord):
            yield line
    if not ended and cut_off is not None:
        cut_off()


def _pass_over_rest(file: BinaryIO) -> None:
    while (rest := file.readline(LINE_BYTES_MAX)) and not rest.endswith(b"\n"):
        pass


def _read(number: int, line: bytes) -> Line:
    try:
        if line.startswith(COVER):
            return cover_of_line(line)
        return end_of_line(line) if line.startswith(END) else of_line(line)
    except NotARecordError as error:
        return _bad(number, line, str(error))


def _bad(number: int, line: bytes, why: str) -> BadLine:
    return BadLine(number, why, *guessed_names(line))
