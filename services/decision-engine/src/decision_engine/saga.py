"""`decide` of an experiment: what it does next, from its state and the time alone.

Every phase has a function here that returns a step or None. Nothing is sent twice: what was sent is part of the state.
A merge and a rollback are decided by rules (rules.py); `won`, `withheld` and `harmed` are the steps they take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from decision_engine import measurement
from decision_engine.evidence import approximate, ratio_text
from decision_engine.experiment import (
    Experiment,
    Question,
    Step,
    is_leaving,
    learning_until,
    seconds_between,
)
from decision_engine.phases import Phase, Trigger
from decision_engine.policy import Policy
from decision_engine.verdict import attainability
from thymos import commands, events
from thymos.events import Verdict
from thymos.message import Message


def decide(
    experiment: Experiment, now: datetime, policy: Policy, *, slot_free: bool, shown: frozenset[str]
) -> Step | None:
    """The next step, or None while there is something to wait for.

    Args:
        experiment: its state.
        now: the time, aware.
        policy: the agent's configuration.
        slot_free: whether one more experiment may run.
        shown: digests of task inputs that the generators may have seen.
    """
    if not experiment.is_open:
        return None
    if experiment.abort_reason is not None and experiment.abortable:
        return _leave(experiment, Trigger.ABORT, Verdict.ABORTED, experiment.abort_reason, now, policy)
    if is_leaving(experiment):
        return _clean_up(experiment, now)
    if experiment.phase is Phase.PENDING:
        return _pending(experiment, now, policy, slot_free)
    if experiment.phase is Phase.PREPARING:
        return _preparing(experiment, now, policy, shown)
    return _RUNNING_AND_MERGING[experiment.phase](experiment, now, policy)


# --- Pending, Preparing ---------------------------------------------------------------------------------------------


def _pending(experiment: Experiment, now: datetime, policy: Policy, slot_free: bool) -> Step | None:
    waited_out = now >= learning_until(experiment, policy)
    if slot_free and (experiment.learning_needed <= 0 or waited_out):
        return _prepare(experiment, now, policy)
    if experiment.deadline is not None and now >= experiment.deadline:
        said = "no slot became free in time" if not slot_free else "nothing to learn from came in time"
        return _leave(experiment, Trigger.EXPIRED, Verdict.INCONCLUSIVE, said, now, policy)
    return None


def _prepare(experiment: Experiment, now: datetime, policy: Policy) -> Step:
    reason = f"experiment {experiment.id}: {experiment.cause}"[:4096]
    outputs = (
        commands.CreateSnapshot(branch="main", experiment_id=experiment.id, reason=reason),
        commands.PrepareVariants(
            experiment_id=experiment.id,
            branch="main",
            control_branch=f"{experiment.prefix}control",
            branch_prefix=experiment.prefix,
            generators=list(experiment.generators),
            proposed=[dict(change) for change in experiment.proposed],
            after_row=experiment.learned_to,
            reason=reason,
        ),
    )
    wait = policy.versioning.experiments.preparing_timeout
    return Step(Trigger.LEARNED, reason, outputs, {"prepare_sent": True, "deadline": now + wait})


def _preparing(experiment: Experiment, now: datetime, policy: Policy, shown: frozenset[str]) -> Step | None:
    if experiment.refusal is not None:
        return _leave(experiment, Trigger.UNMEASURABLE, Verdict.ERROR, experiment.refusal, now, policy)
    if experiment.crashed:
        branch, why = next(iter(experiment.crashed.items()))
        said = f"the agent of {branch} does not come up: {why}"
        return _leave(experiment, Trigger.UNMEASURABLE, Verdict.ERROR, said, now, policy)
    if experiment.arms and experiment.plan is None:
        return _start(experiment, now, policy, shown)
    if experiment.plan is not None and {arm.branch for arm in experiment.arms} <= experiment.ready:
        return _run(experiment, now, policy)
    if experiment.deadline is not None and now >= experiment.deadline:
        return _leave(experiment, Trigger.EXPIRED, Verdict.ERROR, _what_is_missing(experiment), now, policy)
    return None


def _what_is_missing(experiment: Experiment) -> str:
    if not experiment.arms:
        return "the variants were not prepared in time"
    late = sorted(arm.name for arm in experiment.arms if arm.branch not in experiment.ready)
    return f"no agent was ready in time for {', '.join(late)}"


def _start(experiment: Experiment, now: datetime, policy: Policy, shown: frozenset[str]) -> Step:
    """All arms have their branches: fix everything, or refuse before any evidence is spent."""
    if len(experiment.arms) < 2:
        said = "nothing to test: " + ("; ".join(experiment.skipped) or "no generator changed anything")
        return _leave(experiment, Trigger.NOTHING_TO_TEST, Verdict.ERROR, said, now, policy)
    tasks = measurement.tasks_of(experiment, policy, shown)
    plan = measurement.plan_of(experiment, policy, tasks)
    can = attainability(plan)
    if not can.attainable:
        return _leave(experiment, Trigger.UNMEASURABLE, Verdict.ERROR, can.reason, now, policy)
    waited = now + policy.versioning.experiments.preparing_timeout
    until = waited + policy.versioning.experiment_timeout
    started = events.ExperimentStarted(
        experiment_id=experiment.id,
        arms=list(experiment.arms),
        mode="scenario",
        alpha=ratio_text(plan.merge_alpha or plan.alpha),
        budget=experiment.budget,
        challengers=len(plan.challengers),
        min_pairs=plan.min_pairs,
        deadline=until,
        seed=experiment.seed,
        tasks=list(tasks),
        base_commit=experiment.base_commit or "unknown",
        decision_id=experiment.decision_id,
        reason=experiment.cause[:4096],
    )
    reserve = commands.ReserveWorktrees(experiment_id=experiment.id, arms=list(experiment.arms), deadline=until)
    changes = {"plan": plan, "reserve_sent": True, "deadline": waited, "run_until": until}
    return Step(Trigger.PREPARED, can.reason, (started, reserve), changes)


def _run(experiment: Experiment, now: datetime, policy: Policy) -> Step:
    assert experiment.plan is not None, "an experiment that runs has been started"
    timeout = policy.versioning.experiments.task_timeout
    run = commands.RunScenario(
        experiment_id=experiment.id,
        arms=list(experiment.arms),
        task_ids=[task.task_id for task in experiment.plan.tasks],
        seed=experiment.seed,
        task_timeout_seconds=timeout / timedelta(seconds=1),
    )
    running = events.ExperimentRunning(
        experiment_id=experiment.id,
        phase=Phase.RUNNING,
        verdict=Verdict.CONTINUE,
        reason=f"all {len(experiment.arms)} arms are ready; {len(experiment.plan.tasks)} tasks each",
    )
    changes = {"running_at": now, "deadline": now + policy.versioning.experiment_timeout}
    return Step(Trigger.READY, running.reason, (running, run), changes)


# --- Running --------------------------------------------------------------------------------------------------------


def _running(experiment: Experiment, now: datetime, policy: Policy) -> Step | None:
    control = experiment.control
    if experiment.refusal is not None:
        return _leave(experiment, Trigger.UNMEASURABLE, Verdict.ERROR, experiment.refusal, now, policy)
    if control is not None and control.branch in experiment.crashed:
        said = f"the control's agent broke down: {experiment.crashed[control.branch]}"
        return _leave(experiment, Trigger.UNMEASURABLE, Verdict.ERROR, said, now, policy)
    challengers = {arm.branch for arm in experiment.arms if not arm.control}
    if challengers <= set(experiment.crashed):
        said = "the agents of all challengers broke down"
        return _leave(experiment, Trigger.UNMEASURABLE, Verdict.ERROR, said, now, policy)
    look = experiment.look
    if look is not None and look.verdict in (Verdict.ERROR, Verdict.INVALID):
        return _leave(experiment, Trigger.UNMEASURABLE, look.verdict, look.reason, now, policy)
    if look is not None and look.verdict is Verdict.INCONCLUSIVE:
        return _leave(experiment, Trigger.UNDECIDED, Verdict.INCONCLUSIVE, look.reason, now, policy)
    if experiment.deadline is not None and now >= experiment.deadline:
        return timed_out(experiment, now, policy)
    return None


def timed_out(experiment: Experiment, now: datetime, policy: Policy) -> Step:
    """A running experiment has used up its time: inconclusive, whatever it looked like."""
    said = f"no verdict within {policy.versioning.experiment_timeout}"
    ended = measurement.measured(experiment, ended=said)
    if ended.look is not None and ended.look.verdict is not Verdict.CONTINUE:
        said = f"{said}: {ended.look.reason}"
    return _leave(experiment, Trigger.EXPIRED, Verdict.INCONCLUSIVE, said, now, policy)


def won(experiment: Experiment, now: datetime, policy: Policy, strategy: str | None = None) -> Step:
    """A rule merges the winner. Needs a look whose verdict is merge."""
    decided = _decided(experiment, Verdict.MERGE, Phase.MERGING)
    changes = {**_verdict(decided), "merge_sent": True, "deadline": now + policy.merge_timeout}
    merge = _merge_command(decided, policy, strategy)
    return Step(Trigger.WON, decided.reason, (_decided_event(decided, Phase.MERGING), merge), changes)


def withheld(experiment: Experiment, decision_id: str, why: str, now: datetime, policy: Policy) -> Step:
    """The winner is proven, and a person has to agree to the merge."""
    decided = _decided(experiment, Verdict.MERGE, Phase.MERGING)
    question = Question(decision_id, now + policy.approval_timeout)
    changes = {**_verdict(decided), "question": question, "deadline": question.expires_at}
    reason = f"merge {decided.winner} of experiment {experiment.id} into main? {why}"
    asked = events.ApprovalRequested(
        decision_id=decision_id, by="decision-engine", expires_at=question.expires_at, reason=reason
    )
    return Step(Trigger.WITHHELD, why, (_decided_event(decided, Phase.MERGING), asked), changes)


def harmed(experiment: Experiment, now: datetime, policy: Policy) -> Step:
    """Every challenger is proven harmful: their branches go, main stays as it is."""
    assert experiment.look is not None, "harm is proven by a look"
    return _leave(experiment, Trigger.HARMED, Verdict.ROLLBACK, experiment.look.reason, now, policy)


def dropped(experiment: Experiment, why: str, now: datetime, policy: Policy) -> Step:
    """A verdict that nothing acts on (dry run, or switched off): the experiment ends without a consequence."""
    return _leave(experiment, Trigger.UNDECIDED, Verdict.INCONCLUSIVE, why, now, policy)


# --- Merging --------------------------------------------------------------------------------------------------------


def _merging(experiment: Experiment, now: datetime, policy: Policy) -> Step | None:
    if experiment.merged_commit is not None:
        return _merged(experiment, now, policy)
    if experiment.refusal is not None:
        return _leave(experiment, Trigger.UNMEASURABLE, Verdict.ERROR, experiment.refusal, now, policy)
    question = experiment.question
    if experiment.conflicts and experiment.merge_sent:
        return _ask_about_conflicts(experiment, now, policy)
    if question is not None and not experiment.merge_sent:
        if question.answer == "approved":
            strategy = "Theirs" if experiment.conflicts else None
            merge = _merge_command(experiment, policy, strategy)
            changes = {"merge_sent": True, "conflicts": 0, "deadline": now + policy.merge_timeout}
            return Step(Trigger.APPROVED, "approved", (merge,), changes)
        if question.answer is not None or now >= question.expires_at:
            said = "nobody approved the merge in time" if question.answer is None else "the merge was rejected"
            return _leave(experiment, Trigger.REJECTED, Verdict.ABORTED, said, now, policy)
        return None
    if experiment.deadline is not None and now >= experiment.deadline:
        said = "memory-repository did not answer the merge in time"
        return _leave(experiment, Trigger.EXPIRED, Verdict.ERROR, said, now, policy)
    return None


def _ask_about_conflicts(experiment: Experiment, now: datetime, policy: Policy) -> Step:
    question = Question(f"{experiment.id}-conflict", now + policy.approval_timeout)
    said = (
        f"merging {experiment.winner} of experiment {experiment.id} found {experiment.conflicts} conflicts; "
        "approve to let the experiment's side win, reject to keep main as it is"
    )
    asked = events.ApprovalRequested(
        decision_id=question.decision_id, by="decision-engine", expires_at=question.expires_at, reason=said
    )
    changes = {"question": question, "merge_sent": False, "deadline": question.expires_at}
    return Step(Trigger.CONFLICTED, said, (asked,), changes)


def _merged(experiment: Experiment, now: datetime, policy: Policy) -> Step:
    changes = {**_clean_up_times(now, policy), "merged": True}
    said = f"merged as {experiment.merged_commit}"
    return Step(Trigger.MERGED, said, _release(experiment, said), changes)


def _merge_command(experiment: Experiment, policy: Policy, strategy: str | None) -> Message:
    return commands.MergeBranch.model_validate(
        {
            "source": experiment.branch_of(experiment.winner),
            "target": "main",
            "strategy": strategy or policy.versioning.merge_strategy,
            "experiment_id": experiment.id,
            "reason": experiment.reason[:4096],
            "evidence": measurement.evidence_of(experiment),
        }
    )


_RUNNING_AND_MERGING: Mapping[Phase, Callable[[Experiment, datetime, Policy], Step | None]] = {
    Phase.RUNNING: _running,
    Phase.MERGING: _merging,
}

# --- the end --------------------------------------------------------------------------------------------------------


def _leave(
    experiment: Experiment, trigger: Trigger, verdict: Verdict, reason: str, now: datetime, policy: Policy
) -> Step:
    """End it with a verdict: say so, and stop its worktrees; the branches follow when those are gone."""
    phase = _PHASE_OF[verdict]
    decided = replace(experiment, verdict=verdict, winner=None, reason=reason)
    outputs: tuple[Message, ...] = _release(experiment, reason)
    if experiment.verdict is None:
        outputs = (_decided_event(decided, phase), *outputs)
    changes = {**_verdict(decided), **_clean_up_times(now, policy)}
    return Step(trigger, reason, outputs, changes)


_PHASE_OF = {
    Verdict.ROLLBACK: Phase.ROLLING_BACK,
    Verdict.INCONCLUSIVE: Phase.INCONCLUSIVE,
    Verdict.ABORTED: Phase.ABORTED,
    Verdict.ERROR: Phase.ERROR,
    Verdict.INVALID: Phase.ERROR,
}


def _clean_up_times(now: datetime, policy: Policy) -> dict[str, datetime]:
    return {"deadline": now + policy.cleanup_timeout, "release_until": now + policy.release_timeout}


def _release(experiment: Experiment, reason: str) -> tuple[Message, ...]:
    if not experiment.reserve_sent:
        return ()
    return (commands.ReleaseWorktrees(experiment_id=experiment.id, reason=reason[:4096]),)


def _clean_up(experiment: Experiment, now: datetime) -> Step | None:
    """Worktrees first, then branches, then nothing is left; or the time is up and what is left is named."""
    time_is_up = experiment.deadline is not None and now >= experiment.deadline
    worktrees_gone = not experiment.reserve_sent or experiment.released
    waited = experiment.release_until is not None and now >= experiment.release_until
    left = experiment.seen - experiment.gone
    unasked = left - experiment.delete_sent
    if unasked and (worktrees_gone or waited or time_is_up):
        reason = f"experiment {experiment.id} is over: {experiment.reason}"[:4096]
        deletes = tuple(
            commands.DeleteBranch(branch=branch, experiment_id=experiment.id, reason=reason)
            for branch in sorted(unasked)
        )
        changes = {"delete_sent": experiment.delete_sent | unasked}
        return Step(Trigger.SWEEP, f"delete {', '.join(sorted(unasked))}", deletes, changes)
    promised = experiment.prepare_sent and not experiment.arms and experiment.refusal is None
    if not left and not promised and (worktrees_gone or waited):
        return _close(experiment, Trigger.CLEANED, experiment.reason, now)
    if time_is_up:
        names = ", ".join(sorted(left)) or ("its branches" if promised else "its worktrees")
        said = f"{experiment.reason} (still to be removed: {names})"
        return _close(experiment, Trigger.GIVEN_UP, said, now)
    return None


def _close(experiment: Experiment, trigger: Trigger, reason: str, now: datetime) -> Step:
    gained = measurement.improvement(experiment) if experiment.verdict is Verdict.MERGE else None
    closed = events.ExperimentClosed(
        experiment_id=experiment.id,
        phase=Phase.CLOSED,
        verdict=experiment.verdict or Verdict.ABORTED,
        winner=experiment.winner,
        arms=measurement.reports(experiment),
        control=measurement.control_figures(experiment),
        reason=reason[:4096],
        duration_seconds=seconds_between(experiment.opened_at, now),
        improvement=None if gained is None else approximate(gained),
    )
    return Step(trigger, reason, (closed,), {"closed_at": now, "deadline": None})


def _decided(experiment: Experiment, verdict: Verdict, phase: Phase) -> Experiment:
    assert experiment.look is not None, "a verdict comes from a look"
    return replace(
        experiment, verdict=verdict, winner=experiment.look.winner, reason=experiment.look.reason, phase=phase
    )


def _verdict(decided: Experiment) -> dict[str, object]:
    return {"verdict": decided.verdict, "winner": decided.winner, "reason": decided.reason}


def _decided_event(decided: Experiment, phase: Phase) -> Message:
    rows = decided.rows
    return events.ExperimentDecided(
        experiment_id=decided.id,
        phase=phase,
        verdict=decided.verdict or Verdict.ERROR,
        winner=decided.winner,
        arms=measurement.reports(decided),
        control=measurement.control_figures(decided),
        reason=decided.reason[:4096],
        rows={"first": rows[0], "last": rows[1]} if rows else {},
    )
