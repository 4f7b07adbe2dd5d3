"""`thymos agents` and `thymos metrics`: the fleet, and how one agent does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cyclopts import App

from thymos.cli.options import HERE, Json, Where, agent_name
from thymos.cli.output import emit, table

if TYPE_CHECKING:
    from thymos.cli.fleet import Member
    from thymos.metrics import AgentMetrics


def register(app: App) -> None:
    """Add the verbs to the command line."""
    app.command(agents, name="agents")
    app.command(metrics, name="metrics")


async def agents(*, json: Json = False, where: Where = HERE) -> None:
    """The fleet: every agent that is configured or was heard of, how its main branch does, and its worktrees."""
    from thymos.cli.fleet import read_fleet

    async with where.client() as client:
        found = await read_fleet(client)
    if json:
        emit([each.as_json() for each in found])
        return
    now = datetime.now(UTC)
    columns = ["agent", "seen", "branches", "success", "errors", "p95 ms", "load", "trend", "samples", "worktrees"]
    trouble = any(each.crashed for each in found)
    table(
        [*columns, "trouble"] if trouble else columns,
        [_row(each, now, trouble) for each in found],
        empty=f"no agent of tenant {where.tenant_name()!r} was heard of yet; `thymos publish task` reports one",
    )


async def metrics(agent: str, /, *, branch: str | None = None, json: Json = False, where: Where = HERE) -> None:
    """One agent's current metrics, per branch: main first.

    Parameters
    ----------
    agent
        The agent's name.
    branch
        Only this branch.
    """
    from thymos import subjects
    from thymos.requests import MetricsAnswer, ReadMetrics

    request = ReadMetrics(branch=branch)
    async with where.client() as client:
        answer = await client.ask_as(MetricsAnswer, subjects.METRICS_COLLECTOR, agent_name(agent), "metrics", request)
    if json:
        emit(answer.metrics)
        return
    columns = [metric.branch for metric in answer.metrics]
    rows = [_rows(metric) for metric in answer.metrics]
    table(("metric", *columns), [(name, *(row[name] for row in rows)) for name in rows[0]] if rows else [])


def _row(member: Member, now: datetime, trouble: bool) -> list[object]:
    heard = member.summary
    row = [member.agent, _ago(heard.last_seen if heard else None, now), len(heard.branches) if heard else 0]
    return [*row, *_summary(heard.main if heard else None), member.worktrees, *([member.trouble] if trouble else [])]


def _summary(main: AgentMetrics | None) -> tuple[object, ...]:
    if main is None:
        return (None, None, None, None, None, 0)
    task = main.task
    return (task.success_rate, task.error_rate, task.completion.p95_ms, main.load, main.trend.value, main.sample_count)


def _rows(metrics: AgentMetrics) -> dict[str, object]:
    """What a person wants to know of a branch; `--json` has all of it."""
    task, response, used = metrics.task, metrics.response, metrics.resource
    return {
        "success rate": task.success_rate,
        "error rate": task.error_rate,
        "timeout rate": task.timeout_rate,
        "tasks": task.total,
        "in progress": task.in_progress,
        "completion p50 ms": task.completion.p50_ms,
        "completion p95 ms": task.completion.p95_ms,
        "completion p99 ms": task.completion.p99_ms,
        "response p95 ms": response.latency.p95_ms,
        "responses per s": response.throughput_per_second,
        "cpu": used.cpu_fraction,
        "memory": used.memory_fraction,
        "llm calls": used.llm_calls,
        "cost usd": used.cost_usd,
        "output quality": metrics.quality.output_quality,
        "memories": metrics.memory.memories_stored,
        "search ms": metrics.memory.search_latency_ms,
        "search hit rate": metrics.memory.hit_rate,
        "results per search": metrics.memory.mean_results,
        "load": metrics.load,
        "overall score": metrics.overall_score,
        "trend": metrics.trend.value,
        "variance": metrics.variance,
        "samples": metrics.sample_count,
        "window s": metrics.window_seconds,
    }


def _ago(then: datetime | None, now: datetime) -> str:
    if then is None:
        return "-"
    seconds = max(0, round((now - then).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit} ago"
    return f"{seconds}s ago"
