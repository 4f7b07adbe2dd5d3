"""The metrics of a service: bounded in number whatever comes in, and what the alert rules rely on is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from thymos import subjects
from thymos.database import Connection
from thymos.observability.catalogue import METRICS, TENANTS_MAX, reference
from thymos.observability.instruments import Figure, FigureReader, Instruments, TenantLabels
from thymos.unit_of_work import ServiceStore

ROOT = Path(__file__).parents[3]
CONSUMER = subjects.consumer(subjects.DECISION_ENGINE, subjects.EVENTS)


@pytest.fixture
def instruments() -> Instruments:
    return Instruments(subjects.DECISION_ENGINE, verbs=("experiments",), ticks=("deadlines",))


def series(instruments: Instruments) -> int:
    """How many lines of samples the page has."""
    return sum(not line.startswith("#") for line in instruments.text().decode().splitlines())


def test_what_clients_choose_adds_no_series(instruments: Instruments) -> None:
    tenants = TenantLabels()

    def everything(number: int) -> None:
        instruments.answered(f"verb-{number}", "ok", 0.01)
        instruments.wrote([f"name.{number}"])
        instruments.settled(CONSUMER, "ack", number)
        labels = {tenants.of(f"tenant-{each}") for each in range(number)}
        instruments.show([Figure("thymos_branches_merged_total", 1, (label,)) for label in labels])

    everything(TENANTS_MAX + 2)
    before = series(instruments)
    for number in (1_000, 10_000):
        everything(number)

    assert series(instruments) == before


def test_a_figure_that_is_no_more_is_no_longer_shown(instruments: Instruments) -> None:
    instruments.show([Figure("thymos_experiments_open", 1, ("Running",))])
    instruments.show([Figure("thymos_experiments_open", 1, ("Merging",))])

    text = instruments.text().decode()
    assert 'phase="Merging"' in text
    assert 'phase="Running"' not in text

    instruments.show([])

    assert "thymos_experiments_open{" not in instruments.text().decode()


async def test_a_row_that_cannot_be_read_takes_the_figures_away_and_no_other_metric(
    instruments: Instruments, tmp_path: Path
) -> None:
    def damaged(connection: Connection) -> Iterator[Figure]:
        (text,) = connection.execute("SELECT 'no number'").fetchone()
        yield Figure("thymos_decisions_kept", float(text))

    store = ServiceStore(tmp_path / "decision-engine.db", subjects.DECISION_ENGINE)
    reader = FigureReader(store.database, instruments, damaged)
    try:
        await reader.refresh()
    finally:
        reader.close()
        await store.close()

    assert 'thymos_figures_failures_total{service="decision-engine"} 1.0' in instruments.text().decode()


def test_every_metric_that_an_alert_relies_on_is_shown() -> None:
    rules = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
    used = set(re.findall(r"\bthymos_\w+", rules))

    assert used
    assert used <= set(METRICS)


def test_the_reference_names_every_metric() -> None:
    assert all(f"`{name}`" in reference() for name in METRICS)
