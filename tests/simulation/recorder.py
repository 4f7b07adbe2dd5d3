"""Every committed step of decision-engine: what went in, when, and what came out; for replays."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from decision_engine import engine
from decision_engine.agent_state import AgentState
from decision_engine.engine import Input, Result
from decision_engine.policy import Policy
from decision_engine.recorded_history import RecordedHistory, RecordedStep, fold, from_lines, to_lines

from .experiment_states import wrong_steps

if TYPE_CHECKING:
    from .world import Scale


@dataclass(frozen=True)
class Step:
    """One call of `decision_engine.engine.step` whose transaction was committed."""

    state: AgentState
    given: Input
    now: datetime
    policy: Policy
    result: Result


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

    def settle(self, well: bool) -> list[AgentState]:
        """The transaction that took the last steps is over. Returns the states that it came to."""
        reached = {(step.state.tenant, step.state.agent): step.result.state for step in self._open if well}
        if well:
            self.committed += self._open
            for step in self._open:
                self.problems += wrong_steps(step.state, step.result)
        self._open.clear()
        return list(reached.values())

    def histories(self) -> Iterator[RecordedHistory]:
        """What happened to each agent, as it is kept for the replay gate. Raises ValueError when a policy changed."""
        by_agent: dict[tuple[str, str], list[Step]] = {}
        for step in self.committed:
            by_agent.setdefault((step.state.tenant, step.state.agent), []).append(step)
        for (tenant, agent), steps in by_agent.items():
            policy = steps[0].policy
            if any(step.policy != policy for step in steps):
                raise ValueError(f"{tenant}/{agent}: the policy changed on the way")
            yield RecordedHistory(tenant, agent, policy, tuple(RecordedStep(step.given, step.now) for step in steps))

    def folded(self) -> dict[tuple[str, str], AgentState]:
        """The states that the committed inputs fold to, from nothing, once they were written and read again."""
        again = (from_lines(to_lines(history)) for history in self.histories())
        return {(history.tenant, history.agent): fold(history).state for history in again}

    def write(self, folder: Path, name: str) -> list[Path]:
        """A file `<name>-<tenant>-<agent>.jsonl.gz` per agent; returns them."""
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for history in self.histories():
            path = folder / f"{name}-{history.tenant}-{history.agent}.jsonl.gz"
            path.write_bytes(gzip.compress("\n".join(to_lines(history)).encode(), mtime=0))
            written.append(path)
        return written


def record_steps(seed: int, folder: Path, scale: Scale | None = None) -> list[Path]:
    """Run a seed and write each agent's history (`decision_engine.recorded_history`); the same seed writes the same."""
    from .world import simulate  # it imports this module

    return simulate(seed, scale).steps.write(folder, f"seed-{seed}")
