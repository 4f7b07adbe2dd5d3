"""Fixtures that every tier shares: a real NATS server with everything provisioned, and a client of it."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import settings

from thymos import nats_bus
from thymos.nats_bus import NatsBus
from thymos.provision import provision
from thymos.testing import NatsServer

settings.register_profile("thymos", deadline=None, derandomize=os.environ.get("CI") == "true")
"""No wall-clock limit on a slow machine; under `CI=true` the same examples every time, elsewhere new ones."""
settings.load_profile("thymos")


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A nats-server of its own, empty; `kill9()` and `start()` are allowed."""
    with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest_asyncio.fixture
async def nats(nats_server: NatsServer) -> AsyncIterator[NatsBus]:
    """A connection to the server, with streams, consumers and buckets provisioned."""
    bus = await nats_bus.connect(nats_server.url, "test")
    await provision(bus)
    yield bus
    await bus.close()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under `CI=true` a skipped test fails the run, unless it needs recorded data that is not in the repository."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") != "true" or reporter is None:
        return
    reasons = [str(report.longrepr[-1]) for report in reporter.stats.get("skipped", ())]
    if any("THYMOS_SHARED_DIR" not in reason for reason in reasons):
        reporter.write_line("skipped tests fail under CI=true", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
