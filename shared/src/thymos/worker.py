"""An agent process that takes tasks from its worktree.

    from thymos import worker

    @worker.task
    async def answer(task: worker.WorkerTask) -> str:
        hits = await task.memory.search(task.input)
        return hits[0].content

    worker.run()

The process is told what it is by its environment: THYMOS_NATS_URL, THYMOS_TENANT, THYMOS_AGENT, THYMOS_BRANCH,
THYMOS_WORKTREE, THYMOS_CAPACITY. It says that it is alive twice a second, answers each task by `task.finished`
(stored before the task is acknowledged, so that no answer is lost), and on SIGTERM drains: no new task, the ones in
hand finished, staged memory committed.
"""

import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import JsonValue

from thymos import nats_bus, subjects
from thymos.bus import Bus, ConsumerMissingError, Delivery, Subscription
from thymos.client import Client, tenant_from_environment, url_from_environment
from thymos.envelope import Envelope, decode
from thymos.errors import ThymosError, TransientError, UnavailableError
from thymos.input_digest import input_text
from thymos.logs import configure_logging
from thymos.memory_client import MemoryClient
from thymos.message import Message
from thymos.names import check_agent, check_branch
from thymos.sdk import check_source
from thymos.settlement import settled
from thymos.task_report import ERROR_MAX, RECALLED_MAX, clean, finished, outcome_of, problem_of
from thymos.tasks import TaskAssigned
from thymos.telemetry import AgentHeartbeat, Outcome, ResourceSampled, TaskFinished, TaskStarted

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 0.5
SAMPLE_EVERY_BEATS = 10
FETCH_TIMEOUT = timedelta(seconds=5)
RETRY_SECONDS = 0.25
RETRY_SECONDS_MAX = 5.0
TEXT_MAX = 8_192
LEAVE_PATIENCE = timedelta(seconds=4)
"""How long a process that ends waits for it, to give its checkout back: less than it is given to drain."""
MEMORY_PATIENCE = timedelta(seconds=60)
"""How long a task's requests wait for memory-repository: that it is started anew is no error of the agent's."""

Function = Callable[["WorkerTask"], Awaitable[Any]]
_functions: list[Function] = []


def task(function: Function) -> Function:
    """Register the async function that does this agent's tasks; what it returns is the answer."""
    _functions[:] = [function]
    return function


def run() -> None:
    """Work until SIGTERM. Raises SystemExit when there is no `@worker.task`, or the environment is incomplete."""
    if not _functions:
        raise SystemExit("worker: nothing to run: decorate an async function with @worker.task first")
    configure_logging(os.environ.get("THYMOS_LOG_LEVEL") or "WARNING")
    try:
        place = Workplace.from_environment()
    except ValueError as error:
        raise SystemExit(f"worker: {error}") from error
    asyncio.run(_run_process(place, _functions[0]))


@dataclass(frozen=True)
class Workplace:
    """Where this process works: read once from the environment."""

    nats_url: str
    tenant: str
    agent: str
    branch: str
    worktree_id: str
    capacity: int

    @staticmethod
    def from_environment() -> "Workplace":
        """Raises ValueError when something is missing or no name."""
        agent = os.environ.get("THYMOS_AGENT")
        if not agent:
            raise ValueError("THYMOS_AGENT is not set: which agent is this?")
        return Workplace(
            url_from_environment(),
            tenant_from_environment(),
            check_agent(agent),
            check_branch(os.environ.get("THYMOS_BRANCH") or "main"),
            check_source(os.environ.get("THYMOS_WORKTREE") or f"external-{uuid.uuid4().hex[:12]}"),
            max(1, int(os.environ.get("THYMOS_CAPACITY") or "1")),
        )


@dataclass
class WorkerTask:
    """A task in hand. `input` is what is asked; `memory` is the branch of this worktree."""

    task_id: str
    input: Any
    key: str | None
    memory: MemoryClient
    details: dict[str, JsonValue] = field(default_factory=dict)
    commit: str | None = None
    recalled_ids: list[str] = field(default_factory=list)
    success: bool | None = None

    def record(self, *, success: bool | None = None, **details: Any) -> None:
        """More fields of `task.finished` (cost_usd, input_tokens, quality, …), as in `agent.task`."""
        if success is not None:
            self.success = success
        self.details.update(details)

    def saw(self, commit: str, ids: Any) -> None:
        """A read of memory: the first one says which commit the task stands on."""
        self.commit = self.commit or commit
        self.recalled_ids.extend(i for i in ids if i not in self.recalled_ids)


class _Retries:
    """Attempts at something that does not work yet: each reason is said once, the pauses grow from 0.25 s to 5 s."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._said: set[str] = set()
        self._pause = RETRY_SECONDS

    async def failed(self, error: Exception, stop: asyncio.Event) -> None:
        """Say why, unless it was said, and wait for the next attempt, or for `stop`."""
        reason = str(error)
        if reason not in self._said:
            log.warning("worker: %s: %s", self._what, reason)
        self._said.add(reason)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pause):
                await stop.wait()
        self._pause = min(2 * self._pause, RETRY_SECONDS_MAX)

    def worked(self) -> None:
        """A later failure is a new one."""
        self._said.clear()
        self._pause = RETRY_SECONDS


class Worker:
    """The loop of an agent process, on a connected client."""

    def __init__(self, client: Client, place: Workplace, function: Function) -> None:
        self._client = client
        self._place = place
        self._function = function
        self._consumer = subjects.task_consumer(place.tenant, place.agent, place.branch)
        self._memory = MemoryClient(self._get_client, place.agent, place.branch, author=place.worktree_id)
        self._commit: str | None = None
        self._in_hand: set[asyncio.Task[None]] = set()

    async def _get_client(self) -> Client:
        return self._client

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`; then drain."""
        await self._open_worktree(stop)
        beating = asyncio.create_task(self._beat())
        try:
            await self._take_tasks(stop)
            if self._in_hand:
                await asyncio.wait(self._in_hand)
        finally:
            beating.cancel()
        await self._leave()

    async def _open_worktree(self, stop: asyncio.Event) -> None:
        """The checkout of memory that this process works in; waits for memory-repository as long as it takes."""
        retries = _Retries("memory worktree not open yet")
        while not stop.is_set():
            try:
                self._commit = (await self._memory.open_worktree(self._place.worktree_id)).commit
                return
            except ThymosError as error:
                await retries.failed(error, stop)

    async def _leave(self) -> None:
        """Save what is staged and give the worktree up. A failure is said; the staged changes stay where they are."""
        place = self._place
        memory = MemoryClient(
            self._get_client, place.agent, place.branch, author=place.worktree_id, patience=LEAVE_PATIENCE
        )
        try:
            answer = await memory.open_worktree(place.worktree_id)
            if answer.staged:
                await memory.commit_worktree(place.worktree_id, "saved while draining")
            await memory.close_worktree(place.worktree_id)
        except ThymosError as error:
            log.warning("worker: memory worktree not closed: %s", error)

    # --- tasks -----------------------------------------------------------------------------------------------------

    async def _take_tasks(self, stop: asyncio.Event) -> None:
        bus = self._client.bus
        retries = _Retries("no tasks can be taken yet")
        while not stop.is_set():
            try:
                subscription = await self._subscribe(bus)
                retries.worked()
                try:
                    await self._pull(bus, subscription, stop)
                finally:
                    await subscription.close()
            except TransientError as error:
                await retries.failed(error, stop)

    async def _subscribe(self, bus: Bus) -> Subscription:
        try:
            return await bus.subscribe(self._consumer)
        except ConsumerMissingError:
            await bus.ensure_consumer(self._consumer)
            return await bus.subscribe(self._consumer)

    async def _pull(self, bus: Bus, subscription: Subscription, stop: asyncio.Event) -> None:
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                if len(self._in_hand) >= self._place.capacity:
                    await asyncio.wait({*self._in_hand, stopping}, return_when=asyncio.FIRST_COMPLETED)
                    continue
                fetching = asyncio.create_task(_fetch_one(subscription))
                await asyncio.wait({fetching, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not fetching.done():
                    fetching.cancel()
                    return
                for delivery in fetching.result():
                    working = asyncio.create_task(self._settle(bus, delivery))
                    self._in_hand.add(working)
                    working.add_done_callback(self._in_hand.discard)
        finally:
            stopping.cancel()

    async def _settle(self, bus: Bus, delivery: Delivery) -> None:
        extending = asyncio.create_task(self._extend(delivery))
        try:
            await settled(bus, self._consumer, delivery, lambda: self._work(delivery))
        except TransientError as error:
            log.warning("worker: %s", error)
        finally:
            extending.cancel()

    async def _extend(self, delivery: Delivery) -> None:
        """A long task stays ours."""
        while True:
            await asyncio.sleep(self._consumer.ack_wait.total_seconds() / 3)
            with contextlib.suppress(TransientError):
                await delivery.in_progress()

    async def _work(self, delivery: Delivery) -> None:
        envelope = decode(delivery.body, delivery.subject)
        assigned = envelope.data
        if not isinstance(assigned, TaskAssigned):
            raise TypeError(f"{envelope.type} is not a task")
        finished = await self._finish(assigned)
        answer = Envelope[Message](
            id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{envelope.id}|{assigned.task_id}|{assigned.arm}")),
            source=self._place.worktree_id,
            time=datetime.now(UTC),
            tenant=self._place.tenant,
            agent=self._place.agent,
            data=finished,
            correlation_id=envelope.correlation_id or envelope.id,
            causation_id=envelope.id,
            traceparent=envelope.traceparent,
        )
        try:
            await self._client.publish(answer)
        except UnavailableError as error:
            raise TransientError(str(error)) from error

    async def _finish(self, assigned: TaskAssigned) -> TaskFinished:
        own = WorkerTask(assigned.task_id, assigned.input, assigned.key, self._memory)
        own.memory = MemoryClient(
            self._get_client,
            self._place.agent,
            self._place.branch,
            author=self._place.worktree_id,
            seen=own.saw,
            patience=MEMORY_PATIENCE,
        )
        began = time.perf_counter()
        outcome, output, problem = await self._attempt(assigned, own)
        latency_ms = (time.perf_counter() - began) * 1000
        measured = {
            "task_id": assigned.task_id,
            "outcome": outcome,
            "branch": self._place.branch,
            "commit": own.commit or self._commit,
            "experiment_id": assigned.experiment_id,
            "arm": assigned.arm,
            "latency_ms": latency_ms,
            "input": _text(assigned.input if assigned.input is None else input_text(assigned.input)),
            "output": _text(output),
            "recalled_ids": own.recalled_ids[:RECALLED_MAX],
            "worktree_id": self._place.worktree_id,
            "awaits_grade": assigned.awaits_grade,
            "error": problem,
        }
        return finished(own.details, measured)

    async def _attempt(self, assigned: TaskAssigned, own: WorkerTask) -> tuple[Outcome, Any, str | None]:
        if assigned.deadline is not None and datetime.now(UTC) > assigned.deadline:
            return Outcome.TIMED_OUT, None, "the deadline had passed before the task was begun"
        await self._started(assigned)
        try:
            output = await self._function(own)
        except BaseException as error:
            if _is_ours(error):  # else the agent's failure: an outcome, not the worker's end
                raise
            return outcome_of(error, own.success), None, _problem(error)
        return outcome_of(None, own.success), output, None

    async def _started(self, assigned: TaskAssigned) -> None:
        message = TaskStarted(
            task_id=assigned.task_id,
            branch=self._place.branch,
            experiment_id=assigned.experiment_id,
            arm=assigned.arm,
        )
        await self._say(message)

    # --- signs of life ---------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        beats, used = 0, Usage.now()
        while True:
            await self._say(
                AgentHeartbeat(
                    worktree_id=self._place.worktree_id,
                    branch=self._place.branch,
                    in_flight=len(self._in_hand),
                    capacity=self._place.capacity,
                )
            )
            beats += 1
            if beats % SAMPLE_EVERY_BEATS == 0:
                before, used = used, Usage.now()
                await self._say(sample(self._place, before, used))
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _say(self, message: Message) -> None:
        """Telemetry that may be lost: a missed heartbeat is followed by the next."""
        envelope = self._client.envelope(message, self._place.agent)
        with contextlib.suppress(ThymosError):
            await self._client.bus.publish(envelope.subject, envelope.to_bytes(), envelope.message_id)


async def _fetch_one(subscription: Subscription) -> list[Delivery]:
    return list(await subscription.fetch(1, FETCH_TIMEOUT))


def _is_ours(error: BaseException) -> bool:
    """Whether it is this process that ends, not the task's function: nothing is known of the task then."""
    current = asyncio.current_task()
    cancelled_from_outside = current is not None and current.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | GeneratorExit) or (
        isinstance(error, asyncio.CancelledError) and cancelled_from_outside
    )


def _problem(error: BaseException) -> str:
    match error:
        case asyncio.CancelledError():
            return "the task's function was cancelled"
        case TimeoutError():
            return clean(error, ERROR_MAX) or "timed out"
        case _:
            return problem_of(error)


def _text(value: Any) -> str | None:
    return None if value is None else clean(value, TEXT_MAX)


@dataclass(frozen=True)
class Usage:
    """What this process has used so far: seconds of processor, bytes of memory at the most, at a moment in seconds."""

    cpu_seconds: float
    memory_bytes: int
    at_seconds: float

    @staticmethod
    def now() -> "Usage":
        """As the operating system counts it."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        unit = 1 if sys.platform == "darwin" else 1024
        return Usage(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, time.monotonic())


def sample(place: Workplace, before: Usage, now: Usage) -> ResourceSampled:
    """The use between two looks; fractions are of the whole machine."""
    elapsed_seconds = max(now.at_seconds - before.at_seconds, 1e-3)
    total_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return ResourceSampled(
        cpu_fraction=(now.cpu_seconds - before.cpu_seconds) / elapsed_seconds / (os.cpu_count() or 1),
        memory_bytes=now.memory_bytes,
        memory_fraction=min(1.0, now.memory_bytes / total_bytes),
        branch=place.branch,
        worktree_id=place.worktree_id,
    )


async def _run_process(place: Workplace, function: Function) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    connecting = asyncio.create_task(nats_bus.connect(place.nats_url, place.worktree_id, wait=None))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not connecting.done():
        connecting.cancel()
        return
    try:
        bus = await connecting
    except UnavailableError as error:
        raise SystemExit(f"worker: {error}") from error
    try:
        await Worker(Client(bus, place.tenant, place.worktree_id), place, function).run(stop)
    finally:
        await bus.close()
