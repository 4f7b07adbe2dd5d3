"""From a decision back to the telemetry that moved its metric: outcome rows, then the reports of their tasks.

Metrics are kept for seven days and telemetry for two; what has aged out is told in words. Only the time around the
decision is read, and only so many messages.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from thymos import subjects
from thymos.audit.causes import LoggedEvent
from thymos.bus import Bus
from thymos.client import decode_stored
from thymos.envelope import Envelope
from thymos.message import Message
from thymos.metrics import MetricsOutcomes, OutcomeRow
from thymos.subjects import Stream
from thymos.telemetry import Outcome, TaskFinished

LOOK_BACK = timedelta(hours=1)
BEFORE = timedelta(minutes=2)
AFTER = timedelta(seconds=30)
ROWS_MAX = 5_000
MESSAGES_MAX = 200_000
QUIET_SECONDS = 5.0
SHOWN_MAX = 5
Task = tuple[str, str | None]
"""A task's id and the commit it was worked on."""


@dataclass(frozen=True)
class Trail:
    """The outcomes behind a decision, as lines for a person, and what could not be found."""

    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def trail_of(bus: Bus, made: LoggedEvent) -> Trail:
    """The outcomes that a decision was made from, and the reports of their tasks.

    Raises:
        UnavailableError: the bus is away.
    """
    at = datetime.fromisoformat(made.time)
    found = (made.data.get("inputs") or {}).get("found") or {}
    rows, cause = await _rows(bus, made, at)
    chosen = _chosen(found, rows, cause)
    if not chosen:
        if made.causation_id is None:
            return Trail(notes=["no message caused it: a deadline or a person did"])
        note = f"the metrics that caused it ({made.causation_id[:8]}) are not in {subjects.METRICS.name} any more"
        return Trail(notes=[f"{note}, which keeps seven days; the numbers above are what remains"])
    reports = await _reports(bus, made, chosen, at)
    return Trail(_lines(chosen, cause, reports), _notes(chosen, reports))


async def _rows(bus: Bus, made: LoggedEvent, at: datetime) -> tuple[list[OutcomeRow], Envelope[Any] | None]:
    """Rows up to the message that caused the decision, the newest last; and that message."""
    rows: deque[OutcomeRow] = deque(maxlen=ROWS_MAX)
    pattern = subjects.metrics_subject(made.tenant, made.agent, "*")
    async with aclosing(_read(bus, subjects.METRICS, pattern, at - LOOK_BACK, at + AFTER)) as messages:
        async for envelope in messages:
            if isinstance(envelope.data, MetricsOutcomes):
                rows.extend(envelope.data.rows)
            if envelope.id == made.causation_id:
                return list(rows), envelope
    return [], None


def _chosen(found: Mapping[str, Any], rows: list[OutcomeRow], cause: Envelope[Any] | None) -> list[OutcomeRow]:
    """Those that the decision says it was made from; else those of the message that caused it."""
    first, last = found.get("first_row"), found.get("last_row")
    if isinstance(first, int) and isinstance(last, int):
        return [row for row in rows if first <= row.row <= last]
    counted = found.get("outcomes_since_it_began")
    if isinstance(counted, int) and counted > 0:
        return rows[-counted:]
    data = cause.data if cause is not None else None
    return list(data.rows) if isinstance(data, MetricsOutcomes) else []


async def _reports(bus: Bus, made: LoggedEvent, rows: list[OutcomeRow], at: datetime) -> dict[Task, Envelope[Message]]:
    """The final report of each task on each commit: the arms of an experiment share their tasks."""
    wanted = {(row.task_id, row.commit) for row in rows}
    found: dict[Task, Envelope[Message]] = {}
    since = min(row.finished_at for row in rows) - BEFORE
    pattern = subjects.telemetry_subject(made.tenant, made.agent)
    async with aclosing(_read(bus, subjects.TELEMETRY, pattern, since, at + AFTER)) as messages:
        async for envelope in messages:
            said = envelope.data
            if not isinstance(said, TaskFinished) or said.awaits_grade:
                continue
            if (said.task_id, said.commit) in wanted:
                found.setdefault((said.task_id, said.commit), envelope)
                if len(found) == len(wanted):
                    break
    return found


async def _read(
    bus: Bus, stream: Stream, pattern: str, since: datetime, until: datetime
) -> AsyncGenerator[Envelope[Message], None]:
    """Messages of a stream that were stored within a time."""
    last = await bus.last(stream, pattern)
    if last is None or last.stored_at < since:
        return
    read = 0
    async with aclosing(bus.follow(stream, pattern, since)) as messages:
        with suppress(TimeoutError):
            while read < MESSAGES_MAX:
                stored = await asyncio.wait_for(anext(messages), QUIET_SECONDS)
                read += 1
                if stored.stored_at > until:
                    return
                for item in decode_stored(stored):
                    if isinstance(item, Envelope):
                        yield item
                if stored.sequence >= last.sequence:
                    return


def _lines(rows: list[OutcomeRow], cause: Envelope[Any] | None, reports: Mapping[Task, Envelope[Message]]) -> list[str]:
    bad = [row for row in rows if row.outcome is not Outcome.SUCCEEDED]
    lines = []
    for row in (bad or rows)[-SHOWN_MAX:]:
        report = reports.get((row.task_id, row.commit))
        by = f"task.finished {report.id[:8]} by {report.source}" if report else "its report has aged out"
        commit = f" on commit {row.commit[:12]}" if row.commit else ""
        lines.append(f"{row.finished_at:%H:%M:%S}  task {row.task_id} {row.outcome}{commit} ({by})")
    more = len(bad or rows) - SHOWN_MAX
    if more > 0:
        lines.insert(0, f"          {more} more like these before")
    numbers = f"{rows[0].row} to {rows[-1].row}" if len(rows) > 1 else f"{rows[0].row}"
    by = f", counted with metrics.outcomes {cause.id[:8]}" if cause else ""
    lines.append(f"{rows[-1].finished_at:%H:%M:%S}  outcomes {numbers}: {len(bad)} of {len(rows)} were no success{by}")
    return lines


def _notes(rows: list[OutcomeRow], reports: Mapping[Task, Envelope[Message]]) -> list[str]:
    absent = len({(row.task_id, row.commit) for row in rows} - set(reports))
    if not absent:
        return []
    return [f"{absent} of its tasks' reports are not in {subjects.TELEMETRY.name} any more, which keeps two days"]
