"""`thymos replay`: the past in order, and whether it is still what it was."""

from __future__ import annotations

import asyncio
import json as json_format
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Path as PathExists

from thymos.cli.exit_codes import DONE, FAILED, UsageError
from thymos.cli.options import HERE, Json, Where, agent_name, moment
from thymos.cli.output import count, emit, line, say
from thymos.cli.progress import Progress
from thymos.errors import PoisonError

if TYPE_CHECKING:
    from thymos.audit import LogRecord, Report

SHOWN_MAX = 10
YIELD_EVERY = 500


def register(app: App) -> None:
    """Add the verb to the command line."""
    app.command(replay, name="replay")


async def replay(
    file: Annotated[Path | None, Parameter(validator=PathExists(exists=True, dir_okay=False))] = None,
    /,
    *,
    verify: Annotated[bool, Parameter(negative=())] = False,
    seal: str | None = None,
    agent: str | None = None,
    since: str | None = None,
    until: str | None = None,
    json: Json = False,
    where: Where = HERE,
) -> int:
    """Print the events of the past in order, of all tenants or of --tenant; or verify them.

    With --verify each event is compared with the seals of the log, and each decision is computed again from what its
    event holds: exits 0 when all is identical, 1 when anything differs; the first difference comes first.

    Parameters
    ----------
    file
        An exported file [default: the live log].
    verify
        Compare instead of printing.
    seal
        With --verify: the hash of a seal that was kept elsewhere and that the log must have.
    agent
        Only of this agent (without --verify).
    since
        Begin in the past: an age such as 1h, or a time such as 2026-03-01T12:00:00Z [default: the beginning].
    until
        End there: an age or a time [default: the end].
    """
    first, last = moment("--since", since), moment("--until", until)
    if verify and (agent is not None or where.tenant):
        raise UsageError(
            "--verify concerns the whole log, because seals cover all tenants: leave --agent and --tenant out"
        )
    if verify:
        return await _verify(file, first, last, _hash(seal), json, where)
    if seal is not None:
        raise UsageError("--seal belongs to --verify")
    tenant = where.tenant_name() if where.tenant or os.environ.get("THYMOS_TENANT") else None
    owner = agent_name(agent) if agent else None
    async with aclosing(_records(file, first, where)) as records:
        async for record in records:
            if last is not None and record.stored_at > last:
                break
            if first is None or record.stored_at >= first:
                _print(record, tenant, owner, json)
    return DONE


def _hash(seal: str | None) -> str | None:
    lower = None if seal is None else seal.lower()
    if lower is not None and (len(lower) != 64 or set(lower) - set("0123456789abcdef")):
        raise UsageError(f"--seal: {seal!r} is no hash of a seal: 64 characters of 0-9 and a-f, as export tells it")
    return lower


async def _records(file: Path | None, since: datetime | None, where: Where) -> AsyncGenerator[LogRecord, None]:
    from thymos.audit import reading

    if file is None:
        async with where.bus() as bus, aclosing(reading.past(bus, since=since)) as records:
            async for record in records:
                yield record
        return
    told = f"{file} ends without its last line: it was cut off, and what came after that is not here"
    for number, record in enumerate(reading.file_records(file, lambda: say(told))):
        yield record
        if number % YIELD_EVERY == 0:
            await asyncio.sleep(0)  # an interrupt has its turn


def _print(record: LogRecord, tenant: str | None, agent: str | None, json: bool) -> None:
    """One event as a line or as it is; those of others are passed over, and what cannot be read is told."""
    from thymos import subjects
    from thymos.cli.watch import told
    from thymos.client import DEFAULT_TENANT
    from thymos.envelope import decode

    try:
        address = subjects.address(record.subject)
        if tenant not in (None, address.tenant) or agent not in (None, address.agent):
            return
        envelope = decode(record.body, record.subject)
    except (PoisonError, ValueError) as error:
        say(f"passed over event {record.sequence}: {error}")
        return
    if json:
        emit(json_format.loads(record.body))
        return
    owner = "" if address.tenant in (tenant, DEFAULT_TENANT) else f"{address.tenant}/"
    line(told(envelope.model_copy(update={"agent": f"{owner}{envelope.agent}"})))


# --- verifying -------------------------------------------------------------------------------------------------------


async def _verify(
    file: Path | None, since: datetime | None, until: datetime | None, seal: str | None, json: bool, where: Where
) -> int:
    from thymos.audit import verify_log
    from thymos.audit.verify import verify_file_aside

    with Progress("verified") as progress:
        if file is None:
            async with where.bus() as bus:
                report = await verify_log(bus, since=since, until=until, seal=seal, progress=progress.at)
        elif since or until:
            raise UsageError("a file is verified as a whole; export the part with --since and --until instead")
        else:
            report = await verify_file_aside(file, seal, progress.at)
    if json:
        emit(report.to_json())
    else:
        _tell(report)
    return DONE if report.identical else FAILED


def _tell(report: Report) -> None:
    for words in report.problems[:SHOWN_MAX]:
        line(words)
    if report.difference_count > SHOWN_MAX:
        line(f"and {count(report.difference_count - SHOWN_MAX, 'difference')} more")
    line(
        f"{count(report.events, 'event')}, {report.checked} under {count(report.seals, 'seal')}; "
        f"{count(report.decisions, 'decision')} computed again: "
        f"{'identical' if report.identical else count(report.difference_count, 'difference')}"
    )
    for note in report.notes:
        line(f"note: {note}")
    if report.last_seal:
        line(f"last seal: {report.last_seal} (up to event {report.last_sealed})")
