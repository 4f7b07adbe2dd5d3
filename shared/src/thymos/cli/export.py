"""`thymos export`: the event log as a file that can be kept, replayed and verified elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cyclopts import App

from thymos.cli.exit_codes import UsageError
from thymos.cli.options import HERE, Where, moment
from thymos.cli.output import count, say
from thymos.errors import ThymosError

if TYPE_CHECKING:
    from thymos.audit import LogRecord
    from thymos.audit.exporting import Exported

PROGRESS_EVERY = 1_000


def register(app: App) -> None:
    """Add the verb to the command line."""
    app.command(export, name="export")


async def export(
    file: Path | None = None, /, *, since: str | None = None, until: str | None = None, where: Where = HERE
) -> None:
    """Write the event log of all tenants as JSON lines, each event byte for byte, and what proves it.

    The hash of the newest seal is told on stderr: kept elsewhere, it shows later that the log is still the same
    (thymos replay --verify --seal HASH). A file appears whole or not at all.

    Parameters
    ----------
    file
        Where to write [default: standard output].
    since
        Begin in the past: an age such as 1h, or a time such as 2026-03-01T12:00:00Z [default: the log's beginning].
    until
        End there: an age or a time [default: now].
    """
    from thymos.audit import exporting, reading

    if where.tenant:
        raise UsageError("an export holds all tenants, because seals cover them all: leave --tenant out")
    first, last = moment("--since", since), moment("--until", until)
    async with where.bus() as bus, aclosing(reading.past(bus, since=first)) as records:
        with _output(file) as write, Progress("exported") as progress:
            exported = await exporting.export(progress.counting(records), write, last)
    _tell(exported, file)


def _tell(exported: Exported, file: Path | None) -> None:
    say(f"{count(exported.records, 'event')} exported{f' to {file}' if file else ''}")
    if exported.head.sequence:
        say(f"last seal: {exported.head.hash} (up to event {exported.head.sealed_to}; keep it elsewhere)")
    else:
        say("no seal among them: decision-engine seals the log while it runs")


@contextmanager
def _output(file: Path | None) -> Iterator[Callable[[bytes], object]]:
    """Where lines go. A file is written aside, and gets its name when it is whole and on the disk."""
    if file is None:
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with aside.open("xb") as lines:
            yield lines.write
            _to_disk(lines)
        aside.replace(file)
    except OSError as error:
        raise ThymosError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        aside.unlink(missing_ok=True)


def _to_disk(lines: BinaryIO) -> None:
    lines.flush()
    os.fsync(lines.fileno())


class Progress:
    """How far a long verb is, on stderr when that is a terminal."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def at(self, events: int) -> None:
        """So many events are done."""
        if self._shown:
            sys.stderr.write(f"\r{self._doing} {events} events")
            sys.stderr.flush()

    async def counting(self, records: AsyncIterator[LogRecord]) -> AsyncIterator[LogRecord]:
        """The same records, counted."""
        read = 0
        async for record in records:
            read += 1
            if read % PROGRESS_EVERY == 0:
                self.at(read)
            yield record
