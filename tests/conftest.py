"""Fixtures that every tier shares: real servers of NATS and PostgreSQL, and clients of them.

NATS is `THYMOS_TEST_NATS_SERVER`, a program, else `nats-server` on PATH, else that of the extra `embedded`. PostgreSQL
is `THYMOS_TEST_POSTGRESQL`, the URL of a running server as its superuser, else one that is started from the programs on
PATH, in Debian's folder, or of the development dependency.
"""

import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import pytest_asyncio
from hypothesis import settings

from thymos import nats_bus
from thymos.nats_bus import NatsBus
from thymos.postgresql.testing import PostgresqlServer
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


@pytest.fixture(scope="session")
def postgresql_database() -> Iterator[str]:
    """A database of a real server, for this run alone."""
    given = os.environ.get("THYMOS_TEST_POSTGRESQL")
    if given is None:
        with PostgresqlServer() as server:
            yield server.url
        return
    name = f"thymos_test_{uuid.uuid4().hex}"
    with closing(psycopg.connect(given, autocommit=True)) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        yield with_database(given, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def with_database(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    parts = urlsplit(url)
    return parts._replace(path=f"/{name}").geturl()


@pytest.fixture
def postgresql_wiped(postgresql_database: str) -> Callable[[], None]:
    """Empties the database; whoever was connected stays so."""

    def wipe() -> None:
        with closing(psycopg.connect(postgresql_database, autocommit=True)) as connection:
            names = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'thymos_schema'"
            tables = [name for (name,) in connection.execute(names)]
            # Ten times as fast as TRUNCATE, while there is little in them.
            connection.execute(
                "SET session_replication_role = replica;" + ";".join(f"DELETE FROM {name}" for name in tables)
            )
            connection.execute("SELECT setval(oid, 1, false) FROM pg_class WHERE relkind = 'S'")

    return wipe


@pytest.fixture
def postgresql_url(postgresql_database: str, postgresql_wiped: Callable[[], None]) -> str:
    """An empty database of a real PostgreSQL server."""
    postgresql_wiped()
    return postgresql_database


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under `CI=true` a skipped test fails the run, unless it needs recorded data that is not in the repository."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") != "true" or reporter is None:
        return
    reasons = [str(report.longrepr[-1]) for report in reporter.stats.get("skipped", ())]
    if any("THYMOS_SHARED_DIR" not in reason for reason in reasons):
        reporter.write_line("skipped tests fail under CI=true", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
