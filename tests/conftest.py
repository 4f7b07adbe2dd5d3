"""Fixtures that every tier shares: real servers of NATS and PostgreSQL, and clients of them.

NATS is `THYMOS_TEST_NATS_SERVER`, a program, else `nats-server` on PATH, else that of the extra `embedded`. PostgreSQL
is `THYMOS_TEST_POSTGRESQL`, the URL of a running server as its superuser, else one that is started from the programs on
PATH, in Debian's folder, or of the development dependency.

Tests of what is kept in a store run on SQLite. tests/contract/test_engines.py runs those that ask for one of `STORES`
again on PostgreSQL, by `THYMOS_TEST_ENGINE=postgresql`. What is about SQLite itself is marked `sqlite`.
"""

import os
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import pytest_asyncio
from hypothesis import settings
from tests.engines import ENGINE

from thymos import database, nats_bus
from thymos.database import Connection, Database
from thymos.nats_bus import NatsBus
from thymos.postgresql.testing import PostgresqlServer
from thymos.provision import provision
from thymos.sqlite_file import MEMORY, SqliteFile
from thymos.testing import NatsServer

settings.register_profile("thymos", deadline=None, derandomize=os.environ.get("CI") == "true")
"""No wall-clock limit on a slow machine; under `CI=true` the same examples every time, elsewhere new ones."""
settings.load_profile("thymos")


VARIANTS_MAX = 1
"""How many variants of a parametrised test run on another engine: they are about the store, not about the engine."""
STORES = {"store_url", "connect_to", "place"}
"""Fixtures that are on the engine under test."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On another engine, only what is about the engine runs, and the first variant of each test."""
    if ENGINE == "sqlite":
        return
    wanted = [
        item
        for item in items
        if STORES.intersection(getattr(item, "fixturenames", ())) and not item.get_closest_marker("sqlite")
    ]
    variants = Counter[str]()
    kept = []
    for item in wanted:
        name = item.nodeid.partition("[")[0]
        variants[name] += 1
        if variants[name] <= VARIANTS_MAX:
            kept.append(item)
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


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


@pytest.fixture(scope="session")
def postgresql_wiped(postgresql_database: str) -> Iterator[Callable[[], None]]:
    """Empties the database; whoever was connected stays so."""
    with closing(psycopg.connect(postgresql_database, autocommit=True)) as connection:
        connection.execute("SET session_replication_role = replica")  # in any order, whatever refers to what

        def wipe() -> None:
            names = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'thymos_schema'"
            tables = [name for (name,) in connection.execute(names)]
            # Ten times as fast as TRUNCATE, while there is little in them.
            connection.execute(";".join(f"DELETE FROM {name}" for name in tables))
            connection.execute("SELECT setval(oid, 1, false) FROM pg_class WHERE relkind = 'S'")

        yield wipe


@pytest.fixture
def postgresql_url(postgresql_database: str, postgresql_wiped: Callable[[], None]) -> str:
    """An empty database of a real PostgreSQL server."""
    postgresql_wiped()
    return postgresql_database


def options(url: str, **settings: str) -> str:
    """The URL with further settings of the session."""
    words = "%20".join(f"-c%20{key}%3D{value}" for key, value in settings.items())
    return f"{url}{'&' if urlsplit(url).query else '?'}options={words}"


@pytest.fixture
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new, empty store that may be opened more than once."""
    if ENGINE == "sqlite":
        return f"sqlite:///{tmp_path}/memory.db"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def connect_to(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Connection]]:
    """Connects to a new, empty store with the tables that are asked for; one connection at a time."""
    with ExitStack() as opened:

        def connected(schema: str) -> Connection:
            opened.close()
            if ENGINE == "sqlite":
                db: Connection = SqliteFile(MEMORY).opened()
            else:
                request.getfixturevalue("postgresql_wiped")()
                db = database.open_postgresql(str(request.getfixturevalue("postgresql_database")))
            opened.callback(db.close)
            db.executescript(schema)
            return db

        yield connected


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Path | Database]]:
    """Where the store of a name lies: a file, or a schema of its own."""
    if ENGINE == "sqlite":
        yield lambda name: tmp_path / name
        return
    url = str(request.getfixturevalue("postgresql_database"))
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        made: set[str] = set()

        def named(name: str) -> Database:
            schema = "at_" + "".join(character if character.isalnum() else "_" for character in name)
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            made.add(schema)
            return database.postgresql_database(options(url, search_path=schema))

        yield named
        for schema in made:
            connection.execute(f"DROP SCHEMA {schema} CASCADE")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under `CI=true` a skipped test fails the run, unless it needs recorded data that is not in the repository."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") != "true" or reporter is None:
        return
    reasons = [str(report.longrepr[-1]) for report in reporter.stats.get("skipped", ())]
    if any("THYMOS_SHARED_DIR" not in reason for reason in reasons):
        reporter.write_line("skipped tests fail under CI=true", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
