"""What a verification found, in words and in figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

KEPT_MAX = 100
"""Differences that are kept with their words; more are counted."""


class Difference(StrEnum):
    """How a log can differ from what it was."""

    CHANGED = "changed"
    MISSING = "missing"
    REORDERED = "reordered"
    INSERTED = "inserted"
    SEAL = "seal"
    UNREADABLE = "unreadable"
    DECISION = "decision"


@dataclass(frozen=True)
class Problem:
    """One difference: at which event, and what it is, in words. `sequence` is None for what is no event of the log, or
    not known to be one; `after` is then the event before it, if there is one. `fields` are those that differ in a
    decision: what the log says, and what comes out today."""

    kind: Difference
    words: str
    sequence: int | None = None
    event_id: str | None = None
    type: str | None = None
    line: int | None = None
    after: int | None = None
    fields: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def place(self) -> tuple[bool, int, bool, bool, int]:
        """Where it stands in the log: differences are told in this order."""
        at = self.sequence if self.sequence is not None else self.after
        return at is None, at or 0, self.sequence is None, self.line is None, self.line or 0

    def to_json(self) -> dict[str, Any]:
        """As `thymos replay --verify --json` prints it."""
        told = {name: value for name, value in vars(self).items() if value not in (None, {})}
        if self.fields:
            told["fields"] = {name: {"log": a, "today": b} for name, (a, b) in self.fields.items()}
        return told


@dataclass(frozen=True)
class Report:
    """What was compared, and what differs.

    Attributes:
        events: how many were read, beginning with event `first_event` (0: none); `checked` of them are under a seal
            that holds; `unsealed` came after the last seal.
        last_seals: seals that no other seal covers yet; what they say was checked, when they were stored was not.
        unchecked: neither: their seal is missing or broken, or lies outside what was read.
        seals: how many follow each other; `last_seal` is the hash of the newest one in the log (None: there is none).
        decisions: how many were computed again; `not_recomputed` counts the others by reason.
        differences: the first hundred, in the order of the log; `difference_count` counts all.
    """

    events: int
    first_event: int
    checked: int
    unsealed: int
    last_seals: int
    unchecked: int
    seals: int
    last_seal: str | None
    last_sealed: int
    decisions: int
    not_recomputed: Mapping[str, int]
    differences: tuple[Problem, ...]
    difference_count: int

    @property
    def identical(self) -> bool:
        """Whether nothing differs. What could not be compared is no difference: see `notes`."""
        return self.difference_count == 0

    @property
    def problems(self) -> list[str]:
        """The differences in words, the first one first."""
        return [problem.words for problem in self.differences]

    @property
    def notes(self) -> list[str]:
        """What could not be compared, in words."""
        notes = []
        if self.first_event > 1:
            notes.append(f"it begins with event {self.first_event}: nothing was read of what came before")
        if self.seals == 0 and self.events:
            notes.append("no event is sealed: nothing says whether one was changed; decision-engine seals the log")
        elif self.unsealed:
            notes.append(f"the last {_events(self.unsealed)} came after the last seal and could not be checked yet")
        if self.unchecked:
            notes.append(f"{_events(self.unchecked)} could not be checked: no whole seal covers them in what was read")
        notes += [f"not computed again: {_many(n, 'decision')}: {why}" for why, n in self.not_recomputed.items()]
        return notes

    def to_json(self) -> dict[str, Any]:
        """As `thymos replay --verify --json` prints it."""
        counts = {name: value for name, value in vars(self).items() if name != "differences"}
        return {
            "identical": self.identical,
            **counts,
            "first_difference": self.differences[0].to_json() if self.differences else None,
            "differences": [problem.to_json() for problem in self.differences],
            "notes": self.notes,
        }


def _events(number: int) -> str:
    return _many(number, "event")


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
