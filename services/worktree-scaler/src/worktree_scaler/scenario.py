"""Handing out a scenario and judging what comes back: pure; the shell keeps the rows and the clock.

Each task goes to each arm once. A task at an arm is an *assignment*, with one table of what may happen to it:

    waiting ─hand_out─▶ out ─begin─▶ begun ─answer─▶ answered
                         │             │ ▲─────────────begin─┐
                         │             └─lose─▶ lost ────────┘  (redelivered to another process)
                         └──────────── deadline ─▶ timed_out (the agent was alive) or cancelled (it was not)

- an answer is graded; what the agent itself calls errored or timed out stays that
- a deadline that passes while the arm's agent is alive is a time-out: the agent's fault
- a task that was lost with its process, or never begun because there was none, and not redelivered before the
  deadline, is *cancelled*: unmeasured, not wrong
- so is one that was lost, begun again and cut short by the deadline it was handed out with: the dead process had
  taken of its time
- whatever comes after an end is ignored: an outcome is final
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from thymos.telemetry import Outcome
from worktree_scaler.grading import Grade

OUTSTANDING_MAX = 16
"""Tasks an arm may have been handed and not answered."""


class Stage(StrEnum):
    """Where one task at one arm is. `waiting` needs no row: it is everything after the arm's cursor."""

    WAITING = "waiting"
    OUT = "out"
    BEGUN = "begun"
    LOST = "lost"
    ANSWERED = "answered"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


class Happening(StrEnum):
    """What happens to one task at one arm."""

    HAND_OUT = "hand_out"
    BEGIN = "begin"
    ANSWER = "answer"
    LOSE = "lose"
    DEADLINE_ALIVE = "deadline_alive"
    DEADLINE_GONE = "deadline_gone"
    RELEASE = "release"


OPEN = frozenset({Stage.OUT, Stage.BEGUN, Stage.LOST})
"""Stages of an assignment that is handed out and has no outcome yet."""

TRANSITIONS: dict[tuple[Stage, Happening], Stage] = {
    (Stage.WAITING, Happening.HAND_OUT): Stage.OUT,
    (Stage.WAITING, Happening.RELEASE): Stage.CANCELLED,
    (Stage.OUT, Happening.BEGIN): Stage.BEGUN,
    (Stage.OUT, Happening.ANSWER): Stage.ANSWERED,
    (Stage.OUT, Happening.DEADLINE_ALIVE): Stage.TIMED_OUT,
    (Stage.OUT, Happening.DEADLINE_GONE): Stage.CANCELLED,
    (Stage.OUT, Happening.RELEASE): Stage.CANCELLED,
    (Stage.BEGUN, Happening.BEGIN): Stage.BEGUN,
    (Stage.BEGUN, Happening.ANSWER): Stage.ANSWERED,
    (Stage.BEGUN, Happening.LOSE): Stage.LOST,
    (Stage.BEGUN, Happening.DEADLINE_ALIVE): Stage.TIMED_OUT,
    (Stage.BEGUN, Happening.DEADLINE_GONE): Stage.CANCELLED,
    (Stage.BEGUN, Happening.RELEASE): Stage.CANCELLED,
    (Stage.LOST, Happening.BEGIN): Stage.BEGUN,
    (Stage.LOST, Happening.ANSWER): Stage.ANSWERED,
    (Stage.LOST, Happening.DEADLINE_ALIVE): Stage.CANCELLED,
    (Stage.LOST, Happening.DEADLINE_GONE): Stage.CANCELLED,
    (Stage.LOST, Happening.RELEASE): Stage.CANCELLED,
}


def following(stage: Stage, happening: Happening) -> Stage:
    """The stage after `happening`; the same stage where the table has none (ended, or not handed out): it is late
    news or a stranger's, and changes nothing."""
    return TRANSITIONS.get((stage, happening), stage)


def arms_in_order(seed: int, task_id: str, arms: Sequence[str]) -> tuple[str, ...]:
    """The order in which the arms get one task: random between tasks, the same for the same seed.

    By the SHA-256 of `<seed> NUL <task_id> NUL <arm>`, so that it is the same in every version and language.
    """
    return tuple(sorted(arms, key=lambda arm: hashlib.sha256(f"{seed}\0{task_id}\0{arm}".encode()).digest()))


@dataclass(frozen=True)
class ArmProgress:
    """How far an arm is: the position of its next task, and how many it has in hand."""

    arm: str
    next_position: int
    outstanding: int


@dataclass(frozen=True)
class HandOut:
    """Give this task to this arm; `position` is its place in the assignment order."""

    task_id: str
    arm: str
    position: int
    deadline: datetime


def hand_outs(
    task_ids: Sequence[str],
    progress: Sequence[ArmProgress],
    seed: int,
    task_timeout: timedelta,
    now: datetime,
    outstanding_max: int = OUTSTANDING_MAX,
) -> tuple[HandOut, ...]:
    """What to hand out now: to each arm the next tasks in assignment order, as many as it may hold.

    A deadline leaves room for the tasks the arm already holds: an agent that works one by one and takes
    the whole
    time-out for each still has it for the last.
    """
    at = {one.arm: one for one in progress}
    room = {one.arm: max(0, outstanding_max - one.outstanding) for one in progress}
    first = min((one.next_position for one in progress if room[one.arm]), default=len(task_ids))
    result: list[HandOut] = []
    for position in range(first, len(task_ids)):
        able = [a for a in at if at[a].next_position <= position < at[a].next_position + room[a]]
        if not able and all(position >= at[a].next_position + room[a] for a in at):
            break
        for arm in arms_in_order(seed, task_ids[position], able):
            ahead = at[arm].outstanding + position - at[arm].next_position + 1
            result.append(HandOut(task_ids[position], arm, position, now + ahead * task_timeout))
    return tuple(result)


def deadline_after_begin(handed: datetime, begun_at: datetime, task_timeout: timedelta) -> datetime:
    """When a task that was begun must be answered: its own time-out counts from its begin, never beyond the deadline
    it was handed out with."""
    return min(handed, begun_at + task_timeout)


def at_deadline(agent_is_alive: bool, was_lost: bool, deadline: datetime, handed: datetime) -> Happening:
    """What it means that an open task's deadline passes. A living agent is to blame, unless an earlier process had the
    task first and took from its time: then the deadline is the one it was handed out with."""
    cut_short = was_lost and deadline >= handed
    return Happening.DEADLINE_ALIVE if agent_is_alive and not cut_short else Happening.DEADLINE_GONE


def graded_outcome(reported: Outcome, grade: Grade) -> Outcome:
    """The outcome of an answered task: the grade decides between right and wrong; an agent that reports to have
    broken, run out of time or given up is believed, and one that says it failed is never counted as right."""
    if reported is Outcome.SUCCEEDED:
        return Outcome.SUCCEEDED if grade.correct else Outcome.FAILED
    return reported


def outcome_of(stage: Stage) -> Outcome | None:
    """The outcome of an assignment that ended without an answer; None while it is open, or when it was
    answered.
    """
    return {Stage.TIMED_OUT: Outcome.TIMED_OUT, Stage.CANCELLED: Outcome.CANCELLED}.get(stage)


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    ends = [stage for stage in Stage if stage not in OPEN and stage is not Stage.WAITING]
    lines = ["stateDiagram-v2", f"    [*] --> {Stage.WAITING}"]
    lines += [f"    {source} --> {target}: {happening}" for (source, happening), target in TRANSITIONS.items()]
    return "\n".join([*lines, *(f"    {end} --> [*]" for end in ends), ""])
