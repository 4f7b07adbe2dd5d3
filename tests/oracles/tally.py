"""What came of comparing with an oracle: how often what happened, and where the two disagree."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Counts of what was exercised, and one text per disagreement, which names its seed."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in what came of further seeds."""
        self.counts += other.counts
        self.problems += other.problems
