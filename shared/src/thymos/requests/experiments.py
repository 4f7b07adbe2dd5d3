"""Requests of decision-engine: experiments, decisions, and the figures of versioning.

With `_` as the agent's place in the subject they concern all agents of the tenant.
"""

from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from thymos.events import ArmReport, NotDone, Verdict
from thymos.message import AgentName, BranchName, Count, Id, TenantName
from thymos.requests.base import Answer, Limit, Nothing, Request


class ListExperiments(Request):
    """`experiments` of decision-engine: newest first; answered by `ExperimentsAnswer`."""

    limit: Limit = 50


class ReadExperiment(Request):
    """`experiment` of decision-engine: one, whole; answered by `ExperimentRecord`."""

    experiment_id: Id


class ListDecisions(Request):
    """`decisions` of decision-engine: newest first; answered by `DecisionsAnswer`."""

    limit: Limit = 50


class ReadStats(Nothing):
    """`stats` of decision-engine: what versioning has done so far; answered by `VersioningMetrics`."""


class RowRange(Answer):
    """The outcome rows that a verdict was computed from, both ends included."""

    first: Count
    last: Count


class ExperimentRecord(Answer):
    """One experiment as it stands.

    `verdict` is `continue` until there is one; `arms` are the challengers' figures, `control` the control's beside
    the winner's pairs (or the first challenger's), empty until there are pairs. `branches` gives each arm's branch.
    `deadline` is the current phase's; `running_at` is when the last arm became ready. `learning_needed` counts the
    outcomes on main that it still waits for. `improvement` is the winner's success rate minus the control's. `alpha` is
    exact ("n/d"), known with `tasks` and `min_pairs` once the arms are. `question` is the decision that waits for a
    person.
    """

    experiment_id: Id
    tenant: TenantName
    agent: AgentName
    phase: str
    verdict: Verdict
    winner: BranchName | None = None
    reason: str = ""
    cause: str = ""
    decision_id: Id
    opened_at: datetime
    running_at: datetime | None = None
    closed_at: datetime | None = None
    deadline: datetime | None = None
    learning_needed: Count = 0
    branches: dict[str, BranchName] = {}
    base_commit: Id | None = None
    merged_commit: Id | None = None
    arms: list[ArmReport] = []
    control: dict[str, JsonValue] = {}
    improvement: float | None = None
    tasks: Count | None = None
    alpha: str | None = None
    budget: str
    min_pairs: Count | None = None
    seed: int
    rows: RowRange | None = None
    question: Id | None = None


class ExperimentsAnswer(Answer):
    """Newest first; as many as were asked for and fit into one message."""

    experiments: list[ExperimentRecord]


class DecisionRecord(Answer):
    """One `decision.made` event: whose, when, and what it says."""

    agent: AgentName
    time: datetime
    decision_id: Id
    rule: str
    inputs: dict[str, JsonValue]
    verdict: str
    actions: list[dict[str, JsonValue]] = []
    not_done: list[NotDone] = []
    mode: Literal["act", "approve", "dry_run"]
    reason: str
    experiment_id: Id | None = None


class DecisionsAnswer(Answer):
    """Newest first; as many as were asked for and fit into one message."""

    decisions: list[DecisionRecord]


class VersioningMetrics(Answer):
    """The eight figures of versioning. A mean of nothing is None.

    Durations are seconds from an experiment's opening to its end; the success rate is the share of closed experiments
    that ended in a merge; the improvement is the mean gain in success rate (1 is 100 percentage points) of those.
    """

    branches_created: Count
    branches_merged: Count
    branches_rolled_back: Count
    worktrees_created: Count
    ab_tests_run: Count
    avg_experiment_duration_seconds: float | None = None
    experiment_success_rate: float | None = None
    avg_improvement: float | None = None
