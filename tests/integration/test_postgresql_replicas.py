"""Two processes of memory-repository on one PostgreSQL database and one NATS server: what they promise together."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio
from tests.deadline import DEADLINE_SECONDS

from memory_repository import MemoryRepository
from thymos import commands, subjects
from thymos.bus import CONTENT_TYPE_HEADER
from thymos.commands import MemoryChange
from thymos.envelope import CONTENT_TYPE, Envelope
from thymos.errors import UnavailableError
from thymos.message import Message
from thymos.nats_bus import NatsBus
from thymos.testing import NatsServer

TENANT, AGENT = "acme", "support"
WRITERS, WRITES, COMMANDS = 6, 12, 20
KILL_AFTER = 20
"""Acknowledged writes before one of the replicas is killed."""


class Replica:
    """A process of the service."""

    def __init__(self, nats_url: str, data_dir: Path, database_url: str) -> None:
        own = {"THYMOS_NATS_URL": nats_url, "THYMOS_DATA_DIR": str(data_dir), "THYMOS_STORAGE__URL": database_url}
        self._environment = {**os.environ, **own}
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        command = (sys.executable, "-m", "memory_repository")
        self.process = await asyncio.create_subprocess_exec(*command, env=self._environment)

    async def end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        if self.process.returncode is None:
            self.process.send_signal(number)
        await asyncio.wait_for(self.process.wait(), DEADLINE_SECONDS)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await condition():
            await asyncio.sleep(0.05)


async def answered_by_each(nats: NatsBus) -> dict[str, int]:
    """Requests that each process has answered so far, by its id: NATS's own statistics of micro services."""
    inbox = nats.client.new_inbox()
    replies = await nats.client.subscribe(inbox)
    await nats.client.publish(f"$SRV.STATS.{subjects.MEMORY_REPOSITORY}", b"", reply=inbox)
    counts: dict[str, int] = {}
    with contextlib.suppress(TimeoutError):
        while True:
            body = (await replies.next_msg(timeout=0.5)).data
            if not body:  # nobody is there
                break
            said = json.loads(body)
            counts[said["id"]] = sum(each["num_requests"] for each in said["endpoints"])
    await replies.unsubscribe()
    return counts


@pytest_asyncio.fixture
async def replicas(
    nats_server: NatsServer, nats: NatsBus, tmp_path: Path, postgresql_url: str
) -> AsyncIterator[tuple[Replica, Replica]]:
    pair = tuple(Replica(nats_server.url, tmp_path / name, postgresql_url) for name in ("one", "two"))

    async def both_there() -> bool:
        return len(await answered_by_each(nats)) == 2

    try:
        for replica in pair:
            await replica.start()
        await until(both_there)
        yield pair[0], pair[1]
    finally:
        for replica in pair:
            await replica.end(signal.SIGTERM)


async def ask(nats: NatsBus, verb: str, **request: Any) -> dict[str, Any]:
    """An answer, asked for again until there is one: with a key that is safe."""
    subject = subjects.request_subject(subjects.MEMORY_REPOSITORY, TENANT, AGENT, verb)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            with contextlib.suppress(UnavailableError):
                reply = json.loads(await nats.request(subject, json.dumps(request).encode(), timedelta(seconds=2)))
                if reply["ok"]:
                    found: dict[str, Any] = reply["data"]
                    return found
                assert reply["error"]["code"] == "unavailable", reply
            await asyncio.sleep(0.05)


async def send(nats: NatsBus, message: Message, identity: str) -> None:
    envelope: Envelope[Message] = Envelope(
        id=identity, source="test", time=datetime.now(UTC), tenant=TENANT, agent=AGENT, data=message
    )
    headers = {CONTENT_TYPE_HEADER: CONTENT_TYPE}
    await nats.publish(envelope.subject, envelope.to_bytes(), envelope.message_id, headers)


def put(memory_id: str) -> dict[str, Any]:
    return {"op": "put", "id": memory_id, "content": f"what {memory_id} says", "fields": {}}


async def commits_told(nats: NatsBus, last: str) -> list[str]:
    """The commits on main that events tell of, in their order, up to the last one."""
    told: list[str] = []
    subject = subjects.event_subject(TENANT, AGENT, "commit.created")
    async with asyncio.timeout(DEADLINE_SECONDS):
        async for stored in nats.follow(subjects.EVENTS, subject, from_sequence=1):
            told.append(json.loads(stored.body)["data"]["commit"])
            if told[-1] == last:
                return told
    raise AssertionError("unreachable")


async def test_replicas_share_the_work_and_a_killed_one_loses_and_doubles_nothing(
    nats: NatsBus, replicas: tuple[Replica, Replica], postgresql_url: str
) -> None:
    """Requests with keys and commands, all to one branch of one agent, while one of two is killed (-9)."""
    acknowledged: dict[str, str] = {}
    shares: dict[str, int] = {}

    async def write(writer: int) -> None:
        for number in range(WRITES):
            name = f"w{writer}-{number}"
            done = await ask(nats, "commit", branch="main", changes=[put(name)], author="x", idempotency_key=name)
            acknowledged[name] = done["commit"]

    async def command() -> None:
        for number in range(COMMANDS):
            change = MemoryChange.model_validate(put(f"c{number}"))
            wanted = commands.CommitMemory(branch="main", author="x", message="", changes=[change])
            await send(nats, wanted, f"c{number}")

    async def kill_one() -> None:
        async def enough() -> bool:
            return len(acknowledged) >= KILL_AFTER

        await until(enough)
        shares.update(await answered_by_each(nats))
        await replicas[0].end(signal.SIGKILL)

    await asyncio.gather(kill_one(), command(), *(write(writer) for writer in range(WRITERS)))
    assert len(shares) == 2
    assert all(count > 0 for count in shares.values()), shares

    consumer = subjects.consumer(subjects.MEMORY_REPOSITORY, subjects.COMMANDS)

    async def commands_done() -> bool:
        depth = await nats.depth(consumer)
        return depth is not None and depth.lag == 0

    await until(commands_done)
    wanted = {*acknowledged, *(f"c{number}" for number in range(COMMANDS))}
    with MemoryRepository.open(postgresql_url, tenant=TENANT, agent=AGENT) as memory:
        history = [commit.id for commit in memory.log(limit=1000)]
        assert {found.id for found in memory.memories()} == wanted
        assert len(history) == 1 + len(wanted)  # the first one, and one for each
        assert memory.verify().ok
        assert {name: memory.get(name).commit for name in acknowledged} == acknowledged
    assert await commits_told(nats, history[0]) == history[::-1]  # each once, in the order in which they came about
