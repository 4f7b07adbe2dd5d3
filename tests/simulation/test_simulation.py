"""The whole suite in virtual time, from a seed: everything that must always hold, holds, and a seed is one run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .simulate import rerun
from .world import Scale, simulate

ROOT = Path(__file__).parents[2]
SHORT = Scale(traffic_seconds=35.0, drift_at=15.0, damage_at=22.0)


@pytest.mark.parametrize("seed", [3, 7])
def test_everything_holds_under_faults(seed: int) -> None:
    report = simulate(seed, SHORT)
    assert report.problem is None, f"{report.problem}\n{rerun(seed, SHORT)}"


def test_a_seed_is_one_run_whatever_the_hash_seed() -> None:
    code = (
        "from tests.simulation.world import Scale, simulate;"
        "print(simulate(5, Scale(traffic_seconds=12.0, drift_at=5.0, damage_at=8.0)).trace)"
    )
    traces = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": number}, check=True,
            capture_output=True, text=True,
        ).stdout
        for number in ("1", "2")
    ]  # fmt: skip
    assert traces[0] == traces[1] != ""
