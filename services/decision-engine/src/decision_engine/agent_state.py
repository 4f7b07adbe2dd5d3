"""Everything decision-engine knows of one agent, as one frozen value; `evolve` folds what happened into it.

Histories are bounded; open experiments are kept whole, closed ones only by id. The value goes to JSON and back without
loss (`to_json`, `from_json`): whole numbers stay whole, fractions are "n/d".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction
from functools import lru_cache

from pydantic import TypeAdapter

from decision_engine import experiment as saga_state
from decision_engine import good_commits, measurement, watch
from decision_engine.drop_detector import DropDetector, limit_from_threshold
from decision_engine.experiment import Experiment, NameSet
from decision_engine.finding import Approval
from decision_engine.pairing import MEASURED, PairStatus, status_of_outcome
from decision_engine.policy import Policy
from decision_engine.watch import MAIN, Watch
from thymos import commands, events
from thymos.config import PerformanceDrop
from thymos.message import Message
from thymos.metrics import AgentMetrics, MetricsChanged, MetricsOutcomes, OutcomeRow

BASELINE = "baseline"
METRICS_MAX = 64
"""Branches whose latest metrics are remembered."""
STRATEGIES_MAX = 32
CLOSED_MAX = 500
"""Closed experiments whose late branches are still recognised."""
GIVEN_UP_MAX = 20
"""Closed experiments whose merge may still come true."""
WORKTREES_MAX = 4_096
CALM_LEVEL = 100
"""A drop began where the baseline's detector was last below 1/100 of its alarm."""


@dataclass(frozen=True)
class Figures:
    """What the eight figures of `VersioningMetrics` are computed from."""

    branches_created: int = 0
    branches_merged: int = 0
    branches_rolled_back: int = 0
    worktrees_created: int = 0
    ab_tests_run: int = 0
    closed: int = 0
    merged: int = 0
    seconds: float = 0.0
    improvement: Fraction = Fraction(0)


@dataclass(frozen=True)
class AgentState:
    """One agent. `since_calm` counts main's outcomes since the drop (if there is one) began to count; `shown` holds
    digests of scenario tasks whose content came by in live traffic; `proven` and `orphans` are commits and branches
    that are yet to be announced or deleted; `given_up` holds the control's (failures, outcomes) of closed experiments
    whose merge was asked for and never answered: it may still come true. `clock` is the time of its last step: it
    never goes back."""

    tenant: str
    agent: str
    watch: Watch = field(default_factory=Watch)
    detectors: Mapping[str, DropDetector] = field(default_factory=dict)
    since_calm: int = 0
    main_outcomes: int = 0
    last_row: int = 0
    shown: NameSet = frozenset()
    metrics: Mapping[str, AgentMetrics] = field(default_factory=dict)
    strategies: tuple[commands.ProposeStrategy, ...] = ()
    experiments: Mapping[str, Experiment] = field(default_factory=dict)
    experiments_opened: int = 0
    closed: tuple[str, ...] = ()
    given_up: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    cooldowns: Mapping[str, datetime] = field(default_factory=dict)
    refusals: Mapping[str, str] = field(default_factory=dict)
    approvals: Mapping[str, Approval] = field(default_factory=dict)
    worktrees: Mapping[str, str] = field(default_factory=dict)
    proven: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    figures: Figures = Figures()
    clock: datetime | None = None

    @property
    def slots_used(self) -> int:
        """Experiments that count towards `max_concurrent_experiments`."""
        return sum(experiment.holds_slot for experiment in self.experiments.values())

    def worktrees_on(self, branch: str) -> int:
        """Worktrees that are up on a branch."""
        return sum(where == branch for where in self.worktrees.values())

    def with_experiment(self, experiment: Experiment) -> AgentState:
        """The state with one experiment put in or replaced."""
        return replace(self, experiments={**self.experiments, experiment.id: experiment})


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[AgentState]:
    return TypeAdapter(AgentState)


def to_json(state: AgentState) -> bytes:
    """The state as JSON text."""
    return _adapter().dump_json(state)


def from_json(text: bytes | str) -> AgentState:
    """What `to_json` wrote. Raises pydantic.ValidationError when it is something else."""
    return _adapter().validate_json(text)


_FIGURES = TypeAdapter(Figures)


def figures_to_json(figures: Figures) -> str:
    """The figures as JSON text."""
    return _FIGURES.dump_json(figures).decode()


def figures_from_json(text: str) -> Figures:
    """What `figures_to_json` wrote."""
    return _FIGURES.validate_json(text)


def detector_key(condition: PerformanceDrop) -> str:
    """Which detector a condition listens to: the baseline's, or one for its literal threshold."""
    if condition.threshold is None:
        return BASELINE
    return f"limit:{limit_from_threshold(Fraction(condition.threshold))}"


def evolve(state: AgentState, fact: Message, correlation_id: str | None, now: datetime, policy: Policy) -> AgentState:
    """The state after something happened; what it does not know changes nothing."""
    state = _of_agent(state, fact, policy)
    if isinstance(fact, events.CommandRefused):
        return _refused(state, fact, correlation_id)
    moved = {name: saga_state.evolve(experiment, fact, now) for name, experiment in state.experiments.items()}
    state = replace(state, experiments=moved)
    return _main_merged(state, fact) if isinstance(fact, events.BranchMerged) else state


def _of_agent(state: AgentState, fact: Message, policy: Policy) -> AgentState:  # noqa: C901  (one flat table)
    match fact:
        case MetricsOutcomes():
            return _outcomes(state, fact, policy) if _is_main(fact) else state
        case MetricsChanged():
            if _is_of_experiment(state, fact.branch):
                return state  # its branches are judged by their pairs alone
            rest = {name: known for name, known in state.metrics.items() if name != fact.branch}
            kept = dict(list(rest.items())[-(METRICS_MAX - 1) :])
            return replace(state, metrics={**kept, fact.branch: fact.metrics})
        case events.BranchCreated():
            return _branch_created(state, fact)
        case events.BranchDeleted():
            left = {name: known for name, known in state.metrics.items() if name != fact.branch}
            return replace(state, metrics=left)
        case events.CommitCreated():
            return _caught_up(replace(state, watch=watch.commit_created(state.watch, fact)), policy)
        case events.CommitMarkedGood():
            return replace(state, watch=watch.marked_good(state.watch, fact))
        case events.BranchRolledBack():
            return _rolled_back(state, fact)
        case events.BaselineFrozen():
            return _referred(replace(state, watch=watch.frozen(state.watch, fact)))
        case events.WorktreeStarted():
            return _worktree_started(state, fact)
        case events.WorktreeStopped() | events.WorktreeFailed():
            return _worktree_ended(state, fact)
        case commands.ProposeStrategy():
            others = [known for known in state.strategies if known.name != fact.name]
            return replace(state, strategies=(*others, fact)[-STRATEGIES_MAX:])
    return state


def _is_main(fact: MetricsOutcomes) -> bool:
    return fact.branch == MAIN and fact.experiment_id is None


# --- outcomes on main -----------------------------------------------------------------------------------------------


def _outcomes(state: AgentState, fact: MetricsOutcomes, policy: Policy) -> AgentState:
    scenario = {task.digest for task in policy.scenario}
    for row in fact.rows:
        state = _outcome(state, row, policy)
        if row.input_digest in scenario:
            state = replace(state, shown=state.shown | {row.input_digest})
    last_row = max((row.row for row in fact.rows), default=state.last_row)
    learned = {
        name: replace(known, learning_needed=max(0, known.learning_needed - len(fact.rows)), learned_to=last_row)
        for name, known in state.experiments.items()
    }
    return replace(state, experiments=learned, main_outcomes=state.main_outcomes + len(fact.rows), last_row=last_row)


def _outcome(state: AgentState, row: OutcomeRow, policy: Policy) -> AgentState:
    status = status_of_outcome(row.outcome.value)
    if status not in MEASURED:
        return state
    watched, proven = watch.outcome(state.watch, row, policy.limits, policy.alpha)
    answered = replace(state, watch=watched, proven=state.proven + proven)
    if good_commits.is_taken_back(state.watch.history, row.commit):
        return answered  # it tells of memories that main holds no more, however late it is heard of
    failed = status is not PairStatus.SUCCESS
    detectors = {name: known.after(failed) for name, known in _detectors(state, policy).items()}
    baseline = detectors.get(BASELINE)
    calm = baseline is not None and baseline.total * CALM_LEVEL <= baseline.alarm_total
    return replace(answered, detectors=detectors, since_calm=0 if calm else state.since_calm + 1)


def _detectors(state: AgentState, policy: Policy) -> dict[str, DropDetector]:
    """The detectors that the rules listen to; new ones begin where they are first needed."""
    wanted: dict[str, int] = {}
    if state.watch.reference is not None:
        wanted[BASELINE] = state.watch.reference.limit_per_mille
    for rule in policy.rules:
        if isinstance(rule.condition, PerformanceDrop) and rule.condition.threshold is not None:
            wanted[detector_key(rule.condition)] = limit_from_threshold(Fraction(rule.condition.threshold))
    return {
        name: known if (known := state.detectors.get(name)) and known.limit_per_mille == limit else DropDetector(limit)
        for name, limit in wanted.items()
    }


def restarted(state: AgentState) -> AgentState:
    """The drop detectors without their past: after they were acted on, and after an experiment."""
    return replace(state, detectors={name: known.restarted() for name, known in state.detectors.items()}, since_calm=0)


def _referred(state: AgentState) -> AgentState:
    """Main is measured against something else: the baseline's detector begins anew."""
    others = {name: known for name, known in state.detectors.items() if name != BASELINE}
    return replace(state, detectors=others)


def _caught_up(state: AgentState, policy: Policy) -> AgentState:
    watched, proven = watch.caught_up(state.watch, policy.limits, policy.alpha)
    return replace(state, watch=watched, proven=state.proven + proven)


# --- branches, worktrees --------------------------------------------------------------------------------------------


def _is_of_experiment(state: AgentState, branch: str, *, closed_only: bool = False) -> bool:
    """Whether a branch belongs to an experiment, open or among the closed ones that are remembered."""
    known = state.closed if closed_only else (*state.experiments, *state.closed)
    return any(branch.startswith(saga_state.branch_prefix(experiment_id)) for experiment_id in known)


def _branch_created(state: AgentState, fact: events.BranchCreated) -> AgentState:
    state = replace(state, watch=watch.branch_created(state.watch, fact))
    if fact.branch == MAIN:
        return state
    figures = replace(state.figures, branches_created=state.figures.branches_created + 1)
    is_orphan = _is_of_experiment(state, fact.branch, closed_only=True)
    orphans = (*state.orphans, fact.branch) if is_orphan else state.orphans
    return replace(state, figures=figures, orphans=orphans)


def _main_merged(state: AgentState, fact: events.BranchMerged) -> AgentState:
    if fact.commit == fact.previous_commit:
        return state
    identity = fact.experiment_id or ""
    experiment = state.experiments.get(identity)
    control = measurement.control_counts(experiment) if experiment is not None else state.given_up.get(identity)
    before = state.watch.reference
    figures = replace(state.figures, branches_merged=state.figures.branches_merged + 1)
    late = watch.proven_before_its_merge(state.watch, fact)
    state = replace(state, watch=watch.merged(state.watch, fact, control), figures=figures, proven=state.proven + late)
    return _referred(state) if state.watch.reference is not before else state


def _rolled_back(state: AgentState, fact: events.BranchRolledBack) -> AgentState:
    figures = replace(state.figures, branches_rolled_back=state.figures.branches_rolled_back + 1)
    state = replace(state, figures=figures)
    if fact.branch != MAIN:
        return state
    return restarted(replace(state, watch=watch.rolled_back(state.watch, fact)))


def _worktree_started(state: AgentState, fact: events.WorktreeStarted) -> AgentState:
    figures = replace(state.figures, worktrees_created=state.figures.worktrees_created + 1)
    worktrees = dict(list({**state.worktrees, fact.worktree_id: fact.branch}.items())[-WORKTREES_MAX:])
    return replace(state, figures=figures, worktrees=worktrees)


def _worktree_ended(state: AgentState, fact: events.WorktreeStopped | events.WorktreeFailed) -> AgentState:
    worktrees = {identity: branch for identity, branch in state.worktrees.items() if identity != fact.worktree_id}
    main = watch.crashed(state.watch, fact) if isinstance(fact, events.WorktreeFailed) else state.watch
    return replace(state, worktrees=worktrees, watch=main)


def _refused(state: AgentState, fact: events.CommandRefused, correlation_id: str | None) -> AgentState:
    """One of our commands was refused: an experiment's by its id, main's rollback by the decision's."""
    experiment = state.experiments.get(correlation_id or "")
    if experiment is not None:
        return state.with_experiment(saga_state.refused(experiment, fact))
    is_rollback = fact.command == commands.RollbackBranch.type_name()
    if is_rollback and state.watch.sent_to is not None and correlation_id == state.watch.sent_by:
        held = f"memory-repository refused the rollback: {fact.reason}"
        return replace(state, watch=replace(watch.answered(state.watch), held=held))
    return state


def closed(state: AgentState, experiment: Experiment) -> AgentState:
    """The state after an experiment was closed: its figures stay, and the drop detectors begin anew."""
    counted = _with_figures(state.figures, experiment)
    left = {name: known for name, known in state.experiments.items() if name != experiment.id}
    state = replace(state, given_up=_with_given_up(state.given_up, experiment))
    ids = (*state.closed, experiment.id)[-CLOSED_MAX:]
    return restarted(replace(state, experiments=left, closed=ids, figures=counted))


def _with_figures(figures: Figures, experiment: Experiment) -> Figures:
    """The figures with a closed experiment; one that never ran was no test, and says nothing of how tests go."""
    if experiment.running_at is None:
        return figures
    gained = measurement.improvement(experiment) if experiment.merged else None
    return replace(
        figures,
        closed=figures.closed + 1,
        merged=figures.merged + experiment.merged,
        seconds=figures.seconds + saga_state.seconds_between(experiment.opened_at, experiment.closed_at),
        improvement=figures.improvement + (gained or 0),
    )


def _with_given_up(known: Mapping[str, tuple[int, int]], experiment: Experiment) -> Mapping[str, tuple[int, int]]:
    look = experiment.look
    if experiment.merged or not experiment.merge_sent or look is None:
        return known
    control = measurement.control_counts(replace(experiment, winner=look.winner))
    return known if control is None else dict(list({**known, experiment.id: control}.items())[-GIVEN_UP_MAX:])
