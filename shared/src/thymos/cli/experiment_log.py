"""Experiments as the event log tells them: complete, of all agents, whichever service is up."""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from thymos.envelope import Envelope
from thymos.events import (
    ApprovalRequested,
    Arm,
    ArmReport,
    DecisionMade,
    ExperimentClosed,
    ExperimentProgress,
    ExperimentStarted,
    Verdict,
)


@dataclass(frozen=True)
class Experiment:
    """One experiment. `reports` is the newest evidence that was published; `verdict` is None until it is decided."""

    experiment_id: str
    agent: str
    opened_at: datetime
    phase: str = "Pending"
    verdict: Verdict | None = None
    winner: str | None = None
    closed_at: datetime | None = None
    reason: str = ""
    arms: tuple[Arm, ...] = ()
    reports: tuple[ArmReport, ...] = ()
    alpha: str | None = None
    deadline: datetime | None = None
    decision_id: str | None = None
    improvement: float | None = None


@dataclass(frozen=True)
class ExperimentLog:
    """All experiments by id, in the order in which they began, and who was asked for an approval."""

    experiments: dict[str, Experiment]
    approvals: dict[str, str]
    """The agent that a decision id belongs to."""


async def read(events: AsyncIterable[Envelope[Any]]) -> ExperimentLog:
    """Fold the event log, oldest first."""
    found = ExperimentLog({}, {})
    async for envelope in events:
        data = envelope.data
        if isinstance(data, DecisionMade | ApprovalRequested):
            found.approvals[data.decision_id] = envelope.agent
        experiment_id = getattr(data, "experiment_id", None)
        if experiment_id is None or not isinstance(data, DecisionMade | ExperimentStarted | ExperimentProgress):
            continue
        known = found.experiments.get(experiment_id) or Experiment(experiment_id, envelope.agent, envelope.time)
        found.experiments[experiment_id] = told(known, envelope)
    return found


def told(experiment: Experiment, envelope: Envelope[Any]) -> Experiment:
    """What an event says of an experiment."""
    data = envelope.data
    match data:
        case DecisionMade() if experiment.phase == "Pending":
            return replace(experiment, decision_id=data.decision_id, reason=data.reason)
        case ExperimentStarted():
            return replace(
                experiment,
                phase="Preparing",
                arms=tuple(data.arms),
                alpha=data.alpha,
                deadline=data.deadline,
                decision_id=data.decision_id or experiment.decision_id,
                reason=data.reason or experiment.reason,
            )
        case ExperimentProgress():
            closed = isinstance(data, ExperimentClosed)
            return replace(
                experiment,
                phase=data.phase,
                verdict=None if data.verdict is Verdict.CONTINUE else data.verdict,
                winner=data.winner,
                reason=data.reason,
                reports=tuple(data.arms) or experiment.reports,
                closed_at=envelope.time if closed else None,
                improvement=data.improvement if isinstance(data, ExperimentClosed) else None,
            )
    return experiment
