"""Scenarios: reading the file, handing out tasks, and what an answer, a deadline or a crash means."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thymos.input_digest import input_digest
from thymos.scenario import parse_scenario
from thymos.telemetry import Outcome
from worktree_scaler.grading import Grade
from worktree_scaler.scenario import (
    OPEN,
    TRANSITIONS,
    ArmProgress,
    Happening,
    Stage,
    arms_in_order,
    deadline_after_begin,
    following,
    graded_outcome,
    hand_outs,
    outcome_of,
)

NOW = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
TIMEOUT = timedelta(seconds=30)
TASKS = tuple(f"t{i}" for i in range(40))


# --- the file -----------------------------------------------------------------------------------------------


def test_a_scenario_is_json_lines() -> None:
    tasks = parse_scenario(
        '{"task_id": "a", "input": "hi", "expect": "ho"}\n\n{"task_id":"b","input":{},"expect":1}\n'
    ).tasks

    assert list(tasks) == ["a", "b"]
    assert tasks["a"].digest == input_digest("hi") != tasks["b"].digest


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "s:2: not JSON"),
        ("[]", "s:2: an object is needed, not list"),
        ('{"task_id": "b", "input": 1}', "s:2: expect is missing"),
        ('{"task_id": "", "input": 1, "expect": 1}', "s:2: task_id must be text"),
        ('{"task_id": "a", "input": 1, "expect": 1}', "s:2: task_id 'a' was there before"),
        ('{"task_id": "b", "input": "\\ud83d", "expect": 1}', "s:2: half a character"),
        ('{"task_id": "b", "input": "' + "x" * 65_536 + '", "expect": 1}', "s:2: input has more than"),
    ],
)
def test_a_bad_line_is_named(line: str, problem: str) -> None:
    problems = parse_scenario('{"task_id": "a", "input": 1, "expect": 1}\n' + line, "s").problems

    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_an_empty_scenario_is_a_problem() -> None:
    assert "holds no tasks" in parse_scenario("\n").problems[0]


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert input_digest({"a": 1, "b": 2}) == input_digest({"b": 2, "a": 1})


# --- handing out --------------------------------------------------------------------------------------------


def fresh(*arms: str) -> list[ArmProgress]:
    return [ArmProgress(arm, 0, 0) for arm in arms]


def test_each_arm_gets_sixteen_tasks_in_assignment_order() -> None:
    out = hand_outs(TASKS, fresh("control", "bold"), 7, TIMEOUT, NOW)

    for arm in ("control", "bold"):
        assert [h.task_id for h in out if h.arm == arm] == list(TASKS[:16])
    assert [h.position for h in out] == sorted(h.position for h in out)


def test_an_arm_that_answered_gets_the_next_and_one_that_is_full_waits() -> None:
    out = hand_outs(TASKS, [ArmProgress("control", 20, 14), ArmProgress("bold", 16, 16)], 7, TIMEOUT, NOW)

    assert [(h.task_id, h.arm) for h in out] == [("t20", "control"), ("t21", "control")]


def test_arms_far_apart_each_get_their_own_next_tasks() -> None:
    out = hand_outs(TASKS, [ArmProgress("a", 0, 15), ArmProgress("b", 39, 3)], 7, TIMEOUT, NOW)

    assert [(h.task_id, h.arm) for h in out] == [("t0", "a"), ("t39", "b")]


def test_nothing_is_handed_out_beyond_the_last_task() -> None:
    assert hand_outs(TASKS, [ArmProgress("a", 40, 0)], 7, TIMEOUT, NOW) == ()
    assert hand_outs(TASKS, [], 7, TIMEOUT, NOW) == ()


def test_a_deadline_leaves_room_for_the_tasks_in_front() -> None:
    first, second = hand_outs(TASKS[:2], [ArmProgress("a", 0, 3)], 7, TIMEOUT, NOW)

    assert (first.deadline - NOW, second.deadline - NOW) == (4 * TIMEOUT, 5 * TIMEOUT)


def test_a_begun_task_has_its_time_out_but_never_beyond_its_deadline() -> None:
    assert deadline_after_begin(NOW + 4 * TIMEOUT, NOW, TIMEOUT) == NOW + TIMEOUT
    assert deadline_after_begin(NOW + TIMEOUT, NOW + TIMEOUT / 2, TIMEOUT) == NOW + TIMEOUT


def test_the_order_of_arms_is_random_between_tasks_and_fixed_by_the_seed() -> None:
    orders = {arms_in_order(1, f"t{i}", ["a", "b", "c"]) for i in range(100)}

    assert len(orders) == 6, "all orders occur"
    assert arms_in_order(1, "t", ["a", "b", "c"]) == arms_in_order(1, "t", ["c", "b", "a"])
    assert arms_in_order(7, "t0", ["control", "bold", "cautious"]) == ("bold", "control", "cautious")


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20)), min_size=1, max_size=4), st.integers(0, 99))
def test_no_arm_ever_skips_repeats_or_exceeds(arms: list[tuple[int, int]], seed: int) -> None:
    progress = [ArmProgress(f"arm{i}", position, held) for i, (position, held) in enumerate(arms)]
    out = hand_outs(TASKS, progress, seed, TIMEOUT, NOW)

    for one in progress:
        mine = [h.position for h in out if h.arm == one.arm]
        count = max(0, min(16 - one.outstanding, len(TASKS) - one.next_position))
        assert mine == list(range(one.next_position, one.next_position + count))


# --- what becomes of it -------------------------------------------------------------------------------------


def stage_after(*happenings: Happening) -> Stage:
    stage = Stage.WAITING
    for happening in happenings:
        stage = following(stage, happening)
    return stage


H = Happening


@pytest.mark.parametrize(
    ("story", "end"),
    [
        ((H.HAND_OUT, H.BEGIN, H.ANSWER), Stage.ANSWERED),
        ((H.HAND_OUT, H.ANSWER), Stage.ANSWERED),
        ((H.HAND_OUT, H.BEGIN, H.DEADLINE_ALIVE), Stage.TIMED_OUT),
        ((H.HAND_OUT, H.DEADLINE_ALIVE), Stage.TIMED_OUT),
        ((H.HAND_OUT, H.DEADLINE_GONE), Stage.CANCELLED),
        ((H.HAND_OUT, H.BEGIN, H.LOSE, H.DEADLINE_ALIVE), Stage.CANCELLED),
        ((H.HAND_OUT, H.BEGIN, H.LOSE, H.BEGIN, H.DEADLINE_ALIVE), Stage.TIMED_OUT),
        ((H.HAND_OUT, H.BEGIN, H.LOSE, H.BEGIN, H.ANSWER), Stage.ANSWERED),
        ((H.HAND_OUT, H.BEGIN, H.LOSE, H.ANSWER), Stage.ANSWERED),
        ((H.HAND_OUT, H.BEGIN, H.DEADLINE_ALIVE, H.ANSWER), Stage.TIMED_OUT),
        ((H.HAND_OUT, H.RELEASE, H.ANSWER), Stage.CANCELLED),
        ((H.ANSWER,), Stage.WAITING),
    ],
)
def test_stories_end_as_they_should(story: tuple[Happening, ...], end: Stage) -> None:
    assert stage_after(*story) is end


def test_an_outcome_is_final() -> None:
    ends = set(Stage) - OPEN - {Stage.WAITING}

    assert all(stage not in ends for stage, _ in TRANSITIONS)


@pytest.mark.parametrize(
    ("reported", "correct", "outcome"),
    [
        (Outcome.SUCCEEDED, True, Outcome.SUCCEEDED),
        (Outcome.SUCCEEDED, False, Outcome.FAILED),
        (Outcome.FAILED, True, Outcome.FAILED),
        (Outcome.ERRORED, True, Outcome.ERRORED),
        (Outcome.TIMED_OUT, True, Outcome.TIMED_OUT),
        (Outcome.CANCELLED, True, Outcome.CANCELLED),
    ],
)
def test_the_grade_decides_only_about_finished_work(reported: Outcome, correct: bool, outcome: Outcome) -> None:
    assert graded_outcome(reported, Grade(correct, "")) is outcome


def test_unanswered_ends_have_an_outcome_of_their_own() -> None:
    assert [outcome_of(stage) for stage in (Stage.TIMED_OUT, Stage.CANCELLED, Stage.ANSWERED, Stage.OUT)] == [
        Outcome.TIMED_OUT,
        Outcome.CANCELLED,
        None,
        None,
    ]
