"""The result of a run, for a person and for a program."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .faults import SERVICES
from .kills import Campaign
from .load import PARTS
from .run import Result


def say(text: str) -> None:
    """A line for a person: on stderr, at once."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def show(result: Result, again: str) -> None:
    """The counts and the invariants as a table; the seed and what is broken where something is."""
    write("")
    write(f"faults: {len(result.timeline)} ({faults_of(result)})")
    write_table([(name, str(count)) for name, count in result.counts.items()])
    write("")
    write_table([("ok" if f.held else "BROKEN", f.invariant, str(f.checked)) for f in result.findings])
    for note in result.notes:
        write(note)
    write(f"seed {result.seed}, {result.seconds:g} s")
    for finding in result.broken:
        write(f"BROKEN: {finding.invariant}")
        for problem in finding.problems:
            write(f"  {problem}")
    if result.broken:
        write(f"again: {again}")


def line(result: Result) -> str:
    """A run in one line."""
    broken = [f"{finding.invariant} ({'; '.join(finding.problems)})" for finding in result.broken]
    outcome = f"BROKEN: {'; '.join(broken)}" if broken else "ok"
    kills = sum(done.hit for done in result.timeline)
    return (
        f"run with seed {result.seed}: {kills} kills, {result.counts['events']} events, {result.seconds:g} s: {outcome}"
    )


def show_campaign(whole: Campaign, again: str) -> None:
    """Every kill with its moment and what its run came to; the kills of each service by part of the story."""
    write_table([("seed", "moment", "part", "service", "outcome")] + [
        (str(result.seed), f"{done.at:.1f} s", done.stage, done.fault.target, "BROKEN" if result.broken else "ok")
        for result in whole.runs
        for done in result.timeline
        if done.hit
    ])  # fmt: skip
    write("")
    parts = [*PARTS, "starting"]
    write_table([("kills", *parts, "all")] + [
        (service, *(str(whole.kills[service, part]) for part in parts), str(whole.of(service))) for service in SERVICES
    ])  # fmt: skip
    write("")
    names = whole.runs[0].counts if whole.runs else {}
    write_table([(name, str(sum(result.counts[name] for result in whole.runs))) for name in names])
    write(f"{len(whole.runs)} runs, {sum(len(r.broken) > 0 for r in whole.runs)} with a broken invariant")
    for result in whole.runs:
        for finding in result.broken:
            write(f"BROKEN with seed {result.seed}: {finding.invariant}")
            for problem in finding.problems:
                write(f"  {problem}")
    for problem in whole.problems:
        write(f"BROKEN: {problem}")
    if not whole.held:
        write(f"again: {again}")


def faults_of(result: Result) -> str:
    """How often which fault was done to whom."""
    counted = Counter(f"{done.fault.action.value} {done.fault.target}" for done in result.timeline)
    return ", ".join(f"{what} {count}" for what, count in sorted(counted.items())) or "none"


def as_json(result: Result) -> dict[str, Any]:
    """A run as an object."""
    return {
        "seed": result.seed,
        "held": not result.broken,
        "seconds": result.seconds,
        "counts": result.counts,
        "stages": result.stages,
        "missed": result.missed,
        "notes": result.notes,
        "faults": [
            {"at": done.at, "action": done.fault.action.value, "target": done.fault.target, "stage": done.stage,
             "lasts": done.fault.lasts, "process": done.process}
            for done in result.timeline
        ],
        "invariants": [{**asdict(finding), "held": finding.held} for finding in result.findings],
    }  # fmt: skip


def emit(data: Any) -> None:
    """Data on stdout."""
    sys.stdout.write(json.dumps(data) + "\n")


def write(text: str) -> None:
    """A line of the result on stdout."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def write_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need to be."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    for row in rows:
        write("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
