"""Decision rules of `[[supervisor.versioning.rules]]`: the seed's seven conditions and six actions.

Which rules apply when none are written, and what a condition or action does, is decision-engine's business.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, model_validator

from thymos.config import readers
from thymos.config.criteria import FailureCriteria, SuccessCriteria
from thymos.config.section import Section

MergeStrategy = Literal["Ours", "Theirs", "Manual", "AutoMerge"]
MERGE_STRATEGIES: tuple[str, ...] = ("Ours", "Theirs", "Manual", "AutoMerge")
RuleMode = Literal["act", "approve", "dry_run"]


class PerformanceDrop(Section):
    """The success rate of outcomes on main has dropped."""

    type: Literal["PerformanceDrop"] = "PerformanceDrop"
    threshold: Annotated[Decimal, readers.number("0", "1", open_low=True, open_high=True, places=3)] | None = Field(
        default=None,
        description="The success rate below which performance has dropped. Unset: what the agent's baseline allows.",
    )
    window: Annotated[timedelta, readers.duration()] | None = Field(
        default=None,
        description="How far back you look. It moves no alarm: the drop is found in the outcomes one by one, however "
        "old. The decision states it (`inputs.found.window`) beside the window and the number of samples of the "
        "metrics that it reports, which are metrics-collector's.",
    )


class NewStrategyAvailable(Section):
    """Somebody proposed a strategy (`strategy.proposed`)."""

    type: Literal["NewStrategyAvailable"] = "NewStrategyAvailable"


class ResourceConstraint(Section):
    """The agent uses more of the processor or of the memory than it may."""

    type: Literal["ResourceConstraint"] = "ResourceConstraint"
    cpu_threshold: Annotated[Decimal, readers.number("0", "1", open_low=True)] | None = Field(
        default=None,
        validation_alias=AliasChoices("cpu_threshold", "cpu"),
        description="The fraction of the processor above which it is constrained (also written `cpu`).",
    )
    memory_threshold: Annotated[Decimal, readers.number("0", "1", open_low=True)] | None = Field(
        default=None,
        validation_alias=AliasChoices("memory_threshold", "memory"),
        description="The fraction of the machine's memory above which it is constrained (also written `memory`).",
    )

    @model_validator(mode="after")
    def _constrains_something(self) -> ResourceConstraint:
        if self.cpu_threshold is None and self.memory_threshold is None:
            raise ValueError("expected cpu_threshold, memory_threshold or both; got neither")
        return self


class ExperimentTimeout(Section):
    """An experiment has run for too long."""

    type: Literal["ExperimentTimeout"] = "ExperimentTimeout"
    max_duration: Annotated[timedelta, readers.duration()] | None = Field(
        default=None, description="How long it may run. Unset: `experiment_timeout`."
    )


class SuccessCriteriaMet(Section):
    """A challenger fulfils the success criteria, and the evidence says that it is better."""

    type: Literal["SuccessCriteriaMet"] = "SuccessCriteriaMet"
    criteria: SuccessCriteria | None = Field(
        default=None,
        description="Own criteria, keys as in `success_criteria` with their defaults. Unset: `success_criteria`.",
    )


class FailureCriteriaMet(Section):
    """A branch breaks a limit of the failure criteria."""

    type: Literal["FailureCriteriaMet"] = "FailureCriteriaMet"
    criteria: FailureCriteria | None = Field(
        default=None,
        description="Own limits, keys as in `failure_criteria` with their defaults. Unset: `failure_criteria`.",
    )


class Custom(Section):
    """A Python function of yours says so. It takes the `AgentMetrics` (`thymos.metrics`) of a branch, returns true or
    false, and decides by nothing else. With `evaluator = "my_rules:is_slow"`, the file `my_rules.py` where
    decision-engine is started (or an installed module) holds, for example,
    `def is_slow(metrics): return (metrics.task.completion.p95_ms or 0) > 2_000`. One that raises counts as false.
    """

    type: Literal["Custom"] = "Custom"
    evaluator: Annotated[str, readers.text(100, "an importable `module:function`")] = Field(
        description="The function. decision-engine imports it when it starts, and does not start without it."
    )


class CreateBranch(Section):
    """Take a snapshot and create an experiment branch; starts an experiment if A/B testing is enabled."""

    type: Literal["CreateBranch"] = "CreateBranch"
    branch_name: Annotated[str, readers.branch()] | None = Field(
        default=None, description="The branch. Unset: `experiment-<id>`."
    )
    description: Annotated[str, readers.text(500)] | None = Field(default=None, description="What it is for.")


class CreateWorktree(Section):
    """Start more worktrees on a branch."""

    type: Literal["CreateWorktree"] = "CreateWorktree"
    branch_name: Annotated[str, readers.branch()] | None = Field(
        default=None, description="The branch. Unset: the one that the condition is about."
    )
    count: Annotated[int, readers.whole(1, 1000)] = Field(default=1, description="How many worktrees to start.")


class MergeBranch(Section):
    """Merge a branch into main; refused without the evidence of a paired experiment."""

    type: Literal["MergeBranch"] = "MergeBranch"
    source_branch: Annotated[str, readers.branch()] | None = Field(
        default=None, description="The branch to merge. Unset: the experiment's winner."
    )
    strategy: Annotated[MergeStrategy, readers.choice(*MERGE_STRATEGIES)] | None = Field(
        default=None, description="How collisions are settled. Unset: `merge_strategy`."
    )


class Rollback(Section):
    """Return a branch to an earlier commit by a revert commit."""

    type: Literal["Rollback"] = "Rollback"
    branch_name: Annotated[str, readers.branch()] | None = Field(
        default=None, description="The branch. Unset: the one that the condition is about."
    )
    target_commit: Annotated[str, readers.text(200, "a commit id")] | None = Field(
        default=None, description="The commit to return to. Unset: the last good one."
    )


class DeleteBranch(Section):
    """Delete a branch with its worktrees."""

    type: Literal["DeleteBranch"] = "DeleteBranch"
    branch_name: Annotated[str, readers.branch()] | None = Field(
        default=None, description="The branch. Unset: the one that the condition is about."
    )


class ScaleWorktrees(Section):
    """Set the number of worktrees on a branch."""

    type: Literal["ScaleWorktrees"] = "ScaleWorktrees"
    branch_name: Annotated[str, readers.branch()] | None = Field(
        default=None, description="The branch. Unset: the one that the condition is about."
    )
    target_count: Annotated[int, readers.whole(0, 1000)] = Field(
        description="How many worktrees there shall be, within `min_worktrees` and `max_worktrees`."
    )


Condition = (
    PerformanceDrop
    | NewStrategyAvailable
    | ResourceConstraint
    | ExperimentTimeout
    | SuccessCriteriaMet
    | FailureCriteriaMet
    | Custom
)
Action = CreateBranch | CreateWorktree | MergeBranch | Rollback | DeleteBranch | ScaleWorktrees


class Rule(Section):
    """When the condition holds, the action is taken, withheld for approval, or only recorded."""

    name: Annotated[str, readers.text(100, "a name")] = Field(description="Names the rule; each name only once.")
    condition: Annotated[Condition, Field(discriminator="type", description="What has to hold.")]
    action: Annotated[Action, Field(discriminator="type", description="What is done then.")]
    priority: Annotated[int, readers.whole(0, 1_000_000)] = Field(
        default=0, description="The rule with the highest priority comes first."
    )
    cooldown: Annotated[timedelta, readers.duration(zero=True)] = Field(
        default=timedelta(minutes=1),
        description="After it did something, the rule rests for so long, per agent; `0s` for not at all.",
    )
    mode: Annotated[RuleMode, readers.choice("act", "approve", "dry_run")] = Field(
        default="act", description="Act, ask a person first, or only record what would have been done."
    )
