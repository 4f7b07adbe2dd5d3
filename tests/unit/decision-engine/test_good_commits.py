"""Good commits and where a rollback goes."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from decision_engine.good_commits import (
    History,
    MainCommit,
    MainOutcome,
    newly_good,
    record_outcome,
    record_rollback,
    rollback_target,
)
from decision_engine.limits import FailureLimits

HALF_MUST_SUCCEED = FailureLimits(min_success_rate=Fraction(1, 2))
RIGHT, WRONG = MainOutcome(success=True), MainOutcome(success=False)


def proven(history: History) -> History:
    """The history with every commit marked that its outcomes prove."""
    good = newly_good(history, HALF_MUST_SUCCEED)
    return tuple(replace(known, good=known.commit in good) for known in history)


def test_every_recorded_history(vectors: Any) -> None:
    for case in vectors("last_good")["cases"]:
        history = tuple(
            MainCommit(
                known["commit"],
                known["tree"],
                tuple(MainOutcome(success=bool(outcome)) for outcome in known["outcomes"]),
                declared_good=known.get("declared_good", False),
                rolled_back=known.get("rolled_back", False),
            )
            for known in case["history_oldest_first"]
        )
        assert rollback_target(proven(history)).commit == case["target"], case


def run(history: History, commit: str, *outcomes: MainOutcome) -> tuple[History, list[str]]:
    """Record outcomes one by one; the history and the commits that were proven good, in order."""
    found: list[str] = []
    for outcome in outcomes:
        history, good = record_outcome(history, commit, outcome, HALF_MUST_SUCCEED)
        found.extend(good)
    return history, found


START: History = (MainCommit("c0", "t0", declared_good=True), MainCommit("c1", "t1"))


def test_the_twentieth_outcome_in_a_row_makes_a_commit_good() -> None:
    history, good = run(START, "c1", *[RIGHT] * 19)
    assert good == []
    history, good = run(history, "c1", RIGHT)
    assert good == ["c1"]
    assert run(history, "c1", *[RIGHT] * 40)[1] == []


def test_an_alarm_breaks_the_run() -> None:
    history, good = run(START, "c1", *[RIGHT] * 10, replace(RIGHT, alarm=True), *[RIGHT] * 19)
    assert good == []
    assert run(history, "c1", RIGHT)[1] == ["c1"]


def test_a_run_on_a_later_commit_proves_the_earlier_too() -> None:
    history: History = (*START, MainCommit("c2", "t2"))
    history, good = run(history, "c1", *[RIGHT] * 5)
    history, good = run(history, "c2", *[RIGHT] * 15)
    assert good == ["c1"]
    assert run(history, "c2", *[RIGHT] * 5)[1] == ["c2"]


def test_an_outcome_that_comes_in_late_stands_where_it_was_counted() -> None:
    history: History = (*START, MainCommit("c2", "t2"))
    for row in range(1, 20):
        history, _ = record_outcome(history, "c2", MainOutcome(True, row=row), HALF_MUST_SUCCEED)
    history, good = record_outcome(history, "c1", MainOutcome(True, row=20), HALF_MUST_SUCCEED)
    assert good == ("c1",)
    history, good = record_outcome(history, "c2", MainOutcome(True, row=21), HALF_MUST_SUCCEED)
    assert good == ("c2",)


def test_a_late_alarm_breaks_the_run_where_it_was_counted() -> None:
    history: History = (*START, MainCommit("c2", "t2"))
    found: list[str] = []
    for row in range(1, 22):
        commit, outcome = (
            ("c1", MainOutcome(True, alarm=True, row=11)) if row == 11 else ("c2", MainOutcome(True, row=row))
        )
        history, good = record_outcome(history, commit, outcome, HALF_MUST_SUCCEED)
        found.extend(good)
    assert found == ["c2"]


def test_the_failure_criteria_are_read_on_plain_rates() -> None:
    assert run(START, "c1", *[RIGHT, WRONG] * 10)[1] == ["c1"]
    assert run(START, "c1", *[RIGHT, WRONG] * 9, WRONG, WRONG)[1] == []
    strict = FailureLimits(Fraction(1, 10), None, 1_000_000)
    slow = (MainCommit("c", "t", (replace(RIGHT, latency_us=1_000_001),) * 20),)
    shaky = (MainCommit("c", "t", (replace(RIGHT, error=True),) * 3 + (RIGHT,) * 17),)
    assert newly_good(slow, strict) == newly_good(shaky, strict) == ()


def test_the_history_stays_bounded() -> None:
    history, _ = run(START, "c1", *[RIGHT] * 500)
    assert sum(len(known.outcomes) for known in history) <= 19


def test_an_outcome_of_an_unknown_commit_is_not_counted() -> None:
    assert run(START, "elsewhere", RIGHT) == (START, [])


def test_a_rollback_takes_back_what_lay_between_for_ever() -> None:
    history, _ = run((*START, MainCommit("c2", "t2")), "c1", *[RIGHT] * 20)
    assert rollback_target(history).commit == "c1"
    history = record_rollback(history, "c1", "revert-1")
    assert [known.rolled_back for known in history] == [False, False, True, False]
    history, good = run(history, "revert-1", *[RIGHT] * 20)
    assert good == ["revert-1"]
    assert rollback_target(history).commit == "c0"


def test_without_a_target_a_person_is_called() -> None:
    assert rollback_target(()).commit is None
    target = rollback_target((MainCommit("c1", "t1"),))
    assert target.commit is None
    assert target.reason == "no good commit differs from the head; a person has to decide"


def test_a_rollback_to_an_unknown_commit_is_refused() -> None:
    with pytest.raises(ValueError, match="main has no commit"):
        record_rollback(START, "c9", "revert")
