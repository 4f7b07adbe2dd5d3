"""The SDK: three lines make an agent observable, and its memory versioned.

    async with thymos.connect() as bus:
        agent = bus.agent("support")
        async with agent.task() as task:
            hits = await task.memory.search("refund window")
            task.record(cost_usd=0.0021, quality=0.9)

Telemetry never raises into the agent, never blocks it, and survives a lost connection (reporting.py). Memory does
raise: `Refusal` when the repository says no, `UnavailableError` when nobody answers.
"""

import asyncio
import functools
import logging
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar

from thymos import nats_bus
from thymos.background import cancelled
from thymos.bus import Bus
from thymos.client import Client, new_envelope, tenant_from_environment, url_from_environment
from thymos.envelope import Envelope
from thymos.errors import UnavailableError
from thymos.events import Event
from thymos.memory_client import MemoryClient
from thymos.message import Message
from thymos.names import check_agent, check_branch, check_tenant
from thymos.reporting import Reporter
from thymos.task_report import ID_MAX, RECALLED_MAX, clean, finished, outcome_of, problem_of
from thymos.telemetry import TaskStarted

log = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")

CONNECT_WAIT_SECONDS = 2.0
REQUEST_CONNECT_WAIT_SECONDS = 10.0
CLOSE_SECONDS = 5.0


@asynccontextmanager
async def connect(
    url: str | None = None, tenant: str | None = None, source: str = "sdk"
) -> AsyncIterator["Connection"]:
    """Connect to the suite; THYMOS_NATS_URL and THYMOS_TENANT fill in what is not given.

    Does not fail when nobody answers yet: telemetry waits in its queue, and the connection is made as soon as it
    can be. Queued telemetry is flushed at the end. Raises ValueError for a tenant or a source that is no name.
    """
    connection = Connection(url or url_from_environment(), check_tenant(tenant or tenant_from_environment()), source)
    try:
        await connection.open()
        yield connection
    finally:
        await connection.close()


@dataclass(frozen=True)
class Notification:
    """An event that somebody is told of."""

    envelope: Envelope[Message]

    @property
    def id(self) -> str:
        """What `thymos why` takes."""
        return self.envelope.id

    @property
    def type(self) -> str:
        """For example `thymos.branch.merged.v1`."""
        return self.envelope.type

    @property
    def agent_id(self) -> str:
        """Whose memory it concerns."""
        return self.envelope.agent

    @property
    def time(self) -> datetime:
        """When it happened."""
        return self.envelope.time

    @property
    def event(self) -> Message:
        """The event itself: `BranchMerged`, `BranchRolledBack`, …"""
        return self.envelope.data

    @property
    def reason(self) -> str:
        """Why, in words."""
        return str(getattr(self.envelope.data, "reason", ""))


class Connection:
    """One process's connection to the suite; made by `connect`."""

    def __init__(self, url: str, tenant: str, source: str) -> None:
        self.url = url
        self.tenant = tenant
        self.source = check_source(source)
        self.reporter = Reporter(self._connected)
        self.hand_over: Callable[[Envelope[Message]], None] = self.reporter.report
        """Where telemetry goes; code on another thread hands it over to the loop's first (sync_sdk.py)."""
        self._connecting: asyncio.Task[nats_bus.NatsBus] | None = None
        self._reporting: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to connect; wait a moment for it, but not for ever."""
        self._connecting = self._connect()
        self._reporting = asyncio.create_task(self.reporter.run())
        await asyncio.wait({self._connecting}, timeout=CONNECT_WAIT_SECONDS)
        if not self._connecting.done():
            log.warning("thymos: no NATS server answers at %s yet; telemetry is queued", self.url)

    def _connect(self) -> "asyncio.Task[nats_bus.NatsBus]":
        return asyncio.create_task(nats_bus.connect(self.url, self.source, wait=None))

    async def close(self) -> None:
        """Flush and disconnect, within seconds. Never raises for a bus that is away."""
        if self._connecting is None or self._reporting is None:
            return
        try:
            if self._connecting.done() and not _failed(self._connecting):
                await self.reporter.flush()
        finally:
            await _ended(cancelled(self._reporting))
            await _ended(cancelled(self._connecting))
            self.reporter.close()
            if not _failed(self._connecting):
                await _ended(asyncio.wait_for(self._connecting.result().close(), CLOSE_SECONDS))

    async def _connected(self) -> Bus:
        if self._connecting is None:
            raise UnavailableError("not connected: use `async with thymos.connect()`")
        if self._connecting.done() and _failed(self._connecting):
            self._connecting = self._connect()
        return await asyncio.shield(self._connecting)

    async def client(self) -> Client:
        """The lower-level client. Raises UnavailableError when there is no connection within ten seconds."""
        try:
            bus = await asyncio.wait_for(self._connected(), REQUEST_CONNECT_WAIT_SECONDS)
        except TimeoutError as error:
            raise UnavailableError(f"no NATS server answers at {self.url}") from error
        return Client(bus, self.tenant, self.source)

    def agent(self, agent_id: str, branch: str = "main") -> "Agent":
        """An agent by its name. Raises ValueError when it is no name, or `branch` is none."""
        return Agent(self, check_agent(agent_id), check_branch(branch))

    async def notifications(
        self, *kinds: type[Event], agent: str | None = None, since: datetime | timedelta | None = None
    ) -> AsyncGenerator[Notification, None]:
        """Events of these classes (or all), as they happen; `since` starts in the past (a time, or an age)."""
        client = await self.client()
        start = datetime.now(UTC) - since if isinstance(since, timedelta) else since
        async for envelope in client.notifications(*kinds, agent=agent, since=start):
            yield Notification(envelope)

    def report(self, message: Callable[[], Message], agent: str) -> None:
        """Queue telemetry. Never raises, never waits: what cannot be built or sent is dropped and counted."""
        try:
            envelope = new_envelope(message(), tenant=self.tenant, agent=agent, source=self.source)
        except Exception as error:  # noqa: BLE001  (telemetry must not get in the agent's way)
            self.reporter.drop(problem_of(error))
            return
        self.hand_over(envelope)


def check_source(source: str) -> str:
    """Return `source` if it can name who publishes: 1 to 200 printable characters. Raises ValueError else."""
    if not isinstance(source, str) or not 1 <= len(source) <= ID_MAX or not source.isprintable():
        raise ValueError(f"a source is 1 to {ID_MAX} printable characters; got {clean(repr(source), 60)}")
    return source


def _failed(task: "asyncio.Task[Any]") -> bool:
    return task.cancelled() or task.exception() is not None


async def _ended(ending: Awaitable[None]) -> None:
    """Wait for an end whose failure changes nothing any more."""
    try:
        await ending
    except Exception as error:  # noqa: BLE001
        log.debug("thymos: while closing: %s", problem_of(error))


class Agent:
    """One agent: its tasks and its memory."""

    def __init__(self, connection: Connection, agent_id: str, branch: str) -> None:
        self._connection = connection
        self.agent_id = agent_id
        self.branch = branch
        self.memory: MemoryClient = MemoryClient(connection.client, agent_id, branch)

    def task(self, key: str | None = None, task_id: object = None, **details: Any) -> "Task":
        """A task to be used with `async with`; it is timed and reported when it ends.

        Args:
            key: who or what the task is for; the same key stays with the same variant.
            task_id: its identity, as text of at most 200 characters (more are cut off); an outcome counts once per
                id. Random unless given.
            details: more fields of `task.finished`, such as `input`.
        """
        del key  # every key works on `branch`: experiments hand out their own tasks (scenario mode)
        identity = "" if task_id is None else clean(task_id, ID_MAX)
        return Task(self._connection, self, identity or str(uuid.uuid4()), details)

    def observe(self, function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        """Decorate an async function: every call is a task."""

        @functools.wraps(function)
        async def observed(*args: P.args, **kwargs: P.kwargs) -> R:
            async with self.task():
                return await function(*args, **kwargs)

        return observed


class Task:
    """One task in progress. An exception inside records `errored` and is re-raised untouched."""

    def __init__(self, connection: Connection, agent: Agent, task_id: str, details: dict[str, Any]) -> None:
        self._connection = connection
        self._agent = agent
        self.task_id = task_id
        self.commit: str | None = None
        self._details: dict[str, Any] = dict(details)
        self._recalled: list[str] = []
        self._success: bool | None = None
        self._began = 0.0
        self.memory: MemoryClient = MemoryClient(connection.client, agent.agent_id, agent.branch, seen=self._saw)

    def _saw(self, commit: str, ids: Any) -> None:
        """Lay the outcome at the door of the commit that the task began on."""
        self.commit = self.commit or commit
        self._recalled.extend(i for i in ids if i not in self._recalled)

    def record(
        self, *, success: bool | None = None, quality: float | dict[str, float] | None = None, **details: Any
    ) -> None:
        """Say how it went: `success=False` is finished but wrong; quality from 0 to 1; cost_usd, input_tokens,
        output_tokens, llm_calls, business {name: number}, input, output. Never raises."""
        if success is not None:
            self._success = success
        if quality is not None:
            self._details["quality"] = quality
        self._details.update(details)

    def begin(self) -> None:
        """Start the clock, and say so. Never raises."""
        self._began = time.perf_counter()
        self._report(lambda: TaskStarted(task_id=self.task_id, branch=self._agent.branch))

    def end(self, error: BaseException | None) -> None:
        """Report how it ended, by the exception inside. Never raises."""
        measured = {
            "task_id": self.task_id,
            "outcome": outcome_of(error, self._success),
            "branch": self._agent.branch,
            "commit": self.commit,
            "latency_ms": (time.perf_counter() - self._began) * 1000,
            "recalled_ids": self._recalled[:RECALLED_MAX],
        }
        if error is not None:
            measured["error"] = problem_of(error)
        self._report(lambda: finished(self._details, measured))

    async def __aenter__(self) -> "Task":
        self.begin()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.end(error)

    def _report(self, message: Callable[[], Message]) -> None:
        self._connection.report(message, self._agent.agent_id)
