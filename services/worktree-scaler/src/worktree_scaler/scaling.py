"""How many worktrees a branch should have: pure, exact, and able to say why.

    recommended = clamp( max( ceil(lag / target_lag), need_load ) )
    need_load   = current inside the dead band, else ceil(current * in_flight / (capacity * target_load))

*Lag* counts tasks (waiting plus taken and not yet acknowledged), *load* is in-flight tasks over capacity.
Load
alone saturates at 1 and would grow a quarter a step whatever waits; lag alone ignores slow tasks; so the
larger
of the two wins.
What `decide` does with the recommendation, first match:

1. a manual override holds its count until it expires
2. missing metrics hold the current count: never zero, never the maximum
3. up: at once, but within a period to at most twice (or four more than) the count the period began with; and
   within the window after a step down only if 10 * lag > 11 * current * target_lag, so that noise cannot
   swing it
4. down: to the highest recommendation of the window, and not before a whole window was watched
5. to zero only where the policy's minimum is zero, from one, after the idle period

Pause flags and dry run come last and only ever turn a step into a hold. The limits hold also without metrics.
`evolve` folds a decision into the history that the next `decide` looks at. Nothing here reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from math import ceil

from pydantic import JsonValue

STEP_UP_WORKTREES = 4
"""Within one period a fleet may always grow by this many, however small it is."""
STEP_UP_FACTOR = 2
"""Within one period a fleet may grow to this multiple of the size it had when the period began."""
MARGIN_AFTER_DOWN = Fraction(11, 10)
"""Shortly after a step down, lag must exceed what the fleet is meant to carry by this factor before it
grows again.
"""


class Direction(StrEnum):
    """Where a scaling action goes."""

    UP = "up"
    DOWN = "down"
    HOLD = "hold"


@dataclass(frozen=True)
class ScalingPolicy:
    """The limits and targets of one agent's fleet. Fractions are exact; load is in 0..1.

    Raises ValueError if the limits or the dead band are the wrong way round, or a target is not positive.
    """

    min_worktrees: int = 1
    max_worktrees: int = 10
    target_lag: int = 10
    target_load: Fraction = Fraction(4, 5)
    scale_down_threshold: Fraction = Fraction(1, 2)
    scale_up_threshold: Fraction = Fraction(9, 10)
    scale_period: timedelta = timedelta(seconds=15)
    scale_down_window: timedelta = timedelta(seconds=300)
    idle_period: timedelta = timedelta(seconds=300)
    paused_up: bool = False
    paused_down: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.min_worktrees <= self.max_worktrees:
            span = f"{self.min_worktrees}..{self.max_worktrees}"
            raise ValueError(f"need 0 <= min_worktrees <= max_worktrees, got {span}")
        if self.target_lag < 1 or self.target_load <= 0:
            raise ValueError(f"target_lag {self.target_lag}, target_load {self.target_load}: must be positive")
        if not self.scale_down_threshold <= self.scale_up_threshold:
            raise ValueError("scale_down_threshold must not be above scale_up_threshold")


@dataclass(frozen=True)
class ScalingSignal:
    """What is measured about one branch now. `None` means it could not be measured.

    `current` counts worktrees that run or start, not those that drain; `capacity` is how many tasks
    those can hold at once;
    `reserved` counts the agent's worktrees that belong to experiments and share the limit with this branch.
    """

    current: int
    pending: int | None
    ack_pending: int | None
    in_flight: int | None
    capacity: int | None
    reserved: int = 0

    @property
    def lag(self) -> int | None:
        """Tasks waiting plus tasks taken and not acknowledged; None if either is unknown."""
        if self.pending is None or self.ack_pending is None:
            return None
        return self.pending + self.ack_pending

    def shown(self) -> dict[str, JsonValue]:
        """The figures as `worktree.scaled` shows them."""
        return {
            "pending": self.pending,
            "ack_pending": self.ack_pending,
            "in_flight": self.in_flight,
            "capacity": self.capacity,
            "reserved": self.reserved,
        }


@dataclass(frozen=True)
class Override:
    """A count someone asked for by hand, until a moment, and why."""

    count: int
    until: datetime
    reason: str


@dataclass(frozen=True)
class ScalingHistory:
    """What earlier decisions leave behind; `ScalingHistory()` is a fleet nobody has watched yet.

    `recommendations` holds only what can still be the window's maximum (a later, higher one hides an earlier,
    lower one), so it never has more entries than the limit has worktrees. `steps` are (when, worktrees
    added) of
    the last period.
    """

    recommendations: tuple[tuple[datetime, int], ...] = ()
    watched_since: datetime | None = None
    steps: tuple[tuple[datetime, int], ...] = ()
    last_down_at: datetime | None = None
    idle_since: datetime | None = None
    override: Override | None = None


@dataclass(frozen=True)
class ScalingAction:
    """The count to have, which way that is, and why; `recommended` is the bare formula, None without
    metrics.
    """

    count: int
    direction: Direction
    reason: str
    recommended: int | None = None


def limits(signal: ScalingSignal, policy: ScalingPolicy) -> tuple[int, int]:
    """The smallest and largest count for the branch; experiments' reserved worktrees come off the top,
    never the minimum.
    """
    return policy.min_worktrees, max(policy.min_worktrees, policy.max_worktrees - signal.reserved)


def recommend(signal: ScalingSignal, policy: ScalingPolicy) -> int | None:
    """The bare recommendation of the formula above, inside the limits; None if a metric is missing."""
    if signal.lag is None or signal.in_flight is None or signal.capacity is None:
        return None
    need_lag = ceil(Fraction(signal.lag, policy.target_lag))
    need_load = _need_by_load(signal.current, signal.in_flight, signal.capacity, policy)
    return _clamp(max(need_lag, need_load), signal, policy)


def _need_by_load(current: int, in_flight: int, capacity: int, policy: ScalingPolicy) -> int:
    """Worktrees that bring the load to its target; the current count inside the dead band or without any
    capacity.
    """
    if capacity == 0:
        return current
    load = Fraction(in_flight, capacity)
    if policy.scale_down_threshold <= load <= policy.scale_up_threshold:
        return current
    return ceil(current * load / policy.target_load)


def _clamp(count: int, signal: ScalingSignal, policy: ScalingPolicy) -> int:
    low, high = limits(signal, policy)
    return min(max(count, low), high)


def decide(history: ScalingHistory, signal: ScalingSignal, policy: ScalingPolicy, now: datetime) -> ScalingAction:
    """What to do with the branch's fleet now; see the module's text for the order of the rules."""
    recommended = recommend(signal, policy)
    if history.override is not None and now < history.override.until:
        override = history.override
        count, reason = (
            _clamp(override.count, signal, policy),
            f"held at {override.count} by hand: {override.reason}",
        )
    elif recommended is None:
        count = _clamp(signal.current, signal, policy)
        reason = f"metrics missing ({_missing(signal)}): hold, inside the limits"
    elif recommended > signal.current:
        count, reason = _up(history, signal, policy, now, recommended)
    elif recommended < signal.current:
        count, reason = _down(history, signal, policy, now, recommended)
    else:
        count, reason = signal.current, f"{_figures(signal)}: {recommended} is right"
    return _permit(count, reason, signal, policy, recommended)


def at_minimum(signal: ScalingSignal, policy: ScalingPolicy) -> ScalingAction:
    """What to do while scaling is switched off: the smallest fleet."""
    least = policy.min_worktrees
    direction = Direction.HOLD
    if least != signal.current:
        direction = Direction.UP if least > signal.current else Direction.DOWN
    return ScalingAction(least, direction, "scaling is switched off: min_worktrees", None)


def _missing(signal: ScalingSignal) -> str:
    """Names what could not be measured."""
    unknown = [] if signal.lag is not None else ["lag"]
    if signal.in_flight is None or signal.capacity is None:
        unknown.append("load")
    return ", ".join(unknown)


def _figures(signal: ScalingSignal) -> str:
    return f"lag {signal.lag}, load {signal.in_flight}/{signal.capacity}"


def _up(
    history: ScalingHistory, signal: ScalingSignal, policy: ScalingPolicy, now: datetime, recommended: int
) -> tuple[int, str]:
    """Rule 3. A fleet below its minimum is repaired whatever the window says."""
    low, _ = limits(signal, policy)
    wanted = f"{_figures(signal)} needs {recommended}"
    if signal.current >= low and _shortly_after_down(history, policy, now) and not _lag_is_plain(signal, policy):
        return (
            signal.current,
            f"{wanted}, but a step down was less than {_seconds(policy.scale_down_window)} ago",
        )
    grown = sum(added for at, added in history.steps if now - at < policy.scale_period)
    began = max(0, signal.current - grown)
    cap = max(began + STEP_UP_WORKTREES, began * STEP_UP_FACTOR, low)
    if recommended <= cap:
        return recommended, wanted
    return max(signal.current, cap), f"{wanted}; at most {cap} within {_seconds(policy.scale_period)}"


def _shortly_after_down(history: ScalingHistory, policy: ScalingPolicy, now: datetime) -> bool:
    return history.last_down_at is not None and now - history.last_down_at < policy.scale_down_window


def _lag_is_plain(signal: ScalingSignal, policy: ScalingPolicy) -> bool:
    """Whether lag exceeds what the fleet carries by more than the margin."""
    return signal.lag is not None and signal.lag > MARGIN_AFTER_DOWN * signal.current * policy.target_lag


def _down(
    history: ScalingHistory, signal: ScalingSignal, policy: ScalingPolicy, now: datetime, recommended: int
) -> tuple[int, str]:
    """Rules 4 and 5. A fleet above its maximum shrinks at once: the limit is not a recommendation."""
    _, high = limits(signal, policy)
    recent = _recent(history, policy, now)
    if not _watched_a_window(history, policy, now, recent):
        count, why = min(signal.current, high), f"watched for less than {_seconds(policy.scale_down_window)}"
    else:
        highest = max([recommended, *(count for _, count in recent)])
        count = min(signal.current, high, highest)
        why = f"the most needed within {_seconds(policy.scale_down_window)} was {highest}"
    if count == 0 < high:
        count, why = _to_zero(history, signal, policy, now, why)
    return count, f"{_figures(signal)} needs {recommended}; {why}"


def _recent(history: ScalingHistory, policy: ScalingPolicy, now: datetime) -> tuple[tuple[datetime, int], ...]:
    return tuple((at, count) for at, count in history.recommendations if now - at < policy.scale_down_window)


def _watched_a_window(
    history: ScalingHistory, policy: ScalingPolicy, now: datetime, recent: tuple[tuple[datetime, int], ...]
) -> bool:
    """Whether the window was watched from its start; an outage as long as the window means it was not."""
    if history.watched_since is None or (not recent and policy.scale_down_window > timedelta(0)):
        return False
    return now - history.watched_since >= policy.scale_down_window


def _to_zero(
    history: ScalingHistory, signal: ScalingSignal, policy: ScalingPolicy, now: datetime, why: str
) -> tuple[int, str]:
    """The last worktree goes alone, and only after the idle period."""
    if signal.current > 1:
        return 1, f"{why}; the last worktree goes in a step of its own"
    if history.idle_since is None or now - history.idle_since < policy.idle_period:
        return 1, f"{why}; idle for less than {_seconds(policy.idle_period)}"
    return 0, f"idle for {_seconds(policy.idle_period)}"


def _permit(
    count: int, reason: str, signal: ScalingSignal, policy: ScalingPolicy, recommended: int | None
) -> ScalingAction:
    """Turns a step that is paused or only rehearsed into a hold that says so."""
    current = signal.current
    if count == current:
        return ScalingAction(current, Direction.HOLD, reason, recommended)
    direction = Direction.UP if count > current else Direction.DOWN
    if (direction is Direction.UP and policy.paused_up) or (direction is Direction.DOWN and policy.paused_down):
        return ScalingAction(current, Direction.HOLD, f"paused: would go {direction} to {count}; {reason}", recommended)
    if policy.dry_run:
        return ScalingAction(
            current, Direction.HOLD, f"dry run: would go {direction} to {count}; {reason}", recommended
        )
    return ScalingAction(count, direction, reason, recommended)


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():g} s"


def evolve(
    history: ScalingHistory,
    signal: ScalingSignal,
    policy: ScalingPolicy,
    action: ScalingAction,
    now: datetime,
) -> ScalingHistory:
    """The history after `action` was decided at `now`. Bounded by the limits and the number of steps in a
    period.
    """
    override = history.override if history.override is not None and now < history.override.until else None
    steps = tuple((at, added) for at, added in history.steps if now - at < policy.scale_period)
    if action.direction is not Direction.HOLD:
        steps = (*steps, (now, action.count - signal.current))
    idle = signal.lag == 0 and signal.in_flight == 0
    recent = _recent(history, policy, now)
    watched_since = history.watched_since
    if action.recommended is not None:
        # nothing seen for a whole window: the watch begins anew
        watched_since = watched_since if recent else now
        recent = (
            *((at, count) for at, count in recent if count > action.recommended),
            (now, action.recommended),
        )
    return replace(
        history,
        recommendations=recent,
        watched_since=watched_since,
        steps=steps,
        last_down_at=now if action.direction is Direction.DOWN else history.last_down_at,
        idle_since=(history.idle_since or now) if idle else None,
        override=override,
    )


@dataclass(frozen=True)
class Reservation:
    """Whether all arms of an experiment get their worktree, and why not."""

    granted: bool
    reason: str


def reserve(arms: int, signal: ScalingSignal, policy: ScalingPolicy) -> Reservation:
    """All arms or none. Arms share the limit with what runs on main and with other experiments; main never
    yields.
    """
    main = max(signal.current, policy.min_worktrees)
    used = main + signal.reserved
    if arms < 1:
        return Reservation(False, "an experiment needs at least one arm")
    if used + arms > policy.max_worktrees:
        room = max(0, policy.max_worktrees - used)
        return Reservation(
            False,
            f"{arms} arms need {arms} worktrees, but max_worktrees = {policy.max_worktrees} leaves room for"
            f" {room} ({main} on main, {signal.reserved} reserved)",
        )
    return Reservation(True, f"{arms} worktrees reserved, {used + arms} of {policy.max_worktrees} in use")
