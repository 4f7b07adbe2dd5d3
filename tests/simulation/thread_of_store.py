"""The thread of a service's store, simulated: work in its order, in virtual time, cut off where the seed says."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from thymos.database import SqliteConnection
from thymos.unit_of_work import ServiceStore

from .faults import AFTER, BEFORE, WITHIN, Faults
from .virtual_time import Owner, StoreExecutor

T = TypeVar("T")
INSTRUCTIONS = 5
"""SQLite's own instructions between two looks at whether the transaction is to be cut off."""
LOOKS_MAX = 5_000
"""Looks at the latest until it is; the logarithm is drawn, for some transactions are short and some are long."""
PAGES_MAX = 2**30
SLOW_SECONDS = 3.0
_KINDS = {
    "ServiceStore.handle.": "handle",
    "ServiceStore.handle_batch.": "handle",
    "ServiceStore.tick.": "tick",
    "ServiceStore.answer.": "answer",
    "Outbox._forget.": "forget",
}


def kind_of(arguments: tuple[Any, ...]) -> str:
    """What sort of work a call of the store's thread is about: `handle`, `tick`, `answer`, `forget`, or `other`."""
    names = [getattr(argument, "__qualname__", "") for argument in arguments]
    return next((kind for prefix, kind in _KINDS.items() if any(name.startswith(prefix) for name in names)), "other")


class StoreThread(StoreExecutor):
    """See the module. `done` is called after each piece of work with its kind and whether it was committed."""

    def __init__(self, owner: Owner, faults: Faults, done: Callable[[str, bool], None] = lambda *_: None) -> None:
        self._owner = owner
        self._faults = faults
        self._done = done
        self._queue: deque[tuple[Callable[..., Any], tuple[Any, ...], asyncio.Future[Any]]] = deque()
        self._busy = False
        self.store: ServiceStore | None = None
        owner.at_death.append(self._die)

    @property
    def connection(self) -> SqliteConnection:
        """The store's own connection."""
        assert self.store is not None
        connection = self.store._connection
        assert isinstance(connection, SqliteConnection)
        return connection

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """The opening of the file: at once."""
        self.store = getattr(fn, "__self__", None)
        future: Future[T] = Future()
        future.set_result(fn(*args, **kwargs))
        return future

    def run(self, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Work of the service, in its turn."""
        if self._owner.dead:
            raise asyncio.CancelledError(f"{self._owner.name} is dead")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append((work, arguments, future))
        self._next()
        return future

    def _next(self) -> None:
        if self._busy or not self._queue or self._owner.dead:
            return
        self._busy = True
        loop = asyncio.get_running_loop()
        slow = self._faults.happens("store_slow")
        loop.call_later(self._faults.seconds(SLOW_SECONDS) if slow else 0.0, self._work)

    def _work(self) -> None:
        if self._owner.dead:
            return
        if not self._owner.resumed.is_set():
            asyncio.get_running_loop().call_later(0.05, self._work)
            return
        work, arguments, future = self._queue.popleft()
        if future.cancelled():
            self._busy = False
            self._next()
            return
        kind, name = kind_of(arguments), self._owner.name
        if self._faults.kills(name, f"{BEFORE} {kind}"):
            self._owner.kill()
            return
        result, error, cut_off = self._done_or_cut_off(work, arguments, kind)
        if cut_off or self._faults.kills(name, f"{AFTER} {kind}"):
            self._done(kind, not cut_off and error is None)
            self._owner.kill()
            return
        self._done(kind, error is None)
        if not future.done():
            future.set_exception(error) if error is not None else future.set_result(result)
        self._busy = False
        self._next()

    def _done_or_cut_off(
        self, work: Callable[..., Any], arguments: tuple[Any, ...], kind: str
    ) -> tuple[Any, Exception | None, bool]:
        """What became of the work; the last is whether the process ended in the middle of it."""
        wanted, _ = self._faults.armed.get(self._owner.name, ("", 0))
        kills = wanted == f"{WITHIN} {kind}"
        fails = not kills and kind != "other" and self._faults.happens("store_interrupted")
        fired = self._interrupted_after(int(LOOKS_MAX ** self._faults.random.random())) if kills or fails else [False]
        result, error = None, None
        try:
            result = work(*arguments)
        except Exception as failure:  # noqa: BLE001  (the caller's)
            error = failure
        if kills or fails:
            self.connection.set_progress_handler(None, 0)
            self.connection.set_trace_callback(None)
        if kills and fired[0]:
            self._faults.killed(self._owner.name)
        return result, error, kills and fired[0]

    def _interrupted_after(self, looks: int) -> list[bool]:
        fired, left, statement = [False], [looks], [""]

        def begins(words: str) -> None:
            statement[0] = words

        def look() -> int:
            if statement[0] == "COMMIT":  # interrupted at its end it fails, and has committed all the same
                return 0
            left[0] -= 1
            fired[0] = fired[0] or left[0] < 0
            return 1 if left[0] < 0 and left[0] > -2 else 0

        self.connection.set_trace_callback(begins)
        self.connection.set_progress_handler(look, INSTRUCTIONS)
        return fired

    def fill_disk(self, room_pages: int) -> None:
        """From now on the file can grow by so many pages only."""
        pages = self.connection.execute("PRAGMA page_count").fetchone()[0]
        self.connection.execute(f"PRAGMA max_page_count = {pages + room_pages}")

    def free_disk(self) -> None:
        """There is room again."""
        self.connection.execute(f"PRAGMA max_page_count = {PAGES_MAX}")

    def _die(self) -> None:
        """What was not committed is rolled back, as it is when a process ends."""
        if self.store is not None:
            self.store._connection.close()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """There is no thread to end."""
