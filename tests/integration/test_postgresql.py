"""PostgreSQL under a repository and under a service's store: taking turns, going away, coming back."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from tests.deadline import DEADLINE_SECONDS

from memory_repository import Memory, MemoryRepository, Put
from memory_repository.core import limits
from memory_repository.operations import branching, committing, reading
from memory_repository.storage import timeline, word_index
from thymos.bus import PublishAck
from thymos.database import Rows, open_postgresql, postgresql_database
from thymos.envelope import Envelope, decode
from thymos.errors import DatabaseUnavailableError, Refusal, StoreUnavailableError
from thymos.events import BranchDeleted
from thymos.kept_answers import Asked
from thymos.message import Message
from thymos.postgresql.connection import PostgresqlConnection
from thymos.postgresql.testing import PostgresqlServer
from thymos.telemetry import TaskStarted
from thymos.testing import MemoryBus
from thymos.unit_of_work import Cause, ServiceStore, Transaction

SCHEMA = "CREATE TABLE IF NOT EXISTS seen(task TEXT);"
CONSUMER = "THE_STREAM:the-durable"


def with_setting(url: str, setting: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}options=-c%20{setting.replace('=', '%3D')}"


def opened(url: str, agent: str = "support") -> MemoryRepository:
    return MemoryRepository.open(url, tenant="acme", agent=agent)


def wait_for_somebody_who_waits(url: str, count: int = 1) -> None:
    """Until so many sessions wait for a lock."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    deadline = time.monotonic() + DEADLINE_SECONDS
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        while (connection.execute(asked).fetchone() or (0,))[0] < count:
            assert time.monotonic() < deadline, "nobody waits"


# --- writers and readers of repositories ------------------------------------------------------------------------------


def test_nobody_writes_over_what_another_has_written(postgresql_url: str) -> None:
    """Lost update: read, add one, write, from several connections at once."""

    def count_up(times: int) -> None:
        with opened(postgresql_url) as memory:
            for _ in range(times):
                with memory._writing() as (repo, now):
                    before = int(reading.get(repo, "count").memory.content)
                    committing.commit(repo, "main", [Put(Memory("count", str(before + 1)))], author="x", now=now)

    with opened(postgresql_url) as memory:
        memory.commit([Put(Memory("count", "0"))])
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(count_up, [10, 10, 10]))
        assert memory.get("count").memory.content == "30"
        assert memory.verify().ok


def test_a_limit_holds_against_two_writers_who_each_would_keep_it(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Write skew: both count the branches, and each makes another one."""
    monkeypatch.setattr(limits, "BRANCHES_MAX", 2)
    with opened(postgresql_url) as one, opened(postgresql_url) as other, ThreadPoolExecutor(1) as pool:
        with one._writing() as (repo, now):
            second = pool.submit(other.create_branch, "b")
            wait_for_somebody_who_waits(postgresql_url)
            branching.create_branch(repo, "a", actor="x", now=now)
        with pytest.raises(Refusal, match="branches"):
            second.result(DEADLINE_SECONDS)
        assert [branch.name for branch in one.branches()] == ["a", "main"]


def test_agents_do_not_wait_for_each_other_and_readers_for_nobody(postgresql_url: str) -> None:
    with opened(postgresql_url) as one, opened(postgresql_url, "sales") as sales, opened(postgresql_url) as reader:
        with one._writing() as (repo, now):
            committing.commit(repo, "main", [Put(Memory("a", "x"))], author="x", now=now)
            sales.commit([Put(Memory("b", "y"))])
            assert reader.memories() == []
        assert [found.id for found in reader.memories()] == ["a"]


def test_a_read_is_of_one_moment(postgresql_url: str) -> None:
    with opened(postgresql_url) as writer, opened(postgresql_url) as reader:
        with reader._reading() as repo:
            assert reading.memories(repo) == []
            writer.commit([Put(Memory("a", "x"))])
            assert reading.memories(repo) == []
            assert len(reading.log(repo)) == 1
        assert len(reader.memories()) == 1


def test_a_writer_that_waits_too_long_for_its_turn_says_so(postgresql_url: str) -> None:
    impatient = with_setting(postgresql_url, "lock_timeout=50ms")
    with opened(postgresql_url) as one, opened(impatient) as other:
        with one._writing(), pytest.raises(StoreUnavailableError, match="another writer holds") as refused:
            other.commit([Put(Memory("a", "x"))])
        assert not isinstance(refused.value, DatabaseUnavailableError)  # the server is well
        assert other.commit([Put(Memory("a", "x"))]).changed


def test_a_text_that_postgresql_cannot_hold_is_refused(postgresql_url: str) -> None:
    with opened(postgresql_url) as memory:
        for ask in (lambda: memory.memories("a\x00b"), lambda: memory.page(after="\x00")):
            with pytest.raises(Refusal):
                ask()
        assert memory.memories() == []


def test_a_long_listing_and_many_hits_come_whole(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than PostgreSQL is asked for at once."""
    monkeypatch.setattr(timeline, "PART", 4)
    monkeypatch.setattr(timeline, "PART_MAX", 16)
    monkeypatch.setattr(word_index, "AT_ONCE", 4)
    with opened(postgresql_url) as memory:
        names = [f"m{number:05}" for number in range(100)]
        memory.commit([Put(Memory(name, f"apple {name}")) for name in names])
        memory.commit([Put(Memory(name, f"pear {name}")) for name in names[:60]])
        assert [found.id for found in memory.memories()] == names
        hits = memory.search("apple", limit=100).hits
        assert [hit.memory.id for hit in hits] == names[60:]


def test_a_read_asks_the_server_as_often_however_deep_its_branch_is(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = PostgresqlConnection.execute

    def counted(db: PostgresqlConnection, sql: str, parameters: Sequence[Any] = (), /) -> Rows:
        asked.append(sql)
        return real(db, sql, parameters)

    monkeypatch.setattr(PostgresqlConnection, "execute", counted)
    with opened(postgresql_url) as memory:
        memory.commit([Put(Memory("root", "x"))])
        before, costs = "main", []
        for number in range(12):
            memory.create_branch(f"b{number}", before)
            before = f"b{number}"
            memory.commit([Put(Memory(before, "x"))], branch=before)
            asked.clear()
            assert memory.get("root", before).memory.content == "x"
            costs.append(len(asked))
        assert max(costs) <= costs[0] + 1


def test_a_transaction_in_which_a_statement_failed_is_not_committed_silently(postgresql_url: str) -> None:
    with closing(open_postgresql(postgresql_url)) as db:
        db.executescript(SCHEMA)
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO seen(task) VALUES (?)", ("a",))
        with pytest.raises(psycopg.errors.UndefinedTable):
            db.execute("SELECT * FROM nowhere")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            db.execute("COMMIT")
        assert not db.in_transaction
        assert db.execute("SELECT count(*) FROM seen").fetchone() == (0,)


def test_stores_that_begin_at_once_create_their_tables_once(postgresql_url: str) -> None:
    """Replicas start together on an empty database."""
    with closing(psycopg.connect(postgresql_url, autocommit=True)) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    begin = threading.Barrier(4)

    def begun(number: int) -> int:
        begin.wait(DEADLINE_SECONDS)
        with opened(postgresql_url, f"agent{number}") as memory:
            return len(memory.log())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(begun, range(4))) == [1, 1, 1, 1]


# --- a server that goes away ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresqlServer]:
    """A server that a test may kill."""
    with PostgresqlServer() as server:
        yield server


@pytest.fixture
def server(own_server: PostgresqlServer) -> PostgresqlServer:
    """The same, running."""
    if own_server.pid is None:
        own_server.start()
    return own_server


def test_a_repository_goes_on_after_the_server_was_started_again(server: PostgresqlServer) -> None:
    with opened(server.url, "restarted") as memory:
        memory.commit([Put(Memory("a", "x"))])
        server.stop()
        with pytest.raises(DatabaseUnavailableError, match="see whether it runs"):
            memory.commit([Put(Memory("b", "x"))])
        with pytest.raises(DatabaseUnavailableError, match="see whether it runs"):
            memory.memories()
        server.start()
        assert memory.commit([Put(Memory("c", "x"))]).changed
        assert [found.id for found in memory.memories()] == ["a", "c"]


def test_a_transaction_that_loses_its_server_is_gone(server: PostgresqlServer) -> None:
    def killed_within(memory: MemoryRepository) -> None:
        with memory._writing() as (repo, now):
            committing.commit(repo, "main", [Put(Memory("a", "x"))], author="x", now=now)
            server.kill9()
            server.start()
            committing.commit(repo, "main", [Put(Memory("b", "x"))], author="x", now=now)

    with opened(server.url, "killed") as memory:
        with pytest.raises(DatabaseUnavailableError):
            killed_within(memory)
        assert memory.memories() == []
        assert memory.verify().ok


# --- a service's store ------------------------------------------------------------------------------------------------


def store_at(url: str) -> ServiceStore:
    return ServiceStore(postgresql_database(url), "memory-repository", SCHEMA)


def message(identity: str, agent: str = "support") -> Envelope[Message]:
    return Envelope(
        id=identity,
        source="shop",
        time=datetime.now(UTC),
        tenant="acme",
        agent=agent,
        data=TaskStarted(task_id=identity),
    )


def record(envelope: Envelope[Message], tx: Transaction) -> None:
    tx.connection.execute("INSERT INTO seen(task) VALUES (?)", (envelope.id,))
    for part in ("a", "b"):
        tx.publish(BranchDeleted(branch=f"{envelope.id}-{part}", from_commit="c"))


async def count(store: ServiceStore, table: str) -> int:
    return await store.run(lambda: int(store._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]))


class CountingBus(MemoryBus):
    """Knows what was published, duplicates too."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[Envelope[Message]] = []

    async def publish(
        self, subject: str, body: bytes, message_id: str, headers: Mapping[str, str] | None = None
    ) -> PublishAck:
        await asyncio.sleep(0)
        self.published.append(decode(body, subject))
        return await super().publish(subject, body, message_id, headers)

    def branches(self, agent: str) -> list[str]:
        return [e.data.branch for e in self.published if e.agent == agent and isinstance(e.data, BranchDeleted)]


@pytest_asyncio.fixture
async def replicas(postgresql_url: str) -> AsyncIterator[tuple[ServiceStore, ServiceStore]]:
    stores = (store_at(postgresql_url), store_at(postgresql_url))
    await stores[0].run(lambda: stores[0]._connection.execute("DELETE FROM seen"))
    yield stores
    for store in stores:
        await store.close()


async def test_a_message_that_comes_to_two_replicas_at_once_takes_effect_once(
    replicas: tuple[ServiceStore, ServiceStore],
) -> None:
    for number in range(10):
        each = [store.handle(CONSUMER, message(f"m{number}"), record) for store in replicas]
        assert sorted(await asyncio.gather(*each)) == [False, True]
    assert (await count(replicas[0], "seen"), await count(replicas[1], "outbox")) == (10, 20)


async def test_a_key_that_comes_to_two_replicas_at_once_gets_one_answer(
    replicas: tuple[ServiceStore, ServiceStore],
) -> None:
    def work(tx: Transaction) -> bytes:
        tx.connection.execute("INSERT INTO seen(task) VALUES ('x')")
        return str(tx.connection.execute("SELECT count(*) FROM seen").fetchone()[0]).encode()

    for number in range(1, 11):
        key = f"acme/support/commit/{number}"
        each = [store.answer(Cause(f"request|{key}", "acme", "support"), Asked(key, ""), work) for store in replicas]
        assert await asyncio.gather(*each) == [str(number).encode()] * 2


async def test_replicas_publish_each_message_once_and_every_agents_in_order(
    replicas: tuple[ServiceStore, ServiceStore],
) -> None:
    bus, agents = CountingBus(), ("support", "sales")
    relays = [asyncio.create_task(store.run_relay(bus)) for store in replicas]

    async def handle(store: ServiceStore, mine: str) -> None:
        for number in range(25):
            await store.handle(CONSUMER, message(f"{mine}{number}", agents[number % 2]), record)

    await asyncio.gather(*(handle(store, mine) for store, mine in zip(replicas, "ab", strict=True)))
    async with asyncio.timeout(DEADLINE_SECONDS):
        while len(bus.published) < 100 or await count(replicas[0], "outbox"):
            await asyncio.sleep(0.02)
    for relay in relays:
        relay.cancel()
        with suppress(asyncio.CancelledError):
            await relay
    for agent in agents:
        branches = bus.branches(agent)
        assert len(branches) == len(set(branches)) == (52 if agent == "support" else 48)
        for mine in "ab":  # each replica's in the order in which it handled them
            numbers = [int(branch[1:].split("-")[0]) for branch in branches if branch.startswith(mine)]
            assert numbers == sorted(numbers)


HOLDER = """
import sys, time
from thymos.database import postgresql_database
connection = postgresql_database(sys.argv[1]).opened()
assert connection.claim("relay")
print("claimed", flush=True)
time.sleep(600)
"""


def holding(url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_what_a_replica_leaves_behind_another_publishes(
    replicas: tuple[ServiceStore, ServiceStore], postgresql_url: str, how: signal.Signals
) -> None:
    """One that is killed, and one that stands still: the server ends its connection."""
    url = with_setting(postgresql_url, "idle_session_timeout=1s")
    holder = holding(url)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"claimed\n"
        store, bus = replicas[0], CountingBus()
        await store.handle(CONSUMER, message("m"), record)
        if how is signal.SIGKILL:  # the other one may be gone already
            assert await store.relay(bus) == 0
            assert bus.published == []
        relay = asyncio.create_task(store.run_relay(bus))
        holder.send_signal(how)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while len(bus.published) < 2:
                await asyncio.sleep(0.02)
        relay.cancel()
        with suppress(asyncio.CancelledError):
            await relay
        assert bus.branches("support") == ["m-a", "m-b"]
    finally:
        holder.kill()
        holder.communicate()


async def test_a_service_begins_without_its_database_and_waits_for_it(server: PostgresqlServer) -> None:
    server.stop()
    store = store_at(server.url)
    (finding,) = await store.findings()
    assert "see whether it runs" in finding
    assert "postgresql:///postgres" in finding
    with pytest.raises(StoreUnavailableError):
        await store.handle(CONSUMER, message("begun-1"), record)
    server.start()
    assert await store.findings() == []
    assert await store.handle(CONSUMER, message("begun-1"), record) is True
    await store.close()


async def test_a_service_goes_on_when_its_database_is_back(server: PostgresqlServer) -> None:
    store = store_at(server.url)
    assert await store.findings() == []
    server.kill9()
    (finding,) = await store.findings()  # seen without any work
    assert "see whether it runs" in finding
    with pytest.raises(StoreUnavailableError):
        await store.handle(CONSUMER, message("back-1"), record)
    server.start()
    assert await store.findings() == []
    assert await store.handle(CONSUMER, message("back-1"), record) is True
    assert await store.handle(CONSUMER, message("back-1"), record) is False
    await store.close()


def reconfigured(server: PostgresqlServer, *statements: str) -> None:
    with closing(psycopg.connect(server.url, autocommit=True)) as connection:
        connection.execute("SET default_transaction_read_only = off")
        for statement in statements:
            connection.execute(statement)  # type: ignore[call-overload,unused-ignore]
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'thymos'")


FULL = """
CREATE OR REPLACE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$
"""
BROKEN: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "read-only": (
        ("ALTER DATABASE postgres SET default_transaction_read_only = on",),
        ("ALTER DATABASE postgres RESET default_transaction_read_only",),
        "name the primary",
    ),
    "full": (
        (FULL, *(f"CREATE TRIGGER f BEFORE INSERT ON {t} EXECUTE FUNCTION full_disk()" for t in ("inbox", "probe"))),
        ("DROP FUNCTION full_disk() CASCADE",),
        "make room on its disk",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
async def test_a_database_that_takes_no_writes_is_a_finding_until_it_does(server: PostgresqlServer, how: str) -> None:
    """Full as the server would say it; the disk itself is not filled."""
    broken, mended, words = BROKEN[how]
    store = store_at(server.url)
    reconfigured(server, *broken)
    with pytest.raises(StoreUnavailableError, match=words):
        await store.handle(CONSUMER, message(f"{how}-1"), record)
    (finding,) = await store.findings()
    assert words in finding
    reconfigured(server, *mended)
    assert await store.findings() == []
    assert await store.handle(CONSUMER, message(f"{how}-1"), record) is True
    await store.close()


async def test_a_password_is_in_no_message() -> None:
    store = store_at("postgresql://ann:secret@127.0.0.1:1/memory")
    (finding,) = await store.findings()
    assert "postgresql://127.0.0.1:1/memory" in finding
    assert "secret" not in finding
    assert "secret" not in repr(store.database)
    await store.close()
