"""What happened: stream THYMOS_EVENTS, `thymos.event.<tenant>.<agent>.<entity>.<verb>`, kept for ever.

Past tense, frozen. Each event carries its `reason` in words where somebody decided, and the evidence in numbers.
To add an event: declare it here, give it an example in `thymos/examples.py`, run `make generate`.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from thymos.message import BranchName, Count, Id, Kind, Message, Reason, Value
from thymos.metrics import AgentMetrics

Evidence = dict[str, JsonValue]
"""Numbers behind a decision; exact ones as "n/d" strings."""
Names = Annotated[list[BranchName], Field(max_length=64)]


class Event(Message):
    """Base of everything on THYMOS_EVENTS."""

    KIND: ClassVar[Kind] = Kind.EVENT


# --- branches, commits, snapshots (memory-repository) -------------------------------------------------------------


class BranchCreated(Event):
    """A branch of memory begins at a commit."""

    NAME: ClassVar[str] = "branch.created"
    branch: BranchName
    from_commit: Id
    state_id: Id | None = None
    experiment_id: Id | None = None
    reason: Reason = ""


class BranchDeleted(Event):
    """A branch of memory is gone; its commits stay reachable by id until collected."""

    NAME: ClassVar[str] = "branch.deleted"
    branch: BranchName
    from_commit: Id
    experiment_id: Id | None = None
    reason: Reason = ""


class BranchMerged(Event):
    """A branch was merged into another; `commit` is the target's new head."""

    NAME: ClassVar[str] = "branch.merged"
    source: BranchName
    target: BranchName
    commit: Id
    previous_commit: Id
    state_id: Id | None = None
    strategy: str
    experiment_id: Id | None = None
    reason: Reason = ""
    evidence: Evidence = {}


class BranchRolledBack(Event):
    """A branch was brought back to the state of `restored_commit` by the revert commit `revert_commit`."""

    NAME: ClassVar[str] = "branch.rolled_back"
    branch: BranchName
    restored_commit: Id
    revert_commit: Id
    previous_commit: Id | None = None
    state_id: Id | None = None
    experiment_id: Id | None = None
    reason: Reason = ""
    evidence: Evidence = {}


class CommitCreated(Event):
    """A branch moved to a new commit. `state_id` is equal for commits that hold the same memories."""

    NAME: ClassVar[str] = "commit.created"
    branch: BranchName
    commit: Id
    parents: Annotated[list[Id], Field(max_length=16)]
    author: str
    message: str
    state_id: Id | None = None
    changes: Count = 0
    experiment_id: Id | None = None


class CommitMarkedGood(Event):
    """A commit has proven itself (or was declared good); rollbacks may go back to it."""

    NAME: ClassVar[str] = "commit.marked_good"
    branch: BranchName
    commit: Id
    samples: Count
    criteria: dict[str, JsonValue] = {}
    restart_baseline: bool = False


class SnapshotCreated(Event):
    """A commit was kept under a snapshot's name."""

    NAME: ClassVar[str] = "snapshot.created"
    snapshot_id: Id
    commit: Id
    branch: BranchName = "main"
    experiment_id: Id | None = None
    reason: Reason = ""
    metrics: AgentMetrics | None = None


class VariantChange(Value):
    """A variant ready to be tested: a branch with its changes committed."""

    name: BranchName
    description: str
    branch: BranchName
    commit: Id
    changes: Count


class VariantSkipped(Value):
    """A variant that was not prepared, and why."""

    name: BranchName
    reason: Reason


class VariantsPrepared(Event):
    """The control branch and the variants' branches of an experiment exist, each with its changes committed."""

    NAME: ClassVar[str] = "variants.prepared"
    experiment_id: Id
    base_commit: Id
    control_branch: BranchName
    variants: Annotated[list[VariantChange], Field(max_length=32)]
    skipped: Annotated[list[VariantSkipped], Field(max_length=32)] = []
    generator: str
    model: str | None = None
    prompt_digest: str | None = None
    outcomes_used: Count = 0


class MergeConflict(Value):
    """One conflict of a merge; values are the memory's content, or a field's value; null where absent."""

    memory_id: Id
    kind: Literal["content", "field", "modify_delete", "add_add"]
    field: str | None = None
    base: JsonValue = None
    ours: JsonValue = None
    theirs: JsonValue = None


class MergeConflicted(Event):
    """A merge found conflicts that its strategy leaves to a person; nothing was changed."""

    NAME: ClassVar[str] = "merge.conflicted"
    source: BranchName
    target: BranchName
    conflicts: Annotated[list[MergeConflict], Field(max_length=100)]
    conflict_count: Count
    experiment_id: Id | None = None


# --- worktrees (worktree-scaler) -----------------------------------------------------------------------------------


class WorktreeEvent(Event):
    """Base of what happens to one worktree."""

    worktree_id: Id
    branch: BranchName
    backend: str
    experiment_id: Id | None = None
    reason: Reason = ""


class WorktreeStarted(WorktreeEvent):
    """An agent process was started in a worktree."""

    NAME: ClassVar[str] = "worktree.started"


class WorktreeReady(WorktreeEvent):
    """The worktree's agent sent its first heartbeat: it takes tasks."""

    NAME: ClassVar[str] = "worktree.ready"


class WorktreeDrained(WorktreeEvent):
    """The worktree's agent takes no new tasks and has none in hand."""

    NAME: ClassVar[str] = "worktree.drained"


class WorktreeStopped(WorktreeEvent):
    """The worktree's agent process has ended as it should."""

    NAME: ClassVar[str] = "worktree.stopped"


class WorktreeFailed(WorktreeEvent):
    """The worktree's agent process ended by itself or never became ready."""

    NAME: ClassVar[str] = "worktree.failed"
    exit_code: int | None = None
    crash_loop: bool = False
    commit: Id | None = None


class WorktreeScaled(Event):
    """The number of worktrees on a branch was changed."""

    NAME: ClassVar[str] = "worktree.scaled"
    branch: BranchName
    from_count: Count
    to_count: Count
    signal: dict[str, JsonValue]
    reason: Reason
    inputs: dict[str, JsonValue] = {}
    """Everything that the count was decided from, so that it can be computed again."""


class WorktreesReserved(Event):
    """All arms of an experiment have their worktrees."""

    NAME: ClassVar[str] = "worktrees.reserved"
    experiment_id: Id
    branches: Names


class WorktreesReleased(Event):
    """The worktrees of an experiment are stopped and their tasks are gone."""

    NAME: ClassVar[str] = "worktrees.released"
    experiment_id: Id
    branches: Names


class ScenarioStarted(Event):
    """The tasks of an experiment are being handed out."""

    NAME: ClassVar[str] = "scenario.started"
    experiment_id: Id
    tasks: Count


class ScenarioFinished(Event):
    """Every task of an experiment is answered, graded or given up."""

    NAME: ClassVar[str] = "scenario.finished"
    experiment_id: Id
    graded: Count
    unmeasured: Count
    reason: Reason = ""


# --- experiments and decisions (decision-engine) -------------------------------------------------------------------


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
