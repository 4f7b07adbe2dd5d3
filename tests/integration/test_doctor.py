"""`thymos doctor` on real faults of a real suite: each is found, and the finding says how to mend it."""

import asyncio
import json
import os
import resource
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.msg import Msg
from tests.deadline import DEADLINE_SECONDS

from thymos import nats_room, subjects
from thymos.cli.backlog import Look, standstill
from thymos.cli.findings import skew
from thymos.embedded import free_port
from thymos.provision import provision
from thymos.suite import Suite

COLLECTOR, ENGINE = subjects.METRICS_COLLECTOR, subjects.DECISION_ENGINE
TELEMETRY = subjects.telemetry_subject("default", "support")
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def suite(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Suite]:
    async with Suite(tmp_path_factory.mktemp("suite"), sync_always=False) as suite:
        await suite.ready()
        yield suite


async def doctor(url: str) -> tuple[int, list[dict[str, Any]]]:
    """Its exit code, and all findings."""
    command = [sys.executable, "-m", "thymos", "doctor", "--json", "--nats", url]
    process = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-1)
    out, err = await process.communicate()
    assert out, err
    return process.returncode or 0, [finding for check in json.loads(out)["checks"] for finding in check["findings"]]


async def finds_all(suite: Suite, *words: str) -> list[dict[str, Any]]:
    """A finding for each of these words, once they are there; the exit code then is 1."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            code, findings = await doctor(suite.url)
            found = [finding for each in words for finding in findings if each in finding["what"]]
            if len(found) == len(words):
                assert code == 1
                return found


async def finds(suite: Suite, words: str) -> dict[str, Any]:
    """The one finding that holds these words, once it is there."""
    return (await finds_all(suite, words))[0]


async def is_well(suite: Suite) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (await doctor(suite.url))[0]:
            pass


async def test_nats_is_away() -> None:
    code, findings = await doctor(f"nats://127.0.0.1:{free_port()}")
    assert code == 1
    assert "thymos up" in findings[0]["mend"]


@contextmanager
def stopped(suite: Suite, service: str) -> Iterator[None]:
    """A service's process does nothing meanwhile."""
    pid = suite.services[service].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def limit_files(suite: Suite, service: str, size_bytes: int) -> None:
    """No file of a service may be written beyond a size: like a disk that is full."""
    pid = suite.services[service].pid
    assert pid is not None
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]))


async def test_a_consumer_is_gone(suite: Suite) -> None:
    await suite.bus.delete_consumer(subjects.consumer(ENGINE, subjects.METRICS))

    found = await finds(suite, f"consumer THYMOS_METRICS/{ENGINE} is missing")

    assert "thymos provision" in found["mend"]
    await provision(suite.bus)
    await is_well(suite)


async def test_a_consumer_has_other_settings(suite: Suite) -> None:
    info = await suite.bus.jetstream.consumer_info("THYMOS_METRICS", ENGINE)
    await suite.bus.jetstream.add_consumer("THYMOS_METRICS", info.config.evolve(name=None, ack_wait=99))

    found = await finds(suite, f"consumer THYMOS_METRICS/{ENGINE} has other settings")

    assert "thymos provision" in found["mend"]
    await provision(suite.bus)
    await is_well(suite)


async def test_a_stream_is_missing(suite: Suite) -> None:
    await suite.bus.jetstream.delete_stream(subjects.ADVISORIES.name)

    found = await finds(suite, "stream THYMOS_ADVISORIES is missing")

    assert "thymos provision" in found["mend"]
    await provision(suite.bus)
    await is_well(suite)


async def test_a_stream_has_other_settings(suite: Suite) -> None:
    info = await suite.bus.jetstream.stream_info(subjects.METRICS.name)
    await suite.bus.jetstream.update_stream(info.config, max_age=3_600)

    found = await finds(suite, "stream THYMOS_METRICS has other settings")

    assert "thymos provision" in found["mend"]
    await provision(suite.bus)
    await is_well(suite)


async def test_a_stream_has_settings_that_cannot_be_changed(suite: Suite) -> None:
    jetstream = suite.bus.jetstream
    info = await jetstream.stream_info(subjects.ADVISORIES.name)
    await jetstream.delete_stream(subjects.ADVISORIES.name)
    await jetstream.add_stream(info.config.evolve(storage="memory"))

    found = await finds(suite, "storage is memory instead of file")

    assert "nats stream rm THYMOS_ADVISORIES" in found["mend"]
    await jetstream.delete_stream(subjects.ADVISORIES.name)
    await provision(suite.bus)
    await is_well(suite)


async def test_a_service_does_not_answer_and_its_consumer_is_stuck(suite: Suite) -> None:
    with stopped(suite, COLLECTOR):
        await suite.bus.publish(TELEMETRY, TASK, "t1")
        words = f"{COLLECTOR} on THYMOS_TELEMETRY is stuck", f"{COLLECTOR} does not answer"
        stuck, down = await finds_all(suite, *words)
    assert "restart it" in stuck["mend"]
    assert "its work waits on the bus" in down["mend"]
    await is_well(suite)


async def test_a_consumer_is_paused(suite: Suite) -> None:
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    await suite.bus.jetstream.pause_consumer("THYMOS_TELEMETRY", COLLECTOR, until)
    await suite.bus.publish(TELEMETRY, TASK, "t2")

    found = await finds(suite, f"{COLLECTOR} on THYMOS_TELEMETRY is stuck")

    assert f"nats consumer resume THYMOS_TELEMETRY {COLLECTOR}" in found["mend"]
    await suite.bus.jetstream.resume_consumer("THYMOS_TELEMETRY", COLLECTOR)
    await is_well(suite)


async def test_the_clock_of_a_service_is_skewed(suite: Suite) -> None:
    """Somebody else answers for the service, with a clock that is an hour late."""
    late = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    reply = json.dumps({"ok": True, "data": {"ready": True, "findings": [], "time": late}}).encode()

    async def answer(asked: Msg) -> None:
        await asked.respond(reply)

    stranger = await suite.bus.client.subscribe(f"thymos.request.{ENGINE}.*.*.ready", cb=answer)
    with stopped(suite, ENGINE):
        found = await finds(suite, f"the clock of {ENGINE} is 36")
    assert "behind" in found["what"]
    assert "NTP" in found["mend"]
    await stranger.unsubscribe()
    await is_well(suite)


async def test_a_store_is_locked_though_nothing_is_written(suite: Suite) -> None:
    with closing(sqlite3.connect(suite.data_dir / f"{COLLECTOR}.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        found = await finds(suite, "another process holds it")
        assert COLLECTOR in found["what"]
        assert f"fuser {COLLECTOR}.db" in found["mend"]
    await is_well(suite)


async def test_a_store_is_full_though_nothing_is_written(suite: Suite) -> None:
    limit_files(suite, COLLECTOR, 1)
    try:
        found = await finds(suite, f"the store {COLLECTOR}.db cannot be used")
        assert "disk" in found["mend"]
    finally:
        limit_files(suite, COLLECTOR, resource.RLIM_INFINITY)
    await is_well(suite)


async def test_the_event_log_is_full_though_nothing_is_published(suite: Suite) -> None:
    config = (await suite.bus.jetstream.stream_info(subjects.EVENTS.name)).config
    await suite.bus.jetstream.update_stream(config.evolve(max_bytes=nats_room.ROOM_BYTES_MIN - 1))
    found = await finds(suite, f"{ENGINE} is not ready: the stream THYMOS_EVENTS is full")
    assert "nats stream edit" in found["mend"]
    _, findings = await doctor(suite.url)
    assert [each for each in findings if each["what"].startswith("the stream THYMOS_EVENTS is full")]
    await suite.bus.jetstream.update_stream(config)
    await is_well(suite)


async def test_dead_letters_wait(suite: Suite) -> None:
    await suite.bus.publish(TELEMETRY, b"not json", "bad")
    await suite.bus.publish(subjects.telemetry_subject("No_Name", "support"), b"not json", "nobody's")

    found, nobodys = await finds_all(suite, "messages could not be processed", "of no tenant could not be processed")

    assert "thymos dead list" in found["mend"]
    assert "thymos dead list --tenant unknown" in nobodys["mend"]
    await suite.bus.jetstream.purge_stream(subjects.DEAD_LETTERS.name)
    await is_well(suite)


TASK = json.dumps(
    {
        "specversion": "1.0", "id": "t1", "source": "test", "type": "thymos.task.finished.v1",
        "data": {"task_id": "t1", "outcome": "succeeded", "branch": "main", "latency_ms": 5},
    }
).encode()  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (Look(5, 1, 0, 0, 10), Look(5, 1, 0, 0, 10), "none is done"),
        (Look(5, 1, 1, 0, 10), Look(5, 1, 1, 0, 10), "again and again"),
        (Look(5, 0, 0, 0, 10), Look(6, 0, 0, 0, 10), "nobody asks"),
        (Look(5, 1, 0, 0, 10), Look(5, 1, 0, 0, 12), ""),
        (Look(5, 1, 0, 0, 10), Look(4, 1, 0, 0, 10), ""),
        (Look(5, 0, 0, 1, 10), Look(5, 0, 0, 1, 10), "not handed out"),
        (Look(0, 0, 0, 1, 10), Look(0, 0, 0, 1, 10), ""),
        (Look(0, 0, 0, 1, 10), Look(0, 1, 0, 1, 10), ""),
    ],
)
async def test_a_consumer_is_stuck_when_nothing_is_done_between_two_looks(
    before: Look, after: Look, words: str
) -> None:
    said = standstill(before, after)
    assert words in said
    assert bool(said) == bool(words)


async def test_a_clock_is_skewed_when_it_shows_a_time_outside_of_what_the_question_took() -> None:
    asked = datetime(2026, 1, 5, 8, tzinfo=UTC)
    answered = asked + timedelta(seconds=3)
    assert skew(asked, asked + timedelta(seconds=1), answered) == ""
    assert skew(asked, answered + timedelta(seconds=5), answered) == "5.0 s ahead of"
    assert skew(asked, asked - timedelta(seconds=9), answered) == "9.0 s behind"
