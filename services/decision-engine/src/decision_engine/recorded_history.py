"""A history that was recorded, and what the core makes of it today: the same state and the same decisions, for ever.

A recorded history is the policy and every input of one agent with its time, one JSON object per line. `fold` runs it
through `engine.step`; `digests` are what must not change: SHA-256 over the state and over everything published. Fields
at their defaults are left out of them, so that a field that is added later changes no digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from decision_engine import basis, engine
from decision_engine.agent_state import AgentState
from decision_engine.engine import Input, Output
from decision_engine.policy import Policy
from thymos.events import ExperimentTask
from thymos.message import REGISTRY


@dataclass(frozen=True)
class RecordedStep:
    """One input, and the time at which the core was given it."""

    given: Input
    now: datetime


@dataclass(frozen=True)
class RecordedHistory:
    """Everything that happened to one agent, in order, and the policy that its decisions followed."""

    tenant: str
    agent: str
    policy: Policy
    steps: tuple[RecordedStep, ...]


@dataclass(frozen=True)
class Folded:
    """What the core made of a history: its last state, and what was published at each step."""

    state: AgentState
    outputs: tuple[tuple[Output, ...], ...]


@dataclass(frozen=True)
class Digests:
    """What a history comes to: SHA-256 (hex) of the last state and of the outputs, and how many outputs there are."""

    state: str
    outputs: str
    published: int


_state: TypeAdapter[AgentState] = TypeAdapter(AgentState)


def to_lines(history: RecordedHistory) -> Iterator[str]:
    """The history as JSON lines: the header, then a line per step."""
    head = {
        "tenant": history.tenant,
        "agent": history.agent,
        "policy": basis.policy_to_json(history.policy),
        "scenario": [[task.task_id, task.digest] for task in history.policy.scenario],
    }
    yield json.dumps(head, separators=(",", ":"))
    for step in history.steps:
        message = step.given.message
        line = {
            "id": step.given.id,
            "now": step.now.isoformat(),
            "correlation_id": step.given.correlation_id,
            "type": message and message.type_name(),
            "data": message and message.model_dump(mode="json", exclude_defaults=True),
        }
        yield json.dumps(line, separators=(",", ":"), ensure_ascii=False)


def from_lines(lines: Iterable[str]) -> RecordedHistory:
    """What `to_lines` wrote. Raises KeyError, TypeError or ValueError when it is something else."""
    reading = iter(lines)
    head = json.loads(next(reading))
    scenario = tuple(ExperimentTask(task_id=task_id, digest=digest) for task_id, digest in head["scenario"])
    policy = basis.policy_from_json(head["policy"], scenario)
    return RecordedHistory(head["tenant"], head["agent"], policy, tuple(_step(json.loads(line)) for line in reading))


def _step(line: dict[str, Any]) -> RecordedStep:
    message = None if line["type"] is None else REGISTRY[line["type"]].model_validate(line["data"])
    return RecordedStep(Input(line["id"], message, line["correlation_id"]), datetime.fromisoformat(line["now"]))


def fold(history: RecordedHistory) -> Folded:
    """The history through today's core."""
    state, outputs = AgentState(history.tenant, history.agent), []
    for step in history.steps:
        result = engine.step(state, step.given, step.now, history.policy)
        state = result.state
        outputs.append(result.outputs)
    return Folded(state, tuple(outputs))


def digests(folded: Folded) -> Digests:
    """What must be the same for ever. The whole inputs of decisions are left out: they hold the state as it is written
    today, and are checked by computing the decisions again."""
    published = [[_plain(output) for output in step] for step in folded.outputs]
    state = _state.dump_python(folded.state, mode="json", exclude_defaults=True)
    return Digests(_sha256(state), _sha256(published), sum(map(len, published)))


def _plain(output: Output) -> list[Any]:
    data = output.message.model_dump(mode="json", exclude_defaults=True)
    if isinstance(data.get("inputs"), dict):
        data["inputs"].pop(basis.KEY, None)
    return [output.message.type_name(), output.correlation_id, data]


def _sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
