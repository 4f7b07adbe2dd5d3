"""From an experiment's recorded answers to the verdict on them: the bridge between the saga and the statistics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from fractions import Fraction

from pydantic import JsonValue

from decision_engine import verdict as statistics
from decision_engine.alpha_budget import experiment_alpha
from decision_engine.evidence import ratio_text
from decision_engine.evidence_plan import EvidencePlan
from decision_engine.experiment import Experiment
from decision_engine.ids import distinct, shuffled
from decision_engine.pairing import MEASURED, ArmOutcome, AssignedTask, PairStatus, status_of_outcome
from decision_engine.policy import Policy
from thymos.events import ArmReport, Evidence, ExperimentTask

_MISSING = ArmOutcome(PairStatus.MISSING)


def tasks_of(experiment: Experiment, policy: Policy, shown: frozenset[str]) -> tuple[ExperimentTask, ...]:
    """The scenario in this experiment's order: each content once, nothing that was shown to a generator."""
    return shuffled(distinct(policy.scenario, shown), experiment.seed)


def plan_of(experiment: Experiment, policy: Policy, tasks: Iterable[ExperimentTask]) -> EvidencePlan:
    """What is fixed from here on. Needs the arms; raises ValueError when there is no challenger."""
    return EvidencePlan(
        control=next(arm.name for arm in experiment.arms if arm.control),
        challengers=tuple(arm.name for arm in experiment.arms if not arm.control),
        tasks=tuple(AssignedTask(task.task_id, task.digest) for task in tasks),
        alpha=policy.alpha,
        merge_alpha=experiment_alpha(experiment.budget, policy.alpha, experiment.number),
        min_pairs=policy.min_pairs,
        criteria=policy.success,
        limits=policy.limits,
        deadline_us=policy.task_timeout_us,
    )


def measured(experiment: Experiment, ended: str = "") -> Experiment:
    """The experiment with the verdict on everything that was measured so far."""
    if experiment.plan is None:
        return experiment
    over = is_over(experiment)
    outcomes = {
        arm.name: {
            task_id: ArmOutcome(status_of_outcome(answer.outcome), answer.latency_us)
            for task_id, answer in experiment.answers.get(arm.name, {}).items()
        }
        for arm in experiment.arms
    }
    if over:
        for arm in experiment.arms:
            for task in experiment.plan.tasks:
                outcomes[arm.name].setdefault(task.task_id, _MISSING)
    look = statistics.decide(experiment.plan, outcomes, previous=experiment.look, ended=ended)
    return replace(experiment, look=look, look_before=experiment.look)


def is_over(experiment: Experiment) -> bool:
    """Whether the scenario has ended and every outcome that it graded is here: what is not here is unmeasured.

    Graded outcomes that are still on their way are waited for as long as the experiment may take. A cancelled outcome
    is not a graded one, nor is one of another task or arm.
    """
    if experiment.graded is None or experiment.plan is None:
        return False
    planned = {task.task_id for task in experiment.plan.tasks}
    here = sum(
        task_id in planned and status_of_outcome(answer.outcome) in MEASURED
        for arm in experiment.arms
        for task_id, answer in experiment.answers.get(arm.name, {}).items()
    )
    return here >= experiment.graded


def reports(experiment: Experiment) -> list[ArmReport]:
    """Every challenger's figures as they are published."""
    if experiment.look is None:
        return []
    shown = set(ArmReport.model_fields)
    return [
        ArmReport.model_validate({name: value for name, value in asdict(report).items() if name in shown})
        for report in experiment.look.arms
    ]


def control_figures(experiment: Experiment) -> dict[str, JsonValue]:
    """The control's figures beside the winner's pairs, or the first challenger's."""
    look = experiment.look
    if look is None or not look.arms:
        return {}
    report = next((arm for arm in look.arms if arm.arm == (experiment.winner or look.winner)), look.arms[0])
    return {
        "pairs": report.pairs,
        "successes": report.control_successes,
        "success_low": report.control_low,
        "success_high": report.control_high,
    }


def evidence_of(experiment: Experiment) -> Evidence:
    """The numbers behind a merge or a rollback of an experiment: exact ones as "n/d"."""
    plan, rows = experiment.plan, experiment.rows
    return {
        "experiment_id": experiment.id,
        "arms": [report.model_dump(mode="json", exclude_none=True) for report in reports(experiment)],
        "control": control_figures(experiment),
        "threshold": ratio_text(plan.threshold) if plan else None,
        "alpha": ratio_text(plan.merge_alpha or plan.alpha) if plan else None,
        "budget": experiment.budget,
        "min_pairs": plan.min_pairs if plan else None,
        "first_row": rows[0] if rows else None,
        "last_row": rows[1] if rows else None,
        "seed": experiment.seed,
    }


def improvement(experiment: Experiment) -> Fraction | None:
    """The winner's success rate minus the control's on the same pairs; None without a winner."""
    look = experiment.look
    winner = next((arm for arm in look.arms if arm.arm == experiment.winner), None) if look else None
    if winner is None or winner.pairs == 0:
        return None
    return Fraction(winner.successes - winner.control_successes, winner.pairs)


def control_counts(experiment: Experiment) -> tuple[int, int] | None:
    """The control's (failures, outcomes) among the winner's pairs: what main is watched against after the merge."""
    look = experiment.look
    winner = next((arm for arm in look.arms if arm.arm == experiment.winner), None) if look else None
    if winner is None or winner.pairs == 0:
        return None
    return winner.pairs - winner.control_successes, winner.pairs
