"""One step of one agent: fold an input, let rules and experiments decide, say what to publish.

    evolve (facts) -> measure (experiments) -> rules -> sagas, until nothing more follows

`step` is pure: the same state, input, time and policy give the same result, ids included. The shell (handlers.py)
stores the state and publishes the outputs in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import JsonValue

from decision_engine import agent_state, basis, measurement, saga, watch
from decision_engine import experiment as saga_state
from decision_engine.actions import cannot_open
from decision_engine.agent_state import AgentState
from decision_engine.conditions import Situation
from decision_engine.experiment import Experiment, Step
from decision_engine.finding import (
    AcceptMain,
    Approval,
    DropChallengers,
    Effect,
    EndExperiment,
    Finding,
    MergeWinner,
    OpenExperiment,
    RollBackMain,
    Send,
)
from decision_engine.good_commits import GOOD_RUN
from decision_engine.ids import mint, seed_of
from decision_engine.phases import Phase, Trigger
from decision_engine.policy import Policy
from decision_engine.rules import (
    APPROVALS_MAX,
    DONE,
    DRY_RUN,
    PERSON,
    WITHHELD,
    Decision,
    as_approved,
    decide,
    evaluate,
    remembered,
    to_approve,
    without_rule,
)
from thymos import commands, events
from thymos.config import CreateBranch, MergeBranch, Rollback
from thymos.events import Verdict
from thymos.message import Message
from thymos.metrics import MetricsOutcomes

STEPS_MAX = 64
"""Saga steps that may follow one input; an experiment takes six from its opening to its end."""
MARKED_MAX = 20


@dataclass(frozen=True)
class Input:
    """What happened: a message, or None for a tick; `id` is what ids minted from it follow from."""

    id: str
    message: Message | None = None
    correlation_id: str | None = None


@dataclass(frozen=True)
class Output:
    """A message to publish; `correlation_id` ties the answers to what asked."""

    message: Message
    correlation_id: str | None = None


@dataclass(frozen=True)
class Result:
    """The state after a step, what to publish, in order, and the experiments that changed."""

    state: AgentState
    outputs: tuple[Output, ...]
    changed: tuple[Experiment, ...] = ()


@dataclass
class _Work:
    """A step in progress; private to one call of `step`."""

    state: AgentState
    now: datetime
    policy: Policy
    cause: str
    outputs: list[Output]
    ended: list[Experiment]

    @property
    def situation(self) -> Situation:
        return Situation(self.state, self.now, self.policy)

    def publish(self, message: Message, correlation_id: str | None = None) -> None:
        self.outputs.append(Output(message, correlation_id))


def step(state: AgentState, given: Input, now: datetime, policy: Policy) -> Result:
    """Everything that follows from one input.

    Args:
        state: the agent's state before it.
        given: what happened.
        now: the time, aware; a parameter so that a replay gives it again.
        policy: the agent's configuration.
    """
    state = replace(state, clock=now)
    work = _Work(state, now, policy, given.id, [], [])
    if given.message is not None:
        work.state = agent_state.evolve(state, given.message, given.correlation_id, now, policy)
        _on_command(work, given.message)
    given_up = watch.overdue(work.state.watch, now, policy.merge_timeout)
    work.state = replace(work.state, watch=given_up)
    _measure(work, given.message)
    _announce(work)
    _expire_approvals(work)
    _apply_rules(work)
    _advance(work)
    changed = [known for name, known in work.state.experiments.items() if state.experiments.get(name) != known]
    return Result(work.state, tuple(work.outputs), (*changed, *work.ended))


def time_of(state: AgentState, happened_at: datetime, now: datetime) -> datetime:
    """When a step takes place: when its cause happened, so that a deadline does not pass while the service is away and
    its answer waits on the bus. Never before the last step, and never in the future."""
    return min(now, max(happened_at, state.clock or happened_at))


# --- commands and announcements -------------------------------------------------------------------------------------


def _on_command(work: _Work, message: Message) -> None:
    match message:
        case commands.StartExperiment():
            _start(work, message)
        case commands.ProposeStrategy():
            changes = [change.model_dump(mode="json", exclude_none=True) for change in message.changes]
            proposed = events.StrategyProposed(name=message.name, description=message.description, changes=changes)
            work.publish(proposed)
        case commands.ApproveDecision():
            _answered(work, message)


def _start(work: _Work, command: commands.StartExperiment) -> None:
    """A person starts an experiment: it spends its whole alpha, and waits for nothing to learn from."""
    generators = list(command.generators or work.policy.versioning.experiments.generators)
    made = started_by_person(command, work.state.tenant, work.state.agent, work.cause, generators, work.now.isoformat())
    _open(work, OpenExperiment(_by_whom(command), "each", tuple(generators)), made.decision_id)
    work.publish(made)


def started_by_person(
    command: commands.StartExperiment, tenant: str, agent: str, cause: str, generators: list[str], now: str
) -> events.DecisionMade:
    """The decision that a person's command is; `cause` is the command's id, `now` an ISO time."""
    decision_id = mint(tenant, agent, cause, PERSON)
    whole: dict[str, JsonValue] = {
        "command": command.model_dump(mode="json"),
        "tenant": tenant,
        "agent": agent,
        "cause": cause,
        "generators": list[JsonValue](generators),
        "now": now,
    }
    return events.DecisionMade(
        decision_id=decision_id,
        rule=PERSON,
        inputs={"by": command.by, "generators": list[JsonValue](generators), "now": now, basis.KEY: whole},
        verdict=DONE,
        actions=[{"type": "CreateBranch", "words": "open an experiment"}],
        mode="act",
        reason=_by_whom(command)[:4096],
        experiment_id=_experiment_id(tenant, agent, cause, decision_id),
    )


def _by_whom(command: commands.StartExperiment) -> str:
    return f"started by {command.by or 'a person'}: {command.reason or 'no reason given'}"


def _experiment_id(tenant: str, agent: str, cause: str, decision_id: str) -> str:
    return mint(tenant, agent, cause, decision_id, "experiment")


def why_refused(state: AgentState, message: Message, now: datetime, policy: Policy) -> tuple[str, str] | None:
    """Why a command is refused, as (code, message), or None: asked before `step`."""
    match message:
        case commands.StartExperiment():
            refusal = cannot_open(Situation(state, now, policy))
            return None if refusal is None else ("refused", refusal.why)
        case commands.AbortExperiment(experiment_id=identity):
            experiment = state.experiments.get(identity)
            if experiment is None:
                known = identity in state.closed
                return ("conflict", f"experiment {identity} is over") if known else _no_such("experiment", identity)
            if not experiment.abortable or experiment.abort_reason is not None:
                return "conflict", f"experiment {identity} is ending already ({experiment.phase})"
        case commands.ApproveDecision(decision_id=identity):
            asked = [e.question for e in state.experiments.values() if e.question is not None and not e.merge_sent]
            open_ones = {question.decision_id for question in asked if question.answer is None} | set(state.approvals)
            if identity not in open_ones:
                return _no_such("open question", identity)
    return None


def _no_such(what: str, identity: str) -> tuple[str, str]:
    return "not_found", f"there is no {what} {identity}"


def _answered(work: _Work, command: commands.ApproveDecision) -> None:
    """A person answered: an experiment's own question was folded by it; any other decision is carried out here."""
    work.publish(events.ApprovalGiven(decision_id=command.decision_id, by=command.by, answer=command.answer))
    approval = work.state.approvals.get(command.decision_id)
    if approval is None:
        return
    _forget_approval(work, approval)
    if command.answer != "approved":
        if approval.rolls_back_main:
            _accept_main(work)
        return
    whole = basis.of_rules(work.situation, work.cause, approval)
    rule = next((rule for rule in work.policy.rules if rule.name == approval.rule), None)
    if rule is None:
        work.publish(without_rule(approval, work.now, whole))
        return
    again = as_approved(decide(rule, approval.finding, work.situation, approval.decision_id), approval)
    work.publish(again.message(work.situation, whole))
    _carry_out(work, again)
    if again.verdict != DONE:
        _may_ask_again(work, approval.key)


def _accept_main(work: _Work) -> None:
    """A rollback that a person rejects: main stays, and what it has shown so far no longer counts against it."""
    work.state = replace(work.state, watch=watch.accepted(work.state.watch))


def _forget_approval(work: _Work, approval: Approval) -> None:
    left = {name: known for name, known in work.state.approvals.items() if name != approval.decision_id}
    work.state = replace(work.state, approvals=left)


def _expire_approvals(work: _Work) -> None:
    for approval in list(work.state.approvals.values()):
        if work.now >= approval.expires_at:
            _unanswered(work, approval)
            work.state = replace(work.state, cooldowns={**work.state.cooldowns, approval.rule: work.now})


def _unanswered(work: _Work, approval: Approval) -> None:
    _forget_approval(work, approval)
    _may_ask_again(work, approval.key)
    work.publish(events.ApprovalGiven(decision_id=approval.decision_id, by="nobody", answer="expired"))


def _may_ask_again(work: _Work, key: str) -> None:
    """What was asked in vain is not taken for said already."""
    left = {known: why for known, why in work.state.refusals.items() if known != key}
    work.state = replace(work.state, refusals=left)


def _announce(work: _Work) -> None:
    """Say which commits have proven themselves, and delete branches of experiments that are over."""
    state = work.state
    limits = work.policy.versioning.failure_criteria.model_dump(mode="json")
    for commit in dict.fromkeys(state.proven[-MARKED_MAX:]):
        marked = events.CommitMarkedGood(
            branch=watch.MAIN,
            commit=commit,
            samples=GOOD_RUN,
            criteria={"consecutive": GOOD_RUN, "failure_criteria": limits},
            restart_baseline=watch.restarts_baseline(state.watch, commit),
        )
        work.publish(marked)
    for branch in state.orphans:
        work.publish(commands.DeleteBranch(branch=branch, reason="its experiment is over"))
    work.state = replace(state, proven=(), orphans=())


# --- experiments ----------------------------------------------------------------------------------------------------


def _measure(work: _Work, message: Message | None) -> None:
    """Look again at the experiment whose measured outcomes may have changed; looking is not cheap."""
    if not isinstance(message, MetricsOutcomes | events.ScenarioFinished):
        return
    experiment = work.state.experiments.get(message.experiment_id or "")
    if experiment is not None and experiment.phase is Phase.RUNNING:
        work.state = work.state.with_experiment(measurement.measured(experiment))


def _advance(work: _Work) -> None:
    """Let every experiment take the steps that follow from its state."""
    for identity in list(work.state.experiments):
        for _ in range(STEPS_MAX):
            experiment = work.state.experiments.get(identity)
            if experiment is None:
                break
            free = experiment.holds_slot or work.state.slots_used < work.policy.versioning.max_concurrent_experiments
            taken = saga.decide(experiment, work.now, work.policy, slot_free=free, shown=work.state.shown)
            if taken is None:
                break
            _take(work, experiment, taken, slot_free=free)


def _take(work: _Work, experiment: Experiment, taken: Step, *, slot_free: bool = True) -> None:
    for message in taken.outputs:
        if isinstance(message, events.ExperimentDecided):
            shown = work.state.shown
            whole = basis.of_step(experiment, taken, work.now, work.policy, slot_free=slot_free, shown=shown)
            message = message.model_copy(update={"inputs": {basis.KEY: whole}})
        work.publish(message, experiment.id)
    moved = saga_state.evolve(experiment, taken, work.now)
    work.state = work.state.with_experiment(moved)
    if taken.trigger is Trigger.PREPARED:
        figures = replace(work.state.figures, ab_tests_run=work.state.figures.ab_tests_run + 1)
        work.state = replace(work.state, figures=figures)
    if not moved.is_open:
        work.state = agent_state.closed(work.state, moved)
        work.ended.append(moved)


def _open(work: _Work, effect: OpenExperiment, decision_id: str) -> None:
    state, policy = work.state, work.policy
    identity = _experiment_id(state.tenant, state.agent, work.cause, decision_id)
    strategy = next((known for known in state.strategies if known.name == effect.strategy), None)
    needed = max(0, policy.versioning.experiments.learning_outcomes - state.since_calm) if effect.learn else 0
    opened = Experiment(
        id=identity,
        number=state.experiments_opened + 1,
        opened_at=work.now,
        decision_id=decision_id,
        cause=effect.cause,
        seed=seed_of(identity, policy.seed),
        budget=effect.budget,
        generators=effect.generators,
        proposed=(strategy.model_dump(mode="json", exclude_none=True),) if strategy else (),
        learning_needed=needed,
        learned_to=state.last_row,
    )
    kept = tuple(known for known in state.strategies if known.name != effect.strategy)
    state = replace(state, strategies=kept, experiments_opened=state.experiments_opened + 1)
    work.state = agent_state.restarted(state).with_experiment(saga_state.initial(opened, work.now, policy))


# --- rules ----------------------------------------------------------------------------------------------------------


def _apply_rules(work: _Work) -> None:
    decisions = evaluate(work.situation, work.cause)
    fresh = [decision for decision in decisions if not decision.repeated]
    if fresh:
        before, whole = work.situation, basis.of_rules(work.situation, work.cause)
        for decision in fresh:
            work.publish(decision.message(before, whole))
    work.state = replace(work.state, refusals=remembered(decisions))
    for decision in decisions:
        if decision.verdict == DONE:
            _carry_out(work, decision)
        elif decision.verdict == WITHHELD and not decision.repeated and decision.finding.experiment_id is None:
            _ask(work, decision)
    _settle_verdicts(work, decisions)


def _carry_out(work: _Work, decision: Decision) -> None:
    if decision.verdict != DONE or decision.plan is None:
        return
    cooldowns = {**work.state.cooldowns, decision.rule.name: work.now}
    work.state = replace(work.state, cooldowns=cooldowns)
    for effect in decision.plan.effects:
        _do(work, effect, decision.id)
    if isinstance(decision.rule.action, CreateBranch):
        _used_up(work, decision.finding)


def _used_up(work: _Work, finding: Finding) -> None:
    """What a branch was created for does not call for another, whether or not an experiment was opened with it."""
    kept = tuple(known for known in work.state.strategies if known.name != finding.strategy)
    work.state = agent_state.restarted(replace(work.state, strategies=kept))


def _do(work: _Work, effect: Effect, decision_id: str) -> None:
    match effect:
        case Send():
            work.publish(effect.message, decision_id)
        case OpenExperiment():
            _open(work, effect, decision_id)
        case MergeWinner():
            experiment = work.state.experiments[effect.experiment_id]
            _take(work, experiment, saga.won(experiment, work.now, work.policy, effect.strategy))
        case DropChallengers():
            experiment = work.state.experiments[effect.experiment_id]
            _take(work, experiment, saga.harmed(experiment, work.now, work.policy))
        case EndExperiment():
            experiment = work.state.experiments[effect.experiment_id]
            _take(work, experiment, saga.timed_out(experiment, work.now, work.policy))
        case AcceptMain():
            _accept_main(work)
        case RollBackMain():
            _roll_back_main(work, effect, decision_id)


def _roll_back_main(work: _Work, effect: RollBackMain, decision_id: str) -> None:
    """Main goes back, and experiments end: their arms hold what main is being freed of."""
    command = commands.RollbackBranch(
        branch=watch.MAIN,
        target_commit=effect.target,
        reason=effect.reason[:4096],
        evidence=dict(effect.evidence),
    )
    work.publish(command, decision_id)
    main = watch.rollback_sent(work.state.watch, effect.target, decision_id, work.now)
    aborted = {
        name: replace(known, abort_reason=known.abort_reason or f"main is rolled back to {effect.target}")
        for name, known in work.state.experiments.items()
    }
    work.state = replace(work.state, watch=main, experiments=aborted)


def _ask(work: _Work, decision: Decision) -> None:
    """Keep a withheld decision until a person answers; when there are too many, the oldest question of the lowest rule
    gives way to one of a higher rule, and is asked again when there is room."""
    waiting = work.state.approvals.values()
    if any(known.key == decision.key for known in waiting):
        return
    if len(waiting) >= APPROVALS_MAX:
        lowest = min(waiting, key=lambda known: known.priority)
        if lowest.priority >= decision.rule.priority:
            _may_ask_again(work, decision.key)
            return
        _unanswered(work, lowest)
    expires = work.now + work.policy.approval_timeout
    approval = to_approve(decision, expires)
    work.state = replace(work.state, approvals={**work.state.approvals, decision.id: approval})
    words = decision.plan.words if decision.plan else decision.rule.action.type
    reason = f"{words}? {decision.finding.reason} ({decision.why})"
    work.publish(
        events.ApprovalRequested(
            decision_id=decision.id, by="decision-engine", expires_at=expires, reason=reason[:4096]
        )
    )


def _settle_verdicts(work: _Work, decisions: Sequence[Decision]) -> None:
    """A running experiment with a final verdict that no rule acted on: a person is asked, or it ends unused."""
    for experiment in work.situation.running():
        look, decision = experiment.look, _decision_about(experiment, decisions)
        if experiment.abort_reason is not None:
            continue
        if look is None or look.verdict not in (Verdict.MERGE, Verdict.ROLLBACK):
            continue
        why = decision.why if decision is not None else "no rule acts on the verdict"
        if look.verdict is Verdict.MERGE and (decision is None or decision.verdict != DRY_RUN):
            asked = decision.id if decision is not None else mint(experiment.id, "merge")
            _take(work, experiment, saga.withheld(experiment, asked, why, work.now, work.policy))
        else:
            _take(work, experiment, saga.dropped(experiment, f"{look.reason}; {why}", work.now, work.policy))


def _decision_about(experiment: Experiment, decisions: Sequence[Decision]) -> Decision | None:
    """The decision about an experiment's verdict; one about its time only where there is no other."""
    wanted = MergeBranch if experiment.look and experiment.look.verdict is Verdict.MERGE else Rollback
    mine = [decision for decision in decisions if decision.finding.experiment_id == experiment.id]
    return next((known for known in mine if isinstance(known.rule.action, wanted)), mine[0] if mine else None)


def wake_at(state: AgentState, policy: Policy) -> datetime | None:
    """When the agent has to be looked at again although nothing happened, or None."""
    times = [saga_state.wake_at(experiment, policy) for experiment in state.experiments.values()]
    times += [approval.expires_at for approval in state.approvals.values()]
    times.append(watch.answer_due(state.watch, policy.merge_timeout))
    return min((at for at in times if at is not None), default=None)
