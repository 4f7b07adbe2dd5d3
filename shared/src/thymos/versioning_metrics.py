"""The eight figures of `VersioningMetrics`: what versioning has done so far, folded from the event log."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from thymos.events import (
    BranchCreated,
    BranchMerged,
    BranchRolledBack,
    ExperimentClosed,
    ExperimentStarted,
    Verdict,
    WorktreeStarted,
)
from thymos.message import Message

COUNTED = (BranchCreated, BranchMerged, BranchRolledBack, WorktreeStarted, ExperimentStarted, ExperimentClosed)
"""The events that matter here; others may be left out of what is folded."""


@dataclass(frozen=True)
class VersioningMetrics:
    """Counts, and means over the experiments that are closed. A mean of nothing is None."""

    branches_created: int = 0
    branches_merged: int = 0
    branches_rolled_back: int = 0
    worktrees_created: int = 0
    ab_tests_run: int = 0
    """Experiments that were started."""
    avg_experiment_duration_seconds: float | None = None
    """From start to close, of all that are closed."""
    experiment_success_rate: float | None = None
    """The share of the closed ones whose winner was merged."""
    avg_improvement: float | None = None
    """By how much the winner's success rate was above the control's, of those that were merged and say so."""


def versioning_metrics(events: Iterable[Message]) -> VersioningMetrics:
    """Fold events, in any order; an event counts as often as it is given."""
    counts = VersioningMetrics()
    durations: list[float] = []
    improvements: list[float] = []
    merged = 0
    for event in events:
        counts = _counted(counts, event)
        if isinstance(event, ExperimentClosed):
            durations.append(event.duration_seconds)
            if event.verdict is Verdict.MERGE:
                merged += 1
                improvements += [] if event.improvement is None else [event.improvement]
    return replace(
        counts,
        avg_experiment_duration_seconds=_mean(durations),
        experiment_success_rate=merged / len(durations) if durations else None,
        avg_improvement=_mean(improvements),
    )


def _counted(counts: VersioningMetrics, event: Message) -> VersioningMetrics:
    match event:
        case BranchCreated():
            return replace(counts, branches_created=counts.branches_created + 1)
        case BranchMerged():
            return replace(counts, branches_merged=counts.branches_merged + 1)
        case BranchRolledBack():
            return replace(counts, branches_rolled_back=counts.branches_rolled_back + 1)
        case WorktreeStarted():
            return replace(counts, worktrees_created=counts.worktrees_created + 1)
        case ExperimentStarted():
            return replace(counts, ab_tests_run=counts.ab_tests_run + 1)
    return counts


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
