"""One experiment, as three pure functions over a frozen state: `initial`, `evolve` and `decide`.

`evolve` folds what happened (events of the other services, in any order and any number of times) and the steps that
were decided. `decide` looks at the state and the time alone, so that it does not matter in which order facts came in:
it returns the next step, or None while there is something to wait for. It lives in saga.py, what may follow what in
phases.py. No clock, no ids, no I/O in here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import PlainSerializer

from decision_engine.evidence_plan import EvidencePlan
from decision_engine.phases import LEAVING, TRANSITIONS, Phase, Trigger, next_phase
from decision_engine.policy import Policy
from decision_engine.verdict import ExperimentVerdict
from thymos import commands, events
from thymos.events import Arm, Verdict
from thymos.message import Message
from thymos.metrics import MetricsOutcomes

CONTROL = "control"
NameSet = Annotated[frozenset[str], PlainSerializer(sorted, return_type=list[str])]
"""Names without an order; stored sorted, so that equal states are equal bytes."""


@dataclass(frozen=True)
class Answer:
    """One counted outcome of an arm: the outcome's wire value, microseconds, and its row."""

    outcome: str
    latency_us: int
    row: int


@dataclass(frozen=True)
class Question:
    """What a person was asked about this experiment, and the answer once there is one."""

    decision_id: str
    expires_at: datetime
    answer: str | None = None


@dataclass(frozen=True)
class Experiment:
    """Everything known of one experiment. Times are aware; `deadline` is the current phase's.

    `learning_needed` counts main's outcomes that are still to be recorded before variants are generated, `learned_to`
    is the newest outcome row of main until then. `seen`,
    `gone` and `delete_sent` are branch names. `look` is the verdict on what was measured so far, `look_before` the one
    that it followed on; `verdict`, `winner` and `reason` are final once `verdict` is set.
    """

    id: str
    number: int
    opened_at: datetime
    decision_id: str
    cause: str
    seed: int
    budget: str
    generators: tuple[str, ...]
    proposed: tuple[dict[str, Any], ...] = ()
    learning_needed: int = 0
    learned_to: int = 0
    phase: Phase = Phase.PENDING
    entered_at: datetime | None = None
    deadline: datetime | None = None
    prepare_sent: bool = False
    base_commit: str | None = None
    arms: tuple[Arm, ...] = ()
    skipped: tuple[str, ...] = ()
    plan: EvidencePlan | None = None
    run_until: datetime | None = None
    reserve_sent: bool = False
    ready: NameSet = frozenset()
    crashed: Mapping[str, str] = field(default_factory=dict)
    running_at: datetime | None = None
    answers: Mapping[str, Mapping[str, Answer]] = field(default_factory=dict)
    graded: int | None = None
    look: ExperimentVerdict | None = None
    look_before: ExperimentVerdict | None = None
    verdict: Verdict | None = None
    winner: str | None = None
    reason: str = ""
    merge_sent: bool = False
    question: Question | None = None
    conflicts: int = 0
    merged_commit: str | None = None
    merged: bool = False
    refusal: str | None = None
    abort_reason: str | None = None
    released: bool = False
    release_until: datetime | None = None
    seen: NameSet = frozenset()
    gone: NameSet = frozenset()
    delete_sent: NameSet = frozenset()
    closed_at: datetime | None = None

    @property
    def prefix(self) -> str:
        """What the names of its branches begin with."""
        return branch_prefix(self.id)

    @property
    def control(self) -> Arm | None:
        """The control arm, once there is one."""
        return next((arm for arm in self.arms if arm.control), None)

    @property
    def is_open(self) -> bool:
        """Whether anything of it may still be there."""
        return self.phase is not Phase.CLOSED

    @property
    def holds_slot(self) -> bool:
        """Whether it counts towards the experiments that may run at the same time."""
        return self.phase not in (Phase.PENDING, Phase.CLOSED)

    @property
    def abortable(self) -> bool:
        """Whether an abort still changes anything: not once memory-repository was asked to merge."""
        return (self.phase, Trigger.ABORT) in TRANSITIONS and not self.merge_sent and not self.merged

    @property
    def rows(self) -> tuple[int, int] | None:
        """First and last outcome row that its evidence was computed from."""
        rows = [answer.row for answers in self.answers.values() for answer in answers.values()]
        return (min(rows), max(rows)) if rows else None

    def branch_of(self, arm: str | None) -> str | None:
        """The branch of an arm by its name."""
        return next((known.branch for known in self.arms if known.name == arm), None)


@dataclass(frozen=True)
class Step:
    """A decided move: what triggers it, why, what is sent out, and the fields that change with it."""

    trigger: Trigger
    reason: str
    outputs: tuple[Message, ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)


def branch_prefix(experiment_id: str) -> str:
    """`experiment-<id>-`: a variant's branch is this and its name."""
    return f"experiment-{experiment_id}-"


def initial(opened: Experiment, now: datetime, policy: Policy) -> Experiment:
    """The experiment as it is opened: Pending, with the deadline of the learning phase."""
    wait = policy.versioning.experiments.learning_timeout + policy.versioning.experiment_timeout
    return replace(opened, phase=Phase.PENDING, entered_at=now, deadline=now + wait)


# --- evolve ---------------------------------------------------------------------------------------------------------


def evolve(experiment: Experiment, fact: Message | Step, now: datetime) -> Experiment:
    """The experiment after a fact or a decided step. What does not concern it changes nothing.

    Raises:
        IllegalTransition: a step that the table does not have.
    """
    if isinstance(fact, Step):
        phase = next_phase(experiment.phase, fact.trigger)
        entered = now if phase is not experiment.phase else experiment.entered_at
        return replace(experiment, **{"phase": phase, "entered_at": entered, **fact.changes})
    if not experiment.is_open:
        return experiment
    fold = _FOLDS.get(type(fact))
    return experiment if fold is None else fold(experiment, fact, now)


def _prepared(experiment: Experiment, fact: events.VariantsPrepared, now: datetime) -> Experiment:
    del now
    if experiment.arms or fact.experiment_id != experiment.id:
        return experiment
    control = Arm(name=CONTROL, branch=fact.control_branch, control=True, description="main as it is")
    challengers = [Arm(name=v.name, branch=v.branch, description=v.description[:1000]) for v in fact.variants]
    return replace(
        experiment,
        base_commit=fact.base_commit,
        arms=(control, *challengers),
        skipped=tuple(f"{skipped.name}: {skipped.reason}" for skipped in fact.skipped),
        seen=experiment.seen | {arm.branch for arm in (control, *challengers)},
    )


def _branch_created(experiment: Experiment, fact: events.BranchCreated, now: datetime) -> Experiment:
    del now
    if not fact.branch.startswith(experiment.prefix):
        return experiment
    return replace(experiment, seen=experiment.seen | {fact.branch})


def _branch_deleted(experiment: Experiment, fact: events.BranchDeleted, now: datetime) -> Experiment:
    del now
    if not fact.branch.startswith(experiment.prefix):
        return experiment
    return replace(experiment, gone=experiment.gone | {fact.branch})


def _worktree_ready(experiment: Experiment, fact: events.WorktreeReady, now: datetime) -> Experiment:
    del now
    if not fact.branch.startswith(experiment.prefix):
        return experiment
    return replace(experiment, ready=experiment.ready | {fact.branch})


def _worktree_failed(experiment: Experiment, fact: events.WorktreeFailed, now: datetime) -> Experiment:
    del now
    if not fact.crash_loop or not fact.branch.startswith(experiment.prefix):
        return experiment
    return replace(experiment, crashed={**experiment.crashed, fact.branch: fact.reason or "it keeps crashing"})


def _measured(experiment: Experiment, fact: MetricsOutcomes, now: datetime) -> Experiment:
    del now
    if fact.experiment_id != experiment.id or fact.arm is None or experiment.verdict is not None:
        return experiment
    known = experiment.answers.get(fact.arm, {})
    fresh = {
        row.task_id: Answer(row.outcome.value, round(row.latency_ms * 1000), row.row)
        for row in reversed(fact.rows)
        if row.task_id not in known
    }
    return replace(experiment, answers={**experiment.answers, fact.arm: {**known, **fresh}}) if fresh else experiment


def _scenario_finished(experiment: Experiment, fact: events.ScenarioFinished, now: datetime) -> Experiment:
    del now
    if fact.experiment_id != experiment.id or experiment.graded is not None:
        return experiment
    return replace(experiment, graded=fact.graded)


def _branch_merged(experiment: Experiment, fact: events.BranchMerged, now: datetime) -> Experiment:
    del now
    if fact.experiment_id != experiment.id or fact.target != "main" or experiment.merged_commit is not None:
        return experiment
    merged = replace(experiment, merged_commit=fact.commit)
    if experiment.phase not in LEAVING:
        return merged
    # It was given up, and the merge came true all the same: what is on main counts.
    winner = next((arm.name for arm in experiment.arms if arm.branch == fact.source), None)
    reason = f"merged after all as {fact.commit} ({experiment.reason})"
    return replace(merged, merged=True, verdict=Verdict.MERGE, winner=winner, reason=reason)


def _conflicted(experiment: Experiment, fact: events.MergeConflicted, now: datetime) -> Experiment:
    del now
    if fact.experiment_id != experiment.id:
        return experiment
    return replace(experiment, conflicts=max(1, fact.conflict_count))


def _released(experiment: Experiment, fact: events.WorktreesReleased, now: datetime) -> Experiment:
    del now
    return replace(experiment, released=True) if fact.experiment_id == experiment.id else experiment


def _aborted(experiment: Experiment, fact: commands.AbortExperiment, now: datetime) -> Experiment:
    del now
    if fact.experiment_id != experiment.id or experiment.abort_reason is not None:
        return experiment
    who = f"by {fact.by}" if fact.by else "by request"
    return replace(experiment, abort_reason=f"aborted {who}: {fact.reason or 'no reason given'}")


def _answered(experiment: Experiment, fact: commands.ApproveDecision, now: datetime) -> Experiment:
    del now
    question = experiment.question
    if question is None or question.decision_id != fact.decision_id or question.answer is not None:
        return experiment
    return replace(experiment, question=replace(question, answer=fact.answer))


_FOLDS: Mapping[type, Callable[..., Experiment]] = {
    events.VariantsPrepared: _prepared,
    events.BranchCreated: _branch_created,
    events.BranchDeleted: _branch_deleted,
    events.WorktreeReady: _worktree_ready,
    events.WorktreeFailed: _worktree_failed,
    events.WorktreesReleased: _released,
    events.ScenarioFinished: _scenario_finished,
    events.BranchMerged: _branch_merged,
    events.MergeConflicted: _conflicted,
    MetricsOutcomes: _measured,
    commands.AbortExperiment: _aborted,
    commands.ApproveDecision: _answered,
}


def refused(experiment: Experiment, fact: events.CommandRefused) -> Experiment:
    """The experiment after one of its own commands (same correlation id) was refused."""
    name = fact.command.removeprefix("thymos.").removesuffix(".v1")
    if name == commands.ReleaseWorktrees.NAME:
        return replace(experiment, released=True)
    if name in (commands.CreateSnapshot.NAME, commands.DeleteBranch.NAME):
        return experiment
    return replace(experiment, refusal=f"{name} was refused: {fact.reason}")


def wake_at(experiment: Experiment, policy: Policy) -> datetime | None:
    """When `decide` has to look again although nothing happened; None when it is closed."""
    if not experiment.is_open:
        return None
    times = [experiment.deadline]
    if experiment.phase is Phase.PENDING:
        times.append(learning_until(experiment, policy))
    if is_leaving(experiment):
        times.append(experiment.release_until)
    return min((at for at in times if at is not None), default=experiment.opened_at)


def learning_until(experiment: Experiment, policy: Policy) -> datetime:
    """When it goes on without enough outcomes to learn from."""
    return experiment.opened_at + policy.versioning.experiments.learning_timeout


def is_leaving(experiment: Experiment) -> bool:
    """Whether only the clean-up is left."""
    return experiment.phase in LEAVING or (experiment.phase is Phase.MERGING and experiment.merged)


def seconds_between(start: datetime | None, end: datetime | None) -> float:
    """Seconds, 0.0 where one is missing or they are the wrong way round."""
    return max(0.0, (end - start) / timedelta(seconds=1)) if start and end else 0.0
