"""A baseline is the first outcomes of an epoch, frozen."""

from metrics_collector.baseline import Baseline, FrozenBaseline
from metrics_collector.event_time import SECOND_US
from metrics_collector.samples import Finished
from metrics_collector.window import WindowKey
from thymos.telemetry import Outcome

KEY = WindowKey("default", "support", "main")


def at(second: int, outcome: Outcome = Outcome.SUCCEEDED) -> Finished:
    return Finished(second * SECOND_US, f"t{second}", outcome, latency_ms=10.0)


def feed(baseline: Baseline, seconds: range, outcome: Outcome = Outcome.SUCCEEDED) -> FrozenBaseline | None:
    frozen = None
    for second in seconds:
        if baseline.wants(at(second, outcome)):
            frozen = baseline.add(second, at(second, outcome), KEY, samples_needed=100) or frozen
    return frozen


def test_it_freezes_with_exactly_the_samples_it_needs() -> None:
    baseline = Baseline()
    assert feed(baseline, range(1, 11), Outcome.FAILED) is None
    assert feed(baseline, range(11, 100)) is None
    frozen = feed(baseline, range(100, 200))
    assert frozen is not None
    assert (frozen.samples, frozen.failures, frozen.metrics.task.success_rate) == (100, 10, 0.9)
    assert (frozen.first_row, frozen.last_row, frozen.window_seconds) == (1, 100, 99.0)
    assert not baseline.wants(at(500))


def test_cancelled_outcomes_do_not_count() -> None:
    baseline = Baseline()
    feed(baseline, range(1, 200), Outcome.CANCELLED)
    assert baseline.samples == []


def test_a_good_mark_begins_a_new_epoch_for_what_ends_after_it() -> None:
    baseline = Baseline()
    feed(baseline, range(1, 200))
    assert baseline.restart(300 * SECOND_US)
    assert not baseline.wants(at(300))
    assert baseline.wants(at(301))


def test_the_same_mark_again_changes_nothing() -> None:
    baseline = Baseline()
    baseline.restart(300 * SECOND_US)
    feed(baseline, range(301, 311))
    assert not baseline.restart(300 * SECOND_US)
    assert len(baseline.samples) == 10
