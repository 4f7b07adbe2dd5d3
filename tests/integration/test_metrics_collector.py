"""metrics-collector as a real process on a real NATS server: what agents report comes out counted, once."""

import asyncio
import base64
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.deadline import DEADLINE_SECONDS

from thymos import subjects
from thymos.envelope import BATCH_CONTENT_TYPE, Envelope, decode
from thymos.errors import TransientError
from thymos.events import BaselineFrozen, BranchDeleted, CommitMarkedGood
from thymos.message import Message
from thymos.metrics import MetricsChanged, MetricsOutcomes, OutcomeRow
from thymos.nats_bus import NatsBus
from thymos.subjects import Stream
from thymos.telemetry import Outcome, TaskFinished
from thymos.testing import NatsServer

TELEMETRY_CONSUMER = subjects.consumer(subjects.METRICS_COLLECTOR, subjects.TELEMETRY)
TENANT, AGENT = "default", "support"
M = TypeVar("M", bound=Message)
_numbers = itertools.count(1)


class CollectorProcess:
    """`python -m metrics_collector` with a data directory that outlives it."""

    def __init__(self, nats_url: str, data_dir: Path) -> None:
        self._environment = {**os.environ, "THYMOS_NATS_URL": nats_url, "THYMOS_DATA_DIR": str(data_dir)}
        self._log = data_dir / "metrics-collector.log"
        self._data_dir = data_dir
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._data_dir.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "metrics_collector"], env=self._environment, stdout=log, stderr=log
            )

    def end(self, number: signal.Signals) -> int:
        """Sends the signal, waits for the end, and returns the exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        status = self._process.wait(timeout=DEADLINE_SECONDS)
        self._process = None
        return status

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        return self._log.read_text()


@pytest.fixture
def collector(nats_server: NatsServer, tmp_path: Path) -> Iterator[CollectorProcess]:
    process = CollectorProcess(nats_server.url, tmp_path / "data")
    yield process
    if process.running:
        process.end(signal.SIGKILL)


def finished(task: str, outcome: Outcome = Outcome.SUCCEEDED, **data: Any) -> TaskFinished:
    return TaskFinished(task_id=task, outcome=outcome, **data)


def sent(data: M, identity: str | None = None, **fields: Any) -> Envelope[M]:
    return Envelope[Any](
        id=identity or f"e{next(_numbers)}",
        source=fields.pop("source", "customers"),
        time=fields.pop("time", None) or datetime.now(UTC),
        tenant=TENANT,
        agent=fields.pop("agent", AGENT),
        data=data,
    )


async def publish(bus: NatsBus, *envelopes: Envelope[Any]) -> None:
    await asyncio.gather(*(bus.publish(e.subject, e.to_bytes(), e.message_id) for e in envelopes))


async def publish_in_the_end(bus: NatsBus, envelope: Envelope[Any]) -> None:
    """Publishes as an agent does whose server was just restarted: again, under the same id, until it is stored."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            with suppress(TransientError):
                return await publish(bus, envelope)


async def messages(bus: NatsBus, stream: Stream, kind: type[M]) -> AsyncGenerator[Envelope[M], None]:
    """Everything of one class in a stream, from its beginning and then live."""
    async with aclosing(bus.follow(stream, ">", from_sequence=1)) as stored:
        async for message in stored:
            envelope = decode(message.body, message.subject)
            if isinstance(envelope.data, kind):
                yield envelope  # type: ignore[misc]  # narrowed by the line above


async def rows_until(bus: NatsBus, count: int, agent: str = AGENT) -> list[OutcomeRow]:
    """The agent's outcome rows in stream order, as soon as there are `count`."""
    rows: list[OutcomeRow] = []
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(messages(bus, subjects.METRICS, MetricsOutcomes)) as found:
        async for envelope in found:
            rows += envelope.data.rows if envelope.agent == agent else []
            if len(rows) >= count:
                return rows
    raise AssertionError("unreachable: the stream does not end")


async def snapshot_where(bus: NatsBus, wanted: Any) -> MetricsChanged:
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(messages(bus, subjects.METRICS, MetricsChanged)) as found:
        async for envelope in found:
            if wanted(envelope.data):
                return envelope.data
    raise AssertionError("unreachable: the stream does not end")


async def request(bus: NatsBus, verb: str, body: dict[str, Any], agent: str = AGENT) -> dict[str, Any]:
    subject = subjects.request_subject(subjects.METRICS_COLLECTOR, TENANT, agent, verb)
    answer = await bus.request(subject, json.dumps(body).encode(), timedelta(seconds=DEADLINE_SECONDS))
    return dict(json.loads(answer))


async def test_outcomes_come_out_as_rows_and_then_as_metrics(nats: NatsBus, collector: CollectorProcess) -> None:
    collector.start()
    await publish(nats, sent(finished("t1", latency_ms=20.0)), sent(finished("t2", Outcome.FAILED, input="why?")))
    rows = await rows_until(nats, 2)
    assert sorted((row.task_id, row.outcome) for row in rows) == [("t1", "succeeded"), ("t2", "failed")]
    assert [row.row for row in rows] == [1, 2]
    snapshot = await snapshot_where(nats, lambda changed: changed.metrics.task.total == 2)
    assert snapshot.metrics.task.success_rate == 0.5
    assert snapshot.metrics.measured_at is not None


async def test_a_plain_client_needs_no_sdk(nats: NatsBus, collector: CollectorProcess) -> None:
    collector.start()
    event = {
        "specversion": "1.0", "id": "1", "source": "stranger", "type": "thymos.task.finished.v1",
        "data": {"task_id": "t1", "outcome": "succeeded", "latency_ms": 12},
    }  # fmt: skip
    await nats.publish(f"thymos.telemetry.{TENANT}.{AGENT}", json.dumps(event).encode(), "stranger-1")
    assert [row.task_id for row in await rows_until(nats, 1)] == ["t1"]
    await snapshot_where(nats, lambda changed: changed.metrics.task.succeeded == 1)


async def test_a_task_counts_once_whatever_comes_twice(nats: NatsBus, collector: CollectorProcess) -> None:
    collector.start()
    first = sent(finished("t1"), identity="same")
    await publish(nats, first, sent(finished("t1", Outcome.FAILED), identity="another"))
    # Past the stream's own duplicate window the same id is stored again: another message id stands for that.
    await nats.publish(first.subject, first.to_bytes(), "stored-twice")
    await publish(nats, sent(finished("answered", awaits_grade=True)), sent(finished("answered", Outcome.FAILED)))
    await publish(nats, sent(finished("last")))
    rows = await rows_until(nats, 3)
    assert sorted(row.task_id for row in rows) == ["answered", "last", "t1"]
    assert [row.row for row in rows] == [1, 2, 3]
    answer = await request(nats, "metrics", {"branch": "main"})
    assert answer["data"]["metrics"][0]["task"]["total"] == 3


async def test_what_is_malformed_goes_to_the_dead_letters_and_holds_nobody_up(
    nats: NatsBus, collector: CollectorProcess
) -> None:
    collector.start()
    subject = subjects.telemetry_subject(TENANT, AGENT)
    wrong = json.loads(sent(finished("wrong")).to_bytes())
    bodies = [b"no json", b"[1, 2]", json.dumps({**wrong, "data": {"task_id": "wrong", "outcome": "odd"}}).encode()]
    await publish(nats, sent(finished("before")))
    for number, body in enumerate(bodies):
        await nats.publish(subject, body, f"bad-{number}")
    await publish(nats, sent(finished("after")))
    assert {row.task_id for row in await rows_until(nats, 2)} == {"before", "after"}
    dead: list[bytes] = []
    following = nats.follow(subjects.DEAD_LETTERS, ">", from_sequence=1)
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(following) as letters:
        async for letter in letters:
            dead.append(base64.b64decode(json.loads(letter.body)["data"]["original"]))
            if len(dead) == len(bodies):
                break
    assert sorted(dead) == sorted(bodies)


async def test_a_batch_message_counts_each_of_its_events(nats: NatsBus, collector: CollectorProcess) -> None:
    collector.start()
    batch = [sent(finished(f"t{n}")).to_dict() for n in range(20)]
    await nats.publish(
        subjects.telemetry_subject(TENANT, AGENT),
        json.dumps(batch).encode(),
        "batch",
        {"content-type": BATCH_CONTENT_TYPE},
    )
    assert [row.task_id for row in await rows_until(nats, 20)] == [f"t{n}" for n in range(20)]


async def test_kill_9_in_mid_stream_neither_loses_nor_counts_twice(nats: NatsBus, collector: CollectorProcess) -> None:
    total, kills = 3_000, 3
    # What was in flight when the process died comes again after `ack_wait`: here sooner than in production.
    await nats.ensure_consumer(replace(TELEMETRY_CONSUMER, ack_wait=timedelta(seconds=1)))
    collector.start()
    envelopes = [sent(finished(f"t{n}", Outcome.FAILED if n % 4 == 0 else Outcome.SUCCEEDED)) for n in range(total)]
    for round_number in range(kills):
        part = envelopes[round_number * total // kills : (round_number + 1) * total // kills]
        publishing = asyncio.create_task(publish(nats, *part))
        await rows_until(nats, round_number * total // kills + 1)
        collector.end(signal.SIGKILL)
        await publishing
        collector.start()
    rows = await rows_until(nats, total)
    await publish(nats, sent(finished("last")))
    rows = await rows_until(nats, total + 1)
    assert [row.row for row in rows] == list(range(1, total + 2))
    assert len({row.task_id for row in rows}) == total + 1
    # Twice in the stream would show here: message ids follow from their cause, so a second attempt is a duplicate.
    answer = await request(nats, "metrics", {"branch": "main"})
    assert answer["data"]["metrics"][0]["task"]["total"] == 2_000


async def test_stopped_its_work_waits_and_nobody_else_notices(nats: NatsBus, collector: CollectorProcess) -> None:
    collector.start()
    await publish(nats, sent(finished("before")))
    await rows_until(nats, 1)
    assert collector.end(signal.SIGTERM) == 0
    await publish(nats, *(sent(finished(f"t{n}")) for n in range(50)))
    waiting = await nats.depth(TELEMETRY_CONSUMER)
    assert waiting is not None
    assert waiting.lag == 50
    collector.start()
    rows = await rows_until(nats, 51)
    assert [row.row for row in rows] == list(range(1, 52))


async def test_the_bus_may_be_away_for_a_while(
    nats: NatsBus, nats_server: NatsServer, collector: CollectorProcess
) -> None:
    collector.start()
    await publish(nats, sent(finished("before")))
    await rows_until(nats, 1)
    nats_server.kill9()
    nats_server.start()
    await publish_in_the_end(nats, sent(finished("after")))
    assert [row.task_id for row in await rows_until(nats, 2)] == ["before", "after"]


async def test_a_baseline_freezes_and_a_good_mark_begins_the_next(nats: NatsBus, collector: CollectorProcess) -> None:
    collector.start()
    await publish(nats, *(sent(finished(f"a{n}", Outcome.FAILED if n < 30 else Outcome.SUCCEEDED)) for n in range(300)))
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(messages(nats, subjects.EVENTS, BaselineFrozen)) as events:
        first = await anext(events)
        assert (first.data.samples, first.data.failures, first.data.metrics.task.success_rate) == (300, 30, 0.9)
        good = CommitMarkedGood(branch="main", commit="c1", samples=20, restart_baseline=True)
        gone = BranchDeleted(branch="experiment-1-a", from_commit="c1")
        arm = finished("x", branch="experiment-1-a", experiment_id="1", arm="a")
        await publish(nats, sent(arm, source=subjects.WORKTREE_SCALER))
        await rows_until(nats, 301)
        await publish(nats, sent(good), sent(gone))
        await _until_branches_are(nats, ["main"])
        await publish(nats, *(sent(finished(f"b{n}")) for n in range(300)))
        second = await anext(events)
        assert (second.data.failures, second.data.first_row, second.data.last_row) == (0, 302, 601)


async def _until_branches_are(nats: NatsBus, branches: list[str]) -> None:
    """Asks again and again: events come by a consumer of their own, after telemetry or before."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            fleet = (await request(nats, "agents", {}, agent="_"))["data"]["agents"]
            if fleet[0]["branches"] == branches:
                return


async def test_the_fleet_and_one_agent_can_be_asked_for(nats: NatsBus, collector: CollectorProcess) -> None:
    collector.start()
    for agent in ("alpha", "beta", "gamma"):
        await publish(nats, sent(finished("t1"), agent=agent))
        await rows_until(nats, 1, agent)
    page = (await request(nats, "agents", {"limit": 2}, agent="_"))["data"]
    assert [agent["agent"] for agent in page["agents"]] == ["alpha", "beta"]
    assert (page["next_after"], page["agents"][0]["main"]["task"]["success_rate"]) == ("beta", 1.0)
    rest = (await request(nats, "agents", {"after": "beta"}, agent="_"))["data"]
    assert ([agent["agent"] for agent in rest["agents"]], rest["next_after"]) == (["gamma"], None)
    unknown = await request(nats, "metrics", {}, agent="nobody")
    assert (unknown["ok"], unknown["error"]["code"]) == (False, "not_found")
