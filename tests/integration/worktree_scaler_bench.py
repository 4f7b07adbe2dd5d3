"""What the tests of worktree-scaler share: a running scaler, its events as they come, processes by their mark."""

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import psutil
from worktree_scaler.app import build_with
from worktree_scaler.processes import SCALER_MARK, WORKTREE_MARK
from worktree_scaler.reconcile import Limits
from worktree_scaler.scaling import ScalingPolicy
from worktree_scaler.settings import AgentSettings, ScalerSettings

from thymos import nats_bus, service, subjects
from thymos.envelope import Envelope, decode
from thymos.message import Message
from thymos.nats_bus import NatsBus
from thymos.tasks import TaskAssigned

AGENT_SCRIPT = Path(__file__).with_name("worktree_scaler_agent.py")
COMMAND = (sys.executable, str(AGENT_SCRIPT))
DEADLINE_SECONDS = 30.0
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
        """What was seen, in short."""
        return [f"{e.data.NAME} {getattr(e.data, 'reason', '')}"[:120] for e in self.seen]

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
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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


def agents_of(data_dir: Path, worktree_ids: Sequence[str] | None = None) -> list[psutil.Process]:
    """The agent processes that run from a data folder's scaler, found by their environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            environment = process.environ()
            if environment.get("TEST_DATA_DIR") != str(data_dir) or SCALER_MARK not in environment:
                continue
            if process.status() != psutil.STATUS_ZOMBIE and (
                worktree_ids is None or environment[WORKTREE_MARK] in worktree_ids
            ):
                found.append(process)
    return found
