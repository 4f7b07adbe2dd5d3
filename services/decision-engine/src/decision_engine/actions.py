"""The actions of rules: one function each, found by the class of its settings.

To add an action: give its settings a class in `thymos.config.rules` (and to `Action` there), and write a function under
`@action(ThatClass, ...)` here that plans it. Planning changes nothing; engine.py carries plans out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from decision_engine import watch
from decision_engine.conditions import Situation
from decision_engine.finding import (
    AcceptMain,
    DropChallengers,
    EndExperiment,
    Finding,
    MergeWinner,
    OpenExperiment,
    Plan,
    Refused,
    RollBackMain,
    Send,
)
from decision_engine.ids import digest_of
from decision_engine.phases import Phase
from decision_engine.watch import MAIN
from thymos import commands, config
from thymos.events import Verdict

EXPERIMENTS_MAX = 16
"""Experiments of one agent that may be open (most of them waiting) at a time."""

Planner = Callable[[Any, Finding, Situation, str], Plan | Refused]
P = TypeVar("P", bound=Planner)


@dataclass(frozen=True)
class ActionKind:
    """How an action is planned, the switch that allows it, and how safe it is: of two on one branch the lower wins."""

    plan: Planner
    switch: str
    safety: int


ACTIONS: dict[type, ActionKind] = {}


def action(settings: type, *, switch: str, safety: int) -> Callable[[P], P]:
    """Register an action under the class of its settings."""

    def register(function: P) -> P:
        ACTIONS[settings] = ActionKind(function, switch, safety)
        return function

    return register


@action(config.Rollback, switch="auto_rollback_enabled", safety=0)
def rollback(settings: config.Rollback, finding: Finding, situation: Situation, decision_id: str) -> Plan | Refused:
    """Main goes back to its last good commit; an experiment whose challengers do harm ends."""
    del decision_id
    if finding.experiment_id is not None:
        if _verdict_of(finding, situation) is not Verdict.ROLLBACK:
            return _end(finding, finding.experiment_id)  # that it took long, or won, proves no harm
        effect = DropChallengers(finding.experiment_id)
        return Plan((effect,), frozenset({finding.branch, finding.experiment_id}), "remove the challengers")
    branch = settings.branch_name or finding.branch
    if branch != MAIN:
        return _rollback_elsewhere(settings, finding, branch)
    main, policy = situation.state.watch, situation.policy
    if main.sent_to is not None:
        return Refused(f"a rollback to {main.sent_to} is on its way")
    if main.held is not None:
        return Refused(f"main is held: {main.held}")
    found = watch.read(main, policy.limits, policy.alpha).target
    target = settings.target_commit or found.commit
    based_on = f"main at {main.head}"
    if target is None:
        return Plan((AcceptMain(),), frozenset({MAIN}), "leave main as it is", found.reason, based_on)
    effect_on_main = RollBackMain(target, finding.reason, finding.inputs)
    ask = watch.why_a_person(main)
    return Plan((effect_on_main,), frozenset({MAIN}), f"roll main back to {target}", ask, based_on)


def _rollback_elsewhere(settings: config.Rollback, finding: Finding, branch: str) -> Plan | Refused:
    if settings.target_commit is None:
        return Refused(f"only main's good commits are known; a rollback of {branch} needs target_commit")
    command = commands.RollbackBranch(
        branch=branch, target_commit=settings.target_commit, reason=finding.reason[:4096], evidence=dict(finding.inputs)
    )
    return Plan((Send(command),), frozenset({branch}), f"roll {branch} back to {settings.target_commit}")


@action(config.DeleteBranch, switch="auto_branching_enabled", safety=1)
def delete_branch(
    settings: config.DeleteBranch, finding: Finding, situation: Situation, decision_id: str
) -> Plan | Refused:
    """An experiment ends with all its branches; or one branch goes, never main."""
    del decision_id
    if finding.experiment_id is not None:
        return _end(finding, finding.experiment_id)
    branch = settings.branch_name or finding.branch
    if branch == MAIN:
        return Refused("main is never deleted")
    if any(branch.startswith(experiment.prefix) for experiment in situation.state.experiments.values()):
        return Refused(f"{branch} belongs to an experiment, which removes it")
    command = commands.DeleteBranch(branch=branch, reason=finding.reason[:4096])
    return Plan((Send(command),), frozenset({branch}), f"delete {branch}")


def _end(finding: Finding, experiment_id: str) -> Plan:
    touches = frozenset({finding.branch, experiment_id})
    return Plan((EndExperiment(experiment_id),), touches, f"end experiment {experiment_id}")


def _verdict_of(finding: Finding, situation: Situation) -> Verdict | None:
    """What the running experiment that a finding is about has proven so far."""
    experiment = situation.state.experiments.get(finding.experiment_id or "")
    if experiment is None or experiment.look is None or experiment.phase is not Phase.RUNNING:
        return None
    return experiment.look.verdict


@action(config.MergeBranch, switch="auto_merge_enabled", safety=2)
def merge_branch(
    settings: config.MergeBranch, finding: Finding, situation: Situation, decision_id: str
) -> Plan | Refused:
    """The proven winner of an experiment goes into main. Without a paired experiment nothing is merged."""
    del decision_id
    experiment = situation.state.experiments.get(finding.experiment_id or "")
    if experiment is None:
        return Refused(f"no paired experiment has proven {finding.branch} better")
    winner = experiment.branch_of(experiment.look.winner) if experiment.look is not None else None
    if winner is None or _verdict_of(finding, situation) is not Verdict.MERGE:
        return Refused(f"experiment {experiment.id} has proven no challenger better")
    if settings.source_branch not in (None, winner):
        return Refused(f"the proven winner is {winner}, not {settings.source_branch}")
    if situation.state.watch.sent_to is not None:
        return Refused("main is being rolled back")
    effect = MergeWinner(experiment.id, settings.strategy)
    return Plan((effect,), frozenset({MAIN, winner, experiment.id}), f"merge {winner} into main")


@action(config.CreateBranch, switch="auto_branching_enabled", safety=3)
def create_branch(
    settings: config.CreateBranch, finding: Finding, situation: Situation, decision_id: str
) -> Plan | Refused:
    """Open an experiment; or, with a branch name or without A/B testing, a snapshot and a branch and no more."""
    if finding.experiment_id is not None:
        return Refused(f"experiment {finding.experiment_id} is looking into it already")
    strategy = next((known for known in situation.state.strategies if known.name == finding.strategy), None)
    if finding.strategy is not None and strategy is None:
        return Refused(f"strategy {finding.strategy} is not waiting any more")
    based_on = "" if strategy is None else f"strategy {strategy.name} {digest_of(strategy.model_dump(mode='json'))}"
    versioning = situation.policy.versioning
    touches = frozenset({MAIN})
    if settings.branch_name is None and versioning.auto_ab_testing_enabled:
        refusal = cannot_open(situation)
        if refusal is not None:
            return refusal
        opened = OpenExperiment(
            cause=finding.reason,
            budget=versioning.evidence.budget,
            generators=() if finding.strategy else versioning.experiments.generators,
            strategy=finding.strategy,
            learn=finding.strategy is None,
        )
        return Plan((opened,), touches, "open an experiment", based_on=based_on)
    branch = settings.branch_name or f"experiment-{decision_id}"
    reason = (settings.description or finding.reason)[:4096]
    metrics = situation.state.metrics.get(MAIN)
    snapshot = commands.CreateSnapshot(branch=MAIN, reason=reason, metrics=metrics)
    created = commands.CreateBranch(branch=branch, from_ref=MAIN, reason=reason)
    return Plan((Send(snapshot), Send(created)), touches, f"take a snapshot and create {branch}", based_on=based_on)


def cannot_open(situation: Situation) -> Refused | None:
    """Why no experiment can be opened, or None."""
    if not situation.policy.scenario:
        return Refused(f"agent {situation.state.agent} has no scenario to be tested with: set `scenario`")
    if len(situation.state.experiments) >= EXPERIMENTS_MAX:
        return Refused(f"{EXPERIMENTS_MAX} experiments are open already")
    return None


@action(config.CreateWorktree, switch="auto_ab_testing_enabled", safety=4)
def create_worktree(
    settings: config.CreateWorktree, finding: Finding, situation: Situation, decision_id: str
) -> Plan | Refused:
    """More worktrees on a branch, besides those that are up."""
    del decision_id
    branch = settings.branch_name or finding.branch
    return _scale(branch, situation.state.worktrees_on(branch) + settings.count, finding)


@action(config.ScaleWorktrees, switch="auto_scaling_enabled", safety=5)
def scale_worktrees(
    settings: config.ScaleWorktrees, finding: Finding, situation: Situation, decision_id: str
) -> Plan | Refused:
    """So many worktrees on a branch, for a time."""
    del situation, decision_id
    return _scale(settings.branch_name or finding.branch, settings.target_count, finding)


def _scale(branch: str, count: int, finding: Finding) -> Plan:
    command = commands.ScaleWorktree(branch=branch, count=min(count, 1_000), reason=finding.reason[:4096])
    return Plan((Send(command),), frozenset({branch}), f"{count} worktrees on {branch}")
