"""What a service is asked to do: stream THYMOS_COMMANDS, `thymos.command.<service>.<tenant>.<agent>.<entity>.<verb>`.

Each command is answered by an event that carries its id as `causationid`, or by `command.refused`.
"""

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue, field_validator

from thymos.events import Arm, Evidence
from thymos.message import BranchName, Count, Id, Kind, Message, Reason, Value
from thymos.metrics import AgentMetrics

MEMORY_REPOSITORY = "memory-repository"
WORKTREE_SCALER = "worktree-scaler"
DECISION_ENGINE = "decision-engine"


class Command(Message):
    """Base of everything on THYMOS_COMMANDS; `SERVICE` is who carries it out."""

    KIND: ClassVar[Kind] = Kind.COMMAND
    SERVICE: ClassVar[str]


# --- memory-repository ---------------------------------------------------------------------------------------------


class MemoryCommand(Command):
    """Base of the commands to memory-repository."""

    SERVICE: ClassVar[str] = MEMORY_REPOSITORY


class CreateBranch(MemoryCommand):
    """Begin a branch at a commit or at another branch's head."""

    NAME: ClassVar[str] = "branch.create"
    branch: BranchName
    from_ref: str = "main"
    experiment_id: Id | None = None
    reason: Reason = ""


class MergeBranch(MemoryCommand):
    """Merge `source` into `target`."""

    NAME: ClassVar[str] = "branch.merge"
    source: BranchName
    target: BranchName = "main"
    strategy: Literal["Ours", "Theirs", "Manual", "AutoMerge", "Custom"] = "AutoMerge"
    experiment_id: Id | None = None
    reason: Reason = ""
    evidence: Evidence = {}
    keep: bool = False
    resolver: Annotated[str, Field(min_length=1, max_length=100)] | None = None


class RollbackBranch(MemoryCommand):
    """Bring a branch back to the state of `target_commit`, by a revert commit."""

    NAME: ClassVar[str] = "branch.rollback"
    branch: BranchName = "main"
    target_commit: str
    experiment_id: Id | None = None
    reason: Reason = ""
    evidence: Evidence = {}


class DeleteBranch(MemoryCommand):
    """Delete a branch."""

    NAME: ClassVar[str] = "branch.delete"
    branch: BranchName
    experiment_id: Id | None = None
    reason: Reason = ""


class CreateSnapshot(MemoryCommand):
    """Keep a branch's head under a name."""

    NAME: ClassVar[str] = "snapshot.create"
    branch: BranchName = "main"
    experiment_id: Id | None = None
    reason: Reason = ""
    metrics: AgentMetrics | None = None


class PrepareVariants(MemoryCommand):
    """Create an experiment's control branch and one branch per variant with the variant's changes committed.

    Variants come from the named generators, or from `proposed` changes (a strategy that somebody proposed).
    Branches are named `<branch_prefix><variant name>`.
    """

    NAME: ClassVar[str] = "variants.prepare"
    experiment_id: Id
    branch: BranchName = "main"
    control_branch: BranchName
    branch_prefix: BranchName
    generators: Annotated[list[BranchName], Field(max_length=32)]
    proposed: Annotated[list[dict[str, JsonValue]], Field(max_length=32)] = []
    after_row: Count = 0
    """The newest outcome row that the variants are to learn from: it may still be on its way."""
    reason: Reason = ""


class MemoryChange(Value):
    """One change of a commit: `put` (create or replace), `modify` (must exist; merges `fields` by key) or `delete`."""

    op: Literal["put", "modify", "delete"]
    id: Id
    content: Annotated[str, Field(max_length=65_536)] | None = None
    kind: Annotated[str, Field(max_length=64)] | None = None
    fields: dict[str, JsonValue] | None = None

    @field_validator("fields")
    @classmethod
    def _only_json(cls, fields: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
        """`allow_inf_nan` does not reach a JsonValue that is read from JSON text, and null would be sent instead."""
        if fields:
            _check_finite(fields.values())
        return fields


def _check_finite(values: Iterable[JsonValue]) -> None:
    for value in values:
        if isinstance(value, float):
            if not math.isfinite(value):
                raise ValueError(f"{value} is no number of JSON")
        elif isinstance(value, dict):
            _check_finite(value.values())
        elif isinstance(value, list):
            _check_finite(value)


class CommitMemory(MemoryCommand):
    """Commit changes to a branch."""

    NAME: ClassVar[str] = "memory.commit"
    branch: BranchName = "main"
    changes: Annotated[list[MemoryChange], Field(min_length=1, max_length=10_000)]
    author: Annotated[str, Field(max_length=200)]
    message: Annotated[str, Field(max_length=1024)]
    expected_head: str | None = None


# --- worktree-scaler -----------------------------------------------------------------------------------------------


class ScalerCommand(Command):
    """Base of the commands to worktree-scaler."""

    SERVICE: ClassVar[str] = WORKTREE_SCALER


class ReserveWorktrees(ScalerCommand):
    """Start one worktree for each arm of an experiment: all of them or none."""

    NAME: ClassVar[str] = "worktrees.reserve"
    experiment_id: Id
    arms: Annotated[list[Arm], Field(min_length=1, max_length=33)]
    deadline: datetime | None = None


class ReleaseWorktrees(ScalerCommand):
    """Stop an experiment's tasks and worktrees."""

    NAME: ClassVar[str] = "worktrees.release"
    experiment_id: Id
    reason: Reason = ""


class ScaleWorktree(ScalerCommand):
    """Set the number of worktrees on a branch for a time, overriding the scaling policy."""

    NAME: ClassVar[str] = "worktree.scale"
    branch: BranchName = "main"
    count: Annotated[int, Field(ge=0, le=1_000)]
    for_seconds: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    reason: Reason = ""


class RunScenario(ScalerCommand):
    """Hand the named tasks of the agent's scenario to every arm, in this order, and grade the answers."""

    NAME: ClassVar[str] = "scenario.run"
    experiment_id: Id
    arms: Annotated[list[Arm], Field(min_length=1, max_length=33)]
    task_ids: Annotated[list[Id], Field(min_length=1, max_length=5_000)]
    seed: Count
    task_timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] = 30.0


# --- decision-engine -----------------------------------------------------------------------------------------------


class DecisionCommand(Command):
    """Base of the commands to decision-engine."""

    SERVICE: ClassVar[str] = DECISION_ENGINE


class StartExperiment(DecisionCommand):
    """Start an experiment on an agent; a person's one-off experiment spends its whole `alpha`."""

    NAME: ClassVar[str] = "experiment.start"
    by: Annotated[str, Field(max_length=200)] = ""
    reason: Reason = ""
    generators: Annotated[list[BranchName], Field(max_length=32)] = []


class ApproveDecision(DecisionCommand):
    """Answer an approval request."""

    NAME: ClassVar[str] = "experiment.approve"
    decision_id: Id
    by: Annotated[str, Field(max_length=200)]
    answer: Literal["approved", "rejected"] = "approved"


class AbortExperiment(DecisionCommand):
    """End an experiment without a verdict."""

    NAME: ClassVar[str] = "experiment.abort"
    experiment_id: Id
    by: Annotated[str, Field(max_length=200)] = ""
    reason: Reason = ""


class ProposeStrategy(DecisionCommand):
    """Propose changes to an agent's memory for an experiment."""

    NAME: ClassVar[str] = "strategy.propose"
    name: BranchName
    description: Annotated[str, Field(max_length=1024)] = ""
    changes: Annotated[list[MemoryChange], Field(min_length=1, max_length=1_000)]
