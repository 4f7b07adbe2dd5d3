"""Rows fit into messages, and keep what the evidence needs."""

from typing import Any

from metrics_collector.event_time import SECOND_US
from metrics_collector.outcome_rows import Counted, outcome_messages, shortened
from metrics_collector.samples import Finished
from metrics_collector.window import WindowKey
from thymos.input_digest import input_digest
from thymos.subjects import MESSAGE_BYTES_MAX
from thymos.telemetry import Outcome, TaskFinished

KEY = WindowKey("default", "support", "experiment-1-control", "1", "control")


def counted(number: int, **data: Any) -> Counted:
    finished = TaskFinished(task_id=f"t{number}", outcome=Outcome.SUCCEEDED, **data)
    return Counted(KEY, finished, Finished(number * SECOND_US, f"t{number}", Outcome.SUCCEEDED), on_time=True)


def test_rows_are_numbered_without_a_gap_across_messages() -> None:
    messages = outcome_messages(KEY, [counted(n) for n in range(1_200)], first_row=41)
    assert max(len(message.rows) for message in messages) <= 500
    assert [row.row for message in messages for row in message.rows] == list(range(41, 1_241))
    assert {(m.branch, m.experiment_id, m.arm) for m in messages} == {("experiment-1-control", "1", "control")}


def test_long_inputs_never_make_a_message_that_the_bus_refuses() -> None:
    worst = "\x01" * 3_000
    messages = outcome_messages(KEY, [counted(n, input=worst, recalled_ids=["i" * 200] * 100) for n in range(500)], 1)
    assert max(len(message.model_dump_json()) for message in messages) < MESSAGE_BYTES_MAX
    assert sum(len(message.rows) for message in messages) == 500


def test_a_row_keeps_the_beginning_of_the_input_and_the_first_recalled_ids() -> None:
    told = counted(1, input="é" * 2_000, recalled_ids=[f"m{n}" for n in range(30)])
    row = outcome_messages(KEY, [told], first_row=1)[0].rows[0]
    assert row.input == "é" * 1_024
    assert row.recalled_ids == [f"m{n}" for n in range(20)]


def test_a_row_names_the_whole_input_however_little_of_it_is_kept() -> None:
    long, other = "x" * 3_000, "x" * 2_999 + "y"
    rows = outcome_messages(KEY, [counted(1, input=long), counted(2, input=other), counted(3)], first_row=1)[0].rows
    assert [row.input_digest for row in rows] == [input_digest(long), input_digest(other), None]


def test_half_a_character_is_cut_off() -> None:
    assert shortened("a€€", bytes_max=6) == "a€"
    assert shortened("short") == "short"
