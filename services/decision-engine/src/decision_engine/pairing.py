"""Outcomes of one task on two arms, counted as a pair.

The rules, from the design notes (section "Better, scenario mode"):

- Only the prefix of resolved pairs in assignment order counts: one pending outcome stops the count, else the
  fast tasks would be judged first.
- A task's content counts once per experiment, whatever its id.
- Timeout, error and crash are not a success. An outcome that never came is read against the arm that would
  profit: to show the challenger *better*, a missing challenger is 0 and a missing control is 1; to show it
  *harmful*, the other way round.
- A pair is void only if it was marked before either outcome was read; it is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class PairStatus(StrEnum):
    """How one arm's half of a pair stands."""

    SUCCESS = "success"
    FAILURE = "failure"
    TIMEOUT = "timeout"
    ERROR = "error"
    MISSING = "missing"
    """The task's deadline passed without an outcome: unmeasured, not wrong."""
    PENDING = "pending"
    """No outcome yet."""
    VOID = "void"
    """Taken out before either outcome was read."""


MEASURED = frozenset({PairStatus.SUCCESS, PairStatus.FAILURE, PairStatus.TIMEOUT, PairStatus.ERROR})

_STATUS_OF_OUTCOME = {
    "succeeded": PairStatus.SUCCESS,
    "failed": PairStatus.FAILURE,
    "errored": PairStatus.ERROR,
    "timed_out": PairStatus.TIMEOUT,
    "cancelled": PairStatus.MISSING,
}


def status_of_outcome(outcome: str) -> PairStatus:
    """The status that a `task.finished` outcome gives its half of a pair; a cancelled task was not measured.

    Raises:
        ValueError: `outcome` is none of the catalogue's.
    """
    try:
        return _STATUS_OF_OUTCOME[outcome]
    except KeyError:
        known = ", ".join(_STATUS_OF_OUTCOME)
        raise ValueError(f"unknown outcome {outcome!r}; expected one of {known}") from None


@dataclass(frozen=True, slots=True)
class ArmOutcome:
    """One arm's outcome of one task. `latency_us` in microseconds, None if it was not measured."""

    status: PairStatus
    latency_us: int | None = None


PENDING = ArmOutcome(PairStatus.PENDING)


@dataclass(frozen=True, slots=True)
class AssignedTask:
    """A task of an experiment, in assignment order; `digest` identifies its content."""

    task_id: str
    digest: str


@dataclass(frozen=True, slots=True)
class PairCount:
    """The counted pairs of one challenger against the control.

    `wins` and `losses` are read against the challenger (missing challenger 0, missing control 1), `harm_wins`
    and `harm_losses` against the control; a harm win is a pair that only the *control* got right.
    `challenger_total_us` is the sum over the `challenger_timed` pairs whose time is known. The
    `..._unmeasured_run` are the lengths of the runs of missing outcomes at the end of the prefix.
    """

    pairs: int = 0
    wins: int = 0
    losses: int = 0
    harm_wins: int = 0
    harm_losses: int = 0
    control_successes: int = 0
    challenger_successes: int = 0
    challenger_errors: int = 0
    challenger_total_us: int = 0
    challenger_timed: int = 0
    control_unmeasured_run: int = 0
    challenger_unmeasured_run: int = 0
    void: int = 0
    remaining: int = 0
    """Tasks that can still become pairs."""

    @property
    def ties(self) -> int:
        """Pairs that say nothing about which arm is better."""
        return self.pairs - self.wins - self.losses


class PairTally:
    """Adds pairs one by one; `counted` freezes them. A missing challenger took `deadline_us`, if known."""

    def __init__(self, deadline_us: int | None = None) -> None:
        self._deadline_us = deadline_us
        self._pairs = self._void = 0
        self._wins = self._losses = self._harm_wins = self._harm_losses = 0
        self._control_successes = self._successes = self._errors = 0
        self._total_us = self._timed = 0
        self._control_run = self._challenger_run = 0

    def add(self, control: ArmOutcome, challenger: ArmOutcome) -> bool:
        """Count one pair; False if it is still pending and ends the prefix."""
        if _is_void(control, challenger):
            self._void += 1
            return True
        if PairStatus.PENDING in (control.status, challenger.status):
            return False
        self._pairs += 1
        self._add_sign(control.status, challenger.status)
        self._add_challenger(challenger)
        self._control_run = self._control_run + 1 if control.status is PairStatus.MISSING else 0
        self._challenger_run = self._challenger_run + 1 if challenger.status is PairStatus.MISSING else 0
        return True

    def _add_sign(self, control: PairStatus, challenger: PairStatus) -> None:
        won = challenger is PairStatus.SUCCESS
        held = control in (PairStatus.SUCCESS, PairStatus.MISSING)
        self._wins += won and not held
        self._losses += held and not won
        self._control_successes += held
        self._successes += won
        spared = challenger in (PairStatus.SUCCESS, PairStatus.MISSING)
        right = control is PairStatus.SUCCESS
        self._harm_wins += right and not spared
        self._harm_losses += spared and not right

    def _add_challenger(self, challenger: ArmOutcome) -> None:
        self._errors += challenger.status is PairStatus.ERROR
        time_us = challenger.latency_us
        if challenger.status is PairStatus.MISSING:
            time_us = self._deadline_us
        if time_us is not None:
            self._total_us += time_us
            self._timed += 1

    def counted(self, remaining: int = 0) -> PairCount:
        """The count so far; `remaining` tasks can still become pairs."""
        return PairCount(
            pairs=self._pairs,
            wins=self._wins,
            losses=self._losses,
            harm_wins=self._harm_wins,
            harm_losses=self._harm_losses,
            control_successes=self._control_successes,
            challenger_successes=self._successes,
            challenger_errors=self._errors,
            challenger_total_us=self._total_us,
            challenger_timed=self._timed,
            control_unmeasured_run=self._control_run,
            challenger_unmeasured_run=self._challenger_run,
            void=self._void,
            remaining=remaining,
        )


def distinct_tasks(tasks: Sequence[AssignedTask]) -> Iterator[AssignedTask]:
    """The first task of each content, in assignment order."""
    seen: set[str] = set()
    for task in tasks:
        if task.digest not in seen:
            seen.add(task.digest)
            yield task


def count_pairs(
    tasks: Sequence[AssignedTask],
    control: Mapping[str, ArmOutcome],
    challenger: Mapping[str, ArmOutcome],
    *,
    deadline_us: int | None = None,
) -> PairCount:
    """Count the prefix of resolved pairs.

    Args:
        tasks: every task of the experiment in assignment order; a repeated digest is skipped.
        control: outcome by task id; a task without one is pending.
        challenger: likewise.
        deadline_us: what a missing challenger outcome counts as time, in microseconds.
    """
    tally = PairTally(deadline_us)
    distinct = list(distinct_tasks(tasks))
    for done, task in enumerate(distinct):
        if not tally.add(control.get(task.task_id, PENDING), challenger.get(task.task_id, PENDING)):
            halves = (
                (control.get(ahead.task_id, PENDING), challenger.get(ahead.task_id, PENDING))
                for ahead in distinct[done:]
            )
            return tally.counted(remaining=sum(not _is_void(*pair) for pair in halves))
    return tally.counted()


def _is_void(control: ArmOutcome, challenger: ArmOutcome) -> bool:
    return PairStatus.VOID in (control.status, challenger.status)
