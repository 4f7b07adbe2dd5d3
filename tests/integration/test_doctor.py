"""`thymos doctor` on real faults of a real suite: each is found, and the finding says how to mend it."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from thymos import subjects
from thymos.cli.backlog import Look, standstill
from thymos.cli.checks import skew
from thymos.embedded import free_port
from thymos.suite import Suite

ENGINE = subjects.DECISION_ENGINE
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


async def finds(suite: Suite, words: str) -> dict[str, Any]:
    """The finding that holds these words, once it is there; the exit code then is 1."""
    async with asyncio.timeout(60):
        while True:
            code, findings = await doctor(suite.url)
            found = next((finding for finding in findings if words in finding["what"]), None)
            if found is not None:
                assert code == 1
                return found


async def is_well(suite: Suite) -> None:
    async with asyncio.timeout(60):
        while (await doctor(suite.url))[0]:
            pass


async def test_nats_is_away() -> None:
    code, findings = await doctor(f"nats://127.0.0.1:{free_port()}")
    assert code == 1
    assert "thymos up" in findings[0]["mend"]


async def test_a_consumer_is_gone(suite: Suite) -> None:
    consumer = subjects.consumer(ENGINE, subjects.METRICS)
    await suite.bus.delete_consumer(consumer)

    found = await finds(suite, "is missing")

    assert "thymos provision" in found["mend"]
    await suite.bus.ensure_consumer(consumer)
    await is_well(suite)


async def test_a_stream_has_other_settings(suite: Suite) -> None:
    info = await suite.bus.jetstream.stream_info(subjects.METRICS.name)
    await suite.bus.jetstream.update_stream(info.config, max_age=3_600)

    found = await finds(suite, "has other settings")

    assert subjects.METRICS.name in found["what"]
    assert "thymos provision" in found["mend"]
    await suite.bus.jetstream.update_stream(info.config)
    await is_well(suite)


async def test_a_service_does_not_answer(suite: Suite) -> None:
    pid = suite.services[ENGINE].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        found = await finds(suite, f"{ENGINE} does not answer")
        assert "its work waits on the bus" in found["mend"]
    finally:
        os.kill(pid, signal.SIGCONT)
    await is_well(suite)


async def test_a_store_is_locked(suite: Suite) -> None:
    subject = subjects.telemetry_subject("default", "support")
    with closing(sqlite3.connect(suite.data_dir / "metrics-collector.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        await suite.bus.publish(subject, TASK, "t1")
        found = await finds(suite, "another process holds it")
        assert subjects.METRICS_COLLECTOR in found["what"]
    await is_well(suite)


async def test_dead_letters_wait(suite: Suite) -> None:
    await suite.bus.publish(subjects.telemetry_subject("default", "support"), b"not json", "bad")

    found = await finds(suite, "could not be processed")

    assert "thymos dead list" in found["mend"]


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
        (Look(0, 0, 0, 1, 10), Look(0, 0, 0, 1, 10), ""),
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
