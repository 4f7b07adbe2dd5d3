"""From the samples of a window to `AgentMetrics`. No data is None: never 0, and never 1.

Every figure is a function of the *set* of samples (sums are rounded once), so it does not depend on their
order.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum

from metrics_collector.event_time import SECOND_US, from_us
from metrics_collector.quantiles import durations, mean
from metrics_collector.samples import Finished, MemoryUse, Resource, Response
from metrics_collector.trend import block_variance, trend
from metrics_collector.window import Limits, Window, WindowKey
from thymos.metrics import (
    AgentMetrics,
    MemoryMetrics,
    QualityMetrics,
    ResourceMetrics,
    ResponseMetrics,
    TaskMetrics,
)
from thymos.telemetry import Outcome

SCORE_NAMES_MAX = 64
"""Names of quality scores, and of business metrics, in one snapshot: the first in the alphabet."""
RESPONSE_TARGET_MS = 5_000.0
"""A response within this time counts as quick in `overall_score`: the default of `max_response_time`."""
WEIGHTS: Mapping[str, float] = {"task": 0.3, "response": 0.2, "resource": 0.2, "quality": 0.2, "memory": 0.1}


@dataclass(frozen=True, slots=True)
class View:
    """The samples that one snapshot is computed from, each kind ascending in event time."""

    key: WindowKey
    now_us: int
    window_seconds: float
    outcomes: Sequence[Finished] = ()
    answers: Sequence[Finished] = ()
    responses: Sequence[Response] = ()
    resources: Sequence[Resource] = ()
    memory: Sequence[MemoryUse] = ()
    in_progress: int = 0
    late: int = 0
    load: float | None = None


def view(key: WindowKey, window: Window, limits: Limits, now_us: int) -> View:
    """What the window shows at `now_us`: the samples later than its age, whether or not it was expired
    before.

    `window_seconds` is the age, or the shorter time that the outcomes span when their count is what bounds
    them.
    """
    start = now_us - limits.age_us
    outcomes = window.outcomes.after(start)
    span_us = limits.age_us
    if window.outcomes.full and outcomes:
        span_us = min(span_us, max(now_us - outcomes[0].at_us, 0))
    return View(
        key=key,
        now_us=now_us,
        window_seconds=span_us / SECOND_US,
        outcomes=outcomes,
        answers=window.answers.after(start),
        responses=window.responses.after(start),
        resources=window.resources.after(start),
        memory=window.memory.after(start),
        in_progress=window.in_progress,
        late=window.late,
        load=window.load(now_us),
    )


def summarise(seen: View) -> AgentMetrics:
    """All five groups, and what is derived from them. `sample_count` is the outcomes that rates are over."""
    successes = [sample.outcome is Outcome.SUCCEEDED for sample in _rated(seen.outcomes)]
    task = task_metrics(seen)
    response = response_metrics(seen)
    resource = resource_metrics(seen)
    quality = quality_metrics(seen.outcomes)
    memory = memory_metrics(seen.memory)
    return AgentMetrics(
        branch=seen.key.branch,
        experiment_id=seen.key.experiment_id or None,
        arm=seen.key.arm or None,
        task=task,
        response=response,
        resource=resource,
        quality=quality,
        memory=memory,
        load=seen.load,
        overall_score=overall_score(
            {
                "task": task.success_rate,
                "response": quick_share(seen),
                "resource": headroom(resource),
                "quality": mean(list(quality.quality.values())),
                "memory": memory.hit_rate,
            }
        ),
        trend=trend(successes),
        variance=block_variance(successes),
        sample_count=len(successes),
        window_seconds=seen.window_seconds,
        measured_at=from_us(seen.now_us),
    )


def task_metrics(seen: View) -> TaskMetrics:
    """Counts and rates of final outcomes in the window.

    Rates are over all but cancelled outcomes, `cancellation_rate` is over all. `error_rate` counts `errored`
    only: an answer that is wrong is `failed`. `completion` is the time of every outcome that was not
    cancelled. `in_progress` and `late` are not of the window: tasks that began and did not end, and outcomes
    too late (or too far in the future) for it since it exists.
    """
    counts = Counter(sample.outcome for sample in seen.outcomes)
    rated = len(seen.outcomes) - counts[Outcome.CANCELLED]
    return TaskMetrics(
        success_rate=_share(counts[Outcome.SUCCEEDED], rated),
        error_rate=_share(counts[Outcome.ERRORED], rated),
        timeout_rate=_share(counts[Outcome.TIMED_OUT], rated),
        cancellation_rate=_share(counts[Outcome.CANCELLED], len(seen.outcomes)),
        completion=durations(sample.latency_ms for sample in _rated(seen.outcomes)),
        total=len(seen.outcomes),
        succeeded=counts[Outcome.SUCCEEDED],
        failed=counts[Outcome.FAILED],
        errored=counts[Outcome.ERRORED],
        timed_out=counts[Outcome.TIMED_OUT],
        cancelled=counts[Outcome.CANCELLED],
        in_progress=seen.in_progress,
        late=seen.late,
    )


def response_metrics(seen: View) -> ResponseMetrics:
    """How quickly the agent responds.

    Agents that report `response.sent` are measured by it alone. For all others a response is a task that was
    answered or ended without being cancelled, once per task: an answer awaiting its grade and the graded
    outcome are one.

    `throughput_per_second` is the responses over the time since the oldest of them, at least one second;
    `peak_per_second` the most responses within one calendar second; `timeout_rate` the share of tasks that
    timed out.
    """
    tasks = _answered(seen)
    samples: Sequence[Finished] | Sequence[Response] = seen.responses or tasks
    if not samples:
        return ResponseMetrics()
    oldest_us = min(sample.at_us for sample in samples)
    seconds = max((seen.now_us - oldest_us) / SECOND_US, 1.0)
    peak = max(Counter(sample.at_us // SECOND_US for sample in samples).values())
    sizes = [sample.bytes for sample in seen.responses if sample.bytes is not None]
    return ResponseMetrics(
        latency=durations(sample.latency_ms for sample in samples),
        throughput_per_second=len(samples) / seconds,
        peak_per_second=float(peak),
        timeout_rate=_share(sum(sample.outcome is Outcome.TIMED_OUT for sample in tasks), len(tasks)),
        bytes=sum(sizes) if sizes else None,
    )


def resource_metrics(seen: View) -> ResourceMetrics:
    """What was used: means of the samples, sums over the final outcomes (a cancelled task costs money too).

    `cost_per_request_usd` is over the outcomes that state a cost; `llm_error_rate` is errors over calls, of
    the outcomes that state both, at most 1.
    """
    outcomes = seen.outcomes
    costs = [sample.cost_usd for sample in outcomes if sample.cost_usd is not None]
    calls = [
        (sample.llm_errors, sample.llm_calls)
        for sample in outcomes
        if sample.llm_errors is not None and sample.llm_calls is not None
    ]
    errors, called = sum(error for error, _ in calls), sum(call for _, call in calls)
    memory_bytes = mean([float(sample.memory_bytes) for sample in seen.resources])
    return ResourceMetrics(
        cpu_fraction=mean([sample.cpu_fraction for sample in seen.resources]),
        memory_fraction=mean([sample.memory_fraction for sample in seen.resources]),
        memory_bytes=None if memory_bytes is None else round(memory_bytes),
        llm_calls=_total(sample.llm_calls for sample in outcomes),
        input_tokens=_total(sample.input_tokens for sample in outcomes),
        output_tokens=_total(sample.output_tokens for sample in outcomes),
        cost_usd=fsum(costs) if costs else None,
        cost_per_request_usd=mean(costs),
        llm_error_rate=_share(min(errors, called), called),
        rate_limit_hits=_total(sample.rate_limited for sample in outcomes),
    )


def quality_metrics(outcomes: Sequence[Finished]) -> QualityMetrics:
    """The mean of each named score over the outcomes that have it; three names have fields of their own."""
    quality = _means(sample.quality for sample in outcomes)
    return QualityMetrics(
        user_satisfaction=quality.get("user_satisfaction"),
        engagement=quality.get("engagement"),
        output_quality=quality.get("output_quality"),
        quality=quality,
        business=_means(sample.business for sample in outcomes),
    )


def memory_metrics(samples: Sequence[MemoryUse]) -> MemoryMetrics:
    """The newest number of memories; means over the searches of the window."""
    if not samples:
        return MemoryMetrics()
    searches = sum(sample.searches for sample in samples)
    hits = sum(sample.search_hits for sample in samples)
    results = sum(sample.results_returned for sample in samples)
    timed = [(sample.search_latency_ms, sample.searches) for sample in samples if sample.search_latency_ms is not None]
    weight = sum(count for _, count in timed)
    return MemoryMetrics(
        memories_stored=samples[-1].memories_stored,
        search_latency_ms=fsum(latency * count for latency, count in timed) / weight if weight else None,
        hit_rate=_share(min(hits, searches), searches),
        mean_results=_share(results, searches),
    )


def overall_score(scores: Mapping[str, float | None]) -> float | None:
    """One number from 0 to 1: the weighted mean of the groups that have data; None if none has.

    Weights: task 0.3, response 0.2, resource 0.2, quality 0.2, memory 0.1, renormalised over the groups with
    a score. A group's score is: *task* its success rate; *response* the share of responses that came within 5
    s and did not time out (`quick_share`); *resource* what is left of the scarcer of CPU and memory, times
    the share of language model calls without an error (`headroom`); *quality* the mean of the means of the
    named scores (business metrics have no common scale and do not count); *memory* the hit rate.
    """
    known = [(WEIGHTS[name], score) for name, score in scores.items() if score is not None]
    if not known:
        return None
    score = fsum(weight * value for weight, value in known) / fsum(weight for weight, _ in known)
    return min(max(score, 0.0), 1.0)


def quick_share(seen: View) -> float | None:
    """The share of responses within 5 s that did not time out; of `response.sent`, where reported, those sent
    well.
    """
    if seen.responses:
        quick = sum(sample.ok and sample.latency_ms <= RESPONSE_TARGET_MS for sample in seen.responses)
        return _share(quick, len(seen.responses))
    tasks = _answered(seen)
    in_time = [sample for sample in tasks if sample.outcome is not Outcome.TIMED_OUT]
    return _share(sum(sample.latency_ms <= RESPONSE_TARGET_MS for sample in in_time), len(tasks))


def headroom(resource: ResourceMetrics) -> float | None:
    """(1 − the larger of the CPU and memory fractions, at least 0) × (1 − language model error rate); None of
    neither.
    """
    factors: list[float] = []
    used = [part for part in (resource.cpu_fraction, resource.memory_fraction) if part is not None]
    if used:
        factors.append(max(0.0, 1.0 - max(used)))
    if resource.llm_error_rate is not None:
        factors.append(1.0 - resource.llm_error_rate)
    if not factors:
        return None
    return factors[0] * factors[-1] if len(factors) == 2 else factors[0]


def _rated(outcomes: Sequence[Finished]) -> list[Finished]:
    return [sample for sample in outcomes if sample.outcome is not Outcome.CANCELLED]


def _answered(seen: View) -> list[Finished]:
    answered = {sample.key for sample in seen.answers}
    return _rated(seen.answers) + [sample for sample in _rated(seen.outcomes) if sample.key not in answered]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _total(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _means(scores: Iterable[Mapping[str, float]]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for named in scores:
        for name, value in named.items():
            values.setdefault(name, []).append(value)
    return {name: fsum(values[name]) / len(values[name]) for name in sorted(values)[:SCORE_NAMES_MAX]}
