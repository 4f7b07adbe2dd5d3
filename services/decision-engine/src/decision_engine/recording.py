"""Recorded results for `thymos judge`: CSV or JSON lines, checked whole, the first problem named with its
line.

One row is one agent's outcome of one task: `task_id`, `agent` (or `arm`), `success` (0, 1 or empty for "no
outcome"), and optionally `latency_ms` and `cost_usd`. Other columns are ignored.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from decision_engine.evidence import exact
from thymos.errors import ThymosError

LARGEST_FILE_BYTES = 64 << 20
MOST_ROWS = 200_000
LONGEST_NAME = 200
"""Characters of a task's or an agent's name."""
_MOST_SHOWN = 60
_LARGEST_NUMBER = Fraction(10**12)

Row = tuple[int, Mapping[str, object]]
"""A line number, from 1, and the values by column."""


class RecordingError(ThymosError):
    """The recorded results cannot be used."""


@dataclass(frozen=True, slots=True)
class RecordedOutcome:
    """One agent's outcome of one task; `success` is None where there is none. Microseconds, dollars."""

    line: int
    success: bool | None
    latency_us: int | None = None
    cost_usd: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """Outcomes by agent and task id, both in file order."""

    agents: Mapping[str, Mapping[str, RecordedOutcome]]

    def outcomes(self, agent: str) -> Mapping[str, RecordedOutcome]:
        """One agent's outcomes by task id.

        Raises:
            RecordingError: the agent has no row; the message lists those that have.
        """
        if agent not in self.agents:
            raise RecordingError(f"no agent {shown(agent)} in the file; it has {_listed(list(self.agents))}")
        return self.agents[agent]


def parse_recording(content: bytes) -> Recording:
    """Read recorded results.

    Raises:
        RecordingError: they are too large, not UTF-8, empty, or a row is wrong; one line that says what to
            do.
    """
    text = _decode(content)
    agents: dict[str, dict[str, RecordedOutcome]] = {}
    for count, (line, row) in enumerate(_rows(text)):
        if count >= MOST_ROWS:
            raise RecordingError(f"more than {MOST_ROWS} rows; judge a part of them")
        task_id = _name(row, line, "task_id")
        agent = _name(row, line, "agent" if "agent" in row else "arm")
        outcome = RecordedOutcome(
            line,
            _success(row.get("success"), line),
            _latency_us(row.get("latency_ms"), line),
            _number(row.get("cost_usd"), line, "cost_usd"),
        )
        earlier = agents.setdefault(agent, {}).setdefault(task_id, outcome)
        if earlier is not outcome:
            raise RecordingError(
                f"line {line}: task {shown(task_id)} of {shown(agent)} was recorded on line {earlier.line} already; "
                "keep one outcome per task and agent"
            )
    if not agents:
        raise RecordingError("the file holds no results; expected a row per task and agent")
    return Recording(agents)


def _decode(content: bytes) -> str:
    if len(content) > LARGEST_FILE_BYTES:
        raise RecordingError(f"the file is larger than {LARGEST_FILE_BYTES >> 20} MiB; judge a part of it")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise RecordingError(f"line {line}: not UTF-8; save the file as UTF-8 text") from None
    if not text.strip():
        raise RecordingError("the file is empty; expected CSV with a header line, or JSON lines")
    return text


def _rows(text: str) -> Iterator[Row]:
    start = text.lstrip()[0]
    if start == "[":
        raise RecordingError("line 1: a JSON list; write JSON lines instead, one object per line")
    return _json_rows(text) if start == "{" else _csv_rows(text)


def _json_rows(text: str) -> Iterator[Row]:
    for line, said in enumerate(text.split("\n"), start=1):
        if not said.strip():
            continue
        try:
            row = json.loads(said, parse_float=str, parse_constant=str)
        except (ValueError, RecursionError):
            raise RecordingError(f"line {line}: not JSON; write one object per line") from None
        if not isinstance(row, dict):
            raise RecordingError(f"line {line}: not a JSON object; write one object per line")
        _check_columns(list(row), f"line {line}")
        yield line, row


def _csv_rows(text: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] = []
    while True:
        try:
            values = next(reader, None)
        except csv.Error as error:
            raise RecordingError(f"line {reader.line_num}: not CSV ({error})") from None
        if values is None:
            return
        if not any(value.strip() for value in values):
            continue
        if not columns:
            columns = [value.strip() for value in values]
            _check_columns(columns, f"line {reader.line_num}")
            continue
        if len(values) != len(columns):
            raise RecordingError(
                f"line {reader.line_num}: {len(values)} values for {len(columns)} columns; "
                "quote values that hold commas"
            )
        yield reader.line_num, dict(zip(columns, values, strict=True))


def _check_columns(columns: list[str], place: str) -> None:
    repeated = next((column for column in columns if columns.count(column) > 1), None)
    if repeated is not None:
        raise RecordingError(f"{place}: column {shown(repeated)} appears twice; name each column once")
    missing = [column for column in ("task_id", "success") if column not in columns]
    if "agent" not in columns and "arm" not in columns:
        missing.insert(min(1, len(missing)), "agent")
    if missing:
        hint = "; separate columns by commas" if len(columns) == 1 else ""
        raise RecordingError(
            f"{place}: no column {' and no column '.join(missing)}; there is {_listed(columns)}; "
            f"wanted are task_id, agent (or arm) and success{hint}"
        )


def _name(row: Mapping[str, object], line: int, column: str) -> str:
    value = row[column]
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 10**18 else None
    name = value.strip() if isinstance(value, str) else ""
    if not 0 < len(name) <= LONGEST_NAME:
        raise RecordingError(
            f"line {line}: {column} is {shown(row[column])}; expected text of 1 to {LONGEST_NAME} characters"
        )
    return name


def _success(value: object, line: int) -> bool | None:
    said = value.strip() if isinstance(value, str) else value
    if said is None or said == "":
        return None
    if isinstance(said, bool):
        return said
    if said in ("0", "1", 0, 1):
        return bool(int(said))
    raise RecordingError(f"line {line}: success is {shown(value)}; expected 0, 1 or empty")


def _latency_us(value: object, line: int) -> int | None:
    number = _number(value, line, "latency_ms")
    return None if number is None else round(number * 1000)


def _number(value: object, line: int, column: str) -> Fraction | None:
    said = value.strip() if isinstance(value, str) else value
    if said is None or said == "":
        return None
    number = _decimal(str(said)) if isinstance(said, str | int) and not isinstance(said, bool) else None
    if number is None:
        raise RecordingError(f"line {line}: {column} is {shown(value)}; expected a number or empty")
    if not 0 <= number <= _LARGEST_NUMBER:
        raise RecordingError(f"line {line}: {column} is {shown(value)}; expected 0 to {float(_LARGEST_NUMBER):g}")
    return number


def _decimal(said: str) -> Fraction | None:
    try:
        return exact(said) if "/" not in said else None
    except ValueError:
        return None


def shown(value: object) -> str:
    """A value from the file, quoted, shortened and without control characters."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _listed(names: list[str]) -> str:
    some = ", ".join(shown(name) for name in names[:20])
    return some if len(names) <= 20 else f"{some} and {len(names) - 20} more"
