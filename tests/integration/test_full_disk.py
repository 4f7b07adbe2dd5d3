"""A full disk under a service's store, under NATS and under a whole suite: said clearly, and nothing is lost.

Two tests limit how large the files of a process may become, which needs no rights. The third has a real small disk
where the machine lets an ordinary user mount one, and the same limits where it does not.
"""

import asyncio
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Protocol, TypeVar

import pytest
import pytest_asyncio
from tests.deadline import DEADLINE_SECONDS

from thymos import nats_bus, subjects
from thymos.client import Client, decode_stored
from thymos.commands import CommitMemory, MemoryChange
from thymos.embedded import free_port
from thymos.envelope import Envelope
from thymos.errors import Refusal, TransientError, UnavailableError
from thymos.events import CommitCreated
from thymos.memory_client import MemoryClient
from thymos.message import Message
from thymos.metrics import MetricsOutcomes, OutcomeRow
from thymos.provision import provision
from thymos.subjects import Stream
from thymos.suite import Suite, not_ready
from thymos.telemetry import Outcome, TaskFinished
from thymos.testing import NatsServer

LARGE = "x" * 60_000
"""More than any file that is cut off may hold beyond what it holds already."""
LIMIT_BYTES = 32 * 1024
AGENT = "support"
M = TypeVar("M", bound=Message)


def limit_files(pid: int | None, size_bytes: int = resource.RLIM_INFINITY) -> None:
    """From now on, no file of a process may be written beyond a size: like a disk that is full."""
    assert pid is not None
    hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, hard))


class Ledger:
    """What a client has asked for, and what became of it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.memory = MemoryClient(self._connected, AGENT)
        self.outcomes: list[Envelope[Message]] = []
        self.written: list[str] = []

    async def _connected(self) -> Client:
        return self.client

    async def write(self, name: str) -> None:
        """A change to memory that is answered: from then on it must not be lost."""
        await self.memory.put(name, LARGE)
        self.written.append(name)

    async def report(self, *names: str) -> None:
        """Outcomes, sent until they are stored, as the SDK does."""
        for name in names:
            envelope = self.client.envelope(TaskFinished(task_id=name, outcome=Outcome.SUCCEEDED, output=LARGE), AGENT)
            self.outcomes.append(envelope)
            await self.store(envelope)

    async def store(self, envelope: Envelope[Message]) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                with suppress(UnavailableError, TransientError):
                    await self.client.publish(envelope)
                    return

    async def unready(self, service: str, words: str) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while words not in (said := await not_ready(self.client, service)):
                assert said in ("", "does not answer") or said.startswith("is not ready")
                await asyncio.sleep(0.1)

    async def ready(self) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while any([await not_ready(self.client, service) for service in subjects.SERVICES]):
                await asyncio.sleep(0.1)

    async def check(self) -> None:
        """Each write is there and was told of once; each outcome is counted once."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            for name in self.written:
                assert await self.content(name) == LARGE
            expected = len(self.outcomes)
            commits = await self.seen(subjects.EVENTS, CommitCreated, lambda found: len(found) > len(self.written))
            assert len({one.commit for one in commits}) == len(commits)
            assert len([one for one in commits if one.parents]) == len(self.written), "and the empty first one"
            outcomes = await self.seen(subjects.METRICS, MetricsOutcomes, lambda found: len(rows(found)) >= expected)
            tasks = Counter(row.task_id for row in rows(outcomes))
            assert tasks == Counter(one.data.task_id for one in self.outcomes if isinstance(one.data, TaskFinished))

    async def content(self, name: str) -> str:
        """What memory holds, once it does: a command in hand is tried again a moment after there is room."""
        while True:
            try:
                return (await self.memory.get(name)).content
            except Refusal as refusal:
                if refusal.code != "not_found":
                    raise
            await asyncio.sleep(0.1)

    async def seen(self, stream: Stream, kind: type[M], enough: Callable[[list[M]], bool]) -> list[M]:
        """All of one class in a stream, once there is enough of it and nothing follows."""
        found: list[M] = []
        async with aclosing(self.client.bus.follow(stream, ">", from_sequence=1)) as messages:
            async for stored in messages:
                items = [item for item in decode_stored(stored) if isinstance(item, Envelope)]
                found += [item.data for item in items if isinstance(item.data, kind)]
                if enough(found) and stored.sequence == await self.client.bus.last_sequence(stream):
                    return found
        raise AssertionError("the stream ended")


def rows(outcomes: Sequence[MetricsOutcomes]) -> list[OutcomeRow]:
    return [row for one in outcomes for row in one.rows]


# --- under a service's store ----------------------------------------------------------------------------------------


async def test_under_the_memory_store(tmp_path: Path) -> None:
    async with Suite(tmp_path / "suite", sync_always=False) as suite:
        await suite.ready()
        ledger = Ledger(Client(suite.bus, source="test"))
        await ledger.write("before")
        pid = suite.services[subjects.MEMORY_REPOSITORY].pid
        limit_files(pid, LIMIT_BYTES)

        with pytest.raises(Refusal) as refused:
            await ledger.memory.put("refused", LARGE)
        assert refused.value.code == "unavailable"
        assert re.search(r"the store memory-repository\.db cannot be used right now: .*its disk", str(refused.value))
        await ledger.unready(subjects.MEMORY_REPOSITORY, "the store memory-repository.db cannot be used right now")
        assert (await ledger.memory.get("before")).content == LARGE, "what needs no room goes on"

        commands = [command(ledger.client, f"waits-{number}") for number in range(3)]
        for envelope in commands:
            await ledger.store(envelope)
        await ledger.report("meanwhile")
        assert await not_ready(ledger.client, subjects.METRICS_COLLECTOR) == "", "the others have room"

        limit_files(pid)
        await ledger.ready()
        assert suite.services[subjects.MEMORY_REPOSITORY].pid == pid, "no restart was needed"
        ledger.written += [f"waits-{number}" for number in range(3)]
        await ledger.write("refused")
        await ledger.check()


def test_under_the_memory_store_at_its_start(tmp_path: Path) -> None:
    told = {"THYMOS_NATS_URL": "nats://127.0.0.1:1", "THYMOS_DATA_DIR": str(tmp_path)}
    ended = subprocess.run(
        ["sh", "-c", 'ulimit -f 1 && exec "$@"', "sh", sys.executable, "-m", "memory_repository"],
        env={**os.environ, **told}, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert re.fullmatch(r"the store memory-repository\.db cannot be used right now: .*its disk.*\n", ended.stderr)


def command(client: Client, name: str) -> Envelope[Message]:
    change = MemoryChange(op="put", id=name, content=LARGE)
    return client.envelope(CommitMemory(changes=[change], author="me", message=name), AGENT)


# --- under NATS -----------------------------------------------------------------------------------------------------


async def test_under_a_nats_server_of_somebody_elses(nats_server: NatsServer, tmp_path: Path) -> None:
    """What is written is answered and waits in the service; the words say that this server has to be restarted."""
    async with Suite(tmp_path / "suite", nats_url=nats_server.url) as suite:
        await suite.ready()
        ledger = Ledger(Client(suite.bus, source="test"))
        await ledger.write("before")
        await ledger.report("t1", "t2")
        limit_files(nats_server.pid, 1)
        reporting = asyncio.create_task(ledger.report("t3", "t4"))
        unstored = ledger.client.envelope(TaskFinished(task_id="never", outcome=Outcome.FAILED), AGENT)
        with pytest.raises(TransientError, match="make room there and restart NATS"):
            await suite.bus.publish(unstored.subject, unstored.to_bytes(), unstored.message_id)
        await ledger.write("meanwhile")
        await ledger.unready(subjects.MEMORY_REPOSITORY, "make room there and restart NATS")

        nats_server.stop()
        nats_server.start()
        await ledger.ready()
        await reporting
        await ledger.write("after")
        await ledger.check()


def test_nats_says_itself_that_it_takes_nothing(tmp_path: Path) -> None:
    """Also while no service has anything to publish."""
    port = free_port()
    with NatsServer(tmp_path, further={"http": f"127.0.0.1:{port}"}) as server:
        asyncio.run(unstored(server))
        with pytest.raises(urllib.error.HTTPError, match="503") as caught:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz")
        with caught.value as answer:
            assert subjects.TELEMETRY.name in answer.read().decode()


def test_a_log_that_somebody_deleted_hides_nothing_else(nats_server: NatsServer) -> None:
    nats_server.log_path.unlink()
    assert not nats_server.write_failed()


async def unstored(server: NatsServer) -> None:
    bus = await nats_bus.connect(server.url, "test")
    await provision(bus)
    limit_files(server.pid, 1)
    with pytest.raises(TransientError):
        await bus.publish(subjects.telemetry_subject("acme", AGENT), b"x", "1")
    limit_files(server.pid)
    await bus.close()


# --- under everything -----------------------------------------------------------------------------------------------


class Disk(Protocol):
    """Where a whole suite lives."""

    path: Path

    def command(self, *arguments: str) -> list[str]:
        """How to run something that sees the disk."""

    def fill(self) -> None:
        """No more room."""

    def empty(self) -> None:
        """Room again."""

    def close(self) -> None:
        """Give it back."""


class MountedDisk:
    """A disk of 64 MiB in memory, mounted where only its own processes see it: a process holds it, others join."""

    def __init__(self, path: Path) -> None:
        self.path = path
        mount = f'mount -t tmpfs -o size=64m none "{path}" && echo mounted && exec sleep infinity'
        self._holder = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self._holder.stdout
        if self._holder.stdout.readline() != b"mounted\n":
            self.close()
            raise OSError("this machine lets no ordinary user mount a disk")

    @property
    def seen_from_here(self) -> Path:
        return Path(f"/proc/{self._holder.pid}/root{self.path}")

    def command(self, *arguments: str) -> list[str]:
        enter = ["nsenter", "--target", str(self._holder.pid), "--user", "--mount", "--preserve-credentials"]
        return [*enter, *arguments]

    def fill(self) -> None:
        with suppress(OSError), (self.seen_from_here / "filler").open("wb", buffering=0) as filler:
            while filler.write(b"x" * 4_096) == 4_096:
                pass

    def empty(self) -> None:
        (self.seen_from_here / "filler").unlink()

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
        if self._holder.stdout:
            self._holder.stdout.close()


class LimitedFiles:
    """An ordinary folder; "full" is a limit on the files of NATS and of memory-repository."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def command(self, *arguments: str) -> list[str]:
        return list(arguments)

    def _limit(self, size_bytes: int) -> None:
        processes = json.loads((self.path / "processes.json").read_text())
        for name in ("nats", subjects.MEMORY_REPOSITORY):
            limit_files(processes[name][0], size_bytes)

    def fill(self) -> None:
        self._limit(LIMIT_BYTES)

    def empty(self) -> None:
        self._limit(resource.RLIM_INFINITY)

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    made: Disk = LimitedFiles(path)
    if shutil.which("unshare") and shutil.which("nsenter"):
        with suppress(OSError):
            made = MountedDisk(path)
    yield made
    made.close()


@pytest_asyncio.fixture
async def up(disk: Disk, tmp_path: Path) -> AsyncIterator[tuple[str, Path]]:
    """`thymos up` on the disk: where it answers, and what it says."""
    said = tmp_path / "said"
    with said.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *disk.command(sys.executable, "-m", "thymos", "up", "--data", str(disk.path), "--port", "0"),
            stdout=output, stderr=output, env={**os.environ, "THYMOS_METRICS_PORT": "0"},
        )  # fmt: skip
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not (found := re.search(r"Thymos is ready at (\S+);", said.read_text())):
            assert process.returncode is None, said.read_text()
            await asyncio.sleep(0.1)
    yield found[1], said
    process.terminate()
    await process.wait()


async def test_under_a_whole_suite(up: tuple[str, Path], disk: Disk) -> None:
    """`thymos up` restarts its own NATS once there is room."""
    url, said = up
    bus = await nats_bus.connect(url, "test")
    ledger = Ledger(Client(bus, source="test"))
    await ledger.write("before")
    await ledger.report("t1", "t2")
    disk.fill()
    reporting = asyncio.create_task(ledger.report("t3", "t4"))
    with pytest.raises(Refusal, match=r"memory-repository\.db cannot be used right now"):
        await until_refused(ledger)
    await ledger.unready(subjects.MEMORY_REPOSITORY, "memory-repository.db")

    disk.empty()
    await ledger.ready()
    await reporting
    await ledger.ready()
    await ledger.write("after")
    await ledger.check()
    assert "it is restarted" in said.read_text()
    await bus.close()


async def until_refused(ledger: Ledger) -> None:
    """The store's files may have some room of their own left."""
    for number in range(1_000):
        await ledger.write(f"almost-{number}")
