"""Whether each outcome was counted, once, and in order."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from tests.chaos.aftermath import Aftermath, Disturbance, Record

from thymos import subjects
from thymos.metrics import MetricsOutcomes
from thymos.suite import NATS
from thymos.telemetry import TaskFinished

from .finding import Finding, finding, repeated, stories

Outcome = tuple[str, str, str, str]
"""Agent, experiment, arm, task."""
COUNTER = subjects.consumer(subjects.METRICS_COLLECTOR, subjects.TELEMETRY)
LATE_MAX = COUNTER.batch
"""Messages that metrics-collector has in hand at most, and that come again when it, or NATS, is disturbed."""
HANDED_OUT = timedelta(seconds=2)
"""How long a server may hand out messages to a process that is gone, until it notices."""
LATE_FOR = COUNTER.ack_wait + timedelta(seconds=30)
"""How long after a disturbance they may be counted: `ack_wait`, and as long as a process may take to be back."""


def outcomes_counted_once(a: Aftermath) -> Finding:
    """Every graded outcome is one row, and every row is a graded outcome."""
    graded = {outcome for outcome, _ in _graded(a.telemetry)}
    rows = [outcome for outcome, _, _ in _rows(a)]
    problems = [f"{outcome} was counted {n} times" for outcome, n in repeated(rows)]
    problems += [f"{outcome} was not counted" for outcome in sorted(graded - set(rows))]
    problems += [f"{outcome} was counted, but nobody graded it" for outcome in sorted(set(rows) - graded)]
    return finding("outcomes are counted once", len(graded), problems, stories(a))


def rows_in_order(a: Aftermath) -> Finding:
    """The rows of each agent are numbered from 1 without a gap, in the order of the stream that they are read from."""
    problems = []
    by_agent: dict[str, list[int]] = defaultdict(list)
    for outcome, row, _ in _rows(a):
        by_agent[outcome[0]].append(row)
    for agent, numbers in by_agent.items():
        if numbers != list(range(1, len(numbers) + 1)):
            wrong = next(i for i, number in enumerate(numbers, 1) if i != number)
            problems.append(f"{agent}: row {numbers[wrong - 1]} stands where row {wrong} should")
    return finding("order per agent: rows without a gap", sum(map(len, by_agent.values())), problems, stories(a))


def counted_in_order(a: Aftermath) -> Finding:
    """Outcomes of one branch or arm are counted in the order in which they were stored.

    Those that had been handed to metrics-collector when it was disturbed, or a NATS server under it, come again later
    (see docs/faults.md): of up to `LATE_MAX` messages per disturbance, until `LATE_FOR` after it, at the latest.
    """
    late = late_outcomes(a)
    disturbances = [each for each in a.disturbances if _delays_counting(each)]
    problems = []
    for outcome, stored, counted in late:
        reasons = [
            each for each in disturbances if each.began <= counted and stored.stored_at <= each.ended + HANDED_OUT
        ]
        if not reasons:
            problems.append(f"{outcome}, stored at {stored.sequence}, was counted late, and nothing had been disturbed")
        elif (after := counted - max(each.ended for each in reasons)) > LATE_FOR:
            problems.append(f"{outcome}, stored at {stored.sequence}, was counted {after} after the last disturbance")
    messages, most = len({stored.sequence for _, stored, _ in late}), LATE_MAX * len(disturbances)
    if messages > most:
        problems.append(f"{messages} messages were counted late, for {len(disturbances)} disturbances")
    return finding("order per agent: outcomes as stored", len(_rows(a)), problems, stories(a))


def late_outcomes(a: Aftermath) -> list[tuple[Outcome, Record, datetime]]:
    """Outcomes that were counted after later ones of the same branch or arm: where each was stored, when counted."""
    stored: dict[Outcome, Record] = {}
    for outcome, record in _graded(a.telemetry):
        stored.setdefault(outcome, record)
    newest: dict[tuple[str, str, str], int] = {}
    late = []
    for outcome, _, counted in _rows(a):
        if outcome not in stored:
            continue  # `outcomes_counted_once` says so
        record = stored[outcome]
        before = newest.get(outcome[:3], 0)
        if record.sequence < before:
            late.append((outcome, record, counted))
        newest[outcome[:3]] = max(record.sequence, before)
    return late


def _delays_counting(disturbance: Disturbance) -> bool:
    """A server of a cluster hands out anew, too, what was in hand when it led."""
    return disturbance.target == subjects.METRICS_COLLECTOR or disturbance.target.lower().startswith(NATS)


def _graded(telemetry: Sequence[Record]) -> list[tuple[Outcome, Record]]:
    """Final outcomes, with the messages that report them."""
    return [
        ((record.envelope.agent, data.experiment_id or "", data.arm or "", data.task_id), record)
        for record in telemetry
        if record.envelope and isinstance(data := record.envelope.data, TaskFinished) and not data.awaits_grade
    ]


def _rows(a: Aftermath) -> list[tuple[Outcome, int, datetime]]:
    """Counted outcomes: their row, and when it was stored."""
    found = []
    for record in a.metrics:
        if record.envelope and isinstance(data := record.envelope.data, MetricsOutcomes):
            name = (record.envelope.agent, data.experiment_id or "", data.arm or "")
            found += [((*name, row.task_id), row.row, record.stored_at) for row in data.rows]
    return found
