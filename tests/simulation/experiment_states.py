"""Experiments as decision-engine's committed states hold them: what follows what, and what never changes again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from functools import cache

from decision_engine import experiment as saga_state
from decision_engine.agent_state import AgentState
from decision_engine.engine import Result
from decision_engine.experiment import Experiment
from decision_engine.phases import TRANSITIONS, Phase
from thymos.message import Message

FIXED_ONCE = ("base_commit", "arms", "plan", "running_at", "merged_commit", "closed_at")
"""Once known these stay as they are."""


@cache
def reachable(phase: Phase) -> frozenset[Phase]:
    """The phases that the table allows after this one, at any distance; itself included."""
    found, new = {phase}, {phase}
    while new:
        new = {target for (source, _), target in TRANSITIONS.items() if source in new} - found
        found |= new
    return frozenset(found)


def wrong_steps(before: AgentState, result: Result) -> Iterator[str]:
    """What one step of the engine did to the agent's experiments that it must not."""
    closed = {known.id: known for known in result.changed if known.phase is Phase.CLOSED}
    for identity, was in before.experiments.items():
        now = result.state.experiments.get(identity) or closed.get(identity)
        if now is None:
            yield f"experiment {identity} in {was.phase} is gone without being closed"
        elif now is not was:
            yield from _wrong(was, now)
    for identity in before.closed:
        if identity in result.state.experiments:
            yield f"experiment {identity} is closed, and open again"
    for known in result.changed:
        if known.phase is Phase.CLOSED and (known.verdict is None or not known.reason):
            yield f"experiment {known.id} is closed without a verdict or a reason"


def _wrong(was: Experiment, now: Experiment) -> Iterator[str]:
    if now.phase not in reachable(was.phase):
        yield f"experiment {was.id} goes from {was.phase} to {now.phase}"
    for name in FIXED_ONCE:
        value = getattr(was, name)
        if value not in (None, ()) and getattr(now, name) != value:
            yield f"experiment {was.id}: {name} was fixed as {value!r} and is {getattr(now, name)!r}"
    if was.verdict not in (None, now.verdict) and not now.merged:
        yield f"experiment {was.id}: the verdict {was.verdict} became {now.verdict}"
    for arm, answers in was.answers.items():
        if any(now.answers.get(arm, {}).get(task) != answer for task, answer in answers.items()):
            yield f"experiment {was.id}: an answer of arm {arm} changed"
    for name in ("prepare_sent", "reserve_sent", "merge_sent", "merged", "released"):
        if getattr(was, name) and not getattr(now, name):
            yield f"experiment {was.id}: {name} is forgotten"


@contextlib.contextmanager
def watched_moves(problems: list[str]) -> Iterator[None]:
    """Look at each single move of each experiment while the block runs; what the table does not have is a problem."""
    real = saga_state.evolve

    def evolve(experiment: Experiment, fact: Message | saga_state.Step, now: datetime) -> Experiment:
        moved = real(experiment, fact, now)
        if isinstance(fact, saga_state.Step):
            wanted = TABLE.get((experiment.phase, fact.trigger))
            if moved.phase is not wanted:
                problems.append(f"experiment {moved.id}: {experiment.phase} and {fact.trigger} came to {moved.phase}")
        elif moved.phase is not experiment.phase:
            problems.append(f"experiment {moved.id}: a {type(fact).__name__} moved it to {moved.phase} by itself")
        return moved

    saga_state.evolve = evolve
    try:
        yield
    finally:
        saga_state.evolve = real


TABLE = dict(TRANSITIONS)
"""As it is when nobody has changed it."""
