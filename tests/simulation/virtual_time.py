"""An event loop whose time is virtual, and what runs on it: owners that can be killed, paused and have wrong clocks.

Nothing waits: when no callback is ready, the time jumps to the next timer. The order of everything follows from the
seed, so that the same seed gives the same run.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import secrets
import selectors
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta, tzinfo
from random import Random
from types import SimpleNamespace
from typing import Any, Protocol, TypeVar

import thymos.audit.sealer
import thymos.client
import thymos.settlement
import thymos.worker

from .faults import Faults

T = TypeVar("T")
EPOCH = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
MEMORY_BYTES = 64 * 1024


class DeadlockError(AssertionError):
    """Nothing is ready and nothing is scheduled: everybody waits for somebody else."""


class _JumpingSelector(selectors.SelectSelector):
    """Never waits: the loop's clock jumps instead."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise DeadlockError("everybody waits for somebody else")
        self._jump(timeout)
        return []


class StoreExecutor(Executor):
    """What runs a store's work in the event loop; see `thread_of_store.StoreThread`."""

    def run(self, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Run it in its turn."""
        raise NotImplementedError


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. Work for threads is done in the loop itself."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_JumpingSelector(self._jump))
        self._clock_resolution = 1e-9
        self.set_task_factory(_owned_task)  # type: ignore[arg-type]  # typeshed wants a generic factory

    def _jump(self, seconds: float) -> None:
        self._now += max(0.0, seconds)

    def time(self) -> float:
        """Virtual seconds since the beginning."""
        return self._now

    def _write_to_self(self) -> None:
        """There are no other threads to be woken by."""

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """In the loop: by the store's own rules, or at once."""
        if isinstance(executor, StoreExecutor):
            return executor.run(func, *args)
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  (the caller's)
            future.set_exception(error)
        return future


class Owner:
    """Whose tasks run: a process that can be killed (its tasks end, nothing it does has an effect any more) or paused.

    Args:
        name: for traces.
        skew: what its clock shows too much.
    """

    def __init__(self, name: str, skew: timedelta = timedelta(0)) -> None:
        self.name = name
        self.skew = skew
        self.dead = False
        self._last = EPOCH - timedelta(days=1)
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.resumed = asyncio.Event()
        self.resumed.set()
        self.at_death: list[Callable[[], None]] = []
        self.context = contextvars.copy_context()
        self.context.run(OWNER.set, self)

    def now(self) -> datetime:
        """What its clock shows; never the same twice between two settings, for real time never stands still either."""
        self._last = max(now() + self.skew, self._last + timedelta(microseconds=1))
        return self._last

    def set_clock(self, skew: timedelta) -> None:
        """From now on its clock shows so much too much: it may show again what it showed before."""
        self.skew = skew
        self._last = EPOCH - timedelta(days=1)

    def start(self, work: Coroutine[Any, Any, T], name: str = "") -> asyncio.Task[T]:
        """Run a task as this owner."""
        return asyncio.get_running_loop().create_task(work, name=name or self.name, context=self.context)

    def kill(self) -> None:
        """Like SIGKILL: nothing it was about to do happens."""
        if self.dead:
            return
        self.dead = True
        self.resumed.set()
        for forget in self.at_death:
            forget()
        self._reap()

    def _reap(self) -> None:
        left = [task for task in self.tasks if not task.done()]
        for task in left:
            task.cancel()
        if left:
            asyncio.get_running_loop().call_later(0.001, self._reap)

    async def gate(self) -> None:
        """Every effect passes here: the dead have none, the paused wait."""
        while not self.dead and not self.resumed.is_set():
            await self.resumed.wait()
        if self.dead:
            raise asyncio.CancelledError(f"{self.name} is dead")

    async def point(self, name: str, faults: Faults) -> None:
        """A point where it may be killed."""
        await self.gate()
        if faults.kills(self.name, name):
            self.kill()
            await self.gate()


OWNER: contextvars.ContextVar[Owner | None] = contextvars.ContextVar("owner", default=None)


def _owned_task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], context: contextvars.Context | None = None
) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, context=context)
    owner = context.run(OWNER.get) if context is not None else OWNER.get()
    if owner is not None:
        owner.tasks[task] = None
        task.add_done_callback(lambda done: owner.tasks.pop(done, None))
    return task


def now() -> datetime:
    """The true time."""
    return EPOCH + timedelta(seconds=round(asyncio.get_running_loop().time(), 6))


def running_owner() -> Owner:
    """Whose task or start this is."""
    owner = OWNER.get()
    assert owner is not None, "only services and agents have effects"
    return owner


def owners_time() -> datetime:
    """What the clock of whoever runs shows."""
    owner = OWNER.get()
    return owner.now() if owner is not None else now()


class _Datetime(datetime):
    """`datetime.now` of the modules that ask the wall clock: the owner's."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        """In UTC, as everybody asks."""
        del tz
        return owners_time()


class _HasDatetime(Protocol):
    datetime: Any


@contextlib.contextmanager
def _replaced(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    before = [(where, name, getattr(where, name)) for where, name, _ in changes]
    for where, name, value in changes:
        setattr(where, name, value)
    try:
        yield
    finally:
        for where, name, value in before:
            setattr(where, name, value)


def _seconds() -> float:
    return asyncio.get_running_loop().time()


@contextlib.contextmanager
def only_the_seed(random: Random) -> Iterator[None]:
    """Entropy, wall clocks and the use of the machine follow from the seed and the virtual time."""
    usage = SimpleNamespace(ru_utime=0.0, ru_stime=0.0, ru_maxrss=MEMORY_BYTES)
    with _replaced(
        (os, "urandom", random.randbytes),
        (secrets, "token_bytes", random.randbytes),
        (thymos.audit.sealer, "time", SimpleNamespace(monotonic=_seconds)),
        (thymos.client, "datetime", _Datetime),
        (thymos.settlement, "datetime", _Datetime),
        (thymos.worker, "datetime", _Datetime),
        (thymos.worker, "time", SimpleNamespace(perf_counter=_seconds, monotonic=_seconds)),
        (thymos.worker, "resource", SimpleNamespace(getrusage=lambda _: usage, RUSAGE_SELF=0)),
    ):
        yield


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run to the end on a virtual loop of its own."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main())
    finally:
        left = [task for task in asyncio.all_tasks(loop) if not task.done()]
        for task in left:
            task.cancel()
        with contextlib.suppress(Exception):
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
