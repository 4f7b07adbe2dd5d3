"""What agents report about themselves: stream THYMOS_TELEMETRY, `thymos.telemetry.<tenant>.<agent>`."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from thymos.message import BranchName, Count, Id, Kind, Message, Milliseconds, Rate

Text = Annotated[str, Field(max_length=65_536)]
Metric = Annotated[float, Field(allow_inf_nan=False)]
MetricName = Annotated[str, Field(min_length=1, max_length=64)]


class Outcome(StrEnum):
    """How a task ended. *Failed* is finished and wrong; *errored* is broken: only the latter counts as an error."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ERRORED = "errored"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


class Telemetry(Message):
    """Base of everything on THYMOS_TELEMETRY."""

    KIND: ClassVar[Kind] = Kind.TELEMETRY


class TaskStarted(Telemetry):
    """An agent began a task."""

    NAME: ClassVar[str] = "task.started"
    task_id: Id
    branch: BranchName = "main"
    experiment_id: Id | None = None
    arm: BranchName | None = None


class TaskFinished(Telemetry):
    """An agent ended a task; also the answer to `task.assigned`.

    `awaits_grade` marks an answer that somebody else will grade: it is no outcome yet. The grader publishes the
    final `task.finished` with the same `task_id`. Times in milliseconds, money in US dollars, quality from 0 to 1.
    """

    NAME: ClassVar[str] = "task.finished"
    task_id: Id
    outcome: Outcome
    branch: BranchName = "main"
    commit: Id | None = None
    experiment_id: Id | None = None
    arm: BranchName | None = None
    latency_ms: Milliseconds = 0.0
    cost_usd: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    llm_calls: Count | None = None
    llm_errors: Count | None = None
    rate_limited: Count | None = None
    quality: Annotated[dict[MetricName, Rate], Field(max_length=32)] = {}
    business: Annotated[dict[MetricName, Metric], Field(max_length=32)] = {}
    input: Text | None = None
    output: Text | None = None
    recalled_ids: Annotated[list[Id], Field(max_length=100)] = []
    worktree_id: Id | None = None
    awaits_grade: bool = False
    error: Annotated[str, Field(max_length=4096)] | None = None


class ResponseSent(Telemetry):
    """An agent sent a response."""

    NAME: ClassVar[str] = "response.sent"
    latency_ms: Milliseconds
    bytes: Count | None = None
    ok: bool
    branch: BranchName = "main"


class ResourceSampled(Telemetry):
    """A sample of what an agent process uses; fractions are of one machine."""

    NAME: ClassVar[str] = "resource.sampled"
    cpu_fraction: Annotated[float, Field(ge=0, le=4096, allow_inf_nan=False)]
    memory_bytes: Count
    memory_fraction: Rate
    branch: BranchName = "main"
    worktree_id: Id | None = None


class AgentHeartbeat(Telemetry):
    """An agent instance is alive. One that nobody started says so with a worktree id of its own, or none."""

    NAME: ClassVar[str] = "agent.heartbeat"
    worktree_id: Id | None = None
    branch: BranchName = "main"
    in_flight: Count
    capacity: Count


class MemorySampled(Telemetry):
    """What an agent's memory does: number stored, search latency, hits (reported by memory-repository)."""

    NAME: ClassVar[str] = "memory.sampled"
    branch: BranchName = "main"
    memories_stored: Count
    searches: Count = 0
    search_hits: Count = 0
    results_returned: Count = 0
    search_latency_ms: Milliseconds | None = None
