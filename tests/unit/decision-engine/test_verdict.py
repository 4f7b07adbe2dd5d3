"""The verdict: the order of its answers, and what each takes."""

from dataclasses import asdict
from fractions import Fraction
from typing import Any

import pytest

from decision_engine.criteria import SuccessCriteria
from decision_engine.evidence import sign_e_value
from decision_engine.limits import FailureLimits
from decision_engine.pairing import ArmOutcome, AssignedTask, PairStatus
from decision_engine.verdict import EvidencePlan, ExperimentVerdict, attainability, decide
from thymos.events import ArmReport, ExperimentDecided, Verdict

LETTERS = {
    "1": PairStatus.SUCCESS,
    "0": PairStatus.FAILURE,
    "t": PairStatus.TIMEOUT,
    "e": PairStatus.ERROR,
    "m": PairStatus.MISSING,
    "v": PairStatus.VOID,
}
SEED_LIMITS = FailureLimits(Fraction(1, 10), Fraction(1, 2))


def plan_of(tasks: int, *challengers: str, **settings: Any) -> EvidencePlan:
    """A plan over `tasks` different tasks; without names the challenger is "b"."""
    assigned = tuple(AssignedTask(f"task-{i}", f"digest-{i}") for i in range(tasks))
    return EvidencePlan(control="a", challengers=challengers or ("b",), tasks=assigned, **settings)


def outcomes_of(said: str) -> dict[str, ArmOutcome]:
    """Outcomes in assignment order: 1 success, 0 failure, t timeout, e error, m missing, v void, . pending."""
    return {f"task-{i}": ArmOutcome(LETTERS[letter], 1_000) for i, letter in enumerate(said) if letter != "."}


def look(
    plan: EvidencePlan, previous: ExperimentVerdict | None = None, ended: str = "", **arms: str
) -> ExperimentVerdict:
    """The verdict on these outcomes."""
    outcomes = {name: outcomes_of(said) for name, said in arms.items()}
    return decide(plan, outcomes, previous=previous, ended=ended)


def test_without_outcomes_it_goes_on() -> None:
    verdict = look(plan_of(100))
    assert (verdict.verdict, verdict.winner) == (Verdict.CONTINUE, None)
    assert verdict.arms[0].e_exact == "1/1"


def test_seven_wins_to_nil_merge_once_there_are_twenty_pairs() -> None:
    plan = plan_of(100)
    assert look(plan, a="0" * 7 + "1" * 12, b="1" * 19).verdict is Verdict.CONTINUE
    verdict = look(plan, a="0" * 7 + "1" * 13, b="1" * 20)
    assert (verdict.verdict, verdict.winner) == (Verdict.MERGE, "b")
    report = verdict.arms[0]
    assert (report.pairs, report.wins, report.losses, report.ties) == (20, 7, 0, 13)
    assert (report.e_value, report.e_exact, report.threshold) == (31.875, "255/8", 20.0)
    assert (report.successes, report.success_low, report.success_high) == (20, 0.7393, 1.0)
    assert report.win_share_low == 0.5406
    assert report.more_pairs_needed == 0
    assert verdict.reason == "b: better than a: 7 wins against 0 in 20 pairs, E 31.88 >= 20"


def test_the_current_evidence_decides_not_its_maximum() -> None:
    """After 19 pairs the evidence stood at 31.9, but it was too early; now it is gone."""
    verdict = look(plan_of(100), a="0" * 7 + "1" * 16, b="1" * 19 + "0" * 4)
    assert verdict.verdict is Verdict.CONTINUE


def test_the_challengers_share_alpha() -> None:
    plan = plan_of(100, "b", "c")
    assert plan.threshold == 40
    assert look(plan, a="0" * 7 + "1" * 13, b="1" * 20, c="0" * 7 + "1" * 13).verdict is Verdict.CONTINUE


def test_the_budget_raises_the_threshold_of_a_merge_only() -> None:
    plan = plan_of(100, merge_alpha=Fraction(1, 400))
    assert (plan.threshold, plan.harm_threshold) == (Fraction(400), Fraction(20))
    assert look(plan, a="0" * 11 + "1" * 13, b="1" * 24).verdict is Verdict.CONTINUE
    assert look(plan, a="0" * 12 + "1" * 13, b="1" * 25).verdict is Verdict.MERGE
    assert look(plan, a="1" * 24, b="0" * 7 + "1" * 17).verdict is Verdict.ROLLBACK


def test_of_several_winners_the_strongest_is_merged() -> None:
    verdict = look(plan_of(100, "b", "c"), a="0" * 12 + "1" * 8, b="1" * 10 + "0" * 2 + "1" * 8, c="1" * 20)
    assert (verdict.verdict, verdict.winner) == (Verdict.MERGE, "c")
    assert [arm.verdict for arm in verdict.arms] == [Verdict.INCONCLUSIVE, Verdict.MERGE]
    assert verdict.arms[0].reason == "also proven better, but c has the stronger evidence"


def test_equally_strong_winners_keep_the_plan_s_order() -> None:
    assert look(plan_of(100, "c", "b"), a="0" * 20, b="1" * 20, c="1" * 20).winner == "c"


def test_a_merge_ends_the_experiment_for_the_others() -> None:
    verdict = look(plan_of(100, "b", "c"), a="0" * 20, b="1" * 20, c="0" * 20)
    assert [arm.verdict for arm in verdict.arms] == [Verdict.MERGE, Verdict.INCONCLUSIVE]
    assert verdict.arms[1].reason.startswith("undecided when b was merged")


def test_a_challenger_proven_worse_is_rolled_back() -> None:
    plan = plan_of(100)
    assert look(plan, a="1" * 19, b="0" * 7 + "1" * 12).verdict is Verdict.CONTINUE
    verdict = look(plan, a="1" * 20, b="0" * 7 + "1" * 13)
    assert (verdict.verdict, verdict.winner) == (Verdict.ROLLBACK, None)
    assert verdict.arms[0].harm_e_value == 31.875


def test_missing_outcomes_prove_neither_better_nor_worse() -> None:
    """Seven outcomes that never came: losses for the merge, but no harm."""
    interleaved = "m1" * 7 + "1" * 13
    verdict = look(plan_of(100), a="1" * 27, b=interleaved)
    assert verdict.verdict is Verdict.CONTINUE
    assert (verdict.arms[0].losses, verdict.arms[0].harm_e_value) == (7, 1.0)


def test_a_broken_limit_rolls_back_at_once() -> None:
    verdict = look(plan_of(100, limits=SEED_LIMITS), a="111", b="eee")
    assert verdict.verdict is Verdict.ROLLBACK
    assert "error_rate limit broken: 3 errors in 3 tasks" in verdict.reason


def test_limits_count_tasks_whose_control_is_known() -> None:
    """In an outage of the environment the order in which the arms are heard must not decide."""
    plan = plan_of(100, limits=SEED_LIMITS)
    assert look(plan, a="", b="eeeeee").verdict is Verdict.CONTINUE
    assert look(plan, a="11", b="eeeeee").verdict is Verdict.CONTINUE
    assert look(plan, a="111", b="eeeeee").verdict is Verdict.ROLLBACK
    assert look(plan, a="eeeeee", b="eeeeee").verdict is Verdict.ERROR


def test_limits_do_not_wait_for_the_pairs_before() -> None:
    assert look(plan_of(100, limits=SEED_LIMITS), a=".111", b=".eee").verdict is Verdict.ROLLBACK


def test_if_the_control_breaks_a_limit_too_it_is_the_environment() -> None:
    verdict = look(plan_of(100, limits=SEED_LIMITS), a="eee", b="eee")
    assert verdict.verdict is Verdict.ERROR
    assert verdict.reason.startswith("the environment, not b")


def test_a_control_in_trouble_does_not_stop_a_challenger_that_is_not() -> None:
    """A badly broken main is what experiments are there to mend."""
    verdict = look(plan_of(100, limits=SEED_LIMITS), a="0" * 20, b="1" * 20)
    assert verdict.verdict is Verdict.MERGE


def test_one_challenger_drops_out_and_stays_out_while_the_others_go_on() -> None:
    plan = plan_of(100, "b", "c", limits=SEED_LIMITS)
    first = look(plan, a="111", b="eee", c="111")
    assert first.verdict is Verdict.CONTINUE
    assert [arm.verdict for arm in first.arms] == [Verdict.ROLLBACK, Verdict.CONTINUE]
    recovered = look(plan, previous=first, a="0" * 12 + "1" * 30, b="eee" + "1" * 39, c="1" * 42)
    assert (recovered.verdict, recovered.winner) == (Verdict.MERGE, "c")
    assert recovered.arms[0].verdict is Verdict.ROLLBACK
    assert recovered.arms[0].reason == first.arms[0].reason
    assert plan.threshold == 40


def test_an_experiment_without_challengers_left_is_over() -> None:
    plan = plan_of(100, "b", "c", limits=SEED_LIMITS)
    verdict = look(plan, a="111", b="eee", c="eee")
    assert verdict.verdict is Verdict.ROLLBACK


def test_what_cannot_be_measured_is_an_error_not_a_loss() -> None:
    plan = plan_of(100)
    assert look(plan, a="1m1mmmm", b="1" * 7).verdict is Verdict.CONTINUE
    unmeasured = look(plan, a="1mmmmm", b="1" * 6)
    assert unmeasured.verdict is Verdict.ERROR
    assert "the control's last 5 outcomes are missing" in unmeasured.reason
    assert look(plan, a="1" * 6, b="1mmmmm").verdict is Verdict.ERROR
    assert look(plan_of(100, "b", "c"), a="1" * 6, b="1mmmmm", c="1" * 6).verdict is Verdict.CONTINUE


def test_outcomes_of_other_tasks_make_the_comparison_invalid() -> None:
    plan = plan_of(20)
    verdict = look(plan, a="0" * 20, b="1" * 21)
    assert verdict.verdict is Verdict.INVALID
    assert verdict.reason == "b: unequal task sets: 1 outcomes of b are of other tasks, such as task-20"


def test_all_tasks_used_without_proof_is_inconclusive() -> None:
    verdict = look(plan_of(30, stop_early=False), a="01" * 15, b="10" * 15)
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert verdict.reason.startswith("b: all tasks are used")


def test_it_stops_as_soon_as_a_merge_is_out_of_reach() -> None:
    """Four losses in forty tasks: with 36 more wins a merge is in sight, with 15 it is not."""
    assert sign_e_value(36, 4) > 20 > sign_e_value(15, 4)
    plan = plan_of(40)
    assert look(plan, a="1" * 4, b="0" * 4).verdict is Verdict.CONTINUE
    verdict = look(plan, a="1" * 25, b="0" * 4 + "1" * 21)
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert verdict.reason.startswith("b: out of reach with 15 tasks left")


def test_the_end_of_the_time_is_inconclusive() -> None:
    verdict = look(plan_of(100), ended="deadline reached", a="01", b="10")
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert verdict.reason.startswith("b: deadline reached: 2 of at least 20 pairs")


def test_evidence_at_the_end_of_the_time_still_merges() -> None:
    assert look(plan_of(100), ended="deadline reached", a="0" * 20, b="1" * 20).verdict is Verdict.MERGE


def test_better_but_not_good_enough_is_not_merged() -> None:
    criteria = SuccessCriteria(min_success_rate=Fraction(9, 10))
    plan = plan_of(100, criteria=criteria)
    verdict = look(plan, a="0" * 30, b="1" * 20 + "0" * 10)
    assert verdict.verdict is Verdict.CONTINUE
    assert "proven better" in verdict.reason
    assert "success rate 0.6667 below 0.9" in verdict.reason
    assert look(plan, a="0" * 100, b="1" * 20 + "0" * 10 + "1" * 70).verdict is Verdict.MERGE


def test_the_report_travels_in_an_event_as_it_is() -> None:
    names = [f"variant-{i}" for i in range(32)]
    verdict = look(plan_of(100, *names), a="01", **dict.fromkeys(names, "10"))  # type: ignore[arg-type]
    arms = [ArmReport.model_validate(asdict(report)) for report in verdict.arms]
    event = ExperimentDecided(
        experiment_id="e", phase="Running", verdict=verdict.verdict, arms=arms, reason=verdict.reason
    )
    assert event.arms[31].e_exact == "2/3"


def test_only_the_prefix_counts() -> None:
    verdict = look(plan_of(100), a="0" * 40, b="1" * 10 + "." + "1" * 29)
    assert (verdict.verdict, verdict.arms[0].pairs) == (Verdict.CONTINUE, 10)


@pytest.mark.parametrize(
    ("tasks", "settings", "attainable"),
    [
        (20, {}, True),
        (19, {}, False),
        (19, {"min_pairs": 7}, True),
        (6, {"min_pairs": 5}, False),
        (20, {"merge_alpha": Fraction(1, 400)}, True),
        (20, {"merge_alpha": Fraction(1, 400_000)}, False),
        (20, {"criteria": SuccessCriteria(Fraction(1), Fraction(0), 1, Fraction(10))}, True),
        (20, {"criteria": SuccessCriteria(Fraction(2))}, False),
    ],
)
def test_what_can_never_merge_is_refused_before_it_starts(tasks: int, settings: Any, attainable: bool) -> None:
    answer = attainability(plan_of(tasks, **settings))
    assert answer.attainable == attainable
    assert answer.attainable or answer.reason.startswith(f"unattainable even if every one of {tasks} tasks")


def test_tasks_of_the_same_content_are_no_more_evidence() -> None:
    copies = EvidencePlan("a", ("b",), tuple(AssignedTask(f"t{i}", "same") for i in range(500)))
    assert not attainability(copies).attainable


@pytest.mark.parametrize(
    ("challengers", "settings"),
    [
        ((), {}),
        (("a",), {}),
        (("b", "b"), {}),
        (("b",), {"alpha": Fraction(0)}),
        (("b",), {"merge_alpha": Fraction(1)}),
        (("b",), {"min_pairs": 0}),
    ],
)
def test_impossible_plans_are_refused(challengers: tuple[str, ...], settings: Any) -> None:
    with pytest.raises(ValueError, match="got"):
        EvidencePlan("a", challengers, (), **settings)
