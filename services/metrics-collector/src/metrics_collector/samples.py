"""What a window holds: samples in event time, in bounded series that do not care about the order of arrival."""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, Protocol, TypeVar

from thymos.telemetry import Outcome


class Kind(IntEnum):
    """Which series of a window a sample belongs to. The numbers are stored."""

    OUTCOME = 1
    """Tasks whose outcome is final."""
    ANSWER = 2
    """Answers that somebody else grades: a response was given, its outcome is not known here."""
    RESPONSE = 3
    RESOURCE = 4
    MEMORY = 5


class Sample(Protocol):
    """Anything with an event time and a key that is unique within its series."""

    @property
    def at_us(self) -> int:
        """Event time in microseconds since 1970."""

    @property
    def key(self) -> str:
        """What the sample is known by; a second one of the same key is a duplicate."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A task that ended, as outcome or as answer. Durations in milliseconds, money in US dollars, scores 0 to
    1.
    """

    at_us: int
    key: str
    outcome: Outcome
    latency_ms: float = 0.0
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    llm_calls: int | None = None
    llm_errors: int | None = None
    rate_limited: int | None = None
    quality: Mapping[str, float] = field(default_factory=dict)
    business: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """A response that an agent reported by itself."""

    at_us: int
    key: str
    latency_ms: float
    ok: bool
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """One look at what an agent process uses."""

    at_us: int
    key: str
    cpu_fraction: float
    memory_fraction: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What an agent's memory did since the sample before."""

    at_us: int
    key: str
    memories_stored: int
    searches: int = 0
    search_hits: int = 0
    results_returned: int = 0
    search_latency_ms: float | None = None


S = TypeVar("S", Finished, Response, Resource, MemoryUse)
AnySample = Finished | Response | Resource | MemoryUse


class Series(Generic[S]):
    """The newest samples of one kind, at most `count_max`, ascending by (event time, key).

    The content is the set of the newest ones ever added, so the order of arrival leaves no trace. Adding and
    dropping cost a memory move of at most `count_max` references.
    """

    __slots__ = ("_count_max", "_order", "_samples")

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._order: list[tuple[int, str]] = []
        self._samples: dict[str, S] = {}

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, key: str) -> bool:
        return key in self._samples

    def __iter__(self) -> Iterator[S]:
        return (self._samples[key] for _, key in self._order)

    @property
    def full(self) -> bool:
        """Whether the count, and not the age, is what bounds the series."""
        return len(self._order) >= self._count_max

    @property
    def oldest_us(self) -> int | None:
        """Event time of the oldest sample; None of nothing."""
        return self._order[0][0] if self._order else None

    def add(self, sample: S) -> list[S] | None:
        """Adds `sample` and returns what had to leave for it; None if it was not added.

        It is not added when its key is known or when it is older than everything in a full series.
        """
        place = (sample.at_us, sample.key)
        if sample.key in self._samples or (self.full and place < self._order[0]):
            return None
        insort(self._order, place)
        self._samples[sample.key] = sample
        return self._drop(len(self._order) - self._count_max)

    def drop_until(self, at_us: int) -> list[S]:
        """Drops and returns the samples at or before `at_us`."""
        return self._drop(bisect_left(self._order, (at_us + 1, "")))

    def after(self, at_us: int) -> list[S]:
        """The samples later than `at_us`, ascending."""
        return [self._samples[key] for _, key in self._order[bisect_left(self._order, (at_us + 1, "")) :]]

    def _drop(self, count: int) -> list[S]:
        if count <= 0:
            return []
        dropped = [self._samples.pop(key) for _, key in self._order[:count]]
        del self._order[:count]
        return dropped
