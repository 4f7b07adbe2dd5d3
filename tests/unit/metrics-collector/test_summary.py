"""From samples to `AgentMetrics`: each figure by an example, and no figure without data."""

from typing import Any

import pytest

from metrics_collector.event_time import SECOND_US
from metrics_collector.samples import Finished, MemoryUse, Resource, Response
from metrics_collector.summary import View, overall_score, summarise
from metrics_collector.window import WindowKey
from thymos.metrics import AgentMetrics, Trend
from thymos.telemetry import Outcome

NOW = 1_800_000_000 * SECOND_US
KEY = WindowKey("default", "support", "main")


def ended(outcome: Outcome, at: float = 0, key: str = "", **data: Any) -> Finished:
    return Finished(NOW - round(at * SECOND_US), key or f"{outcome}-{at}", outcome, **data)


def metrics(**samples: Any) -> AgentMetrics:
    return summarise(View(KEY, NOW, 300.0, **samples))


def leaves(value: Any) -> list[Any]:
    return [leaf for part in value.values() for leaf in leaves(part)] if isinstance(value, dict) else [value]


def test_no_data_is_none_and_never_zero_or_one() -> None:
    empty = metrics()
    known = {"branch", "trend", "window_seconds", "measured_at"}
    assert set(leaves(empty.model_dump(exclude=known))) == {None, 0}
    counts = {"total", "succeeded", "failed", "errored", "timed_out", "cancelled", "in_progress", "late"}
    assert set(leaves(empty.model_dump(exclude={*known, "sample_count", "task"}))) == {None}
    assert set(leaves(empty.task.model_dump(exclude=counts))) == {None}
    assert empty.trend is Trend.UNKNOWN


def test_rates_are_over_all_but_cancelled_and_only_errored_is_an_error() -> None:
    found = metrics(
        outcomes=[
            ended(Outcome.SUCCEEDED, 1),
            ended(Outcome.SUCCEEDED, 2),
            ended(Outcome.FAILED, 3),
            ended(Outcome.ERRORED, 4),
            ended(Outcome.CANCELLED, 5),
        ]
    )
    assert (found.task.success_rate, found.task.error_rate, found.task.timeout_rate) == (0.5, 0.25, 0.0)
    assert found.task.cancellation_rate == 0.2
    assert (found.task.total, found.sample_count) == (5, 4)


def test_cancelled_outcomes_alone_have_no_success_rate() -> None:
    found = metrics(outcomes=[ended(Outcome.CANCELLED)])
    assert (found.task.success_rate, found.task.cancellation_rate) == (None, 1.0)


def test_an_answer_and_its_grade_are_one_response() -> None:
    found = metrics(
        answers=[
            ended(Outcome.SUCCEEDED, 9, "t1", latency_ms=100.0),
            ended(Outcome.SUCCEEDED, 8, "t2", latency_ms=300.0),
        ],
        outcomes=[
            ended(Outcome.FAILED, 7, "t1", latency_ms=100.0),
            ended(Outcome.TIMED_OUT, 6, "t3", latency_ms=900.0),
        ],
    )
    assert found.response.latency.mean_ms == pytest.approx(1300 / 3)
    assert found.response.throughput_per_second == pytest.approx(3 / 9)
    assert found.response.timeout_rate == pytest.approx(1 / 3)
    assert found.task.success_rate == 0.0


def test_agents_that_report_responses_are_measured_by_them() -> None:
    found = metrics(
        responses=[Response(NOW - SECOND_US, "r1", 40.0, True, 10), Response(NOW - SECOND_US, "r2", 60.0, True, 20)],
        outcomes=[ended(Outcome.SUCCEEDED, latency_ms=5_000.0)],
    )
    assert found.response.latency.mean_ms == 50.0
    assert (found.response.peak_per_second, found.response.bytes) == (2.0, 30)


def test_resources_are_summed_over_outcomes_that_state_them() -> None:
    found = metrics(
        outcomes=[
            ended(Outcome.SUCCEEDED, 1, cost_usd=0.5, input_tokens=10, llm_calls=3, llm_errors=1, rate_limited=2),
            ended(Outcome.CANCELLED, 2, cost_usd=0.25, llm_calls=5),
            ended(Outcome.FAILED, 3),
        ],
        resources=[Resource(NOW, "a", 0.25, 0.5, 100), Resource(NOW, "b", 0.75, 0.5, 300)],
    )
    resource = found.resource
    assert (resource.cost_usd, resource.cost_per_request_usd) == (0.75, 0.375)
    assert (resource.input_tokens, resource.output_tokens, resource.llm_calls) == (10, None, 8)
    assert resource.llm_error_rate == pytest.approx(1 / 3)
    assert resource.rate_limit_hits == 2
    assert (resource.cpu_fraction, resource.memory_bytes) == (0.5, 200)


def test_quality_is_the_mean_of_each_name_over_those_that_have_it() -> None:
    found = metrics(
        outcomes=[
            ended(Outcome.SUCCEEDED, 1, quality={"output_quality": 1.0, "tone": 0.5}, business={"sales": 10.0}),
            ended(Outcome.SUCCEEDED, 2, quality={"output_quality": 0.5}),
            ended(Outcome.SUCCEEDED, 3),
        ]
    )
    assert found.quality.quality == {"output_quality": 0.75, "tone": 0.5}
    assert (found.quality.output_quality, found.quality.engagement) == (0.75, None)
    assert found.quality.business == {"sales": 10.0}


def test_memory_figures_are_means_over_searches() -> None:
    found = metrics(
        memory=[
            MemoryUse(NOW - 9, "a", 10, searches=1, search_hits=1, results_returned=4, search_latency_ms=10.0),
            MemoryUse(NOW, "b", 12, searches=3, search_hits=0, results_returned=0, search_latency_ms=2.0),
        ]
    ).memory
    assert (found.memories_stored, found.hit_rate, found.mean_results) == (12, 0.25, 1.0)
    assert found.search_latency_ms == 4.0


def test_the_score_is_renormalised_over_the_groups_that_have_data() -> None:
    assert overall_score({"task": None, "quality": None}) is None
    assert overall_score({"task": 0.5, "response": None, "quality": None}) == 0.5
    assert overall_score({"task": 1.0, "response": 0.5}) == pytest.approx((0.3 * 1 + 0.2 * 0.5) / 0.5)


def test_the_score_of_an_agent_that_reports_everything() -> None:
    found = metrics(
        outcomes=[
            ended(Outcome.SUCCEEDED, 1, latency_ms=10.0, quality={"tone": 0.5}),
            ended(Outcome.FAILED, 2, latency_ms=6_000.0),
        ],
        resources=[Resource(NOW, "a", 0.2, 0.6, 1)],
        memory=[MemoryUse(NOW, "m", 1, searches=10, search_hits=8)],
    )
    assert found.overall_score == pytest.approx(0.3 * 0.5 + 0.2 * 0.5 + 0.2 * 0.4 + 0.2 * 0.5 + 0.1 * 0.8)
