"""`thymos why`: how something came to be, from the telemetry that moved a metric to the commit."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Path as PathExists

from thymos.cli.options import HERE, Json, Where
from thymos.cli.output import emit, line

if TYPE_CHECKING:
    from thymos.audit import LogRecord
    from thymos.audit.investigation import Answer


def register(app: App) -> None:
    """Add the verb to the command line."""
    app.command(why, name="why")


async def why(
    id: str,
    /,
    *,
    file: Annotated[Path | None, Parameter(validator=PathExists(exists=True, dir_okay=False))] = None,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Tell in plain words why something was decided or done: rule, evidence, and what caused it, oldest first.

    Exits 3 when nothing has the id.

    Parameters
    ----------
    id
        Of a decision, an experiment, an event (such as worktree.scaled), a commit or a worktree; six characters of it
        will do where they are no other's.
    file
        Look in an exported file [default: the live log].
    """
    from thymos.audit.investigation import investigate
    from thymos.audit.reading import past

    if file is not None:
        cut_off: set[str] = set()
        answer = await investigate(id, lambda: _opened(file, cut_off), None)
        answer.notes += sorted(cut_off)
    else:
        async with where.bus() as bus:
            answer = await investigate(id, lambda: aclosing(past(bus)), bus)
    if json:
        emit(answer.to_json())
    else:
        _tell(answer)


@asynccontextmanager
async def _opened(file: Path, cut_off: set[str]) -> AsyncIterator[AsyncIterator[LogRecord]]:
    async with aclosing(_records(file, cut_off)) as records:
        yield records


async def _records(file: Path, cut_off: set[str]) -> AsyncGenerator[LogRecord, None]:
    from thymos.audit.reading import file_records

    note = f"{file} ends without its last line: it was cut off, and what came after that is not here"
    for record in file_records(file, lambda: cut_off.add(note)):
        yield record


def _tell(answer: Answer) -> None:
    line(answer.title)
    for name, lines in answer.sections.items():
        if lines:
            line(f"{name}:")
            for words in lines:
                line(f"  {words}")
    if answer.chain:
        line("how it came to be, oldest first:")
        for words in answer.chain:
            line(f"  {words}")
    for note in answer.notes:
        line(f"note: {note}")
