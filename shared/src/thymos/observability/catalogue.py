"""Every metric that a service shows, declared once: name, kind, labels, meaning. The reference is written from here.

    python -m thymos.observability.catalogue > docs/reference/metrics.md

Labels take values from closed sets only (streams, outcomes, verbs, phases, …); nothing that a client chooses (a tenant,
an agent, a branch, an id, a subject) becomes one, but for `tenant`, of which there are `TENANTS_MAX` and `other`.
"""

import sys
from dataclasses import dataclass
from enum import StrEnum

TENANTS_MAX = 20
"""Tenants that have series of their own; the others together are `other`."""
OTHER = "other"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Type(StrEnum):
    """Of a metric, in Prometheus' words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    """One metric. `services` are those that show it; none means every one. All have the label `service` too."""

    name: str
    type: Type
    help: str
    labels: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


def _all(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


_C, _G, _H = Type.COUNTER, Type.GAUGE, Type.HISTOGRAM
_ENGINE = ("decision-engine",)
_COLLECTOR = ("metrics-collector",)
_MEMORY = ("memory-repository",)
_SCALER = ("worktree-scaler",)

METRICS = _all(
    Metric("thymos_build_info", _G, "Always 1; the label `version` says which version runs.", ("version",)),
    Metric("thymos_ready", _G, "1 while the service takes events, else 0."),
    Metric(
        "thymos_messages_handled_total",
        _C,
        "Deliveries settled, by the stream they came from and how: `ack`, `retry` or `dead`.",
        ("route", "outcome"),
    ),
    Metric(
        "thymos_redeliveries_total",
        _C,
        "Deliveries of messages that had been delivered before, by stream.",
        ("route",),
    ),
    Metric(
        "thymos_dead_letters_total",
        _C,
        "Dead letters written, by where the message came from: a stream, or the service's own `outbox`.",
        ("route",),
    ),
    Metric("thymos_handler_seconds", _H, "Handling of a message or a batch, its transaction included.", ("route",)),
    Metric("thymos_consumer_pending_messages", _G, "Messages that wait for the service's durable.", ("route",)),
    Metric("thymos_consumer_ack_pending_messages", _G, "Messages delivered and not yet acknowledged.", ("route",)),
    Metric("thymos_last_fetch_age_seconds", _G, "Since a fetch from the durable last ended without error.", ("route",)),
    Metric("thymos_outbox_messages", _G, "Messages in the outbox: caused, and not yet published."),
    Metric("thymos_outbox_oldest_age_seconds", _G, "Age of the oldest message in the outbox; 0 when it is empty."),
    Metric("thymos_inbox_messages", _G, "Handled messages that are remembered, counted by position (at most so many)."),
    Metric(
        "thymos_messages_published_total",
        _C,
        "Messages put into the outbox, by name: `branch.merged`, `merge.conflicted`, `experiment.decided`, …",
        ("name",),
    ),
    Metric("thymos_relay_published_total", _C, "Messages of the outbox that were published, by kind.", ("kind",)),
    Metric("thymos_relay_failed_total", _C, "Messages of the outbox that could not be published; tried again."),
    Metric("thymos_requests_total", _C, "Requests answered, by verb and code (`ok`, or why not).", ("verb", "code")),
    Metric("thymos_request_seconds", _H, "Time to answer a request.", ("verb",)),
    Metric("thymos_tick_seconds", _H, "Work at intervals, by its name.", ("tick",)),
    Metric("thymos_tick_failures_total", _C, "Work at intervals that failed, by its name.", ("tick",)),
    Metric("thymos_store_errors_total", _C, "Times that the store could not be used (full, locked, broken)."),
    Metric("thymos_store_bytes", _G, "Size of the service's file, without its write-ahead log."),
    Metric("thymos_figures_failures_total", _C, "Times that the gauges could not be read from the store."),
    Metric("thymos_branches_created_total", _G, "Branches that experiments created.", ("tenant",), _ENGINE),
    Metric("thymos_branches_merged_total", _G, "Branches that were merged into main.", ("tenant",), _ENGINE),
    Metric("thymos_branches_rolled_back_total", _G, "Rollbacks of main.", ("tenant",), _ENGINE),
    Metric("thymos_worktrees_created_total", _G, "Worktrees that were started.", ("tenant",), _ENGINE),
    Metric("thymos_experiments_run_total", _G, "Experiments that were run.", ("tenant",), _ENGINE),
    Metric(
        "thymos_experiment_duration_mean_seconds",
        _G,
        "Mean time from the opening of an experiment to its end; absent before the first end.",
        ("tenant",),
        _ENGINE,
    ),
    Metric(
        "thymos_experiment_success_ratio",
        _G,
        "Share of closed experiments that ended in a merge; absent before the first end.",
        ("tenant",),
        _ENGINE,
    ),
    Metric(
        "thymos_experiment_improvement_mean_ratio",
        _G,
        "Mean gain in success rate of merged experiments (1 is 100 percentage points); absent before the first merge.",
        ("tenant",),
        _ENGINE,
    ),
    Metric("thymos_experiments_open", _G, "Experiments that are not closed, by phase.", ("phase",), _ENGINE),
    Metric("thymos_decisions_kept", _G, "Decisions that can be asked for (the newest).", (), _ENGINE),
    Metric("thymos_evidence_looks_total", _G, "Looks at the evidence of running experiments.", (), _ENGINE),
    Metric("thymos_agents_tracked", _G, "Agents that metrics are kept of.", (), _COLLECTOR),
    Metric("thymos_outcomes_counted_total", _G, "Outcomes counted, each once, of all agents.", (), _COLLECTOR),
    Metric("thymos_baselines", _G, "Baselines, by state: `frozen` or `collecting`.", ("state",), _COLLECTOR),
    Metric("thymos_memory_repositories", _G, "Memories of agents.", (), _MEMORY),
    Metric("thymos_memory_branches", _G, "Branches of all memories.", (), _MEMORY),
    Metric("thymos_memory_commits_total", _G, "Commits of all memories.", (), _MEMORY),
    Metric("thymos_memory_worktrees_open", _G, "Checkouts of memory that are open.", (), _MEMORY),
    Metric("thymos_worktrees", _G, "Worktrees, by who runs them and phase.", ("backend", "phase"), _SCALER),
    Metric("thymos_worktree_crashes", _G, "Crashes in a row of the worktrees there are.", (), _SCALER),
    Metric("thymos_tasks_in_hand", _G, "Tasks that agents are working on.", (), _SCALER),
    Metric("thymos_scenario_runs_open", _G, "Scenarios that are being run.", (), _SCALER),
)

_INTRODUCTION = """\
<!-- Generated from shared/src/thymos/observability/catalogue.py by `python -m thymos.observability.catalogue`. -->

# Metrics

What each service shows at `/metrics`, in Prometheus' text format, where `observability.port` is set. Every metric has
the label `service` besides those below. Labels take their values from closed sets: no agent, branch, subject or id is
one, so that their number does not grow with the traffic. `tenant` is `default` or another tenant; beyond 20 of them the
others are counted together, as `other`. `route` is a stream: `telemetry`, `metrics`, `events` or `commands`.

Beside these there are the `process_*` and `python_*` metrics of the process itself.

| metric | type | labels | shown by | meaning |
|---|---|---|---|---|
"""


def reference() -> str:
    """The text of ``docs/reference/metrics.md``, in Markdown."""
    return _INTRODUCTION + "".join(f"{_row(metric)}\n" for metric in METRICS.values())


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.type} | {labels} | {', '.join(metric.services) or 'all'} | {metric.help} |"


if __name__ == "__main__":
    sys.stdout.write(reference())
