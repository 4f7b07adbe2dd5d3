"""`thymos judge`: a verdict on recorded results, in-process, no services needed.

Exits by the verdict, as `thymos experiment wait` does: 0 merge, 10 rollback, 11 inconclusive, 12 invalid, 13 error.
Wrong options, a missing file and a file that cannot be used are errors, which the command line reports: 2, 3 and 1.
"""

from __future__ import annotations

import json as json_format
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from decision_engine.configured_criteria import failure_limits, success_criteria
from decision_engine.criteria import SuccessCriteria
from decision_engine.evidence import exact
from decision_engine.evidence_plan import MIN_PAIRS, EvidencePlan
from decision_engine.judge_report import as_json, show
from decision_engine.limits import FailureLimits
from decision_engine.recorded_verdict import judge_recording
from decision_engine.recording import LARGEST_FILE_BYTES, Recording, RecordingError, parse_recording
from thymos import config as configuration
from thymos.cli import exit_codes
from thymos.errors import Refusal, RefusalCode

STANDARD_INPUT = Path("-")
DEFAULT_ALPHA = Fraction(1, 20)


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What the recorded results are measured with; `notes` say what could not be."""

    alpha: Fraction
    min_pairs: int
    criteria: SuccessCriteria | None = None
    limits: FailureLimits = FailureLimits()  # noqa: RUF009  (frozen)
    notes: tuple[str, ...] = ()


def register(app: App) -> None:
    """Add the verb to the command line."""
    app.command(judge, name="judge")


def judge(
    file: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    control: str,
    challenger: Annotated[list[str], Parameter(negative=())],
    alpha: str | None = None,
    min_pairs: int | None = None,
    config: Path | None = None,
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> int:
    """Judge recorded results: is a challenger better than the control, or worse?

    FILE is CSV or JSON lines with task_id, agent (or arm), success (0, 1 or empty), and optionally latency_ms
    and cost_usd. Outcomes are paired by task, in the control's order, and weighed after every pair; the first
    decision stands. Exits 0 merge, 10 rollback, 11 inconclusive, 12 invalid, 13 error.

    Parameters
    ----------
    file
        The recorded results; - for standard input.
    control
        The agent to compare with.
    challenger
        An agent that may be better; repeat the option for several.
    alpha
        Tolerated probability of calling an agent better that is not [default: 0.05, or the configuration's].
    min_pairs
        Pairs before a verdict [default: 20, or the configuration's].
    config
        Also ask for the criteria of this thymos.toml.
    json
        Print one JSON object.
    """
    yardstick = _yardstick(alpha, min_pairs, config)
    recording = _recording(file)
    for name, option in ((control, "--control"), *((name, "--challenger") for name in challenger)):
        _check_present(recording, name, option)
    yardstick = _measurable(yardstick, recording, challenger)
    plan = _plan(yardstick, control, challenger)
    judged = judge_recording(plan, recording)
    if json:
        sys.stdout.write(json_format.dumps(as_json(judged, yardstick.alpha)) + "\n")
    else:
        show(Console(), judged, recording, control, yardstick.alpha, yardstick.notes)
    return exit_codes.of_verdict(judged.verdict.verdict)


def _plan(yardstick: Yardstick, control: str, challengers: list[str]) -> EvidencePlan:
    try:
        return EvidencePlan(
            control=control,
            challengers=tuple(challengers),
            tasks=(),
            alpha=yardstick.alpha,
            min_pairs=yardstick.min_pairs,
            criteria=yardstick.criteria,
            limits=yardstick.limits,
        )
    except ValueError as error:
        raise exit_codes.UsageError(f"--control, --challenger: {error}") from None


def _yardstick(alpha: str | None, min_pairs: int | None, config: Path | None) -> Yardstick:
    tolerated = None if alpha is None else _alpha(alpha)
    if min_pairs is not None and min_pairs < 1:
        raise exit_codes.UsageError(f"--min-pairs is {min_pairs}; expected at least 1")
    if config is None:
        return Yardstick(tolerated or DEFAULT_ALPHA, min_pairs or MIN_PAIRS)
    if not config.is_file():
        raise Refusal(RefusalCode.NOT_FOUND, f"--config: there is no file {config}")
    versioning = configuration.load(config).versioning
    return Yardstick(
        alpha=tolerated or Fraction(versioning.evidence.alpha),
        min_pairs=min_pairs or versioning.success_criteria.min_pairs,
        criteria=success_criteria(versioning.success_criteria),
        limits=failure_limits(versioning.failure_criteria),
    )


def _measurable(yardstick: Yardstick, recording: Recording, challengers: list[str]) -> Yardstick:
    """Leave out, and say so, what no record can show: errors, and times where no challenger has any."""
    criteria = yardstick.criteria
    if criteria is None:
        return yardstick
    notes = ["max_error_rate is not checked: recorded results tell success from failure, not errors"]
    time_us, limit_us = criteria.max_response_time_us, yardstick.limits.max_response_time_us
    timed = any(outcome.latency_us is not None for name in challengers for outcome in recording.outcomes(name).values())
    if not timed:
        notes.append("max_response_time is not checked: the file has no latency_ms of a challenger")
        time_us = limit_us = None
    return Yardstick(
        yardstick.alpha,
        yardstick.min_pairs,
        SuccessCriteria(
            min_success_rate=criteria.min_success_rate,
            max_response_time_us=time_us,
            min_improvement=criteria.min_improvement,
            min_failure_reduction=criteria.min_failure_reduction,
        ),
        FailureLimits(min_success_rate=yardstick.limits.min_success_rate, max_response_time_us=limit_us),
        tuple(notes),
    )


def _alpha(said: str) -> Fraction:
    try:
        alpha = exact(said) if len(said) <= 20 else None
    except ValueError:
        alpha = None
    if alpha is None or not 0 < alpha < 1 or alpha.denominator > 10**15:
        raise exit_codes.UsageError(f"--alpha is {said[:40]!r}; expected a number between 0 and 1, such as 0.05")
    return alpha


def _recording(file: Path) -> Recording:
    try:
        if file == STANDARD_INPUT:
            content = sys.stdin.buffer.read(LARGEST_FILE_BYTES + 1)
        else:
            with file.open("rb") as opened:
                content = opened.read(LARGEST_FILE_BYTES + 1)
    except FileNotFoundError:
        raise Refusal(RefusalCode.NOT_FOUND, f"there is no file {file}") from None
    except OSError as error:
        raise RecordingError(f"{file} cannot be read: {error.strerror}") from None
    try:
        return parse_recording(content)
    except RecordingError as error:
        raise RecordingError(f"{file}: {error}") from None


def _check_present(recording: Recording, name: str, option: str) -> None:
    try:
        recording.outcomes(name)
    except RecordingError as error:
        raise exit_codes.UsageError(f"{option}: {error}") from None
