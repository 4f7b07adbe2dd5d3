"""The pages of the four real services: metrics that Prometheus can read, and whether events are taken."""

import asyncio
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.deadline import DEADLINE_SECONDS

from thymos import subjects
from thymos.client import Client
from thymos.embedded import free_port
from thymos.observability.catalogue import METRICS
from thymos.suite import MODULES, Suite
from thymos.telemetry import Outcome, TaskFinished

EIGHT = {
    "thymos_branches_created_total",
    "thymos_branches_merged_total",
    "thymos_branches_rolled_back_total",
    "thymos_worktrees_created_total",
    "thymos_experiments_run_total",
}
"""Of the eight figures of `VersioningMetrics` those that have a value from the beginning; the means follow."""


def page(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def test_every_service_shows_what_it_does_and_whether_it_takes_events(tmp_path: Path) -> None:
    async with Suite(tmp_path, metrics_port=free_port(), sync_always=False) as suite:
        await suite.ready()
        client = Client(suite.bus, source="test")
        for number in range(20):
            await client.publish(
                client.envelope(TaskFinished(task_id=f"t{number}", outcome=Outcome.SUCCEEDED, branch="main"), "support")
            )
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (await metrics(suite, subjects.METRICS_COLLECTOR)).get("thymos_outcomes_counted_total", 0) < 20:
                await asyncio.sleep(0.1)
        for service in MODULES:
            status, _ = await asyncio.to_thread(page, suite.metrics_port_of(service), "/ready")
            assert status == 200, service
            shown = await metrics(suite, service)
            assert shown["thymos_ready"] == 1
            assert {name for name in shown if name.startswith("thymos_")} <= names_in_the_catalogue()
        engine = await metrics(suite, subjects.DECISION_ENGINE)
        assert set(engine) >= EIGHT


async def metrics(suite: Suite, service: str) -> dict[str, float]:
    """The sum of each metric's series on a service's page."""
    status, text = await asyncio.to_thread(page, suite.metrics_port_of(service), "/metrics")
    if status != 200:
        pytest.fail(f"{service}: {status} {text}")
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def names_in_the_catalogue() -> set[str]:
    suffixes = ("", "_created", "_bucket", "_count", "_sum", "_total")
    return {f"{name.removesuffix('_total')}{suffix}" for name in METRICS for suffix in suffixes} | set(METRICS)
