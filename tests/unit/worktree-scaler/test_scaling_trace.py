"""The scaling policy driven by a real hour of requests. Only relations are asserted: the table is for
people.
"""

import importlib.util
import os
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest

from worktree_scaler.scaling import ScalingPolicy

ROOT = Path(__file__).parents[3]
POLICY = ScalingPolicy(max_worktrees=60)


@pytest.fixture(scope="module")
def trace() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scaling_trace", ROOT / "benchmarks" / "scaling_trace.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scaling_trace"] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def requests_path() -> Path:
    beside = ROOT.parent / "shared"
    path = Path(os.environ.get("THYMOS_SHARED_DIR", beside)) / "data" / "llm_requests_code.csv"
    if not path.exists():
        pytest.skip(f"NOT RUN: the recorded requests are not at {path}; set THYMOS_SHARED_DIR")
    return path


def test_the_policy_follows_a_real_hour_of_requests(trace: ModuleType, requests_path: Path) -> None:
    requests = trace.read_trace(requests_path)
    scaled, fixed = trace.compare(requests, POLICY, windows=(60,))
    unlimited = trace.simulate("unlimited", requests, trace.fixed(400))
    work = sum((request.takes for request in requests), timedelta(0)).total_seconds()

    assert scaled.requests == fixed.requests == len(requests) == 8_819
    assert unlimited.delay_p99 == 0
    assert work <= scaled.worktree_seconds < unlimited.worktree_seconds
    assert 1 <= scaled.mean_worktrees <= scaled.peak_worktrees <= 60
    assert scaled.delay_p50 <= scaled.delay_p95 <= scaled.delay_p99
    assert scaled.turns < scaled.steps


def test_a_window_as_long_as_the_default_hardly_ever_turns(trace: ModuleType, requests_path: Path) -> None:
    """At most one change of direction per window of 300 s, with 8,819 bursty requests in 3,436 s."""
    requests = trace.read_trace(requests_path)
    scaled = trace.simulate("policy", requests, POLICY)

    assert scaled.turns <= 3_436 / 300


def test_a_steady_stream_settles_at_the_size_the_load_asks_for(trace: ModuleType) -> None:
    """Ten tasks a second of 0.8 s each keep 8 worktrees busy; the queue of the first seconds makes it overshoot
    up to 16.
    """
    begin = trace.datetime(2025, 3, 1, tzinfo=trace.UTC)
    requests = [
        trace.Request(begin + timedelta(milliseconds=100 * at), timedelta(milliseconds=800)) for at in range(3_000)
    ]
    steady = trace.simulate("steady", requests, POLICY)

    assert 8 < steady.mean_worktrees <= steady.peak_worktrees <= 20
    assert steady.delay_p50 == 0
    assert steady.turns <= 1
