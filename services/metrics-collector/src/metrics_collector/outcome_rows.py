"""`metrics.outcomes`: the counted outcomes as rows, in messages that fit the bus."""

from collections.abc import Sequence
from dataclasses import dataclass

from metrics_collector.event_time import from_us
from metrics_collector.samples import Finished
from metrics_collector.window import WindowKey
from thymos.input_digest import input_digest
from thymos.metrics import MetricsOutcomes, OutcomeRow
from thymos.telemetry import TaskFinished

ROWS_MAX = 500
INPUT_BYTES_MAX = 2_048
RECALLED_MAX = 20
MESSAGE_BYTES = 128 * 1024
"""Text in one message, before JSON escapes, which make it at most six times as long: below what the bus
takes.
"""
_ROW_BYTES = 500
"""Names, numbers and times of one row."""


@dataclass(frozen=True, slots=True)
class Counted:
    """One outcome that counts, not yet numbered. `on_time` unless it is too late or too early for its window."""

    key: WindowKey
    data: TaskFinished
    sample: Finished
    on_time: bool


def outcome_messages(key: WindowKey, counted: Sequence[Counted], first_row: int) -> list[MetricsOutcomes]:
    """The outcomes of one branch or arm as rows `first_row`, `first_row + 1`, …, in as few messages as they
    fit.

    A late outcome is a row like any other: the evidence loses nothing, only the windows do.
    """
    messages: list[MetricsOutcomes] = []
    rows: list[OutcomeRow] = []
    size = 0
    for number, one in enumerate(counted, first_row):
        row = _row(one, number)
        row_size = _size(row)
        if rows and (len(rows) == ROWS_MAX or size + row_size > MESSAGE_BYTES):
            messages.append(_message(key, rows))
            rows, size = [], 0
        rows.append(row)
        size += row_size
    if rows:
        messages.append(_message(key, rows))
    return messages


def shortened(text: str, bytes_max: int = INPUT_BYTES_MAX) -> str:
    """The beginning of `text` that fits into `bytes_max` bytes of UTF-8, never half a character."""
    if len(text) * 4 <= bytes_max:
        return text
    return text.encode(errors="replace")[:bytes_max].decode(errors="ignore")


def _row(one: Counted, number: int) -> OutcomeRow:
    data = one.data
    return OutcomeRow(
        row=number,
        task_id=data.task_id,
        outcome=data.outcome,
        commit=data.commit,
        latency_ms=data.latency_ms,
        finished_at=from_us(one.sample.at_us),
        input=None if data.input is None else shortened(data.input),
        input_digest=None if data.input is None else input_digest(data.input),
        recalled_ids=list(data.recalled_ids[:RECALLED_MAX]),
    )


def _size(row: OutcomeRow) -> int:
    texts = (row.task_id, row.commit or "", row.input or "", *row.recalled_ids)
    return _ROW_BYTES + sum(len(text.encode(errors="replace")) for text in texts)


def _message(key: WindowKey, rows: list[OutcomeRow]) -> MetricsOutcomes:
    return MetricsOutcomes(branch=key.branch, experiment_id=key.experiment_id or None, arm=key.arm or None, rows=rows)
