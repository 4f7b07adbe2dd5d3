"""Whatever an agent raises, records or answers, the message that ends its task can be built and sent."""

import asyncio
import json
from typing import Any

import pytest

from thymos.client import new_envelope
from thymos.envelope import decode
from thymos.task_report import ERROR_MAX, clean, finished, outcome_of, problem_of
from thymos.telemetry import Outcome, TaskFinished

LONE_SURROGATE = "half a \ud83d face"


class SilentError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Hostile(dict[str, float]):
    def items(self) -> Any:
        raise RuntimeError("mine")


def sent(recorded: dict[str, Any], **measured: Any) -> TaskFinished:
    """What a reader gets."""
    message = finished(recorded, {"task_id": "t", "outcome": Outcome.ERRORED, **measured})
    envelope = new_envelope(message, tenant="acme", agent="support", source="test")
    read = decode(envelope.to_bytes(), envelope.subject).data
    assert isinstance(read, TaskFinished)
    return read


@pytest.mark.parametrize("error", [ValueError("x" * 100_000), ValueError(LONE_SURROGATE), SilentError(), KeyError()])
def test_every_exception_can_be_reported(error: Exception) -> None:
    said = sent({}, error=problem_of(error)).error or ""
    assert said.startswith(type(error).__name__)
    assert len(said) <= ERROR_MAX


def test_texts_that_utf8_cannot_carry_are_reported_without_what_it_cannot() -> None:
    read = sent({"input": LONE_SURROGATE}, output=LONE_SURROGATE)
    assert (read.input, read.output) == ("half a ? face", "half a ? face")
    assert clean(LONE_SURROGATE, 7) == "half a "


@pytest.mark.parametrize(
    "recorded",
    [
        {"cost_usd": "a lot"},
        {"business": {LONE_SURROGATE: 1.0}},
        {"quality": 7},
        {"quality": Hostile(a=1.0)},
        {"outcome": "splendid", "task_id": None},
        {"experiment_id": object()},
        {"error": "x" * 5_000},
    ],
)
def test_what_is_recorded_wrongly_is_left_out_and_the_rest_is_kept(recorded: dict[str, Any]) -> None:
    read = sent({"llm_calls": 3, **recorded}, output="an answer", error="kaput")
    assert (read.outcome, read.output, read.error, read.cost_usd) == (Outcome.ERRORED, "an answer", "kaput", None)
    assert json.dumps(read.model_dump(mode="json"))


def test_a_quality_of_one_number_is_that_of_the_output() -> None:
    assert sent({"quality": 0.5}).quality == {"output_quality": 0.5}


@pytest.mark.parametrize(
    ("error", "success", "outcome"),
    [
        (None, None, Outcome.SUCCEEDED),
        (None, False, Outcome.FAILED),
        (TimeoutError(), True, Outcome.TIMED_OUT),
        (asyncio.CancelledError(), None, Outcome.CANCELLED),
        (SystemExit(1), None, Outcome.ERRORED),
    ],
)
def test_how_a_task_ended(error: BaseException | None, success: bool | None, outcome: Outcome) -> None:
    assert outcome_of(error, success) is outcome


def test_a_misspelt_field_is_said(caplog: pytest.LogCaptureFixture) -> None:
    finished({"cost": 0.1}, {"task_id": "t", "outcome": Outcome.SUCCEEDED, "branch": "main"})
    assert "nothing is known by cost; fields are" in caplog.text
    assert "cost_usd" in caplog.text
