"""What a worker says it uses."""

import os

import pytest

from thymos.worker import Usage, Workplace, sample

PLACE = Workplace("nats://x", "acme", "support", "main", "w1", 1)


def test_the_processor_time_is_that_between_two_looks_not_that_of_starting() -> None:
    before, now = Usage(9.0, 1_000, 100.0), Usage(9.5, 2_000, 105.0)
    said = sample(PLACE, before, now)
    assert said.cpu_fraction == pytest.approx(0.1 / (os.cpu_count() or 1))
    assert said.memory_bytes == 2_000


def test_two_looks_at_one_moment_divide_by_nothing() -> None:
    usage = Usage(9.0, 1_000, 100.0)
    assert sample(PLACE, usage, usage).cpu_fraction == 0
