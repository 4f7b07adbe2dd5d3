"""Pairs: what counts, in which order, and against whom a missing outcome is read."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.pairing import (
    ArmOutcome,
    AssignedTask,
    PairCount,
    PairStatus,
    count_pairs,
    status_of_outcome,
)

Halves = Sequence[tuple[str, str]]


def count(halves: Halves, digests: Sequence[str] | None = None, deadline_us: int | None = None) -> PairCount:
    """Pairs of (control, challenger), assigned in this order."""
    names = [f"task-{i}" for i in range(len(halves))]
    tasks = [AssignedTask(name, digest) for name, digest in zip(names, digests or names, strict=True)]
    control = {name: ArmOutcome(PairStatus(half)) for name, (half, _) in zip(names, halves, strict=True)}
    challenger = {name: ArmOutcome(PairStatus(half)) for name, (_, half) in zip(names, halves, strict=True)}
    return count_pairs(tasks, control, challenger, deadline_us=deadline_us)


def test_every_recorded_pairing(vectors: Any) -> None:
    for case in vectors("pairing")["cases"]:
        counted = count([tuple(pair) for pair in case["control_challenger"]])
        assert (counted.pairs, counted.wins, counted.losses) == (
            case["pairs"],
            case["wins"],
            case["losses"],
        ), case


def test_a_missing_outcome_is_read_against_the_arm_that_would_profit() -> None:
    lost_by_challenger = count([("success", "missing")])
    assert (lost_by_challenger.wins, lost_by_challenger.losses) == (0, 1)
    assert (lost_by_challenger.harm_wins, lost_by_challenger.harm_losses) == (0, 0)
    lost_by_control = count([("missing", "failure")])
    assert (lost_by_control.wins, lost_by_control.losses) == (0, 1)
    assert (lost_by_control.harm_wins, lost_by_control.harm_losses) == (0, 0)
    lost_by_both = count([("missing", "missing")])
    assert (lost_by_both.wins, lost_by_both.losses) == (0, 1)
    assert (lost_by_both.harm_wins, lost_by_both.harm_losses) == (0, 1)


def test_harm_counts_what_only_the_control_got_right() -> None:
    counted = count([("success", "failure"), ("success", "error"), ("failure", "success")])
    assert (counted.harm_wins, counted.harm_losses) == (2, 1)


def test_a_task_content_counts_once() -> None:
    counted = count([("failure", "success")] * 3, digests=["same", "same", "other"])
    assert (counted.pairs, counted.wins) == (2, 2)


def test_a_repeated_content_does_not_hold_up_the_prefix() -> None:
    counted = count(
        [("failure", "success"), ("pending", "pending"), ("failure", "success")],
        digests=["same", "same", "other"],
    )
    assert counted.pairs == 2


def test_what_can_still_become_a_pair() -> None:
    counted = count([("success", "success"), ("pending", "success"), ("void", "pending"), ("success", "failure")])
    assert (counted.pairs, counted.void, counted.remaining) == (1, 0, 2)


def test_a_void_pair_is_dropped_while_its_other_half_is_pending() -> None:
    counted = count([("void", "pending"), ("failure", "success")])
    assert (counted.pairs, counted.wins, counted.void) == (1, 1, 1)


def test_runs_of_missing_outcomes_end_with_the_next_outcome() -> None:
    counted = count([("missing", "success"), ("missing", "missing"), ("success", "missing")])
    assert (counted.control_unmeasured_run, counted.challenger_unmeasured_run) == (0, 2)


def test_a_missing_challenger_took_the_whole_deadline() -> None:
    tasks = [AssignedTask("a", "a"), AssignedTask("b", "b")]
    control = {name: ArmOutcome(PairStatus.SUCCESS, 5) for name in "ab"}
    challenger = {"a": ArmOutcome(PairStatus.SUCCESS, 7), "b": ArmOutcome(PairStatus.MISSING)}
    counted = count_pairs(tasks, control, challenger, deadline_us=100)
    assert (counted.challenger_total_us, counted.challenger_timed) == (107, 2)
    assert count_pairs(tasks, control, challenger).challenger_timed == 1


halves = st.tuples(
    st.sampled_from(["success", "failure", "timeout", "error", "missing", "pending", "void"]),
    st.sampled_from(["success", "failure", "timeout", "error", "missing", "pending", "void"]),
)


@given(st.lists(halves, max_size=12), st.lists(halves, max_size=6))
@settings(max_examples=60)
def test_nothing_behind_a_pending_pair_counts(before: list[tuple[str, str]], behind: list[tuple[str, str]]) -> None:
    alone = count([*before, ("pending", "pending")])
    followed = count([*before, ("pending", "pending"), *behind])
    assert (followed.pairs, followed.wins, followed.losses) == (alone.pairs, alone.wins, alone.losses)


@given(st.lists(halves, max_size=12))
@settings(max_examples=60)
def test_an_outcome_that_comes_in_never_changes_a_counted_pair(given_halves: list[tuple[str, str]]) -> None:
    counted = count(given_halves)
    resolved = count([("success", "failure") if "pending" in half else half for half in given_halves])
    assert resolved.pairs >= counted.pairs
    assert resolved.wins >= counted.wins
    assert counted.wins + counted.losses + counted.ties == counted.pairs


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("succeeded", "success"), ("failed", "failure"), ("errored", "error"), ("timed_out", "timeout")],
)
def test_outcomes_of_the_catalogue(outcome: str, status: str) -> None:
    assert status_of_outcome(outcome) == status


def test_a_cancelled_task_was_not_measured() -> None:
    assert status_of_outcome("cancelled") is PairStatus.MISSING


def test_an_unknown_outcome_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of succeeded"):
        status_of_outcome("exploded")
