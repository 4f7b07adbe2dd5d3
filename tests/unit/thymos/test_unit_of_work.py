"""State, inbox and outbox change in one transaction, or not at all: a real store, the bus in memory."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from thymos import outbox, subjects, unit_of_work
from thymos.bus import PublishAck
from thymos.database import Database
from thymos.envelope import Envelope, decode
from thymos.errors import PoisonError, StoreUnavailableError, TransientError
from thymos.events import BranchDeleted
from thymos.kept_answers import Asked
from thymos.message import Message
from thymos.tasks import TaskAssigned
from thymos.telemetry import TaskStarted
from thymos.testing import MemoryBus
from thymos.trace_context import TraceContext
from thymos.unit_of_work import Cause, ServiceStore, Transaction

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
CONSUMER = "THE_STREAM:the-durable"
SCHEMA = "CREATE TABLE IF NOT EXISTS seen(task TEXT);"


Place = Callable[[str], Path | Database]


def open_store(place: Path | Database) -> ServiceStore:
    return ServiceStore(place, "memory-repository", SCHEMA, clock=lambda: NOW)


@pytest_asyncio.fixture
async def store(place: Place) -> AsyncIterator[ServiceStore]:
    opened = open_store(place("data/store.db"))
    yield opened
    await opened.close()


def message(identity: str = "1", task: str = "t-1") -> Envelope[Message]:
    return Envelope(
        id=identity, source="shop", time=NOW, tenant="acme", agent="support", data=TaskStarted(task_id=task)
    )


def deleted(branch: str) -> BranchDeleted:
    return BranchDeleted(branch=branch, from_commit="c")


def record(envelope: Envelope[Message], tx: Transaction) -> None:
    """A handler: one row of state, two messages."""
    assert isinstance(envelope.data, TaskStarted)
    tx.connection.execute("INSERT INTO seen(task) VALUES (?)", (envelope.data.task_id,))
    for name in ("a", "b"):
        tx.publish(deleted(f"{envelope.data.task_id}-{name}"), tenant=envelope.tenant, agent=envelope.agent)


def record_all(envelopes: Sequence[Envelope[Message]], tx: Transaction) -> None:
    for envelope in envelopes:
        record(envelope, tx)


async def count(store: ServiceStore, table: str) -> int:
    return await store.run(lambda: int(store._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]))


async def published(bus: MemoryBus) -> list[Envelope[Message]]:
    """What is on the event stream, in order."""
    stored = bus.follow(subjects.EVENTS, "thymos.event.>", from_sequence=1)
    messages = [await asyncio.wait_for(anext(stored), 5) for _ in range(await bus.last_sequence(subjects.EVENTS))]
    return [decode(m.body, m.subject) for m in messages]


def branches(envelopes: Sequence[Envelope[Message]]) -> list[str]:
    return [e.data.branch for e in envelopes if isinstance(e.data, BranchDeleted)]


# --- once, or not at all --------------------------------------------------------------------------------------------


async def test_a_message_takes_effect_once(store: ServiceStore) -> None:
    bus = MemoryBus()
    assert await store.handle(CONSUMER, message(), record) is True
    assert await store.handle(CONSUMER, message(), record) is False, "a redelivery"
    assert await store.relay(bus) == 2
    assert await store.relay(bus) == 0
    assert await count(store, "seen") == 1
    assert branches(await published(bus)) == ["t-1-a", "t-1-b"]


async def test_two_consumers_each_handle_a_message_once(store: ServiceStore) -> None:
    assert await store.handle("one", message(), record)
    assert await store.handle("other", message(), record)
    assert await count(store, "seen") == 2


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), PoisonError("unreadable"), KeyboardInterrupt()])
async def test_a_handler_that_fails_leaves_nothing_behind(store: ServiceStore, error: BaseException) -> None:
    def crash(envelope: Envelope[Message], tx: Transaction) -> None:
        record(envelope, tx)
        raise error

    with pytest.raises(type(error)):
        await store.handle(CONSUMER, message(), crash)
    assert [await count(store, table) for table in ("seen", "inbox", "outbox")] == [0, 0, 0]
    assert await store.handle(CONSUMER, message(), record) is True, "it may be tried again"


async def test_what_was_stored_survives_a_crash_and_is_published_after_it(place: Place) -> None:
    """The process dies between the commit and the relay: the next one publishes."""
    first = open_store(place("store.db"))
    await first.handle(CONSUMER, message(), record)
    second, bus = open_store(place("store.db")), MemoryBus()
    assert await second.handle(CONSUMER, message(), record) is False, "the inbox remembers"
    assert await second.relay(bus) == 2
    assert branches(await published(bus)) == ["t-1-a", "t-1-b"]
    await first.close()
    await second.close()


@pytest.mark.sqlite
async def test_an_open_transaction_is_gone_after_a_crash(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store.db")
    dying = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    dying.execute("BEGIN IMMEDIATE")
    dying.execute("INSERT INTO seen(task) VALUES ('half')")
    dying.close()
    assert await count(store, "seen") == 0
    await store.close()


# --- batches --------------------------------------------------------------------------------------------------------


async def test_a_batch_is_handled_whole_without_what_is_known(store: ServiceStore) -> None:
    await store.handle(CONSUMER, message("2", "t-2"), record)
    batch = [message("1", "t-1"), message("2", "t-2"), message("3", "t-3"), message("3", "t-3")]
    assert await store.handle_batch(CONSUMER, batch, record_all) == 2
    assert await store.handle_batch(CONSUMER, batch, record_all) == 0
    assert await count(store, "seen") == 3


async def test_a_batch_that_fails_leaves_nothing_behind(store: ServiceStore) -> None:
    def crash(envelopes: Sequence[Envelope[Message]], tx: Transaction) -> None:
        record_all(envelopes, tx)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.handle_batch(CONSUMER, [message("1"), message("2")], crash)
    assert [await count(store, table) for table in ("seen", "inbox", "outbox")] == [0, 0, 0]


async def test_in_a_batch_whoever_publishes_says_whose_it_is(store: ServiceStore) -> None:
    def forgetful(envelopes: Sequence[Envelope[Message]], tx: Transaction) -> None:
        del envelopes
        tx.publish(deleted("b"))

    with pytest.raises(ValueError, match="whose is it"):
        await store.handle_batch(CONSUMER, [message()], forgetful)


# --- what is remembered ---------------------------------------------------------------------------------------------


async def test_what_is_young_is_remembered_however_much_comes_and_whoever_it_is_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_of_work, "INBOX_MAX", 2)
    monkeypatch.setattr(unit_of_work, "INBOX_PRUNE_EVERY", 1)
    now = [NOW]
    store = ServiceStore(place("store.db"), "memory-repository", SCHEMA, clock=lambda: now[0])
    await store.handle("QUIET:durable", message("first"), record)
    await store.handle_batch("BUSY:durable", [message(str(n)) for n in range(20)], record_all)
    assert not await store.handle("QUIET:durable", message("first"), record)
    assert not await store.handle("BUSY:durable", message("0"), record)

    now[0] += unit_of_work.INBOX_AGE + timedelta(seconds=1)
    assert await store.handle("BUSY:durable", message("new"), record)
    assert await store.handle("BUSY:durable", message("0"), record), "old, and not among the latest two"
    assert not await store.handle("QUIET:durable", message("first"), record), "old, but among its consumer's latest"
    await store.close()


# --- what is published ----------------------------------------------------------------------------------------------


async def test_ids_follow_from_the_cause(place: Place) -> None:
    """The work done again, on another machine, publishes the same ids: a duplicate to the stream."""
    bus = MemoryBus()
    for name in ("one.db", "other.db"):
        store = open_store(place(name))
        await store.handle(CONSUMER, message(), record)
        await store.relay(bus)
        await store.close()
    ids = [envelope.id for envelope in await published(bus)]
    assert len(ids) == len(set(ids)) == 2


async def test_what_is_published_names_its_cause(store: ServiceStore) -> None:
    bus = MemoryBus()
    trace = TraceContext.root(bytes(range(1, 25)))
    await store.handle(CONSUMER, message("cause").model_copy(update={"traceparent": str(trace)}), record)
    await store.relay(bus)
    first = (await published(bus))[0]
    step = TraceContext.parse(first.traceparent)
    assert (first.causation_id, first.correlation_id) == ("cause", "cause")
    assert step is not None
    assert (step.trace_id, step.sampled, step.span_id != trace.span_id) == (trace.trace_id, True, True)
    assert (first.tenant, first.agent, first.source, first.time) == ("acme", "support", "memory-repository", NOW)


async def test_a_story_keeps_its_correlation(store: ServiceStore) -> None:
    bus = MemoryBus()
    await store.handle(CONSUMER, message().model_copy(update={"correlation_id": "story"}), record)
    await store.relay(bus)
    assert {envelope.correlation_id for envelope in await published(bus)} == {"story"}


async def test_a_message_that_is_too_large_is_refused_before_it_is_stored(store: ServiceStore) -> None:
    def shout(_envelope: Envelope[Message], tx: Transaction) -> None:
        tx.publish(
            BranchDeleted(branch="b", from_commit="c", reason="x" * 4096), agent="a" * subjects.MESSAGE_BYTES_MAX
        )

    with pytest.raises(PoisonError, match="at most"):
        await store.handle(CONSUMER, message(), shout)
    assert await count(store, "outbox") == 0


# --- the relay ------------------------------------------------------------------------------------------------------


async def test_the_outbox_is_published_in_order_across_transactions(store: ServiceStore) -> None:
    bus = MemoryBus()
    for number in range(3):
        await store.handle(CONSUMER, message(str(number), f"t-{number}"), record)
    await store.relay(bus)
    assert branches(await published(bus)) == [f"t-{number}-{which}" for number in range(3) for which in "ab"]


async def test_a_relay_without_a_bus_keeps_everything(store: ServiceStore) -> None:
    bus = MemoryBus()
    await store.handle(CONSUMER, message(), record)
    bus.stop()
    with pytest.raises(TransientError):
        await store.relay(bus)
    assert await count(store, "outbox") == 2
    bus.start()
    await store.relay(bus)
    assert branches(await published(bus)) == ["t-1-a", "t-1-b"]


class FailsAfter(MemoryBus):
    """A bus that goes away after a number of messages; `stored` says whether the last one's ack got lost."""

    def __init__(self, messages: int, stored: bool) -> None:
        super().__init__()
        self.left = messages
        self.stored = stored

    async def publish(
        self, subject: str, body: bytes, message_id: str, headers: Mapping[str, str] | None = None
    ) -> PublishAck:
        self.left -= 1
        if self.left >= 0 or self.stored:
            ack = await super().publish(subject, body, message_id, headers)
        if self.left < 0:
            raise TransientError("the bus went away")
        return ack


@pytest.mark.parametrize("stored", [False, True], ids=["not stored", "stored, acknowledgement lost"])
async def test_a_relay_resumes_where_it_stopped(store: ServiceStore, stored: bool) -> None:
    bus = FailsAfter(1, stored)
    await store.handle(CONSUMER, message(), record)
    with pytest.raises(TransientError):
        await store.relay(bus)
    assert await count(store, "outbox") == 1, "what is known to be stored is not sent again"
    bus.left = 10
    await store.relay(bus)
    assert branches(await published(bus)) == ["t-1-a", "t-1-b"]


async def test_the_running_relay_publishes_at_once_and_outlives_an_absent_bus(store: ServiceStore) -> None:
    bus = MemoryBus()
    bus.stop()
    relay = asyncio.create_task(store.run_relay(bus, pause=timedelta(milliseconds=1)))
    await store.handle(CONSUMER, message("1", "t-1"), record)
    bus.start()
    await store.handle(CONSUMER, message("2", "t-2"), record)
    followed = bus.follow(subjects.EVENTS, "thymos.event.>", from_sequence=1)
    async with asyncio.timeout(10):
        bodies = [json.loads((await anext(followed)).body)["data"]["branch"] for _ in range(4)]
    assert bodies == ["t-1-a", "t-1-b", "t-2-a", "t-2-b"]
    relay.cancel()


class Refuses(MemoryBus):
    """A server that takes no message about one branch."""

    async def publish(
        self, subject: str, body: bytes, message_id: str, headers: Mapping[str, str] | None = None
    ) -> PublishAck:
        if b'"t-1-a"' in body and subject.startswith("thymos.event."):
            raise PoisonError("maximum payload exceeded")
        return await super().publish(subject, body, message_id, headers)


async def test_a_message_that_the_server_refuses_does_not_hold_up_the_others(store: ServiceStore) -> None:
    bus = Refuses()
    await store.handle(CONSUMER, message(), record)
    await store.relay(bus)
    assert branches(await published(bus)) == ["t-1-b"]
    assert await bus.last_sequence(subjects.DEAD_LETTERS) == 1
    assert await count(store, "outbox") == 0


# --- requests -------------------------------------------------------------------------------------------------------


async def test_an_idempotency_key_gets_the_first_answer_again(store: ServiceStore) -> None:
    answers = iter([b"first", b"second", b"third"])

    def work(tx: Transaction) -> bytes:
        tx.publish(deleted("b"))
        return next(answers)

    cause = Cause("request|k", "acme", "support")
    assert await store.answer(cause, Asked("k", "one"), work) == b"first"
    assert await store.answer(cause, Asked("k", "one"), work) == b"first"
    assert await store.answer(Cause("request|other", "acme", "support"), Asked("other", "one"), work) == b"second"
    assert await count(store, "outbox") == 2


async def test_a_failed_request_is_not_remembered(store: ServiceStore) -> None:
    outcomes: Iterator[bytes | Exception] = iter([PoisonError("no"), b"yes"])

    def work(tx: Transaction) -> bytes:
        tx.publish(deleted("b"))
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with pytest.raises(PoisonError):
        await store.answer(Cause("request|k", "acme", "support"), Asked("k", "one"), work)
    assert await store.answer(Cause("request|k", "acme", "support"), Asked("k", "one"), work) == b"yes"
    assert await count(store, "outbox") == 1


async def test_a_tick_publishes_for_the_agents_that_it_names(store: ServiceStore) -> None:
    bus = MemoryBus()
    await store.tick("sweep", lambda tx: tx.publish(deleted("b"), tenant="acme", agent="sales"))
    await store.relay(bus)
    (envelope,) = await published(bus)
    assert (envelope.tenant, envelope.agent, envelope.causation_id) == ("acme", "sales", None)


# --- limits and disks -----------------------------------------------------------------------------------------------


async def test_a_full_outbox_takes_nothing_more_until_the_bus_is_back(
    store: ServiceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "OUTBOX_MAX", 3)
    await store.handle(CONSUMER, message("1", "t-1"), record)
    await store.handle(CONSUMER, message("2", "t-2"), record)
    with pytest.raises(TransientError, match="3 messages wait for the bus"):
        await store.handle(CONSUMER, message("3", "t-3"), record)
    with pytest.raises(TransientError, match="wait for the bus"):
        await store.handle_batch(CONSUMER, [message("3", "t-3")], record_all)
    await store.relay(MemoryBus())
    assert await store.handle(CONSUMER, message("3", "t-3"), record) is True


async def test_the_inbox_forgets_the_oldest_of_its_own_consumer(
    store: ServiceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_of_work, "INBOX_MAX", 100)
    await store.handle("other", message("kept"), lambda _e, _tx: None)
    many = [message(str(number)) for number in range(1_000)]
    await store.handle_batch(CONSUMER, many, lambda _e, _tx: None)
    assert await count(store, "inbox") <= 100 + 1_000
    assert await store.handle("other", message("kept"), record) is False
    assert await store.handle(CONSUMER, many[-1], record) is False


@pytest.mark.sqlite
async def test_a_full_disk_is_transient(store: ServiceStore) -> None:
    def fill(_envelope: Envelope[Message], tx: Transaction) -> None:
        tx.connection.execute("INSERT INTO seen(task) VALUES (?)", ("x" * 1_000_000,))

    await store.run(lambda: store._connection.execute("PRAGMA max_page_count = 20"))
    with pytest.raises(TransientError, match="full"):
        await store.handle(CONSUMER, message(), fill)
    await store.run(lambda: store._connection.execute("PRAGMA max_page_count = 100000"))
    assert await store.handle(CONSUMER, message(), fill) is True


@pytest.mark.sqlite
async def test_a_busy_file_is_transient(store: ServiceStore, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "data/store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    await store.run(lambda: store._connection.execute("PRAGMA busy_timeout = 1"))
    with pytest.raises(TransientError, match="locked"):
        await store.handle(CONSUMER, message(), record)
    other.execute("ROLLBACK")
    other.close()
    assert await store.handle(CONSUMER, message(), record) is True


class PickyBus(MemoryBus):
    """A bus whose task stream is full."""

    async def publish(
        self, subject: str, body: bytes, message_id: str, headers: Mapping[str, str] | None = None
    ) -> PublishAck:
        if subject.startswith("thymos.task."):
            raise TransientError("maximum bytes exceeded")
        return await super().publish(subject, body, message_id, headers)


async def test_an_idle_store_is_tried_now_and_then(tmp_path: Path) -> None:
    now = [NOW]
    store = ServiceStore(tmp_path / "store.db", "memory-repository", SCHEMA, clock=lambda: now[0])
    await store.run(lambda: store._connection.execute("PRAGMA busy_timeout = 0"))
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert await store.findings() == []
        now[0] += unit_of_work.PROVE_EVERY
        (held,) = await store.findings()
        assert "another process holds it" in held
        other.execute("ROLLBACK")
    assert await store.findings() == []
    await store.close()


async def test_a_stream_that_takes_nothing_holds_up_no_other(store: ServiceStore) -> None:
    def fill(envelope: Envelope[Message], tx: Transaction) -> None:
        del envelope
        for number in range(outbox.RELAY_BATCH + 1):
            tx.publish(TaskAssigned(task_id=str(number), branch="main", input="x"))
        tx.publish(deleted("b"))

    bus = PickyBus()
    await store.handle(CONSUMER, message(), fill)
    with pytest.raises(TransientError, match="maximum bytes"):
        await store.relay(bus)
    assert len(await published(bus)) == 1
    assert await count(store, "outbox") == outbox.RELAY_BATCH + 1


async def test_one_message_that_waits_is_one_however_many_of_other_streams_were_published_meanwhile(
    store: ServiceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "OUTBOX_MAX", 6)
    bus, task = PickyBus(), TaskAssigned(task_id="t", branch="main", input="x")
    await store.tick("hand out", lambda tx: tx.publish(task, tenant="acme", agent="support"))
    for number in range(4):
        for part in ("a", "b"):
            assert await store.handle(CONSUMER, message(f"{number}{part}", f"t-{number}{part}"), record) is True
        with pytest.raises(TransientError, match="maximum bytes"):
            await store.relay(bus)
    assert await count(store, "outbox") == 1


@pytest.mark.sqlite
async def test_a_full_disk_is_the_stores_fault_and_a_wrong_statement_is_not(store: ServiceStore) -> None:
    def fill(envelope: Envelope[Message], tx: Transaction) -> None:
        del envelope
        tx.connection.execute("INSERT INTO seen(task) VALUES (?)", ("x" * 1_000_000,))

    def mistake(envelope: Envelope[Message], tx: Transaction) -> None:
        del envelope
        tx.connection.execute("SELECT * FROM nowhere")

    pages = await store.run(lambda: int(store._connection.execute("PRAGMA page_count").fetchone()[0]))
    await store.run(lambda: store._connection.execute(f"PRAGMA max_page_count = {pages + 1}"))
    with pytest.raises(StoreUnavailableError, match="full"):
        await store.handle(CONSUMER, message(), fill)
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        await store.handle(CONSUMER, message(), mistake)
