"""Every published decision again, from what its own event holds, with the core as it is today.

`RECOMPUTATIONS` is what `thymos replay --verify` finds by the entry point `thymos.recomputations`: for each class of
event a function that returns the event as it would be made now, or None where none would be made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from decision_engine import basis, engine, measurement, saga
from decision_engine.basis import ExperimentBasis
from decision_engine.conditions import Situation
from decision_engine.experiment import Experiment, Step
from decision_engine.phases import Phase, Trigger
from decision_engine.rules import PERSON, as_approved, decide, evaluate, without_rule
from thymos.commands import StartExperiment
from thymos.errors import UnreadableInputsError
from thymos.events import DecisionMade, ExperimentDecided, Verdict
from thymos.message import Message


def decision_made(made: DecisionMade) -> DecisionMade | None:
    """A decision of a rule, of a person's answer, or of a person who starts an experiment, as it would be made now.

    Raises CannotRecomputeError: the event does not hold what it was made from.
    """
    if made.rule == PERSON:
        return _by_person(made)
    held = basis.rules_basis(made.inputs.get(basis.KEY))
    situation, approval, whole = _looked_again(held.situation), held.approval, made.inputs[basis.KEY]
    if approval is None:
        again = next((d for d in evaluate(situation, held.cause) if d.id == made.decision_id), None)
        return again.message(situation, whole) if again else None
    rule = next((rule for rule in situation.policy.rules if rule.name == approval.rule), None)
    if rule is None:
        return without_rule(approval, situation.now, whole)
    answered = as_approved(decide(rule, approval.finding, situation, approval.decision_id), approval)
    return answered.message(situation, whole)


def _looked_again(situation: Situation) -> Situation:
    """With the looks at experiments that rules acted on measured anew, where the event holds the answers: those that
    were recorded before it did, or had too many, hold no tasks either."""
    known = situation.state.experiments
    whole = {
        name: _measured_anew(experiment)
        for name, experiment in known.items()
        if experiment.phase is Phase.RUNNING and experiment.plan is not None and experiment.plan.tasks
    }
    return replace(situation, state=replace(situation.state, experiments={**known, **whole}))


def _measured_anew(experiment: Experiment) -> Experiment:
    """With the look that follows from its answers and the look before."""
    if experiment.look is None:
        return experiment
    return replace(experiment, look=measurement.measured(replace(experiment, look=experiment.look_before)).look)


def _by_person(made: DecisionMade) -> DecisionMade:
    held = basis.unpacked(made.inputs.get(basis.KEY))
    try:
        command = StartExperiment.model_validate(held["command"])
        generators = [str(name) for name in held["generators"]]  # type: ignore[union-attr]
        tenant, agent, cause, now = (str(held[name]) for name in ("tenant", "agent", "cause", "now"))
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableInputsError(f"its inputs are not what this version writes: {error!r}") from error
    return engine.started_by_person(command, tenant, agent, cause, generators, now)


def experiment_decided(decided: ExperimentDecided) -> ExperimentDecided | None:
    """The end of an experiment from its answers: the evidence is computed anew, then the step that follows from it.

    Raises CannotRecomputeError: the event does not hold what it was made from.
    """
    held = basis.experiment_basis(decided.inputs.get(basis.KEY))
    step = _step(replace(held, experiment=_measured_anew(held.experiment)))
    again = next((it for it in step.outputs if isinstance(it, ExperimentDecided)), None) if step else None
    return again.model_copy(update={"inputs": decided.inputs}) if again else None


def _step(held: ExperimentBasis) -> Step | None:
    """The step that a rule took, or else the one that the saga takes by itself."""
    experiment, now, policy = held.experiment, held.now, held.policy
    if experiment.phase is Phase.RUNNING:
        match held.trigger, experiment.look and experiment.look.verdict:
            case Trigger.WON, Verdict.MERGE:
                return saga.won(experiment, now, policy)
            case Trigger.WITHHELD, Verdict.MERGE:
                return saga.withheld(
                    experiment, experiment.decision_id, held.why, now, policy
                )  # the question goes nowhere
            case Trigger.HARMED, Verdict.ROLLBACK:
                return saga.harmed(experiment, now, policy)
            case Trigger.UNDECIDED, Verdict.MERGE | Verdict.ROLLBACK:
                return saga.dropped(experiment, held.why, now, policy)
            case Trigger.EXPIRED, _:
                return saga.timed_out(experiment, now, policy)
    return saga.decide(experiment, now, policy, slot_free=held.slot_free, shown=held.shown)


RECOMPUTATIONS: Mapping[type[Message], Callable[[Any], Message | None]] = {
    DecisionMade: decision_made,
    ExperimentDecided: experiment_decided,
}
