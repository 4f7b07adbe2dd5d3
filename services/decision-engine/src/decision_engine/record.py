"""What requests show of an experiment, of a decision and of the whole."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from decision_engine import measurement
from decision_engine.agent_state import Figures
from decision_engine.evidence import approximate, ratio_text
from decision_engine.experiment import Experiment
from thymos.events import DecisionMade, Verdict
from thymos.requests import DecisionRecord, ExperimentRecord, RowRange, VersioningMetrics


def experiment_record(tenant: str, agent: str, experiment: Experiment) -> ExperimentRecord:
    """One experiment as `experiment` and `experiments` answer it."""
    plan, look, rows = experiment.plan, experiment.look, experiment.rows
    gained = measurement.improvement(experiment)
    question = experiment.question
    return ExperimentRecord(
        experiment_id=experiment.id,
        tenant=tenant,
        agent=agent,
        phase=experiment.phase.value,
        verdict=experiment.verdict or Verdict.CONTINUE,
        winner=experiment.winner,
        reason=experiment.reason or (look.reason if look else experiment.cause),
        cause=experiment.cause,
        decision_id=experiment.decision_id,
        opened_at=experiment.opened_at,
        running_at=experiment.running_at,
        closed_at=experiment.closed_at,
        deadline=experiment.deadline,
        learning_needed=experiment.learning_needed,
        branches={arm.name: arm.branch for arm in experiment.arms},
        base_commit=experiment.base_commit,
        merged_commit=experiment.merged_commit,
        arms=measurement.reports(experiment),
        control=measurement.control_figures(experiment),
        improvement=None if gained is None else approximate(gained),
        tasks=len(plan.tasks) if plan else None,
        alpha=ratio_text(plan.merge_alpha or plan.alpha) if plan else None,
        budget=experiment.budget,
        min_pairs=plan.min_pairs if plan else None,
        seed=experiment.seed,
        rows=RowRange(first=rows[0], last=rows[1]) if rows else None,
        question=None if question is None or experiment.merge_sent else question.decision_id,
    )


def decision_record(agent: str, made_at: datetime, made: DecisionMade) -> DecisionRecord:
    """One decision as `decisions` answers it."""
    return DecisionRecord.model_validate({"agent": agent, "time": made_at, **dict(made)})


def versioning_metrics(figures: Iterable[Figures]) -> VersioningMetrics:
    """The eight figures of `VersioningMetrics`, over all given agents. A mean of nothing is None."""
    all_of_them = list(figures)
    closed = sum(f.closed for f in all_of_them)
    merged = sum(f.merged for f in all_of_them)
    gained = sum(f.improvement for f in all_of_them)
    return VersioningMetrics(
        branches_created=sum(f.branches_created for f in all_of_them),
        branches_merged=sum(f.branches_merged for f in all_of_them),
        branches_rolled_back=sum(f.branches_rolled_back for f in all_of_them),
        worktrees_created=sum(f.worktrees_created for f in all_of_them),
        ab_tests_run=sum(f.ab_tests_run for f in all_of_them),
        avg_experiment_duration_seconds=sum(f.seconds for f in all_of_them) / closed if closed else None,
        experiment_success_rate=merged / closed if closed else None,
        avg_improvement=float(gained / merged) if merged else None,
    )
