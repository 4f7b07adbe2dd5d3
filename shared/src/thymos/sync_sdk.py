"""The SDK for code without an event loop: the same connection, run on a thread of its own.

with thymos.connect_sync() as bus:
    agent = bus.agent("support")
    with agent.task() as task:
        hits = task.memory.search("refund window")
        task.record(quality=0.9)

Telemetry is handed over to that thread and never waited for. A forked process has no such thread: there telemetry is
dropped and counted, and memory raises UnavailableError, until the child connects for itself.
"""

import asyncio
import concurrent.futures
import functools
import inspect
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from thymos.envelope import Envelope
from thymos.errors import UnavailableError
from thymos.message import Message
from thymos.reporting import Reporter
from thymos.sdk import Agent, Connection, Task, connect

log = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")

ANSWER_SECONDS = 30.0
"""How long a call waits; more than the SDK itself waits for a connection and an answer."""


class _Thread:
    """The thread with the event loop, and the ways to it from any other thread."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="thymos", daemon=True)
        self._thread.start()
        self._fork_said = False

    @property
    def here(self) -> bool:
        """False in a forked child: it has the loop, but no thread that runs it."""
        return os.getpid() == self._pid

    def run(self, function: Callable[..., Coroutine[Any, Any, R]], *args: Any, **kwargs: Any) -> R:
        """Call a coroutine function over there. Raises what it raises, UnavailableError when it cannot answer."""
        if not self.here:
            raise UnavailableError("this is a forked process: connect again in the child (`thymos.connect_sync`)")
        coroutine = function(*args, **kwargs)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError as error:
            coroutine.close()
            raise UnavailableError("the connection is closed") from error
        concurrent.futures.wait([future], ANSWER_SECONDS)
        if not future.done() or future.cancelled():
            future.cancel()
            raise UnavailableError(f"no answer within {ANSWER_SECONDS:g} s")
        return future.result()

    def report(self, reporter: Reporter, envelope: Envelope[Message]) -> None:
        """Hand telemetry over. Never raises, never waits."""
        if not self.here:
            if not self._fork_said:
                log.warning("thymos: telemetry of a forked process is dropped; connect again in the child")
            self._fork_said = True
            reporter.drop("forked process")
            return
        try:
            self._loop.call_soon_threadsafe(reporter.report, envelope)
        except RuntimeError:
            reporter.drop("the connection is closed")

    def stop(self) -> None:
        """End the thread. A forked child leaves the loop alone: its file descriptors are the parent's, too."""
        if self.here:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


@contextmanager
def connect_sync(url: str | None = None, tenant: str | None = None, source: str = "sdk") -> Iterator["SyncConnection"]:
    """Like `thymos.connect`, for code without an event loop."""
    thread = _Thread()
    manager = connect(url, tenant, source)
    try:
        connection = thread.run(manager.__aenter__)
        connection.hand_over = functools.partial(thread.report, connection.reporter)
        try:
            yield SyncConnection(connection, thread)
        finally:
            if thread.here:
                thread.run(manager.__aexit__, None, None, None)
    finally:
        thread.stop()


class SyncConnection:
    """See `thymos.sdk.Connection`."""

    def __init__(self, connection: Connection, thread: _Thread) -> None:
        self._connection = connection
        self._thread = thread
        self.reporter = connection.reporter

    def agent(self, agent_id: str, branch: str = "main") -> "SyncAgent":
        """An agent by its name. Raises ValueError when it is no name, or `branch` is none."""
        return SyncAgent(self._connection.agent(agent_id, branch), self._thread)


class SyncMemory:
    """Every method of `thymos.memory_client.MemoryClient`, waiting for its answer; its attributes as they are."""

    def __init__(self, memory: Any, thread: _Thread) -> None:
        self._memory = memory
        self._thread = thread

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        found = getattr(self._memory, name)
        return functools.partial(self._thread.run, found) if inspect.iscoroutinefunction(found) else found

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(name for name in dir(self._memory) if not name.startswith("_"))})


class SyncAgent:
    """See `thymos.sdk.Agent`."""

    def __init__(self, agent: Agent, thread: _Thread) -> None:
        self._agent = agent
        self._thread = thread
        self.memory = SyncMemory(agent.memory, thread)

    def task(self, key: str | None = None, task_id: object = None, **details: Any) -> "SyncTask":
        """A task to be used with `with`."""
        return SyncTask(self._agent.task(key, task_id, **details), self._thread)

    def observe(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function: every call is a task."""

        @functools.wraps(function)
        def observed(*args: P.args, **kwargs: P.kwargs) -> R:
            with self.task():
                return function(*args, **kwargs)

        return observed


class SyncTask:
    """See `thymos.sdk.Task`; timed and reported on the caller's own thread."""

    def __init__(self, task: Task, thread: _Thread) -> None:
        self._task = task
        self.task_id = task.task_id
        self.memory = SyncMemory(task.memory, thread)

    def record(self, **details: Any) -> None:
        """Say how it went; see `thymos.sdk.Task.record`."""
        self._task.record(**details)

    def __enter__(self) -> "SyncTask":
        self._task.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._task.end(error)
