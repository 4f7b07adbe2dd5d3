"""Experiments and decisions. Published by decision-engine; `command.refused` by every service."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from thymos.events.base import Event
from thymos.message import BranchName, Count, Id, Reason, Value
from thymos.metrics import AgentMetrics


class Verdict(StrEnum):
    """What the evidence says; `error` is "could not measure", never "bad"."""

    CONTINUE = "continue"
    MERGE = "merge"
    ROLLBACK = "rollback"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"
    ERROR = "error"
    ABORTED = "aborted"


class Arm(Value):
    """One arm of an experiment."""

    name: BranchName
    branch: BranchName
    control: bool = False
    description: str = ""


class ExperimentTask(Value):
    """One task of a scenario; `digest` is the SHA-256 of its input: the same content counts once."""

    task_id: Id
    digest: Annotated[str, Field(max_length=64)]


class ArmReport(Value):
    """A challenger's evidence against the control; `e_exact` and `threshold_exact` are "n/d"."""

    arm: BranchName
    verdict: Verdict
    pairs: Count
    wins: Count
    losses: Count
    ties: Count
    e_value: float
    e_exact: str
    threshold: float
    successes: Count = 0
    errors: Count = 0
    success_low: float | None = None
    success_high: float | None = None
    win_share_low: float | None = None
    more_pairs_needed: int | None = None
    reason: Reason = ""


class ExperimentStarted(Event):
    """An experiment is fixed: its arms, error budget, tasks and seed no longer change."""

    NAME: ClassVar[str] = "experiment.started"
    experiment_id: Id
    arms: Annotated[list[Arm], Field(min_length=2, max_length=33)]
    mode: Literal["scenario", "live"]
    alpha: str
    """The experiment's own error probability, exact, as "n/d"."""
    budget: str
    challengers: Annotated[int, Field(ge=1, le=32)]
    min_pairs: Annotated[int, Field(ge=1)]
    deadline: datetime
    seed: Annotated[int, Field(ge=0)]
    tasks: Annotated[list[ExperimentTask], Field(max_length=5_000)]
    base_commit: Id
    decision_id: Id | None = None
    reason: Reason = ""


class ExperimentProgress(Event):
    """Base of what happens to a running experiment."""

    experiment_id: Id
    phase: str
    verdict: Verdict
    winner: BranchName | None = None
    arms: Annotated[list[ArmReport], Field(max_length=32)] = []
    control: dict[str, JsonValue] = {}
    reason: Reason = ""


class ExperimentRunning(ExperimentProgress):
    """All arms are ready; the clock starts."""

    NAME: ClassVar[str] = "experiment.running"


class ExperimentDecided(ExperimentProgress):
    """The evidence has decided. `rows` is the range of outcome rows that was used; `inputs` holds everything that the
    verdict was made from, so that it can be computed again."""

    NAME: ClassVar[str] = "experiment.decided"
    rows: dict[str, JsonValue] = {}
    inputs: dict[str, JsonValue] = {}


class ExperimentClosed(ExperimentProgress):
    """The experiment is over and nothing of it is left but its record."""

    NAME: ClassVar[str] = "experiment.closed"
    duration_seconds: Annotated[float, Field(ge=0)] = 0.0
    improvement: float | None = None


class NotDone(Value):
    """An action that a decision withheld, and why."""

    action: str
    why: Reason


class DecisionMade(Event):
    """A rule fired: what was seen, what is done, what is not done, and why."""

    NAME: ClassVar[str] = "decision.made"
    decision_id: Id
    rule: str
    inputs: dict[str, JsonValue]
    verdict: str
    actions: Annotated[list[dict[str, JsonValue]], Field(max_length=32)] = []
    not_done: Annotated[list[NotDone], Field(max_length=32)] = []
    mode: Literal["act", "approve", "dry_run"]
    reason: Reason
    experiment_id: Id | None = None


class ApprovalRequested(Event):
    """A decision waits for a person."""

    NAME: ClassVar[str] = "approval.requested"
    decision_id: Id
    by: str
    answer: str | None = None
    expires_at: datetime | None = None
    reason: Reason = ""


class ApprovalGiven(Event):
    """A person answered."""

    NAME: ClassVar[str] = "approval.given"
    decision_id: Id
    by: str
    answer: Literal["approved", "rejected", "expired"]
    expires_at: datetime | None = None


class BaselineFrozen(Event):
    """What an agent's main branch is measured against from now on."""

    NAME: ClassVar[str] = "baseline.frozen"
    metrics: AgentMetrics
    samples: Count
    failures: Count
    """Outcomes of the `samples` that were not a success."""
    window: Annotated[float, Field(ge=0)]
    """Seconds between the first and the last of the samples."""
    first_row: Count = 0
    last_row: Count = 0


class StrategyProposed(Event):
    """Somebody proposed changes to an agent's memory that are worth an experiment."""

    NAME: ClassVar[str] = "strategy.proposed"
    name: BranchName
    description: str
    changes: Annotated[list[dict[str, JsonValue]], Field(max_length=1_000)]


class CommandRefused(Event):
    """A command was not carried out; its id is the `causationid`."""

    NAME: ClassVar[str] = "command.refused"
    command: str
    code: str
    reason: Reason


class AuditSealed(Event):
    """A seal over a range of the event log: the hash of the previous seal and of the events since.

    `hashes` has the SHA-256 of each event of the range, in order; `hash` is over `previous_hash`, the range and them.
    """

    NAME: ClassVar[str] = "audit.sealed"
    from_sequence: Annotated[int, Field(ge=1)]
    to_sequence: Annotated[int, Field(ge=1)]
    previous_hash: str
    hash: str
    hashes: Annotated[list[Annotated[str, Field(pattern="^[0-9a-f]{64}$")]], Field(max_length=256)] = []
