"""What decision-engine shows of its store: every tenant counts, and who invents tenants adds no series."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import pytest

from decision_engine import store
from decision_engine.agent_state import AgentState, Figures
from decision_engine.gauges import Gauges
from thymos.database import Connection, open_sqlite
from thymos.observability.catalogue import OTHER, TENANTS_MAX

TENANTS = 200


@pytest.fixture
def connection() -> Iterator[Connection]:
    connection = open_sqlite(":memory:")
    connection.executescript(store.SCHEMA)
    yield connection
    connection.close()


def test_tenants_that_come_later_take_no_series_away_however_they_are_called(connection: Connection) -> None:
    gauges, states = Gauges(), store.AgentStates()
    merged = replace(AgentState("", "support"), figures=Figures(branches_merged=1))
    labels: set[str] = set()
    for number in range(TENANTS):
        states.save(connection, replace(merged, tenant=f"tenant-{TENANTS - number:03}"), None)
        shown = merged_by_tenant(gauges, connection)
        labels |= set(shown)
        assert sum(shown.values()) == number + 1, "none is lost among the others"

    assert len(labels) == TENANTS_MAX + 1
    assert labels == {OTHER, *(f"tenant-{TENANTS - number:03}" for number in range(TENANTS_MAX))}


def test_looks_at_the_evidence_are_counted_since_the_start(connection: Connection) -> None:
    gauges = Gauges()
    gauges.looked(2)
    gauges.looked(1)

    assert {figure.name: figure.value for figure in gauges.read(connection)}["thymos_evidence_looks_total"] == 3


def merged_by_tenant(gauges: Gauges, connection: Connection) -> dict[str, float]:
    values: dict[str, float] = defaultdict(float)
    for figure in gauges.read(connection):
        if figure.name == "thymos_branches_merged_total":
            values[figure.labels[0]] += figure.value
    return dict(values)
