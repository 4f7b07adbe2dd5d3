"""What an agent's main branch is measured against: the first outcomes of an epoch, then frozen."""

from dataclasses import dataclass, field

from metrics_collector.event_time import SECOND_US
from metrics_collector.samples import Finished
from metrics_collector.summary import View, summarise
from metrics_collector.window import WindowKey
from thymos.metrics import AgentMetrics
from thymos.telemetry import Outcome

BASELINE_SAMPLES = 300
BASELINE_SAMPLES_MIN = 100


@dataclass(frozen=True, slots=True)
class FrozenBaseline:
    """A finished epoch: its metrics, how many of its samples were no success, and which rows it is made of."""

    metrics: AgentMetrics
    samples: int
    failures: int
    window_seconds: float
    """Seconds between the first and the last of the samples, in event time."""
    first_row: int
    last_row: int


@dataclass(slots=True)
class Baseline:
    """The current epoch of one agent.

    An epoch holds outcomes of main that ended after it began, in the order they were counted (cancelled ones,
    and those too late for any window, do not count). The first epoch begins with the agent's first outcome.
    """

    since_us: int = 0
    """Event time at which the epoch began."""
    frozen: bool = False
    samples: list[tuple[int, Finished]] = field(default_factory=list)
    """(row, outcome), ascending by row; emptied when frozen."""

    def wants(self, sample: Finished) -> bool:
        """Whether an outcome of main belongs to this epoch."""
        return not self.frozen and sample.outcome is not Outcome.CANCELLED and sample.at_us > self.since_us

    def restart(self, at_us: int) -> bool:
        """Begins a new epoch at `at_us`; False for a mark that is not later than the current epoch's
        beginning.
        """
        if at_us <= self.since_us:
            return False
        self.since_us, self.frozen, self.samples = at_us, False, []
        return True

    def add(self, row: int, sample: Finished, key: WindowKey, samples_needed: int) -> FrozenBaseline | None:
        """Adds an outcome that the epoch `wants`; the one that completes it freezes it and returns the
        result.
        """
        self.samples.append((row, sample))
        if len(self.samples) < samples_needed:
            return None
        frozen = _freeze(self.samples, key)
        self.frozen, self.samples = True, []
        return frozen


def _freeze(samples: list[tuple[int, Finished]], key: WindowKey) -> FrozenBaseline:
    outcomes = sorted((sample for _, sample in samples), key=lambda sample: (sample.at_us, sample.key))
    first_us, last_us = outcomes[0].at_us, outcomes[-1].at_us
    seconds = (last_us - first_us) / SECOND_US
    return FrozenBaseline(
        metrics=summarise(View(key=key, now_us=last_us, window_seconds=seconds, outcomes=outcomes)),
        samples=len(outcomes),
        failures=sum(sample.outcome is not Outcome.SUCCEEDED for sample in outcomes),
        window_seconds=seconds,
        first_row=samples[0][0],
        last_row=samples[-1][0],
    )
