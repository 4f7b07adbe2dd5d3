"""What goes wrong, drawn from the seed: one place that decides and counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random

from thymos import subjects

BEFORE, WITHIN, AFTER = "before", "within", "after"
POINTS = (
    "before handle", "within handle", "after handle", "before relay", "after relay", "relay half way", "before ack",
    "after ack", "before retry", "after retry", "before terminate", "after terminate", "before forget",
    "within forget", "after forget", "before tick", "within tick", "after tick", "before answer", "within answer",
    "after answer",
)  # fmt: skip
"""Where a service can be killed. `handle` is the transaction of a message, `relay` the publishing of an outbox row or a
dead letter, `ack`, `retry` and `terminate` the settlement of a message, `forget` the deletion of published rows, `tick`
periodic work, `answer` the transaction of a request."""
POINTS_OF_MACHINE = ("before start", "after start", "before signal", "after signal")
"""Where worktree-scaler can be killed besides: around what it does to agents' processes."""


def points_of(service: str) -> tuple[str, ...]:
    """Where this service can be killed; what it seldom comes to is there more than once."""
    return (*POINTS, *3 * POINTS_OF_MACHINE) if service == subjects.WORKTREE_SCALER else POINTS


@dataclass
class Rates:
    """Chances of each fault per occasion."""

    publish_lost: float = 0.0
    publish_unacknowledged: float = 0.0
    publish_twice: float = 0.0
    publish_late: float = 0.0
    ack_lost: float = 0.0
    delivery_late: float = 0.0
    request_lost: float = 0.0
    reply_lost: float = 0.0
    store_slow: float = 0.0
    store_interrupted: float = 0.0
    handling_fails: float = 0.0
    start_fails: float = 0.0

    @staticmethod
    def drawn(random: Random) -> Rates:
        """Each seed has its own mixture: some faults often, others never."""
        return Rates(
            **{
                name: random.choice((0.0, 0.5, 1.0, 3.0)) * usual
                for name, usual in (
                    ("publish_lost", 0.01),
                    ("publish_unacknowledged", 0.01),
                    ("publish_twice", 0.01),
                    ("publish_late", 0.05),
                    ("ack_lost", 0.01),
                    ("delivery_late", 0.03),
                    ("request_lost", 0.002),
                    ("reply_lost", 0.004),
                    ("store_slow", 0.02),
                    ("store_interrupted", 0.003),
                    ("handling_fails", 0.005),
                    ("start_fails", 0.05),
                )
            }
        )


@dataclass
class Faults:
    """The decisions of one run. With `on` false nothing goes wrong any more."""

    random: Random
    rates: Rates = field(default_factory=Rates)
    on: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    armed: dict[str, tuple[str, int]] = field(default_factory=dict)
    """By service, the point where it will be killed, and at which occasion from now on."""

    def happens(self, name: str) -> bool:
        """Whether the fault with this name happens now."""
        chance = getattr(self.rates, name)
        if not self.on or not chance or self.random.random() >= chance:
            return False
        self.counts[name.replace("_", " ")] += 1
        return True

    def seconds(self, longest: float) -> float:
        """A delay: mostly short, at most `longest`."""
        return longest * self.random.random() ** 3

    def arm(self, service: str, point: str, occasion: int = 1) -> None:
        """Kill the service when it next comes to the point."""
        self.armed[service] = (point, occasion)

    def kills(self, service: str, point: str) -> bool:
        """Whether the service is killed here and now."""
        wanted, left = self.armed.get(service, ("", 0))
        if wanted != point:
            return False
        if left > 1:
            self.armed[service] = (wanted, left - 1)
            return False
        self.killed(service)
        return True

    def killed(self, service: str) -> None:
        """Count the kill that was armed."""
        point, _ = self.armed.pop(service)
        self.counts[f"crash {point}"] += 1
        self.counts[f"{service} killed"] += 1
