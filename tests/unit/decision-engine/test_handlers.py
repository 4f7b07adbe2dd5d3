"""Time as decisions see it: an answer that waited on the bus while the service was away is not too late."""

from datetime import timedelta

from decision_engine.agent_state import AgentState
from decision_engine.engine import time_of
from decision_engine.handlers import BEHIND, CatchingUp
from decision_engine.testing import BEGIN

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
