"""The conditions of rules: one function each, found by the class of its settings.

To add a condition: give its settings a class in `thymos.config.rules` (and to `Condition` there), and write a function
under `@condition(ThatClass)` here that returns what it found. It sees the whole situation and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from pydantic import JsonValue

from decision_engine import measurement, watch
from decision_engine.agent_state import AgentState, detector_key
from decision_engine.experiment import Experiment
from decision_engine.finding import Finding
from decision_engine.phases import Phase
from decision_engine.policy import Policy
from decision_engine.watch import MAIN
from thymos import config
from thymos.events import Verdict
from thymos.metrics import AgentMetrics


@dataclass(frozen=True)
class Situation:
    """What conditions and actions look at."""

    state: AgentState
    now: datetime
    policy: Policy

    def running(self, verdict: Verdict | None = None) -> list[Experiment]:
        """The running experiments, those with this look only if it is given."""
        return [
            experiment
            for experiment in self.state.experiments.values()
            if experiment.phase is Phase.RUNNING
            and (verdict is None or (experiment.look is not None and experiment.look.verdict is verdict))
        ]


Condition = Callable[[Any, Situation], list[Finding]]
CONDITIONS: dict[type, Condition] = {}
F = TypeVar("F", bound=Condition)


def condition(settings: type) -> Callable[[F], F]:
    """Register a condition under the class of its settings."""

    def register(function: F) -> F:
        CONDITIONS[settings] = function
        return function

    return register


@condition(config.PerformanceDrop)
def performance_drop(settings: config.PerformanceDrop, situation: Situation) -> list[Finding]:
    """The drop detector sounds, no commit of main is suspected of it, and no experiment is looking into it yet."""
    state = situation.state
    detector = state.detectors.get(detector_key(settings))
    if detector is None or not detector.alarmed or state.watch.suspects or state.experiments:
        return []
    metrics = state.metrics.get(MAIN)
    inputs: dict[str, JsonValue] = {
        "detector": detector.figures(),
        "reference": state.watch.reference.origin if state.watch.reference else None,
        "outcomes_since_it_began": state.since_calm,
        "metrics": metrics.model_dump(mode="json", exclude_none=True) if metrics else None,
        "window": {
            "asked_seconds": settings.window.total_seconds() if settings.window else None,
            "reported_seconds": metrics.window_seconds if metrics else None,
            "reported_samples": metrics.sample_count if metrics else None,
        },
    }
    return [Finding(MAIN, f"performance dropped: {detector.reason}", inputs)]


@condition(config.NewStrategyAvailable)
def new_strategy_available(settings: config.NewStrategyAvailable, situation: Situation) -> list[Finding]:
    """Somebody proposed a strategy that was not tried yet."""
    del settings
    return [
        Finding(
            MAIN,
            f"strategy {known.name} was proposed: {known.description or 'no description'}",
            {"name": known.name, "changes": len(known.changes)},
            strategy=known.name,
        )
        for known in situation.state.strategies
    ]


@condition(config.ResourceConstraint)
def resource_constraint(settings: config.ResourceConstraint, situation: Situation) -> list[Finding]:
    """Main's agent uses more of the processor or the memory than it may."""
    metrics = situation.state.metrics.get(MAIN)
    if metrics is None:
        return []
    found: list[str] = []
    for what, used, limit in (
        ("cpu", metrics.resource.cpu_fraction, settings.cpu_threshold),
        ("memory", metrics.resource.memory_fraction, settings.memory_threshold),
    ):
        if used is not None and limit is not None and used > limit:
            found.append(f"{what} {used:g} > {limit:g}")
    resource = metrics.resource.model_dump(mode="json", exclude_none=True)
    return [Finding(MAIN, "resources: " + ", ".join(found), {"resource": resource})] if found else []


@condition(config.ExperimentTimeout)
def experiment_timeout(settings: config.ExperimentTimeout, situation: Situation) -> list[Finding]:
    """An experiment has been running for too long; its clock starts when all arms are ready."""
    longest = settings.max_duration or situation.policy.versioning.experiment_timeout
    return [
        Finding(
            experiment.prefix + "control",
            f"experiment {experiment.id} has run for {longest} without a verdict",
            {"running_at": experiment.running_at.isoformat(), "max_duration_seconds": longest.total_seconds()},
            experiment_id=experiment.id,
        )
        for experiment in situation.running()
        if experiment.running_at is not None and situation.now >= experiment.running_at + longest
    ]


@condition(config.SuccessCriteriaMet)
def success_criteria_met(settings: config.SuccessCriteriaMet, situation: Situation) -> list[Finding]:
    """A challenger is proven better and good enough; or a branch looks good enough, which is no proof."""
    proven = [
        Finding(
            experiment.branch_of(experiment.look.winner) or experiment.prefix,
            f"experiment {experiment.id}: {experiment.look.reason}",
            measurement.evidence_of(experiment),
            experiment_id=experiment.id,
        )
        for experiment in situation.running(Verdict.MERGE)
        if experiment.look is not None
    ]
    criteria = settings.criteria or situation.policy.versioning.success_criteria
    looks_good = [
        Finding(name, f"{name} meets the success criteria", {"metrics": metrics.model_dump(mode="json")})
        for name, metrics in situation.state.metrics.items()
        if name != MAIN and metrics.experiment_id is None and _looks_good(metrics, criteria, situation)
    ]
    return proven + looks_good


def _looks_good(metrics: AgentMetrics, criteria: config.SuccessCriteria, situation: Situation) -> bool:
    """The seed's point comparison with main, on enough samples; never enough for a merge."""
    main = situation.state.metrics.get(MAIN)
    success, errors, mean_ms = metrics.task.success_rate, metrics.task.error_rate, metrics.task.completion.mean_ms
    if main is None or main.task.success_rate is None or success is None or errors is None:
        return False
    return (
        metrics.sample_count >= criteria.min_pairs
        and success >= criteria.min_success_rate
        and errors <= criteria.max_error_rate
        and (mean_ms is None or mean_ms <= criteria.max_response_time.total_seconds() * 1000)
        and success >= min(1.0, main.task.success_rate * (1 + float(criteria.min_improvement)))
    )


@condition(config.FailureCriteriaMet)
def failure_criteria_met(settings: config.FailureCriteriaMet, situation: Situation) -> list[Finding]:
    """The watch over main trips, or every challenger of an experiment is proven harmful."""
    del settings  # its criteria are the policy's limits
    policy, state = situation.policy, situation.state
    found = [
        Finding(
            experiment.prefix + "control",
            f"experiment {experiment.id}: {experiment.look.reason}",
            measurement.evidence_of(experiment),
            experiment_id=experiment.id,
        )
        for experiment in situation.running(Verdict.ROLLBACK)
        if experiment.look is not None
    ]
    if state.watch.suspects and state.watch.sent_to is None:
        reading = watch.read(state.watch, policy.limits, policy.alpha)
        if reading.tripped is not None:
            found.append(Finding(MAIN, reading.tripped, dict(reading.figures)))
    return found


@condition(config.Custom)
def custom(settings: config.Custom, situation: Situation) -> list[Finding]:
    """A registered predicate says so of main's metrics."""
    metrics = situation.state.metrics.get(MAIN)
    predicate = situation.policy.predicates.get(settings.evaluator)
    if metrics is None or predicate is None:
        return []
    try:
        holds = bool(predicate(metrics))
    except Exception as error:  # noqa: BLE001  (foreign code; the agent goes on without it)
        # its words may differ at every look, and a refusal is published whenever they do
        said = f"{settings.evaluator} raised {type(error).__name__}: it counts as not met"
        return [Finding(MAIN, f"{settings.evaluator} cannot be told", failed=said)]
    if not holds:
        return []
    shown = metrics.model_dump(mode="json", exclude_none=True)
    return [Finding(MAIN, f"{settings.evaluator} holds", {"metrics": shown})]
