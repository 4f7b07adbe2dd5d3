"""What the tests of worktree-scaler share: a running scaler, its events as they come, processes by their
mark.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import psutil
from tests.deadline import DEADLINE_SECONDS

from thymos import nats_bus, service, subjects
from thymos.envelope import Envelope, decode
from thymos.errors import UnavailableError
from thymos.message import Message
from thymos.nats_bus import NatsBus
from thymos.tasks import TaskAssigned
from thymos.telemetry import AgentHeartbeat
from worktree_scaler.app import build_with
from worktree_scaler.processes import SCALER_MARK, WORKTREE_MARK
from worktree_scaler.reconcile import Limits
from worktree_scaler.scaling import ScalingPolicy
from worktree_scaler.settings import AgentSettings, ScalerSettings

AGENT_SCRIPT = Path(__file__).with_name("worktree_scaler_agent.py")
COMMAND = (sys.executable, str(AGENT_SCRIPT))
QUICK = Limits(
    drain_timeout=timedelta(seconds=5),
    stop_timeout=timedelta(milliseconds=500),
    start_timeout=timedelta(seconds=20),
    backoff_first=timedelta(milliseconds=50),
)
M = TypeVar("M", bound=Message)


def settings_of(tmp_path: Path, url: str, **changes: Any) -> ScalerSettings:
    """One agent `support` whose process is the tests' tiny agent; one worktree unless told otherwise."""
    agent = AgentSettings(COMMAND, drain_timeout=QUICK.drain_timeout)
    settings = ScalerSettings(
        nats_url=url,
        data_dir=tmp_path / "data",
        directory=tmp_path,
        agents={"support": replace(agent, **changes.pop("agent", {}))},
        policy=ScalingPolicy(max_worktrees=6),
        limits=QUICK,
        environment=dict(os.environ),
    )
    return replace(settings, **changes)


@dataclass
class Bench:
    """The stream of events, and a client that publishes as somebody else."""

    bus: NatsBus
    seen: list[Envelope[Message]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def follow(self, stream: subjects.Stream, subject: str) -> None:
        """Collect the messages of a stream for ever."""
        async for stored in self.bus.follow(stream, subject, from_sequence=1):
            self.seen.append(decode(stored.body, stored.subject))
            async with self.changed:
                self.changed.notify_all()

    def all(self, kind: type[M], matching: Callable[[M], bool] = lambda _: True) -> list[M]:
        """What was seen of a kind, in order."""
        return [e.data for e in self.seen if isinstance(e.data, kind) and matching(e.data)]

    async def wait(self, kind: type[M], count: int = 1, matching: Callable[[M], bool] = lambda _: True) -> list[M]:
        """At least `count` of a kind, or a failure that says what was seen instead."""
        try:
            async with asyncio.timeout(DEADLINE_SECONDS), self.changed:
                while len(found := self.all(kind, matching)) < count:
                    await self.changed.wait()
                return found
        except TimeoutError:
            raise AssertionError(f"{count} x {kind.NAME} did not come; seen: {self.story()}") from None

    def story(self) -> list[str]:
        """What was seen, in short, without the heartbeats."""
        seen = [e.data for e in self.seen if not isinstance(e.data, AgentHeartbeat)]
        return [f"{data.NAME} {getattr(data, 'reason', '')}"[:120] for data in seen]

    async def publish(self, message: Message, source: str = "test") -> str:
        """Publish as `source`, for the agent `support`; the id."""
        envelope: Envelope[Message] = Envelope(
            id=str(uuid.uuid4()),
            source=source,
            time=datetime.now(UTC),
            tenant="default",
            agent="support",
            data=message,
        )
        await self.bus.publish(envelope.subject, envelope.to_bytes(), envelope.message_id)
        return envelope.id

    async def assign(self, given: Any, count: int = 1) -> None:
        """Tasks of main's customers."""
        for _ in range(count):
            await self.publish(TaskAssigned(task_id=str(uuid.uuid4()), branch="main", input=given))

    async def ask(self, verb: str) -> Any:
        """The data of a request's reply."""
        subject = subjects.request_subject(subjects.WORKTREE_SCALER, "default", "support", verb)
        reply = json.loads(await self.bus.request(subject, b"{}", timedelta(seconds=5)))
        assert reply["ok"], reply
        return reply["data"]

    async def ask_until(self, verb: str, holds: Callable[[Any], bool]) -> Any:
        """The first reply that `holds` is true of; a service that does not answer yet is asked again."""
        data: Any = None
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while True:
                    with suppress(UnavailableError):
                        data = await self.ask(verb)
                        if holds(data):
                            return data
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{verb} stayed {data}; seen: {self.story()}") from None


@asynccontextmanager
async def bench_on(bus: NatsBus) -> AsyncIterator[Bench]:
    """A bench that collects events and telemetry."""
    bench = Bench(bus)
    tasks = [
        asyncio.create_task(bench.follow(subjects.EVENTS, "thymos.event.>")),
        asyncio.create_task(bench.follow(subjects.TELEMETRY, "thymos.telemetry.>")),
    ]
    try:
        yield bench
    finally:
        while any(not task.done() for task in tasks):  # before 3.12, wait_for may lose a cancellation
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=0.2)


@asynccontextmanager
async def running(settings: ScalerSettings) -> AsyncIterator[None]:
    """A scaler in this process; leaving stops it as SIGTERM would."""
    bus = await nats_bus.connect(settings.nats_url, "worktree-scaler")
    stop = asyncio.Event()
    built = build_with(settings)
    task = asyncio.create_task(service.run(built, bus, stop))
    try:
        yield
    finally:
        stop.set()
        try:
            await asyncio.wait_for(task, DEADLINE_SECONDS)
        finally:
            await bus.close()
            await built.store.close()


class ScalerProcess:
    """worktree-scaler as a process of its own, so that it can be killed."""

    def __init__(self, tmp_path: Path, url: str, min_worktrees: int = 1) -> None:
        self.data_dir = tmp_path / "data"
        self.database = self.data_dir / "worktree-scaler.db"
        self._log = tmp_path / "scaler.log"
        config = tmp_path / "thymos.toml"
        config.write_text(
            f"[agents.support]\ncommand = {json.dumps(COMMAND)}\n"
            f"environment = {{ TEST_DATA_DIR = {json.dumps(str(self.data_dir))} }}\n"
            f"[supervisor.versioning.worktree_scaling]\nmin_worktrees = {min_worktrees}\n"
        )
        self._environment = {
            **os.environ,
            "THYMOS_CONFIG": str(config),
            "THYMOS_DATA_DIR": str(self.data_dir),
            "THYMOS_NATS_URL": url,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it is ready when it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worktree_scaler"],
                env=self._environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def kill9(self) -> None:
        """Kill it without warning; its agents run on."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: it drains its agents and ends."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(DEADLINE_SECONDS)
            self._process = None

    def agents(self) -> dict[int, str]:
        """The agent processes it has started and that run now: pid to worktree, found by their environment."""
        found = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                environment = process.environ()
                ours = environment.get("TEST_DATA_DIR") == str(self.data_dir) and SCALER_MARK in environment
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = environment[WORKTREE_MARK]
        return found

    def end_all(self) -> None:
        """Leave nothing behind, also when a test has failed."""
        self.kill9()
        for pid in self.agents():
            with suppress(psutil.Error):
                psutil.Process(pid).kill()
