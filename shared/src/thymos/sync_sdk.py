"""The SDK for code without an event loop: the same connection, run on a thread of its own.

with thymos.connect_sync() as bus:
    agent = bus.agent("support")
    with agent.task() as task:
        hits = task.memory.search("refund window")
        task.record(quality=0.9)
"""

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from thymos.sdk import Agent, Connection, Task, connect

P = ParamSpec("P")
R = TypeVar("R")
Run = Callable[[Coroutine[Any, Any, Any]], Any]


@contextmanager
def connect_sync(url: str | None = None, tenant: str | None = None) -> Iterator["SyncConnection"]:
    """Like `thymos.connect`, for code without an event loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="thymos", daemon=True)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    manager = connect(url, tenant)
    try:
        connection = run(manager.__aenter__())
        try:
            yield SyncConnection(connection, run, loop)
        finally:
            run(manager.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class SyncConnection:
    """See `thymos.sdk.Connection`."""

    def __init__(self, connection: Connection, run: Run, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._run = run
        self._loop = loop

    def agent(self, agent_id: str, branch: str = "main") -> "SyncAgent":
        """An agent by its name."""
        return SyncAgent(self._connection.agent(agent_id, branch), self._run)


class SyncMemory:
    """Every method of `thymos.memory_client.MemoryClient`, waiting for its answer."""

    def __init__(self, memory: Any, run: Run) -> None:
        self._memory = memory
        self._run = run

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._memory, name)
        return lambda *args, **kwargs: self._run(method(*args, **kwargs))


class SyncAgent:
    """See `thymos.sdk.Agent`."""

    def __init__(self, agent: Agent, run: Run) -> None:
        self._agent = agent
        self._run = run
        self.memory = SyncMemory(agent.memory, run)

    def task(self, key: str | None = None, task_id: str | None = None, **details: Any) -> "SyncTask":
        """A task to be used with `with`."""
        return SyncTask(self._agent.task(key, task_id, **details), self._run)

    def observe(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function: every call is a task."""

        @functools.wraps(function)
        def observed(*args: P.args, **kwargs: P.kwargs) -> R:
            with self.task():
                return function(*args, **kwargs)

        return observed


class SyncTask:
    """See `thymos.sdk.Task`."""

    def __init__(self, task: Task, run: Run) -> None:
        self._task = task
        self._run = run
        self.task_id = task.task_id
        self.memory = SyncMemory(task.memory, run)

    def record(self, **details: Any) -> None:
        """Say how it went; see `thymos.sdk.Task.record`."""
        self._task.record(**details)

    def __enter__(self) -> "SyncTask":
        self._run(self._task.__aenter__())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._run(self._task.__aexit__(kind, error, trace))
