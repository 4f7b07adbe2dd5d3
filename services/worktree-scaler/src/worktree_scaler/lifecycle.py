"""The life of one worktree's agent process: one table, and a missing key is an illegal transition.

    starting ─heartbeat─▶ ready ─drain─▶ draining ─overdue─▶ stopping ─exit─▶ stopped
       │ exit  ▲            │ exit          └─exit─▶ stopped
       ▼       │ restart    ▼
       waiting ◀────────────┘  waiting ─give_up─▶ failed ─forget─▶ stopped
                               ready ─silence─▶ failed ─return─▶ starting

*Waiting* is crashed and not yet started again. *Failed* is a crash loop: nobody starts it again. An agent that somebody
else has started is only listened to: it *fails* by falling silent, and returns by being heard of again.
A worktree keeps its id over restarts of its process.
"""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """Where a worktree's process is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    WAITING = "waiting"
    FAILED = "failed"
    STOPPED = "stopped"


class Trigger(StrEnum):
    """What happens to a worktree's process."""

    HEARTBEAT = "heartbeat"
    EXIT = "exit"
    RESTART = "restart"
    DRAIN = "drain"
    OVERDUE = "overdue"
    GIVE_UP = "give_up"
    SILENCE = "silence"
    RETURN = "return"
    FORGET = "forget"


TRANSITIONS: dict[tuple[Phase, Trigger], Phase] = {
    (Phase.STARTING, Trigger.HEARTBEAT): Phase.READY,
    (Phase.STARTING, Trigger.EXIT): Phase.WAITING,
    (Phase.STARTING, Trigger.DRAIN): Phase.DRAINING,
    (Phase.READY, Trigger.EXIT): Phase.WAITING,
    (Phase.READY, Trigger.DRAIN): Phase.DRAINING,
    (Phase.DRAINING, Trigger.EXIT): Phase.STOPPED,
    (Phase.DRAINING, Trigger.OVERDUE): Phase.STOPPING,
    (Phase.STOPPING, Trigger.EXIT): Phase.STOPPED,
    (Phase.WAITING, Trigger.RESTART): Phase.STARTING,
    (Phase.WAITING, Trigger.DRAIN): Phase.STOPPED,
    (Phase.WAITING, Trigger.GIVE_UP): Phase.FAILED,
    (Phase.FAILED, Trigger.DRAIN): Phase.STOPPED,
    (Phase.READY, Trigger.SILENCE): Phase.FAILED,
    (Phase.FAILED, Trigger.RETURN): Phase.STARTING,
    (Phase.FAILED, Trigger.FORGET): Phase.STOPPED,
    (Phase.STOPPED, Trigger.RETURN): Phase.STARTING,
}

WITH_PROCESS = frozenset({Phase.STARTING, Phase.READY, Phase.DRAINING, Phase.STOPPING})
"""Phases in which a process is meant to exist."""
SERVING = frozenset({Phase.STARTING, Phase.READY, Phase.WAITING})
"""Phases that count as a worktree of the fleet."""


class IllegalTransitionError(ValueError):
    """This cannot happen to a worktree in this phase: a bug of the caller."""


def following(phase: Phase, trigger: Trigger) -> Phase:
    """The phase after `trigger`. Raises IllegalTransitionError where the table has none."""
    try:
        return TRANSITIONS[phase, trigger]
    except KeyError:
        raise IllegalTransitionError(f"a worktree that is {phase} knows no {trigger}") from None


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {Phase.STARTING}"]
    lines += [f"    {source} --> {target}: {trigger}" for (source, trigger), target in TRANSITIONS.items()]
    return "\n".join([*lines, f"    {Phase.STOPPED} --> [*]", ""])
