"""How the end of a task is put into words that a message can hold, whatever the agent did or recorded.

Shared by the SDK and the worker: a failure of the agent must reach the suite as it is, and never become one of ours.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from thymos.envelope import first_problem
from thymos.input_digest import input_text
from thymos.telemetry import Outcome, TaskFinished

log = logging.getLogger(__name__)

ERROR_MAX = 4_096
TEXT_MAX = 65_536
ID_MAX = 200
RECALLED_MAX = 20
"""Ids of recalled memories that an outcome names."""
_PLACE = {"task_id", "outcome", "branch", "experiment_id", "arm", "awaits_grade"}
"""Without these an outcome would be counted somewhere else."""


def outcome_of(error: BaseException | None, success: bool | None) -> Outcome:
    """How a task ended, by what it raised (None: nothing) and what it said of itself."""
    if isinstance(error, asyncio.CancelledError):
        return Outcome.CANCELLED
    if isinstance(error, TimeoutError):
        return Outcome.TIMED_OUT
    if error is not None:
        return Outcome.ERRORED
    return Outcome.FAILED if success is False else Outcome.SUCCEEDED


def clean(value: object, length_max: int) -> str:
    """The text of a value, at most `length_max` characters, that UTF-8 can carry: a lone surrogate becomes `?`.

    Of a value that cannot be put into words, its type.
    """
    try:
        text = str(value)
    except Exception:  # noqa: BLE001  (somebody else's __str__)
        text = f"<{type(value).__name__}>"
    return text[:length_max].encode("utf-8", "replace").decode()


def problem_of(error: BaseException) -> str:
    """An exception as `TaskFinished.error` holds it."""
    name, words = type(error).__name__, clean(error, ERROR_MAX)
    return clean(f"{name}: {words}" if words else name, ERROR_MAX)


def _input(value: Any) -> Any:
    try:
        return value if value is None else input_text(value)
    except (TypeError, ValueError, RecursionError):
        return value  # no JSON value: whatever it says of itself


def finished(recorded: Mapping[str, Any], measured: Mapping[str, Any]) -> TaskFinished:
    """The message that ends a task.

    Args:
        recorded: what the agent said, of any quality. A field that is wrong is left out, and logged.
        measured: what we know. It goes before what was recorded.

    Raises:
        ValidationError: what we know of where the outcome belongs is wrong.
    """
    fields = {**recorded, **measured}
    if unknown := sorted(clean(name, ID_MAX) for name in recorded if name not in TaskFinished.model_fields):
        known = ", ".join(sorted(TaskFinished.model_fields.keys() - _PLACE))
        log.warning("task %s: nothing is known by %s; fields are %s", measured["task_id"], ", ".join(unknown), known)
    fields["input"] = _input(fields.get("input"))
    for name, length_max in (("input", TEXT_MAX), ("output", TEXT_MAX), ("error", ERROR_MAX)):
        if fields.get(name) is not None:
            fields[name] = clean(fields[name], length_max)
    if isinstance(fields.get("quality"), int | float):
        fields["quality"] = {"output_quality": fields["quality"]}
    try:
        return TaskFinished.model_validate(fields)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        wrong = {str(problem["loc"][0]) for problem in problems}
        log.warning("task %s: not reported: %s", measured["task_id"], clean(first_problem(error), ERROR_MAX))
    except Exception as error:  # noqa: BLE001  (a recorded value of a class with ideas of its own)
        wrong = set(recorded) - set(measured)
        log.warning("task %s: what was recorded is not reported: %s", measured["task_id"], problem_of(error))
    wrong -= _PLACE & measured.keys()
    return TaskFinished.model_validate({name: value for name, value in fields.items() if name not in wrong})
