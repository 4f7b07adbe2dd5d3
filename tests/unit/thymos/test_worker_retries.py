"""A worker whose memory says no waits longer each time, and says why once."""

import asyncio
import json

import pytest

from thymos import subjects, worker
from thymos.client import Client
from thymos.tasks import TaskAssigned
from thymos.testing import MemoryBus


async def test_a_refusal_that_stays_is_said_once_and_asked_ever_more_slowly(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "RETRY_SECONDS", 0.001)
    bus, stop, asked = MemoryBus(), asyncio.Event(), []

    async def refuse(subject: str, body: bytes) -> bytes:
        del body
        asked.append(subject)
        if len(asked) == 4:
            stop.set()
        return json.dumps({"ok": False, "error": {"code": "refused", "message": "never"}}).encode()

    await bus.serve("memory-repository", {"all": f"thymos.request.{subjects.MEMORY_REPOSITORY}.>"}, refuse)
    place = worker.Workplace("nats://127.0.0.1:1", "acme", "support", "main", "w1", 1)

    async def answer(task: worker.WorkerTask) -> str:
        return task.task_id

    async with asyncio.timeout(10):
        await worker.Worker(Client(bus, "acme", "w1"), place, answer).run(stop)
    said = [line for line in caplog.messages if "worktree not open yet" in line]
    assert (len(said), len(asked) >= 4) == (1, True)


async def test_the_pauses_between_attempts_double_up_to_a_limit() -> None:
    stop = asyncio.Event()
    stop.set()
    retries = worker._Retries("something")
    pauses = []
    for _ in range(7):
        pauses.append(retries._pause)
        await retries.failed(ValueError("no"), stop)
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_a_task_needs_no_input_but_a_deadline_needs_a_zone() -> None:
    task = TaskAssigned(task_id="t", branch="main", input=None)
    assert TaskAssigned.model_validate(task.model_dump(mode="json", exclude_none=True)) == task
    with pytest.raises(ValueError, match="timezone"):
        TaskAssigned.model_validate({"task_id": "t", "branch": "main", "deadline": "2026-01-01T00:00:00"})
