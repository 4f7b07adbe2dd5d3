"""The shell's own rules: what time it is for a decision, and how much a reply may hold."""

from datetime import timedelta

from decision_engine.agent_state import AgentState
from decision_engine.answers import BYTES_MAX, fitting
from decision_engine.engine import time_of
from decision_engine.handlers import BEHIND, CatchingUp
from decision_engine.testing import BEGIN
from thymos.requests import Answer


class LongAnswer(Answer):
    """An answer of a length that the test chooses."""

    text: str


MINUTE = timedelta(minutes=1)


def test_a_step_takes_place_when_its_cause_happened() -> None:
    state = AgentState("default", "support", clock=BEGIN)

    assert time_of(state, BEGIN + MINUTE, BEGIN + 60 * MINUTE) == BEGIN + MINUTE


def test_time_never_goes_back_and_never_ahead() -> None:
    state = AgentState("default", "support", clock=BEGIN)

    assert time_of(state, BEGIN - MINUTE, BEGIN + MINUTE) == BEGIN
    assert time_of(state, BEGIN + 9 * MINUTE, BEGIN + MINUTE) == BEGIN + MINUTE


def test_deadlines_wait_until_the_service_has_caught_up() -> None:
    catching_up = CatchingUp()
    assert not catching_up.is_over(BEGIN), "it has just started"
    catching_up.saw(BEGIN - MINUTE, BEGIN + BEHIND)
    assert not catching_up.is_over(BEGIN + BEHIND), "what it handles is old"

    catching_up.saw(BEGIN + 2 * BEHIND, BEGIN + 2 * BEHIND)

    assert catching_up.is_over(BEGIN + 2 * BEHIND)


def test_a_list_is_cut_where_it_would_not_fit_into_a_message() -> None:
    half = LongAnswer(text="x" * (BYTES_MAX // 2 - 100))

    assert fitting([half, half, half]) == [half, half]
