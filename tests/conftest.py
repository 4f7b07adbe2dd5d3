"""Fixtures that every tier shares: a real NATS server with everything provisioned, and a client of it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from thymos import nats_bus
from thymos.nats_bus import NatsBus
from thymos.provision import provision
from thymos.testing import NatsServer


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
