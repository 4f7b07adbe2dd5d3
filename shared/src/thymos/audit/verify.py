"""Verifying the live log, or an exported file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from datetime import datetime
from pathlib import Path

from thymos import subjects
from thymos.audit.chain import SEAL_SUBJECT, Seal, read_seal
from thymos.audit.closing import End
from thymos.audit.reading import Line, MisplacedSeal, file_lines, last_event_line, past
from thymos.audit.recomputation import Recomputations, installed, recompute_with
from thymos.audit.record import BadLine, LogRecord
from thymos.audit.report import Report
from thymos.audit.seal_check import FoundSeal
from thymos.audit.verification import Verifier
from thymos.bus import Bus

Progress = Callable[[int], None]
"""Is told how many events have been read, now and then."""
PROGRESS_EVERY = 1_000


async def verify_log(
    bus: Bus,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    seal: str | None = None,
    recomputations: Recomputations | None = None,
    progress: Progress | None = None,
) -> Report:
    """Compare the live log, as far as it goes by now, with its seals, and compute its decisions again.

    Args:
        bus: where the log is.
        since: the time from which on events are compared; None: from the beginning of the log.
        until: the time up to which they are; seals that came later are used all the same.
        seal: the hash of a seal, kept elsewhere, that the log must have.
        recomputations: how decisions are computed again; None: as the services installed here offer.
        progress: is told how far it is.

    Raises:
        UnavailableError: the bus is away.
        ThymosError: what a service offers cannot be loaded.
    """
    recompute = recompute_with(installed() if recomputations is None else recomputations)
    verifier = Verifier(recompute, whole=since is None, wanted=seal)
    stored = await bus.last_sequence(subjects.EVENTS)
    async with (
        aclosing(past(bus, since=since)) as records,
        aclosing(past(bus, SEAL_SUBJECT, since=since)) as seals,
    ):
        await _verify(verifier, _until(records, until), seals, progress)
    if until is None:
        verifier.finish_log(stored)
    return verifier.report()


async def _until(records: AsyncIterator[LogRecord], until: datetime | None) -> AsyncGenerator[LogRecord, None]:
    async for record in records:
        if until is not None and record.stored_at > until:
            return
        yield record


async def _verify(
    verifier: Verifier, records: AsyncIterator[LogRecord], seals: AsyncIterator[LogRecord], progress: Progress | None
) -> None:
    waiting: LogRecord | None = None
    read = 0
    async for record in records:
        if waiting is not None:
            await _take(verifier, waiting, record.sequence, seals)
        waiting = record
        read += 1
        if progress is not None and read % PROGRESS_EVERY == 0:
            progress(read)
    if waiting is not None:
        await _take(verifier, waiting, None, seals)
    verifier.records_end()
    while not verifier.seals.exhausted:
        verifier.take_seal(await _next_seal(seals))


async def _take(verifier: Verifier, record: LogRecord, following: int | None, seals: AsyncIterator[LogRecord]) -> None:
    while verifier.wants_seal(record, following):
        verifier.take_seal(await _next_seal(seals))
    verifier.take(record, following)


async def _next_seal(seals: AsyncIterator[LogRecord]) -> FoundSeal | None:
    record = await anext(seals, None)
    return None if record is None else _found(record)


def _found(record: LogRecord) -> FoundSeal:
    return FoundSeal(read_seal(record), record.sequence, record.event_id)


# --- files -----------------------------------------------------------------------------------------------------------


def verify_file(
    path: Path,
    *,
    seal: str | None = None,
    recomputations: Recomputations | None = None,
    progress: Progress | None = None,
) -> Report:
    """Compare an exported file with the seals in it, and compute its decisions again; arguments as of `verify_log`.

    The file is read for its last event, and then twice at a time, the seals ahead of the events, so that any size will
    do.

    Raises:
        ThymosError: the file cannot be read; or what a service offers cannot be loaded.
    """
    recompute = recompute_with(installed() if recomputations is None else recomputations)
    verifier = Verifier(recompute, whole=False, wanted=seal)
    last = last_event_line(path)
    seals = file_seals(path, last)
    for line, following in _with_following(file_lines(path, last)):
        if isinstance(line, LogRecord):
            while verifier.wants_seal(line, following):
                verifier.take_seal(next(seals, None))
            verifier.take(line, following)
        elif isinstance(line, BadLine):
            verifier.take_bad_line(line)
        elif isinstance(line, MisplacedSeal):
            verifier.take_misplaced(line.line)
        elif isinstance(line, End):
            verifier.take_end(line)
        if progress is not None and isinstance(line, LogRecord) and line.sequence % PROGRESS_EVERY == 0:
            progress(line.sequence)
    verifier.records_end()
    while not verifier.seals.exhausted:
        verifier.take_seal(next(seals, None))
    verifier.finish_file()
    return verifier.report()


async def verify_file_aside(path: Path, seal: str | None, progress: Progress | None) -> Report:
    """Like `verify_file`, in a thread."""
    return await asyncio.to_thread(verify_file, path, seal=seal, progress=progress)


def file_seals(path: Path, last: int) -> Iterator[FoundSeal]:
    """The seals of a file whose last event is on line `last`: events of the log, then those that only it holds."""
    for line in file_lines(path, last):
        if isinstance(line, Seal):
            yield FoundSeal(line)
        elif isinstance(line, LogRecord) and line.subject == SEAL_SUBJECT:
            yield _found(line)


def _with_following(lines: Iterator[Line]) -> Iterator[tuple[Line, int | None]]:
    """Each line, and the sequence of the event on the next one."""
    waiting: LogRecord | None = None
    for line in lines:
        if waiting is not None:
            yield waiting, line.sequence if isinstance(line, LogRecord) else None
        waiting = line if isinstance(line, LogRecord) else None
        if waiting is None:
            yield line, None
    if waiting is not None:
        yield waiting, None
