"""Every committed step of decision-engine: what went in, when, and what came out; for replays."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from decision_engine import agent_state, engine
from decision_engine.agent_state import AgentState
from decision_engine.engine import Input, Result
from decision_engine.policy import Policy

from .experiment_states import wrong_steps


@dataclass(frozen=True)
class Step:
    """One call of `decision_engine.engine.step` whose transaction was committed."""

    state: AgentState
    given: Input
    now: datetime
    policy: Policy
    result: Result

    def to_json(self) -> dict[str, Any]:
        """Input and outputs as one JSON object; `state` is the agent's after the step."""
        message = self.given.message
        return {
            "tenant": self.state.tenant,
            "agent": self.state.agent,
            "now": self.now.isoformat(),
            "input": {
                "id": self.given.id,
                "type": None if message is None else message.type_name(),
                "data": None if message is None else message.model_dump(mode="json", exclude_none=True),
                "correlation_id": self.given.correlation_id,
            },
            "outputs": [
                {
                    "type": output.message.type_name(),
                    "data": output.message.model_dump(mode="json", exclude_none=True),
                    "correlation_id": output.correlation_id,
                }
                for output in self.result.outputs
            ],
        }


@dataclass
class Steps:
    """The steps of a run, in the order in which they were committed."""

    committed: list[Step] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What committed steps did to experiments that they must not."""
    _open: list[Step] = field(default_factory=list)

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Note each step while the block runs."""
        real = engine.step

        def step(state: AgentState, given: Input, now: datetime, policy: Policy) -> Result:
            result = real(state, given, now, policy)
            self._open.append(Step(state, given, now, policy, result))
            return result

        engine.step = step
        try:
            yield
        finally:
            engine.step = real

    def settle(self, well: bool) -> None:
        """The transaction that took the last steps is over."""
        if well:
            self.committed += self._open
            for step in self._open:
                self.problems += wrong_steps(step.state, step.result)
        self._open.clear()

    def folded(self) -> dict[tuple[str, str], AgentState]:
        """The states that the committed inputs fold to, from nothing."""
        states: dict[tuple[str, str], AgentState] = {}
        for step in self.committed:
            key = step.state.tenant, step.state.agent
            state = states.get(key, AgentState(*key))
            states[key] = engine.step(state, step.given, step.now, step.policy).state
        return states

    def state_json(self) -> dict[str, Any]:
        """The last state of each agent, by `<tenant>/<agent>`."""
        last = {f"{step.state.tenant}/{step.state.agent}": step.result.state for step in self.committed}
        return {name: json.loads(agent_state.to_json(state)) for name, state in last.items()}

    def write(self, path: Path, tenant: str | None = None, agent: str | None = None) -> int:
        """The steps as JSON lines, of one agent or of all; returns how many."""
        chosen = [
            step for step in self.committed if tenant in (None, step.state.tenant) and agent in (None, step.state.agent)
        ]
        lines = [json.dumps(step.to_json(), sort_keys=True, ensure_ascii=False) for step in chosen]
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return len(lines)


def record_steps(seed: int, path: Path) -> int:
    """Run a seed and write its committed steps as JSON lines; returns how many. The same seed writes the same."""
    from .world import simulate

    return simulate(seed).steps.write(path)
