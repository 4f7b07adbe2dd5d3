"""`thymos export`: the event log as a file that can be kept, replayed and verified elsewhere."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from thymos.cli.exit_codes import UsageError
from thymos.cli.options import HERE, Where, moment
from thymos.cli.output import count, say
from thymos.cli.progress import Progress
from thymos.cli.whole_file import keep, output

if TYPE_CHECKING:
    from thymos.audit.exporting import Exported


def register(app: App) -> None:
    """Add the verb to the command line."""
    app.command(export, name="export")


async def export(
    file: Path | None = None,
    /,
    *,
    since: str | None = None,
    until: str | None = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    where: Where = HERE,
) -> None:
    """Write the event log of all tenants as JSON lines, each event byte for byte, and what proves it.

    The hash of the newest seal is told on stderr: kept elsewhere, it shows later that the log is still the same
    (thymos replay --verify --seal HASH). A file appears whole or not at all. Exits 5 when there is one already.

    Parameters
    ----------
    file
        Where to write [default: standard output].
    since
        Begin in the past: an age such as 1h, or a time such as 2026-03-01T12:00:00Z [default: the log's beginning].
    until
        End there: an age or a time [default: now].
    force
        Write over a file that is there.
    """
    from thymos.audit import exporting, reading

    if where.tenant:
        raise UsageError("an export holds all tenants, because seals cover them all: leave --tenant out")
    first, last = moment("--since", since), moment("--until", until)
    if not force:
        keep(file)
    async with where.bus() as bus, aclosing(reading.past(bus, since=first)) as records:
        with output(file, force=force) as write, Progress("exported") as progress:
            exported = await exporting.export(progress.counting(records), write, last)
    _tell(exported, file)


def _tell(exported: Exported, file: Path | None) -> None:
    say(f"{count(exported.records, 'event')} exported{f' to {file}' if file else ''}")
    if exported.head.sequence:
        say(f"last seal: {exported.head.hash} (up to event {exported.head.sealed_to}; keep it elsewhere)")
    else:
        say("no seal among them: decision-engine seals the log while it runs")
