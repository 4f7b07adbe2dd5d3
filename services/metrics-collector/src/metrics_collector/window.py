"""A sliding window in event time over what one branch of an agent, or one arm of an experiment, reported."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from metrics_collector.event_time import SECOND_US
from metrics_collector.samples import AnySample, Finished, Kind, MemoryUse, Resource, Response, Series

MAIN = "main"
"""The branch that production runs on."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a window reaches and how much it holds. Times in microseconds of event time."""

    age_us: int = 300 * SECOND_US
    count_max: int = 2_000
    """Samples of each kind in one window; the newest ones stay."""
    lateness_us: int = 300 * SECOND_US
    """How far behind the newest sample of its window another one may be."""
    earliness_us: int = 300 * SECOND_US
    """How far ahead of now a sample may be: clocks differ, but not by that much."""
    heartbeat_us: int = 5 * SECOND_US
    """A worktree that was silent for longer has no load."""
    in_progress_age_us: int = 3_600 * SECOND_US
    """A task that began longer ago and never ended is forgotten."""
    in_progress_max: int = 10_000
    worktrees_max: int = 1_000


class WindowKey(NamedTuple):
    """Whose window it is: a branch of an agent or, with `experiment_id` and `arm`, one arm of an experiment."""

    tenant: str
    agent: str
    branch: str
    experiment_id: str = ""
    arm: str = ""

    @property
    def is_main(self) -> bool:
        """Whether this is the window of the agent's production branch."""
        return self.branch == MAIN and not self.experiment_id


class Timing(Enum):
    """Where a sample's event time lies, seen from its window and from now."""

    IN_WINDOW = auto()
    PAST = auto()
    """Older than the window is long, but not late: everything around it is that old (a backlog is worked
    off).
    """
    LATE = auto()
    EARLY = auto()


@dataclass(frozen=True, slots=True)
class Placed:
    """What adding a sample did to a window."""

    timing: Timing
    added: bool
    dropped: tuple[AnySample, ...] = ()


@dataclass(frozen=True, slots=True)
class Beat:
    """What a worktree last said of itself."""

    at_us: int
    in_flight: int
    capacity: int


class Window:
    """Samples of one key. Not thread-safe. Every method that needs the time takes `now_us`; none looks at a
    clock.

    Within the lateness bound the content does not depend on the order in which samples arrive.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.outcomes: Series[Finished] = Series(limits.count_max)
        self.answers: Series[Finished] = Series(limits.count_max)
        self.responses: Series[Response] = Series(limits.count_max)
        self.resources: Series[Resource] = Series(limits.count_max)
        self.memory: Series[MemoryUse] = Series(limits.count_max)
        self.newest_us = 0
        self.late = 0
        """Outcomes that came too late, or from too far in the future, for this window."""
        self._begun: dict[str, int] = {}
        self._beats: dict[str, Beat] = {}

    def __len__(self) -> int:
        tasks = len(self.outcomes) + len(self.answers)
        return tasks + len(self.responses) + len(self.resources) + len(self.memory)

    def timing(self, at_us: int, now_us: int) -> Timing:
        """Where `at_us` lies. The newest sample counts as at most now, so one fast clock makes nobody late."""
        if at_us > now_us + self._limits.earliness_us:
            return Timing.EARLY
        if at_us < min(self.newest_us, now_us) - self._limits.lateness_us:
            return Timing.LATE
        return Timing.PAST if at_us <= now_us - self._limits.age_us else Timing.IN_WINDOW

    def add(self, kind: Kind, sample: AnySample, now_us: int) -> Placed:
        """Adds one sample, if it belongs here, and drops what has left the window."""
        timing = self.timing(sample.at_us, now_us)
        if timing in (Timing.LATE, Timing.EARLY):
            self.late += kind is Kind.OUTCOME
            return Placed(timing, added=False)
        self.newest_us = max(self.newest_us, sample.at_us)
        if timing is Timing.PAST:
            return Placed(timing, added=False)
        evicted = self.restore(kind, sample)
        if evicted is None:
            return Placed(timing, added=False)
        return Placed(timing, added=True, dropped=evicted)

    def restore(self, kind: Kind, sample: AnySample) -> tuple[AnySample, ...] | None:
        """Puts a sample into its series whatever the time is: what is read back from the store was placed
        before.
        """
        match kind, sample:
            case Kind.OUTCOME, Finished():
                evicted: list[Finished] | list[Response] | list[Resource] | list[MemoryUse] | None
                evicted = self.outcomes.add(sample)
            case Kind.ANSWER, Finished():
                evicted = self.answers.add(sample)
            case Kind.RESPONSE, Response():
                evicted = self.responses.add(sample)
            case Kind.RESOURCE, Resource():
                evicted = self.resources.add(sample)
            case Kind.MEMORY, MemoryUse():
                evicted = self.memory.add(sample)
            case _:
                raise TypeError(f"a {type(sample).__name__} is no sample of kind {kind.name}")
        return None if evicted is None else tuple(evicted)

    def expire(self, now_us: int) -> list[tuple[Kind, AnySample]]:
        """Drops and returns the samples that are as old as the window is long, or older."""
        until = now_us - self._limits.age_us
        gone: list[tuple[Kind, AnySample]] = []
        gone += [(Kind.OUTCOME, sample) for sample in self.outcomes.drop_until(until)]
        gone += [(Kind.ANSWER, sample) for sample in self.answers.drop_until(until)]
        gone += [(Kind.RESPONSE, sample) for sample in self.responses.drop_until(until)]
        gone += [(Kind.RESOURCE, sample) for sample in self.resources.drop_until(until)]
        gone += [(Kind.MEMORY, sample) for sample in self.memory.drop_until(until)]
        return gone

    def begin(self, key: str, at_us: int) -> list[str] | None:
        """A task began. Returns the keys forgotten for it (too many at once); None if it is known to have
        ended.

        A start that arrives after its end leaves nothing behind, as long as the end is in the window.
        """
        if key in self.outcomes or key in self.answers or key in self._begun:
            return None
        self._begun[key] = at_us
        excess = len(self._begun) - self._limits.in_progress_max
        forgotten = [name for name, _ in zip(self._begun, range(excess), strict=False)] if excess > 0 else []
        for name in forgotten:
            del self._begun[name]
        return forgotten

    def end(self, key: str) -> bool:
        """A task ended, whatever its outcome. Returns whether it was in progress."""
        return self._begun.pop(key, None) is not None

    def forget_begun(self, now_us: int) -> list[str]:
        """Forgets, and returns, the tasks that began too long ago to be still in progress."""
        until = now_us - self._limits.in_progress_age_us
        gone = [key for key, at_us in self._begun.items() if at_us <= until]
        for key in gone:
            del self._begun[key]
        return gone

    @property
    def in_progress(self) -> int:
        """Tasks that began and have neither been answered nor ended."""
        return len(self._begun)

    def beat(self, worktree: str, beat: Beat, now_us: int) -> bool:
        """A worktree's heartbeat. Returns whether it changes the load."""
        before = self.load(now_us)
        known = self._beats.pop(worktree, None)
        newest = known if known is not None and known.at_us > beat.at_us else beat
        # Re-inserted last, so that the first one is the one heard of least recently.
        self._beats[worktree] = newest
        if len(self._beats) > self._limits.worktrees_max:
            del self._beats[next(iter(self._beats))]
        return self.load(now_us) != before

    def load(self, now_us: int) -> float | None:
        """Tasks in flight over capacity, summed over the worktrees heard from lately; None without any."""
        fresh = [beat for beat in self._beats.values() if beat.at_us > now_us - self._limits.heartbeat_us]
        capacity = sum(beat.capacity for beat in fresh)
        return sum(beat.in_flight for beat in fresh) / capacity if capacity else None

    def forget_beats(self, now_us: int) -> bool:
        """Forgets worktrees that fell silent; returns whether there were any."""
        until = now_us - self._limits.heartbeat_us
        silent = [name for name, beat in self._beats.items() if beat.at_us <= until]
        for name in silent:
            del self._beats[name]
        return bool(silent)
