"""What a decision was made from, whole, as its event carries it, and back: a replay needs nothing else.

A decision of rules is made from the agent's state, as far as rules read it, and the policy; the end of an experiment
from the experiment. Both are written by the same adapters as the stored state, so that they read back exactly. Large
ones are compressed; beyond `BYTES_MAX` they are left out, and the event says so.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue, TypeAdapter, ValidationError

from decision_engine import agent_state
from decision_engine.agent_state import AgentState, Figures
from decision_engine.conditions import Situation
from decision_engine.experiment import Experiment, Step
from decision_engine.finding import Approval
from decision_engine.phases import Phase
from decision_engine.policy import Policy, Predicate
from thymos.config import Custom, Rule, Versioning, as_written
from thymos.errors import CannotRecomputeError, NoInputsError, UnreadableInputsError
from thymos.events import ExperimentTask, Verdict
from thymos.message import Value
from thymos.metrics import AgentMetrics

KEY = "basis"
"""Where it stands in an event's `inputs`."""
LEFT_OUT = "left_out"
"""Stands there instead of what is too large for an event."""
PLAIN_MAX = 32 * 1024
"""Bytes of JSON up to which it is readable as it stands."""
BYTES_MAX = 384 * 1024
"""Bytes of an event that it may take: the rest of the event needs room in one message, too."""
UNPACKED_MAX = 32 * 1024 * 1024
"""Bytes that are unpacked at most: an event that somebody made up must not fill the memory."""
SAFE_MAX = 2**53 - 1
"""The largest whole number that every reader of JSON keeps (RFC 8259, section 6)."""

Basis = Mapping[str, JsonValue]


class _PolicyRecord(Value):
    """A `Policy` without its scenario and its code: the predicates' answers stand in for them."""

    versioning: dict[str, Any]
    rules: list[dict[str, Any]]
    predicates: dict[str, bool | str] = {}
    seed: int
    merge_seconds: float
    approval_seconds: float
    release_seconds: float
    cleanup_seconds: float


@dataclass(frozen=True)
class RulesBasis:
    """What the decisions of one look were made from; `approval` is the question that was answered, if one was."""

    situation: Situation
    cause: str
    approval: Approval | None = None


@dataclass(frozen=True)
class ExperimentBasis:
    """What the end of an experiment was decided from: the experiment before the step that `trigger` names.

    `why` is the step's reason, which for some triggers is an input; `shown` are digests of tasks that the generators
    may have seen.
    """

    experiment: Experiment
    trigger: str
    why: str
    now: datetime
    policy: Policy
    slot_free: bool
    shown: frozenset[str] = frozenset()


_experiment: TypeAdapter[Experiment] = TypeAdapter(Experiment)
_approval: TypeAdapter[Approval] = TypeAdapter(Approval)


# --- to an event ----------------------------------------------------------------------------------------------------


def of_rules(situation: Situation, cause: str, approval: Approval | None = None) -> dict[str, JsonValue]:
    """The basis of every decision of one look at the rules; answers that are too many are left out of it first."""
    whole = _of_rules(situation, cause, approval, _proven(situation.state))
    return whole if LEFT_OUT not in whole else _of_rules(situation, cause, approval, frozenset())


def _of_rules(
    situation: Situation, cause: str, approval: Approval | None, with_answers: frozenset[str]
) -> dict[str, JsonValue]:
    return packed(
        {
            "cause": cause,
            "now": situation.now.isoformat(),
            "state": json.loads(agent_state.to_json(_read_by_rules(situation.state, with_answers))),
            "policy": policy_to_json(situation.policy, situation.state.metrics.get("main")),
            "has_scenario": bool(situation.policy.scenario),
            **({} if approval is None else {"approval": _approval.dump_python(approval, mode="json")}),
        }
    )


def of_step(
    experiment: Experiment, taken: Step, now: datetime, policy: Policy, *, slot_free: bool, shown: frozenset[str]
) -> dict[str, JsonValue]:
    """The basis of a step that ends the measuring of an experiment."""
    plans = experiment.phase is Phase.PREPARING and experiment.plan is None
    return packed(
        {
            "experiment": _experiment.dump_python(experiment, mode="json"),
            "trigger": taken.trigger.value,
            "why": taken.reason,
            "now": now.isoformat(),
            "policy": policy_to_json(policy),
            "slot_free": slot_free,
            "scenario": [[task.task_id, task.digest] for task in policy.scenario] if plans else [],
            "shown": list[JsonValue](sorted(shown)) if plans else [],
        }
    )


def _proven(state: AgentState) -> frozenset[str]:
    """The experiments whose look rules act on: it is measured again from all of their answers."""
    return frozenset(
        name
        for name, known in state.experiments.items()
        if known.phase is Phase.RUNNING
        and known.look is not None
        and known.look.verdict in (Verdict.MERGE, Verdict.ROLLBACK)
    )


def _read_by_rules(state: AgentState, with_answers: frozenset[str]) -> AgentState:
    """The state without what no rule reads: tasks and answers of other experiments, and the past."""
    return replace(
        state,
        experiments={
            name: known if name in with_answers else _read_of(known) for name, known in state.experiments.items()
        },
        approvals={
            name: replace(known, finding=replace(known.finding, inputs={})) for name, known in state.approvals.items()
        },
        shown=frozenset(),
        closed=(),
        given_up={},
        proven=(),
        orphans=(),
        figures=Figures(),
    )


def _read_of(experiment: Experiment) -> Experiment:
    """Of an experiment's answers the rules read the first and the last row, of its tasks nothing."""
    plan = None if experiment.plan is None else replace(experiment.plan, tasks=())
    known = [(arm, task, it) for arm, answers in experiment.answers.items() for task, it in answers.items()]
    ends = [min(known, key=lambda each: each[2].row), max(known, key=lambda each: each[2].row)] if known else []
    answers: dict[str, dict[str, Any]] = {}
    for arm, task, answer in ends:
        answers.setdefault(arm, {})[task] = answer
    return replace(experiment, plan=plan, answers=answers)


def policy_to_json(policy: Policy, metrics: AgentMetrics | None = None) -> dict[str, JsonValue]:
    """A policy without its scenario; of its predicates what they say of `metrics`."""
    record = _PolicyRecord(
        versioning=as_written(policy.versioning.model_copy(update={"rules": ()})),
        rules=[as_written(rule) for rule in policy.rules],
        predicates={name: _answer(predicate, metrics) for name, predicate in policy.predicates.items()},
        seed=policy.seed,
        merge_seconds=policy.merge_timeout.total_seconds(),
        approval_seconds=policy.approval_timeout.total_seconds(),
        release_seconds=policy.release_timeout.total_seconds(),
        cleanup_seconds=policy.cleanup_timeout.total_seconds(),
    )
    return record.model_dump(mode="json")


def _answer(predicate: Predicate, metrics: AgentMetrics | None) -> bool | str:
    """What foreign code says; text where it raises."""
    try:
        return metrics is not None and bool(predicate(metrics))
    except Exception as error:  # noqa: BLE001  (foreign code; what it raised is what is recorded)
        return type(error).__name__


# --- from an event --------------------------------------------------------------------------------------------------


def rules_basis(value: JsonValue) -> RulesBasis:
    """What `of_rules` wrote. Raises CannotRecomputeError when it is something else."""
    held = unpacked(value)
    try:
        state = agent_state.from_json(json.dumps(held["state"]))
        scenario = (ExperimentTask(task_id="a-task", digest=""),) if held["has_scenario"] else ()
        situation = Situation(state, _time(held["now"]), policy_from_json(held["policy"], scenario))
        asked = held.get("approval")
        approval = None if asked is None else _approval.validate_python(asked)
        return RulesBasis(situation, str(held["cause"]), approval)
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(error) from error


def experiment_basis(value: JsonValue) -> ExperimentBasis:
    """What `of_step` wrote. Raises CannotRecomputeError when it is something else."""
    held: Mapping[str, Any] = unpacked(value)
    try:
        scenario = tuple(ExperimentTask(task_id=task_id, digest=digest) for task_id, digest in held["scenario"])
        return ExperimentBasis(
            _experiment.validate_json(json.dumps(held["experiment"])),
            str(held["trigger"]),
            str(held["why"]),
            _time(held["now"]),
            policy_from_json(held["policy"], scenario),
            bool(held["slot_free"]),
            frozenset(held["shown"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> UnreadableInputsError:
    said = f"{error.error_count()} fields cannot be read" if isinstance(error, ValidationError) else repr(error)
    return UnreadableInputsError(f"its inputs are not what this version writes: {said}")


def policy_from_json(value: JsonValue, scenario: tuple[ExperimentTask, ...]) -> Policy:
    """What `policy_to_json` wrote; its predicates say again what they said. Raises KeyError, ValueError."""
    record = _PolicyRecord.model_validate(value)
    return Policy(
        Versioning.model_validate(record.versioning),
        tuple(Rule.model_validate(rule) for rule in record.rules),
        scenario,
        {
            rule["condition"]["evaluator"]: _as_answered(record.predicates[rule["condition"]["evaluator"]])
            for rule in record.rules
            if rule["condition"]["type"] == Custom.model_fields["type"].default
        },
        record.seed,
        timedelta(seconds=record.merge_seconds),
        timedelta(seconds=record.approval_seconds),
        timedelta(seconds=record.release_seconds),
        timedelta(seconds=record.cleanup_seconds),
    )


def _as_answered(answer: bool | str) -> Predicate:
    """A predicate that answers as the foreign code did: a replay runs none of it."""

    def answered(metrics: AgentMetrics) -> bool:
        del metrics
        if isinstance(answer, str):
            raise type(answer, (Exception,), {})()
        return answer

    return answered


def _time(value: JsonValue) -> datetime:
    at = datetime.fromisoformat(str(value))
    if at.tzinfo is None:
        raise ValueError(f"{value!r} names no time zone")
    return at


# --- size -----------------------------------------------------------------------------------------------------------


def packed(value: Basis) -> dict[str, JsonValue]:
    """As it stands while it is small, compressed when it is large, left out when it is too large even so."""
    exact: Any = _exact(dict(value))
    text = json.dumps(exact, separators=(",", ":"), ensure_ascii=False).encode()
    if len(text) <= PLAIN_MAX:
        return dict(exact)
    coded = base64.b64encode(zlib.compress(text)).decode()
    if len(coded) <= BYTES_MAX and len(text) <= UNPACKED_MAX:
        return {"zlib": coded}
    return {LEFT_OUT: f"{len(text)} bytes, {len(coded)} compressed; an event has room for {BYTES_MAX}"}


def _exact(value: JsonValue) -> JsonValue:
    """With whole numbers that not every reader of JSON keeps as text; ours reads them back from there."""
    match value:
        case dict():
            return {key: _exact(each) for key, each in value.items()}
        case list():
            return [_exact(each) for each in value]
        case int() if abs(value) > SAFE_MAX:
            return str(value)
    return value


def unpacked(value: JsonValue) -> Basis:
    """What `packed` was given. Raises CannotRecomputeError when that is not there, or cannot be read."""
    if value is None:
        raise NoInputsError
    if not isinstance(value, dict):
        raise UnreadableInputsError("its inputs are no object")
    if LEFT_OUT in value:
        raise CannotRecomputeError(f"its inputs were too large to be kept: {value[LEFT_OUT]}")
    if "zlib" not in value:
        return value
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(base64.b64decode(str(value["zlib"]), validate=True), UNPACKED_MAX)
        if not unpacker.eof:
            raise UnreadableInputsError(f"its inputs are cut off, or more than {UNPACKED_MAX} bytes")
        held = json.loads(text)
    except (ValueError, zlib.error, RecursionError) as error:
        raise UnreadableInputsError(f"its inputs cannot be unpacked: {error}") from error
    if not isinstance(held, dict):
        raise UnreadableInputsError("its inputs are no object")
    return held
