"""The shell's own rules: what time it is for a decision, and how much a reply may hold."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from decision_engine import store
from decision_engine.agent_state import AgentState
from decision_engine.answers import BYTES_MAX, fitting
from decision_engine.engine import time_of
from decision_engine.handlers import AFTER_FAILURE, BEHIND, BEHIND_MAX, CatchingUp, Handlers
from decision_engine.settings import Settings
from decision_engine.testing import BEGIN, Story
from thymos import unit_of_work
from thymos.database import open_sqlite
from thymos.requests import Answer
from thymos.unit_of_work import Cause, Transaction


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


SHOP, BANK = ("shop", "support"), ("bank", "support")


def started(at: datetime = BEGIN) -> CatchingUp:
    """A service whose start is over."""
    catching_up = CatchingUp()
    catching_up.saw(SHOP, at - BEHIND, at - BEHIND)
    return catching_up


def test_deadlines_wait_until_the_service_has_caught_up() -> None:
    catching_up = CatchingUp()
    assert not catching_up.is_over(SHOP, BEGIN), "it has just started"
    catching_up.saw(BANK, BEGIN - MINUTE, BEGIN + BEHIND / 2)
    assert not catching_up.is_over(SHOP, BEGIN + BEHIND), "what it handles is old"

    catching_up.saw(SHOP, BEGIN + 2 * BEHIND, BEGIN + 2 * BEHIND)

    assert catching_up.is_over(SHOP, BEGIN + 2 * BEHIND)


def test_what_came_in_late_for_one_agent_holds_up_no_other() -> None:
    catching_up = started()
    catching_up.saw(SHOP, BEGIN - MINUTE, BEGIN)

    assert not catching_up.is_over(SHOP, BEGIN)
    assert catching_up.is_over(BANK, BEGIN)


def test_a_producer_whose_clock_is_slow_stops_no_deadlines_for_good() -> None:
    catching_up = CatchingUp()
    judged = 0
    for second in range(600):
        now = BEGIN + timedelta(seconds=second)
        catching_up.saw(SHOP, now - 2 * BEHIND, now)
        judged += catching_up.is_over(SHOP, now)

    assert judged == 600 - BEHIND_MAX / timedelta(seconds=1)
    later = BEGIN + timedelta(hours=1)
    catching_up.saw(SHOP, later - MINUTE, later)
    assert not catching_up.is_over(SHOP, later), "after a quiet time old messages mean again that it is behind"


def test_an_agent_that_fails_does_not_stop_the_deadlines_of_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    story = Story().drops()
    handlers = Handlers(Settings(tmp_path / "thymos.toml", story.policy), catching_up=started())
    connection = open_sqlite(":memory:")
    connection.executescript(f"{store.SCHEMA}; {unit_of_work.SCHEMA}")
    for tenant in ("a-broken", "b-whole"):
        handlers.states.save(connection, replace(story.state, tenant=tenant), BEGIN)
    connection.execute("UPDATE agents SET state = 'damaged' WHERE tenant = 'a-broken'")
    tx = Transaction(connection, story.now + timedelta(days=2), "decision-engine", Cause("tick", "", ""))

    handlers.on_tick(tx)

    assert "agent support of tenant a-broken" in caplog.text
    assert list(store.experiments(connection, "b-whole", "support", 9))
    assert not list(store.experiments(connection, "a-broken", "support", 9))
    assert store.due(connection, tx.now) == []
    assert ("a-broken", "support") in store.due(connection, tx.now + AFTER_FAILURE)


def test_a_list_is_cut_where_it_would_not_fit_into_a_message() -> None:
    half = LongAnswer(text="x" * (BYTES_MAX // 2 - 100))

    assert fitting([half, half, half]) == [half, half]
