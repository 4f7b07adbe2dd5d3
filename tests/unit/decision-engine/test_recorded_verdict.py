"""The verdict on recorded results: real data, and what is left out."""

import csv
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from decision_engine.evidence_plan import EvidencePlan
from decision_engine.limits import FailureLimits
from decision_engine.recorded_verdict import JudgedRecording, judge_recording
from decision_engine.recording import RecordedOutcome, Recording, parse_recording
from thymos.events import Verdict


@pytest.mark.parametrize(
    ("control", "challenger", "verdict", "after", "wins", "losses"),
    [
        ("phi-2", "phi-2-sft", "merge", 33, 10, 1),
        ("llama-2-7b-chat-hf", "llama-2-13b-chat-hf", "merge", 204, 29, 11),
        ("gpt-3.5-turbo-0301", "gpt4_0314", "merge", 85, 7, 0),
        ("gpt-3.5-turbo-0301", "gpt-3.5-turbo-1106", "rollback", 584, 28, 55),
        ("gpt4_0314", "gpt4", "inconclusive", 791, 17, 12),
        ("claude", "claude-2", "inconclusive", 804, 14, 17),
    ],
)
def test_real_answers_of_language_models(
    recorded: Callable[[str], Path],
    control: str,
    challenger: str,
    verdict: str,
    after: int,
    wins: int,
    losses: int,
) -> None:
    recording = parse_recording(recorded("judged_answers.csv").read_bytes())
    judged = judge_recording(EvidencePlan(control, (challenger,), ()), recording)
    report = judged.verdict.arms[0]
    assert (judged.verdict.verdict, report.pairs, report.wins, report.losses) == (verdict, after, wins, losses)


def test_one_agent_against_itself_is_inconclusive(recorded: Callable[[str], Path]) -> None:
    """The same agent, twice on fifty real tasks: nothing but noise."""
    agents: dict[str, dict[str, RecordedOutcome]] = {}
    with recorded("airline_agent_runs.csv").open(newline="") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            outcome = RecordedOutcome(line, row["success"] == "1")
            agents.setdefault(f"trial-{row['trial']}", {})[row["task_id"]] = outcome
    for control, challenger in (("trial-0", "trial-1"), ("trial-1", "trial-0")):
        judged = judge_recording(EvidencePlan(control, (challenger,), ()), Recording(agents))
        assert judged.verdict.verdict is Verdict.INCONCLUSIVE
        assert judged.verdict.arms[0].pairs == 50


def judged(*arms: str, **settings: object) -> JudgedRecording:
    """Arms a, b, c, … with an outcome per task: 1, 0, "?" for an empty one, "." for no row at all."""
    agents = {
        name: {
            f"task-{i}": RecordedOutcome(i, None if letter == "?" else letter == "1")
            for i, letter in enumerate(said)
            if letter != "."
        }
        for name, said in zip("abcd", arms, strict=False)
    }
    plan = EvidencePlan("a", tuple("bcd"[: len(arms) - 1]), (), **settings)  # type: ignore[arg-type]
    return judge_recording(plan, Recording(agents))


def test_the_first_decision_stands() -> None:
    """What comes after the twentieth pair would have spoken against the challenger."""
    found = judged("0" * 20 + "1" * 50, "1" * 20 + "0" * 50)
    assert (found.verdict.verdict, found.verdict.arms[0].pairs) == (Verdict.MERGE, 20)


def test_tasks_without_both_outcomes_are_left_out_and_counted() -> None:
    found = judged("1?1.?0", "11?1?.")
    left_out = found.left_out["b"]
    assert found.verdict.arms[0].pairs == 1
    assert (left_out.only_control, left_out.only_challenger, left_out.neither, left_out.total) == (2, 2, 1, 5)


def test_pairs_come_in_the_control_s_order() -> None:
    control = {f"task-{i}": RecordedOutcome(i, False) for i in range(20)}
    backwards = {f"task-{i}": RecordedOutcome(i, i < 7 or None) for i in reversed(range(20))}
    found = judge_recording(EvidencePlan("a", ("b",), (), min_pairs=1), Recording({"a": control, "b": backwards}))
    assert (found.verdict.verdict, found.verdict.arms[0].pairs) == (Verdict.MERGE, 7)


def test_without_a_common_task_the_comparison_is_invalid() -> None:
    found = judged("111...", "...111")
    assert found.verdict.verdict is Verdict.INVALID
    assert found.verdict.reason == "b: unequal task sets: no task has an outcome of both a and b"


def test_lopsided_gaps_make_the_comparison_invalid() -> None:
    """The challenger's failures were not written down: what is left looks perfect."""
    found = judged("01" * 30, ".1" * 14 + "11" * 16)
    assert found.verdict.verdict is Verdict.INVALID
    assert "b has no row for 14 tasks of a and a none for 0 of b" in found.verdict.reason
    gaps_in_the_control = judged(".1" * 14 + "01" * 16, "11" * 30)
    assert gaps_in_the_control.verdict.verdict is Verdict.INVALID


def test_balanced_gaps_and_a_run_that_ended_early_are_no_sign_of_picking() -> None:
    assert judged("1." * 14 + "1" * 10, ".1" * 14 + "1" * 10).verdict.verdict is Verdict.INCONCLUSIVE
    assert judged("1" * 10 + "1" * 90, "1" * 10 + "." * 90).verdict.verdict is Verdict.INCONCLUSIVE
    assert judged("1" * 10 + "." * 90, "1" * 10 + "1" * 90).verdict.verdict is Verdict.INCONCLUSIVE


def test_an_empty_outcome_is_no_gap() -> None:
    assert judged("1" * 60, "?1" * 30).verdict.verdict is Verdict.INCONCLUSIVE


def test_one_challenger_is_out_and_another_is_merged_later() -> None:
    found = judged("1" * 20 + "0" * 8, "0" * 20 + "1" * 8, "1" * 28)
    assert (found.verdict.verdict, found.verdict.winner) == (Verdict.MERGE, "c")
    worse, better = found.verdict.arms
    assert (worse.verdict, worse.pairs, worse.losses) == (Verdict.ROLLBACK, 20, 20)
    assert (better.pairs, better.wins) == (28, 8)


def test_limits_are_read_after_every_outcome() -> None:
    limits = FailureLimits(min_success_rate=Fraction(1, 2))
    found = judged("1" * 30, "0" * 9 + "1" * 21, limits=limits)
    assert (found.verdict.verdict, found.verdict.arms[0].pairs) == (Verdict.ROLLBACK, 9)
    assert judged("0" * 9 + "1" * 21, "0" * 9 + "1" * 21, limits=limits).verdict.verdict is Verdict.ERROR
