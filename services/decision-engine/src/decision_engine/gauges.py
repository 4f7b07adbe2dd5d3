"""What decision-engine shows of its store at `/metrics`: the figures of versioning, and the open experiments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from decision_engine import agent_state
from decision_engine.agent_state import Figures
from decision_engine.phases import Phase
from decision_engine.record import versioning_metrics
from thymos.database import Connection
from thymos.observability.instruments import Figure, TenantLabels
from thymos.requests import VersioningMetrics

NEWEST = 2_000
"""Experiments that are looked through for open ones: they do not stay open for long."""


class Gauges:
    """Reads all gauges; what the store does not hold is told by the handlers, and counts since the start."""

    def __init__(self) -> None:
        self._tenants = TenantLabels()
        self._looks = 0

    def looked(self, times: int) -> None:
        """The evidence of running experiments was looked at."""
        self._looks += times

    def read(self, connection: Connection) -> Iterator[Figure]:
        """All of them, as they are now."""
        of_tenants: dict[str, list[Figures]] = defaultdict(list)
        for tenant, text in connection.execute("SELECT tenant, figures FROM agents ORDER BY tenant"):
            of_tenants[self._tenants.of(tenant)].append(agent_state.figures_from_json(text))
        for label, of_agents in of_tenants.items():
            yield from _of_tenant(label, versioning_metrics(of_agents))
        yield from _of_records(connection)
        yield Figure("thymos_evidence_looks_total", self._looks)


def _of_records(connection: Connection) -> Iterator[Figure]:
    """The open experiments by phase, and the decisions that are kept."""
    open_in = dict.fromkeys((phase.value for phase in Phase if phase is not Phase.CLOSED), 0)
    rows = connection.execute(
        "SELECT json_extract(record, '$.phase'), count(*) FROM experiments"
        " WHERE position > (SELECT max(position) FROM experiments) - ?"
        " AND json_extract(record, '$.closed_at') IS NULL GROUP BY 1",
        (NEWEST,),
    )
    open_in.update((phase, count) for phase, count in rows if phase in open_in)
    for phase, count in open_in.items():
        yield Figure("thymos_experiments_open", count, (phase,))
    first, last = connection.execute("SELECT min(position), max(position) FROM decisions").fetchone()
    yield Figure("thymos_decisions_kept", 0 if last is None else last - first + 1)


def _of_tenant(tenant: str, eight: VersioningMetrics) -> Iterator[Figure]:
    values = (
        ("thymos_branches_created_total", eight.branches_created),
        ("thymos_branches_merged_total", eight.branches_merged),
        ("thymos_branches_rolled_back_total", eight.branches_rolled_back),
        ("thymos_worktrees_created_total", eight.worktrees_created),
        ("thymos_experiments_run_total", eight.ab_tests_run),
        ("thymos_experiment_duration_mean_seconds", eight.avg_experiment_duration_seconds),
        ("thymos_experiment_success_ratio", eight.experiment_success_rate),
        ("thymos_experiment_improvement_mean_ratio", eight.avg_improvement),
    )
    for name, value in values:
        if value is not None:
            yield Figure(name, value, (tenant,))
