"""What a check says, and what the checks read."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.chaos.aftermath import Aftermath

from thymos.envelope import Envelope
from thymos.events import Event
from thymos.message import Message

MAIN = "main"
SHOWN = 5
E = TypeVar("E", bound=Event)
H = TypeVar("H", bound=Hashable)


@dataclass(frozen=True)
class Finding:
    """One invariant: how much it was checked on, and what breaks it."""

    invariant: str
    checked: int
    problems: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        """Whether nothing breaks it."""
        return not self.problems


def finding(invariant: str, checked: int, problems: Sequence[str], at_least: int = 0) -> Finding:
    """A finding; one that was checked on less than `at_least` is broken, whatever was found."""
    if checked < at_least:
        problems = [f"checked on {checked}, of which there must be {at_least} at least", *problems]
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return Finding(invariant, checked, tuple([*problems[:SHOWN], *more]))


def stories(a: Aftermath) -> int:
    """How many stories were told: what is in each must have happened so often. A run without one proves nothing."""
    return max(1, len(a.told.stories))


def envelopes(a: Aftermath) -> list[Envelope[Message]]:
    """What the event log says, in its order."""
    return [record.envelope for record in a.events if record.envelope]


def events(a: Aftermath, kind: type[E]) -> list[E]:
    """The events of a kind, in the order of the log."""
    return [envelope.data for envelope in envelopes(a) if isinstance(envelope.data, kind)]


def repeated(items: Iterable[H]) -> list[tuple[H, int]]:
    """What is there more than once, and how often."""
    return [(item, count) for item, count in Counter(items).items() if count > 1]
