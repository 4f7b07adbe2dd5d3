"""What metrics-collector measures: stream THYMOS_METRICS, `thymos.metrics.<tenant>.<agent>.<branch>`."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from thymos.message import BranchName, Count, Id, Kind, Message, Milliseconds, Rate, Value
from thymos.telemetry import Outcome


class Trend(StrEnum):
    """Which way the success rate moves; Unknown until there are enough samples to tell."""

    IMPROVING = "Improving"
    STABLE = "Stable"
    DECLINING = "Declining"
    UNKNOWN = "Unknown"


class Durations(Value):
    """Mean and exact quantiles of durations in one window, in milliseconds; None without data."""

    mean_ms: Milliseconds | None = None
    p50_ms: Milliseconds | None = None
    p95_ms: Milliseconds | None = None
    p99_ms: Milliseconds | None = None


class TaskMetrics(Value):
    """Outcomes in the window. Rates are over all but cancelled outcomes; `error_rate` counts errored only."""

    success_rate: Rate | None = None
    error_rate: Rate | None = None
    timeout_rate: Rate | None = None
    cancellation_rate: Rate | None = None
    completion: Durations = Durations()
    total: Count = 0
    succeeded: Count = 0
    failed: Count = 0
    errored: Count = 0
    timed_out: Count = 0
    cancelled: Count = 0
    in_progress: Count = 0
    late: Count = 0


class ResponseMetrics(Value):
    """Responses in the window; throughput in responses per second."""

    latency: Durations = Durations()
    throughput_per_second: float | None = None
    peak_per_second: float | None = None
    timeout_rate: Rate | None = None
    bytes: Count | None = None


class ResourceMetrics(Value):
    """What the agent used in the window; money in US dollars."""

    cpu_fraction: float | None = None
    memory_fraction: Rate | None = None
    memory_bytes: Count | None = None
    llm_calls: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cost_usd: float | None = None
    cost_per_request_usd: float | None = None
    llm_error_rate: Rate | None = None
    rate_limit_hits: Count | None = None


class QualityMetrics(Value):
    """Means of the named scores in the window: quality from 0 to 1, business in its own unit."""

    user_satisfaction: Rate | None = None
    engagement: Rate | None = None
    output_quality: Rate | None = None
    quality: dict[str, Rate] = {}
    business: dict[str, float] = {}


class MemoryMetrics(Value):
    """What memory-repository reports of the agent's memory: how many memories the branch holds now; of the searches in
    the window their mean time in milliseconds, the share that found anything, and how many memories each found."""

    memories_stored: Count | None = None
    search_latency_ms: Milliseconds | None = None
    hit_rate: Rate | None = None
    mean_results: float | None = None


class AgentMetrics(Value):
    """One agent on one branch (or in one experiment arm), over a sliding event-time window. No data is None."""

    branch: BranchName = "main"
    experiment_id: Id | None = None
    arm: BranchName | None = None
    task: TaskMetrics = TaskMetrics()
    response: ResponseMetrics = ResponseMetrics()
    resource: ResourceMetrics = ResourceMetrics()
    quality: QualityMetrics = QualityMetrics()
    memory: MemoryMetrics = MemoryMetrics()
    load: Annotated[float, Field(ge=0)] | None = None
    overall_score: Rate | None = None
    trend: Trend = Trend.UNKNOWN
    variance: Annotated[float, Field(ge=0)] | None = None
    sample_count: Count = 0
    window_seconds: Annotated[float, Field(ge=0)] = 300.0
    measured_at: datetime | None = None


class OutcomeRow(Value):
    """One counted outcome. `row` counts outcomes per (tenant, agent) without a gap, in the order they were counted;
    `input` is the beginning of the task's input, `input_digest` names all of it (SHA-256, hex)."""

    row: Annotated[int, Field(ge=1)]
    task_id: Id
    outcome: Outcome
    commit: Id | None = None
    latency_ms: Milliseconds = 0.0
    finished_at: datetime
    input: Annotated[str, Field(max_length=2048)] | None = None
    input_digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    recalled_ids: Annotated[list[Id], Field(max_length=20)] = []


class MetricsMessage(Message):
    """Base of everything on THYMOS_METRICS."""

    KIND: ClassVar[Kind] = Kind.METRICS
    branch: BranchName
    experiment_id: Id | None = None
    arm: BranchName | None = None


class MetricsChanged(MetricsMessage):
    """A snapshot, coalesced to at most one per key and 250 ms."""

    NAME: ClassVar[str] = "metrics.changed"
    metrics: AgentMetrics


class MetricsOutcomes(MetricsMessage):
    """Counted outcomes of one branch or arm, ordered and deduplicated: what the evidence is computed from."""

    NAME: ClassVar[str] = "metrics.outcomes"
    rows: Annotated[list[OutcomeRow], Field(min_length=1, max_length=500)]
