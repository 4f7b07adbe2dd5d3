"""The loop that keeps processes as they should be: look, decide in one transaction, act, look again.

It looks when something happens (a command, a process that ends, an answer that makes room) and at least every
`LOOK_SECONDS`. Nothing is remembered between looks that a restart could not find again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from thymos import subjects
from thymos.bus import Bus, QueueDepth
from thymos.errors import TransientError
from thymos.unit_of_work import ServiceStore, Transaction
from worktree_scaler import store
from worktree_scaler.fleet_step import FleetStep, Seen, Todo
from worktree_scaler.ownership import Ownership
from worktree_scaler.processes import Backend, BackendFactory, Launch, ProcessBackend
from worktree_scaler.reconcile import Found
from worktree_scaler.settings import ScalerSettings
from worktree_scaler.store import Branch, FleetRow, WorktreeRow
from worktree_scaler.worktree_events import tell_started

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
LOOK_SECONDS_WHEN_BUSY = 0.05
TRIM_EVERY_LOOKS = 60


class Wakeup:
    """Lets handlers, which run on the store's thread, ask for a look."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def bind(self) -> None:
        """Call in the event loop, before the first handler runs."""
        self._loop = asyncio.get_running_loop()

    def notify(self) -> None:
        """Ask for a look; from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody looks any more
                self._loop.call_soon_threadsafe(self.event.set)


class Supervision:
    """The loop. `run` is the service's background task, `drain` what happens before the service ends."""

    def __init__(
        self,
        settings: ScalerSettings,
        service_store: ServiceStore,
        wakeup: Wakeup,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        open_backend: BackendFactory = ProcessBackend,
    ) -> None:
        self._settings = settings
        self._open_backend = open_backend
        self._store = service_store
        self._wakeup = wakeup
        self._clock = clock
        self._step = FleetStep(settings)
        self._ownership = Ownership(settings.data_dir / "worktree-scaler.lock")
        self._trusted_since = clock()
        self._with_consumer: set[Branch] = set()
        self._cleaned: set[Branch] = set()
        self._start_errors: dict[str, str] = {}
        self._closing = False
        self._empty = asyncio.Event()

    async def run(self, bus: Bus) -> None:
        """Look for ever."""
        self._wakeup.bind()
        await self._ownership.acquire()
        backend = await self._recover()
        looks = 0
        try:
            while True:
                self._wakeup.event.clear()
                busy = False
                try:
                    busy = await self._look(bus, backend)
                except TransientError as error:
                    log.warning("worktree-scaler: %s", error)
                looks += 1
                if looks % TRIM_EVERY_LOOKS == 0:
                    await asyncio.to_thread(backend.trim_logs)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wakeup.event.wait(), LOOK_SECONDS_WHEN_BUSY if busy else LOOK_SECONDS)
        finally:
            await backend.close()
            self._ownership.release()

    async def drain(self) -> None:
        """Let every agent finish its task and end; returns when none is left, or when all time-outs have
        passed.
        """
        if not self._ownership.held:
            return
        self._closing = True
        self._empty.clear()
        self._wakeup.event.set()
        agents = [self._settings.limits_of(name) for name in self._settings.agents]
        longest = max((limits.drain_timeout for limits in agents), default=self._settings.limits.drain_timeout)
        seconds = (longest + 2 * self._settings.limits.stop_timeout).total_seconds() + 2
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), seconds)

    # --- one look -------------------------------------------------------------------------------------------

    async def _recover(self) -> Backend:
        """Find what an earlier scaler of this folder has started: take it over, or end it."""
        mark = str(uuid.uuid4())
        identity = await self._store.tick("identity", lambda tx: store.identity(tx.connection, mark))
        # A store that was restored or copied is another scaler: the agents of the first one are none of its business.
        scaler_id = f"{identity}@{self._ownership.place}"
        backend = self._open_backend(
            scaler_id, self._settings.data_dir / "agents", self._settings.log_bytes_max, self._wakeup.event
        )
        rows = await self._store.tick("recover", lambda tx: store.with_process(tx.connection))
        adoption = await backend.recover(store.known(rows))
        if adoption.adopted:
            log.info("worktree-scaler: took over %d running agents", len(adoption.adopted))
        unnoted = {row.worktree_id: row for row in rows if row.pid is None}
        await self._store.tick("adopt", partial(_note_processes, list(adoption.adopted.values()), unnoted))
        return backend

    async def _look(self, bus: Bus, backend: Backend) -> bool:
        """One look; True when there is more to do at once."""
        rows, fleets = await self._store.tick("observe", _what_is_stored)
        seen = Seen(
            exited=backend.exited(row.worktree_id for row in rows),
            depths=await self._depths(fleets, bus),
            trusted_since=self._trusted_since,
            cleaned=frozenset(self._cleaned),
            start_errors=dict(self._start_errors),
            closing=self._closing,
        )
        todo = await self._store.tick("look", partial(self._step, seen))
        self._cleaned.clear()
        self._start_errors.clear()
        await self._carry_out(todo, bus, backend)
        if self._closing and todo.with_process == 0:
            self._empty.set()
        return bool(todo.starts or todo.clean or todo.signs)

    async def _depths(self, fleets: Sequence[FleetRow], bus: Bus) -> dict[Branch, QueueDepth]:
        """How deep the task queues are. While the bus is away nothing is known, and silence means nothing."""
        depths: dict[Branch, QueueDepth] = {}
        try:
            for fleet in fleets:
                depth = await bus.depth(_consumer(fleet.branch))
                if depth is not None:
                    depths[fleet.branch] = depth
                elif not fleet.releasing:
                    await bus.ensure_consumer(_consumer(fleet.branch))
        except TransientError as error:
            log.warning("worktree-scaler: queues not measured: %s", error)
            self._trusted_since = self._clock()
            return {}
        return depths

    async def _carry_out(self, todo: Todo, bus: Bus, backend: Backend) -> None:
        for worktree_id, sign in todo.signs:
            await backend.signal(worktree_id, sign)
        for row in todo.starts:
            await self._ensure_consumer(row.branch, bus)
            await self._start(row, backend)
        for branch in todo.clean:
            await bus.purge(subjects.TASKS, subjects.task_subject(branch.tenant, branch.agent, branch.branch))
            await bus.delete_consumer(_consumer(branch))
            self._with_consumer.discard(branch)
            self._cleaned.add(branch)

    async def _ensure_consumer(self, branch: Branch, bus: Bus) -> None:
        """An agent finds its branch's consumer when it starts. While the bus is away it starts without, and
        waits.
        """
        if branch not in self._with_consumer:
            with contextlib.suppress(TransientError):
                await bus.ensure_consumer(_consumer(branch))
                self._with_consumer.add(branch)

    async def _start(self, row: WorktreeRow, backend: Backend) -> None:
        """Start a process; one that cannot be started is found missing at the next look and counts as a
        crash.
        """
        try:
            found = await backend.start(self._launch(row))
        except OSError as error:
            self._start_errors[row.worktree_id] = f"cannot be started: {error}"
            log.warning("worktree-scaler: worktree %s cannot be started: %s", row.worktree_id, error)
            return
        await self._store.tick("started", partial(_note_start, row, found))

    def _launch(self, row: WorktreeRow) -> Launch:
        branch = row.branch
        agent = self._settings.agents.get(branch.agent)
        if agent is None or not agent.command:
            raise FileNotFoundError(f"agent {branch.agent} has no command any more")
        environment = {
            **self._settings.environment,
            **agent.environment,
            "THYMOS_NATS_URL": self._settings.nats_url,
            "THYMOS_TENANT": branch.tenant,
            "THYMOS_AGENT": branch.agent,
            "THYMOS_BRANCH": branch.branch,
            "THYMOS_CAPACITY": str(agent.capacity),
        }
        return Launch(row.worktree_id, agent.command, self._settings.directory, environment)


def _consumer(branch: Branch) -> subjects.Consumer:
    return subjects.task_consumer(branch.tenant, branch.agent, branch.branch)


def _what_is_stored(tx: Transaction) -> tuple[list[WorktreeRow], list[FleetRow]]:
    return store.with_process(tx.connection), store.fleets(tx.connection)


def _note_processes(found: Sequence[Found], unnoted: Mapping[str, WorktreeRow], tx: Transaction) -> None:
    """Processes that were found running; of those that the scaler before did not come to note it is told now."""
    for one in found:
        if one.worktree_id in unnoted:
            _note_start(unnoted[one.worktree_id], one, tx)
        else:
            store.set_process(tx.connection, one.worktree_id, one.pid, one.created_at)


def _note_start(row: WorktreeRow, found: Found, tx: Transaction) -> None:
    store.set_process(tx.connection, row.worktree_id, found.pid, found.created_at)
    tell_started(row, tx)
