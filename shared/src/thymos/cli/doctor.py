"""`thymos doctor`: what is wrong with the suite, and how to mend it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from thymos.cli.exit_codes import DONE, FAILED
from thymos.cli.options import HERE, Json, Where
from thymos.cli.output import count, emit, line, say

if TYPE_CHECKING:
    from thymos.cli.findings import Check


def register(app: App) -> None:
    """Add the verb to the command line."""
    app.command(doctor, name="doctor")


async def doctor(
    *,
    data: Annotated[Path | None, Parameter(show_default=False)] = None,
    json: Json = False,
    where: Where = HERE,
) -> int:
    """Check NATS, streams, consumers, each service, agents, the clock, storage and dead letters.

    Each finding says how to mend it. Exits 1 when there are findings.

    Parameters
    ----------
    data
        The data folder on this machine [default: the configuration's storage.directory, if it exists].
    """
    from thymos.cli.checks import examine

    checks = await examine(where, data)
    findings = [finding for check in checks for finding in check.findings]
    if json:
        emit({"ok": not findings, "checks": [asdict(check) for check in checks]})
    else:
        _print(checks)
        say(count(len(findings), "finding") if findings else "all is well")
    return FAILED if findings else DONE


def _print(checks: list[Check]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        if not check.findings:
            line(f"ok   {check.name:<{width}}  {check.detail}".rstrip())
        for finding in check.findings:
            line(f"BAD  {check.name:<{width}}  {finding.what}")
            line(f"     {'':<{width}}  → {finding.mend}")
