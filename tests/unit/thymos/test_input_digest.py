"""A task's input has one digest, whether it comes from a scenario or from an agent's report."""

from typing import Any

import pytest
from pydantic import JsonValue

from thymos.input_digest import CHARACTERS_MAX, input_digest
from thymos.task_report import finished
from thymos.telemetry import Outcome

MEASURED = {"task_id": "t", "outcome": Outcome.SUCCEEDED, "branch": "main"}


@pytest.mark.parametrize(
    "value",
    ["where is my refund", {"q": "where is my refund", "n": [1, None, True]}, ["a", "b"], "x" * 20_000, "\ud800"],
)
def test_a_reported_input_has_the_digest_of_the_value_it_came_from(value: Any) -> None:
    assert input_digest(finished({"input": value}, MEASURED).input) == input_digest(value)


def test_the_order_of_keys_does_not_matter_and_everything_else_does() -> None:
    assert input_digest({"a": 1, "b": 2}) == input_digest({"b": 2, "a": 1})
    others: list[JsonValue] = [{"a": 1}, {"a": "1"}, ["a", 1], "a", 1]
    assert len({input_digest(value) for value in others}) == 5


def test_what_a_worker_reports_of_a_long_input_is_enough() -> None:
    assert input_digest("x" * CHARACTERS_MAX) == input_digest("x" * CHARACTERS_MAX + "y")


def test_what_is_no_json_value_is_reported_as_it_calls_itself() -> None:
    assert (
        finished(
            {
                "input": {
                    1,
                }
            },
            MEASURED,
        ).input
        == "{1}"
    )
