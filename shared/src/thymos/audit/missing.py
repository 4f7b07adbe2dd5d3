"""Which events did not come where they should have, in case they turn up later."""

from __future__ import annotations

from dataclasses import dataclass

from thymos.audit.report import KEPT_MAX

PLACES_MAX = 10_000
"""Places of missing events that are remembered; more are missing at once."""


@dataclass(frozen=True)
class Gap:
    """Events that did not come: `number` of those from `first` to `last`, all of them as a rule."""

    first: int
    last: int
    number: int

    @property
    def words(self) -> str:
        """Which ones."""
        return f"event {self.first}" if self.number == 1 else f"one of the events {self.first} to {self.last}"


class MissingEvents:
    """Sequences that were passed by, and those that came before their turn. `beyond` counts what is not remembered."""

    def __init__(self) -> None:
        self.beyond = 0
        self._places: dict[int, None] = {}
        self._early: set[int] = set()
        self._gaps: list[Gap] = []

    def __bool__(self) -> bool:
        return bool(self._places)

    @property
    def sequences(self) -> list[int]:
        """Those that did not turn up."""
        return list(self._places)

    def came_early(self, sequence: int) -> None:
        """One that stands before its place."""
        self._early.add(sequence)

    def passed_by(self, due: int, found: int) -> None:
        """`found` came where `due` should have."""
        for sequence in range(due, found):
            if sequence in self._early:
                self._early.discard(sequence)
            elif len(self._places) < PLACES_MAX:
                self._places[sequence] = None
            else:
                self.beyond += found - sequence
                return

    def gap(self, due: int, found: int) -> Gap | None:
        """What is missing from `due` to before `found`, without remembering it."""
        early = {sequence for sequence in self._early if due <= sequence < found}
        self._early -= early
        number = found - due - len(early)
        if number == 1:
            due = found = next(sequence for sequence in range(due, found) if sequence not in early)
            return Gap(due, found, 1)
        return Gap(due, found - 1, number) if number > 0 else None

    def among(self, gap: Gap) -> None:
        """Some of these may turn up."""
        if len(self._gaps) < KEPT_MAX:
            self._gaps.append(gap)

    def turned_up(self, sequence: int) -> bool:
        """Whether this one was missing; from now on it is not."""
        was_missing = sequence in self._places or any(gap.first <= sequence <= gap.last for gap in self._gaps)
        self._places.pop(sequence, None)
        return was_missing
