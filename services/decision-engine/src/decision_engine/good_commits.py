"""Which commits of main have proven themselves, and where a rollback goes.

Good(c): 20 consecutive outcomes of tasks begun on c or on a later commit of main, without a limit, watch or
drop alarm and with the failure criteria false; or declared good, as a repository's first commit is. The
rollback target is the newest good commit whose state differs from the head's and that was never rolled back;
without one a person is called. Source: design notes, section "Good commits and the watch".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from decision_engine.limits import FailureLimits

GOOD_RUN = 20
"""Consecutive outcomes that make a commit good."""


@dataclass(frozen=True, slots=True)
class MainOutcome:
    """One measured outcome on main. `alarm`: a limit, the watch or the drop detector tripped at it.

    `row` is its place in the order of counted outcomes; equal rows keep the order in which they are listed.
    """

    success: bool
    error: bool = False
    latency_us: int | None = None
    alarm: bool = False
    row: int = 0


@dataclass(frozen=True, slots=True)
class MainCommit:
    """A commit of main and the outcomes of tasks begun on it, in the order they were counted.

    `state_id` is equal for commits that hold the same memories. `good` is set once the commit has proven
    itself, `declared_good` if somebody vouched for it, `rolled_back` if main was once taken back from it.
    """

    commit: str
    state_id: str
    outcomes: tuple[MainOutcome, ...] = ()
    declared_good: bool = False
    rolled_back: bool = False
    good: bool = False


History = tuple[MainCommit, ...]
"""Main's commits, the oldest first; the last one is the head."""


def is_taken_back(history: History, commit: str | None) -> bool:
    """Whether main was taken back from a commit. O(history)."""
    return any(known.rolled_back and known.commit == commit for known in history)


@dataclass(frozen=True, slots=True)
class RollbackTarget:
    """Where a rollback goes; `commit` is None if there is nowhere to go and a person has to decide."""

    commit: str | None
    reason: str


def record_outcome(
    history: Sequence[MainCommit], commit: str, outcome: MainOutcome, limits: FailureLimits
) -> tuple[History, tuple[str, ...]]:
    """Add an outcome of a task that was begun on `commit`; returns the history and the commits it proves
    good.

    The history stays bounded: an outcome is dropped once no run that is still to come can contain it. An
    outcome of an unknown commit is not counted.
    """
    if all(known.commit != commit for known in history):
        return tuple(history), ()
    grown = tuple(
        replace(known, outcomes=(*known.outcomes, outcome)) if known.commit == commit else known for known in history
    )
    proven = newly_good(grown, limits)
    marked = tuple(replace(known, good=known.good or known.commit in proven) for known in grown)
    return _without_old_outcomes(marked), proven


def record_rollback(history: Sequence[MainCommit], restored_commit: str, revert_commit: str) -> History:
    """Main went back to `restored_commit` by `revert_commit`: what lay between is never a target again.

    Raises:
        ValueError: `restored_commit` is not in the history.
    """
    place = next((i for i, known in enumerate(history) if known.commit == restored_commit), None)
    if place is None:
        raise ValueError(f"main has no commit {restored_commit}")
    taken_back = tuple(replace(known, rolled_back=True) for known in history[place + 1 :])
    return (*history[: place + 1], *taken_back, MainCommit(revert_commit, history[place].state_id))


def bounded(history: Sequence[MainCommit], most: int) -> History:
    """The newest `most` commits, in order; the newest good ones of two states are never forgotten, so that main can
    always go back: one of the two differs from any head. `most` is at least 3.
    """
    if len(history) <= most:
        return tuple(history)
    forced: dict[str, int] = {}
    for place, known in reversed(list(enumerate(history))):
        if is_good(known) and len(forced) < 2:
            forced.setdefault(known.state_id, place)
    others = [place for place in range(len(history)) if place not in forced.values()]
    return tuple(history[place] for place in sorted([*forced.values(), *others[len(forced) - most :]]))


def newly_good(history: Sequence[MainCommit], limits: FailureLimits) -> tuple[str, ...]:
    """The commits that prove themselves by the outcomes in `history` and are not marked good yet, oldest
    first.

    A run on later commits also proves the earlier ones: their memories are still in use. A commit that was
    rolled back is not proven by what came after it, which no longer holds its changes.
    """
    return tuple(
        known.commit
        for place, known in enumerate(history)
        if not (known.good or known.declared_good or known.rolled_back)
        and _has_good_run(_outcomes_since(history, place), limits)
    )


def is_good(known: MainCommit) -> bool:
    """Whether a rollback may go to this commit."""
    return (known.good or known.declared_good) and not known.rolled_back


def rollback_target(history: Sequence[MainCommit]) -> RollbackTarget:
    """The newest good commit whose state differs from that of the head, which is the last of `history`."""
    if not history:
        return RollbackTarget(None, "main has no commits")
    head = history[-1]
    for known in reversed(history):
        if is_good(known) and known.state_id != head.state_id:
            how = f"proven by {GOOD_RUN} outcomes in a row" if known.good else "declared good"
            return RollbackTarget(known.commit, f"the newest good commit that differs from the head: {how}")
    return RollbackTarget(None, "no good commit differs from the head; a person has to decide")


def _outcomes_since(history: Sequence[MainCommit], place: int) -> list[MainOutcome]:
    """Outcomes of tasks begun on the commit at `place` or later, in counted order (slow tasks come in late)."""
    found = [outcome for known in history[place:] for outcome in known.outcomes]
    return sorted(found, key=lambda outcome: outcome.row)


def _has_good_run(outcomes: Sequence[MainOutcome], limits: FailureLimits) -> bool:
    return any(
        _is_good_run(outcomes[start : start + GOOD_RUN], limits) for start in range(len(outcomes) - GOOD_RUN + 1)
    )


def _is_good_run(run: Sequence[MainOutcome], limits: FailureLimits) -> bool:
    """No alarm, and the failure criteria are false on the run's plain rates."""
    if any(outcome.alarm for outcome in run):
        return False
    n = len(run)
    if limits.min_success_rate is not None and sum(o.success for o in run) < limits.min_success_rate * n:
        return False
    if limits.max_error_rate is not None and sum(o.error for o in run) > limits.max_error_rate * n:
        return False
    times = [o.latency_us for o in run if o.latency_us is not None]
    limit_us = limits.max_response_time_us
    return limit_us is None or sum(times) <= limit_us * len(times)


def _without_old_outcomes(history: History) -> History:
    """Keep of each commit what is among the last 19 outcomes since it: the next one may complete those to a run."""
    kept: list[MainCommit] = []
    for place, known in enumerate(history):
        recent = _outcomes_since(history, place)[-(GOOD_RUN - 1) :]
        oldest_row = recent[0].row if recent else 0
        mine = tuple(outcome for outcome in known.outcomes if outcome.row >= oldest_row)
        kept.append(replace(known, outcomes=mine[-(GOOD_RUN - 1) :]))
    return tuple(kept)
