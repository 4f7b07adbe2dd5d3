"""What to do so that the processes that run become those that should run: pure, bounded, one small step at a time.

`plan` compares a fleet (how many worktrees a branch should have) with what is observed and returns actions;
the shell
carries them out and looks again. It never assumes that an action of the step before has worked, so that it
may be cut
off anywhere: killed, restarted, called twice. In this order, up to `actions_max`:

- `Kill` what ignored being stopped, and what is hung (no heartbeat although its process runs)
- `Stop` what did not drain in time
- `MarkFailed` what crashed again and again without a stable run in between
- `Drain` what is too many: those without a process first, then those that start, then idle ones; never one
  with a task
  in hand, unless the whole fleet is released
- `Start` what waited out its backoff, then what is missing
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice

from worktree_scaler.lifecycle import SERVING, WITH_PROCESS, Phase, Trigger, following


@dataclass(frozen=True)
class Fleet:
    """How many worktrees a branch should have.

    A fleet that is `releasing` ends: its worktrees are drained also with tasks in hand.
    `retry_failed_after` is how long
    a crash loop keeps its place empty before a new worktree is tried; None means for ever (an
    experiment's arm).
    """

    desired: int
    releasing: bool = False
    retry_failed_after: timedelta | None = None


@dataclass(frozen=True)
class Observed:
    """One worktree as it is. `phase_at` is when it came into its phase; `crashes` counts exits since a
    stable run.
    """

    worktree_id: str
    phase: Phase
    phase_at: datetime
    in_flight: int = 0
    heartbeat_at: datetime | None = None
    crashes: int = 0


@dataclass(frozen=True)
class Limits:
    """Bounds of reconciling; every wait has an end."""

    actions_max: int = 8
    drain_timeout: timedelta = timedelta(seconds=10)
    stop_timeout: timedelta = timedelta(seconds=5)
    start_timeout: timedelta = timedelta(seconds=60)
    heartbeat_timeout: timedelta = timedelta(seconds=30)
    backoff_first: timedelta = timedelta(milliseconds=250)
    backoff_max: timedelta = timedelta(seconds=30)
    crashes_max: int = 5
    stable_after: timedelta = timedelta(seconds=60)


@dataclass(frozen=True)
class Start:
    """Start a process: in a new worktree, or again in one whose process ended."""

    worktree_id: str | None
    reason: str


@dataclass(frozen=True)
class Drain:
    """Ask a process to finish its task, save its memory and end."""

    worktree_id: str
    reason: str


@dataclass(frozen=True)
class Stop:
    """Terminate a process and its children; it did not drain in time."""

    worktree_id: str
    reason: str


@dataclass(frozen=True)
class Kill:
    """Kill a process and its children."""

    worktree_id: str
    reason: str


@dataclass(frozen=True)
class MarkFailed:
    """Give a worktree up: its process cannot stay alive."""

    worktree_id: str
    reason: str


Action = Start | Drain | Stop | Kill | MarkFailed


def plan(fleet: Fleet, observed: Sequence[Observed], limits: Limits, now: datetime) -> tuple[Action, ...]:
    """The next step towards the fleet; empty when there is nothing to do."""
    steps: Iterable[Action] = chain(
        _kills(observed, limits, now),
        _stops(observed, limits, now),
        _failures(observed, limits),
        _drains(fleet, observed),
        _restarts(fleet, observed, limits, now),
        _starts(fleet, observed, now),
    )
    return tuple(islice(steps, limits.actions_max))


def _kills(observed: Sequence[Observed], limits: Limits, now: datetime) -> Iterator[Kill]:
    for one in observed:
        age = now - one.phase_at
        if one.phase is Phase.STOPPING and age >= limits.stop_timeout:
            yield Kill(one.worktree_id, f"still there {_seconds(limits.stop_timeout)} after being terminated")
        elif one.phase is Phase.STARTING and age >= limits.start_timeout:
            yield Kill(one.worktree_id, f"no heartbeat within {_seconds(limits.start_timeout)} of its start")
        elif one.phase is Phase.READY and now - (one.heartbeat_at or one.phase_at) >= limits.heartbeat_timeout:
            yield Kill(one.worktree_id, f"hung: no heartbeat for {_seconds(limits.heartbeat_timeout)}")


def _stops(observed: Sequence[Observed], limits: Limits, now: datetime) -> Iterator[Stop]:
    for one in observed:
        if one.phase is Phase.DRAINING and now - one.phase_at >= limits.drain_timeout:
            yield Stop(one.worktree_id, f"not drained within {_seconds(limits.drain_timeout)}")


def _failures(observed: Sequence[Observed], limits: Limits) -> Iterator[MarkFailed]:
    for one in observed:
        if _is_crash_loop(one, limits):
            yield MarkFailed(one.worktree_id, f"crash loop: {one.crashes} exits without a stable run")


def _is_crash_loop(one: Observed, limits: Limits) -> bool:
    return one.phase is Phase.WAITING and one.crashes >= limits.crashes_max


def _drains(fleet: Fleet, observed: Sequence[Observed]) -> Iterator[Drain]:
    if fleet.releasing:
        released = (one for one in observed if one.phase in SERVING or one.phase is Phase.FAILED)
        yield from (Drain(one.worktree_id, "its branch is released") for one in released)
        return
    serving = [one for one in observed if one.phase in SERVING]
    excess = len(serving) - fleet.desired
    if excess > 0:
        spare = sorted((one for one in serving if _is_spare(one)), key=_youngest_without_process_first)
        yield from (Drain(one.worktree_id, f"one of {excess} too many") for one in spare[:excess])


def _is_spare(one: Observed) -> bool:
    return one.phase is not Phase.READY or one.in_flight == 0


_SPARE_ORDER = {Phase.WAITING: 0, Phase.STARTING: 1, Phase.READY: 2}


def _youngest_without_process_first(one: Observed) -> tuple[int, float, str]:
    return _SPARE_ORDER[one.phase], -one.phase_at.timestamp(), one.worktree_id


def _restarts(fleet: Fleet, observed: Sequence[Observed], limits: Limits, now: datetime) -> Iterator[Start]:
    if fleet.releasing:
        return
    excess = max(0, sum(one.phase in SERVING for one in observed) - fleet.desired)
    waiting = sorted((one for one in observed if one.phase is Phase.WAITING), key=_youngest_without_process_first)
    for one in waiting[excess:]:
        wait = backoff(one.crashes, limits)
        if not _is_crash_loop(one, limits) and now - one.phase_at >= wait:
            yield Start(one.worktree_id, f"again, {_seconds(wait)} after exit {one.crashes} without a stable run")


def backoff(crashes: int, limits: Limits) -> timedelta:
    """How long a process that ended by itself `crashes` times in a row rests: doubling, from the first to
    the longest.
    """
    return min(limits.backoff_max, limits.backoff_first * (1 << min(max(crashes - 1, 0), 20)))


def _starts(fleet: Fleet, observed: Sequence[Observed], now: datetime) -> Iterator[Start]:
    if fleet.releasing:
        return
    serving = sum(one.phase in SERVING for one in observed)
    held = sum(_holds_its_place(one, fleet, now) for one in observed)
    missing = fleet.desired - serving - held
    yield from (Start(None, f"{serving} of {fleet.desired} worktrees") for _ in range(missing))


def _holds_its_place(one: Observed, fleet: Fleet, now: datetime) -> bool:
    if one.phase is not Phase.FAILED:
        return False
    return fleet.retry_failed_after is None or now - one.phase_at < fleet.retry_failed_after


def after_exit(one: Observed, limits: Limits, now: datetime) -> tuple[Phase, int]:
    """Phase and crash count after the worktree's process ended; an end that was asked for is no crash."""
    phase = following(one.phase, Trigger.EXIT)
    if phase is Phase.STOPPED:
        return phase, one.crashes
    was_stable = one.phase is Phase.READY and now - one.phase_at >= limits.stable_after
    return phase, 1 if was_stable else one.crashes + 1


# --- after the scaler itself was killed ---------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """A process that carries our mark: which worktree it says it works in, and since when (seconds since
    1970).
    """

    pid: int
    created_at: float
    worktree_id: str


@dataclass(frozen=True)
class Known:
    """What the store says about a worktree's process; `pid` is None when the scaler died before it could
    note it.
    """

    worktree_id: str
    phase: Phase
    pid: int | None
    created_at: float | None


@dataclass(frozen=True)
class Adoption:
    """Which processes are taken over, by worktree, and which are surplus."""

    adopted: dict[str, Found]
    surplus: tuple[Found, ...]


def adopt(known: Sequence[Known], found: Sequence[Found]) -> Adoption:
    """Match the processes found running with what should run.

    A worktree gets the process that the store names (same pid and creation time, so that a reused pid
    is not taken for
    it), else the oldest that says it works there: it was started, but the scaler died before it noted
    the pid. All
    others are surplus: the worktree is stopped, unknown, or has its process already.
    """
    adopted: dict[str, Found] = {}
    wanted = {one.worktree_id: one for one in known if one.phase in WITH_PROCESS}
    for process in sorted(found, key=lambda p: (not _is_noted(p, wanted), p.created_at, p.pid)):
        if process.worktree_id in wanted and process.worktree_id not in adopted:
            adopted[process.worktree_id] = process
    return Adoption(adopted, tuple(p for p in found if adopted.get(p.worktree_id) != p))


def _is_noted(process: Found, wanted: dict[str, Known]) -> bool:
    one = wanted.get(process.worktree_id)
    return one is not None and one.pid == process.pid and one.created_at == process.created_at


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():g} s"
