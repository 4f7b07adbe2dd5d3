"""Agent processes: started in a session of their own, marked in their environment, found again after a crash.

A process carries THYMOS_WORKTREE and THYMOS_SCALER (the id of the scaler that started it) in its
environment. That
mark is how a scaler that was killed between starting a process and noting its pid finds it again, and how
it knows
which processes are its own: nothing without the mark is ever signalled. Identity is pid *and* creation time.

Output goes straight to a file (a pipe would break when the scaler dies), cut when it grows too large.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import psutil

from worktree_scaler.reconcile import Adoption, Found, Known, adopt

log = logging.getLogger(__name__)

WORKTREE_MARK = "THYMOS_WORKTREE"
SCALER_MARK = "THYMOS_SCALER"
LOGS_KEPT = 200
POLL_SECONDS = 0.1


class Sign(StrEnum):
    """What a process is told: end when the task is done, end now, or be ended; the last two with its
    children.
    """

    DRAIN = "drain"
    STOP = "stop"
    KILL = "kill"


@dataclass(frozen=True)
class Launch:
    """What to start. `environment` is the whole environment but for the marks."""

    worktree_id: str
    command: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]


class Backend(Protocol):
    """What starts, finds and ends the agents of worktrees: `ProcessBackend`, or a simulation's."""

    async def start(self, launch: Launch) -> Found:
        """Start a worktree's agent. Raises OSError when it cannot be started."""

    def exited(self, worktree_ids: Iterable[str]) -> Mapping[str, int | None]:
        """Those of the worktrees that have no running agent, with the exit code where it is known."""

    async def signal(self, worktree_id: str, sign: Sign) -> bool:
        """Tell a worktree's agent to end. False when there is none."""

    async def recover(self, known: Sequence[Known]) -> Adoption:
        """Take over what runs already; end what should not run."""

    def trim_logs(self) -> None:
        """Bound what agents have written."""

    async def close(self) -> None:
        """Stop watching; what runs keeps running."""


BackendFactory = Callable[[str, Path, int, asyncio.Event], Backend]
"""Takes the scaler's id, the folder of logs, the bytes of one log at the most, and the event that says that an agent
has ended."""


class ProcessBackend:
    """Processes on this machine. Worktrees are named by their ids; an unknown one is not an error.

    Args:
        scaler_id: the mark of this scaler's processes.
        log_dir: where their output goes, one file per worktree.
        log_bytes_max: at this size a log is moved aside (one older part is kept).
        ended: called in the event loop when a process that was started here ends.
    """

    def __init__(self, scaler_id: str, log_dir: Path, log_bytes_max: int, ended: asyncio.Event) -> None:
        self._scaler_id = scaler_id
        self._log_dir = log_dir
        self._log_bytes_max = log_bytes_max
        self._ended = ended
        self._running: dict[str, psutil.Process] = {}
        self._codes: dict[str, int | None] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._watchers: set[asyncio.Task[None]] = set()

    async def start(self, launch: Launch) -> Found:
        """Start a worktree's agent; whatever still works in that worktree is ended first. Raises OSError when it cannot
        be started."""
        await self._sweep(launch.worktree_id)
        child = await asyncio.to_thread(self._spawn, launch)
        self._codes.pop(launch.worktree_id, None)
        self._children[launch.worktree_id] = child
        watcher = asyncio.create_task(self._watch(launch.worktree_id, child))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        # Until its watcher has reaped it, the pid is the child's own, also when it has ended already.
        process = psutil.Process(child.pid)
        self._running[launch.worktree_id] = process
        return Found(child.pid, process.create_time(), launch.worktree_id)

    def _spawn(self, launch: Launch) -> subprocess.Popen[bytes]:
        """Not asyncio's own: that one would kill a process which outlives the event loop."""
        self._log_dir.mkdir(parents=True, exist_ok=True)
        marks = {WORKTREE_MARK: launch.worktree_id, SCALER_MARK: self._scaler_id}
        with self.log_path(launch.worktree_id).open("ab") as output:
            return subprocess.Popen(
                launch.command,
                cwd=launch.directory,
                env={**launch.environment, **marks},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    async def _watch(self, worktree_id: str, child: subprocess.Popen[bytes]) -> None:
        await _until_exit(child)
        code = child.poll()
        await self._sweep(worktree_id)
        self._running.pop(worktree_id, None)
        self._children.pop(worktree_id, None)
        self._codes[worktree_id] = code
        self._ended.set()

    def exited(self, worktree_ids: Iterable[str]) -> Mapping[str, int | None]:
        """Those of the worktrees that have no running agent, with the exit code where it is known."""
        gone: dict[str, int | None] = {}
        for worktree_id in worktree_ids:
            if worktree_id in self._children:
                continue  # its watcher tells, with the exit code
            process = self._running.get(worktree_id)
            if process is None or not _is_alive(process):
                self._running.pop(worktree_id, None)
                gone[worktree_id] = self._codes.get(worktree_id)
        return gone

    async def signal(self, worktree_id: str, sign: Sign) -> bool:
        """Tell a worktree's agent to end. False when there is none."""
        process = self._running.get(worktree_id)
        if process is None:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            if sign is Sign.DRAIN:
                process.terminate()
                return True
            for one in [*process.children(recursive=True), process]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill() if sign is Sign.KILL else one.terminate()
            return True
        return False

    async def recover(self, known: Sequence[Known]) -> Adoption:
        """Take over what runs already; end what should not run."""
        found = await asyncio.to_thread(marked_processes, self._scaler_id)
        adoption = adopt(known, found)
        for process in adoption.surplus:
            log.warning("ending process %d: worktree %s has none", process.pid, process.worktree_id)
            _kill(process)
        for worktree_id, process in adoption.adopted.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                self._running[worktree_id] = psutil.Process(process.pid)
        return adoption

    async def _sweep(self, worktree_id: str) -> None:
        """End what a worktree's former process left behind (children that outlived it, or a double)."""
        for process in await asyncio.to_thread(marked_processes, self._scaler_id, worktree_id):
            _kill(process)

    def log_path(self, worktree_id: str) -> Path:
        """Where a worktree's output goes."""
        return self._log_dir / f"{worktree_id}.log"

    def trim_logs(self) -> None:
        """Move logs that are too large aside, and forget those of the oldest worktrees."""
        if not self._log_dir.exists():
            return
        logs = sorted(self._log_dir.glob("*.log"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in logs:
            if path.stat().st_size > self._log_bytes_max:
                # The process keeps the file open in append mode: its content is moved, not the file.
                path.with_suffix(".log.1").write_bytes(path.read_bytes()[-self._log_bytes_max :])
                os.truncate(path, 0)
        for path in logs[LOGS_KEPT:]:
            if path.stem not in self._running:
                path.unlink(missing_ok=True)
                path.with_suffix(".log.1").unlink(missing_ok=True)

    async def close(self) -> None:
        """Stop watching; what runs keeps running."""
        for watcher in tuple(self._watchers):
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)


async def _until_exit(child: subprocess.Popen[bytes]) -> None:
    """Wait until a child has ended."""
    if not hasattr(os, "pidfd_open"):
        while child.poll() is None:
            await asyncio.sleep(POLL_SECONDS)
        return
    loop, ended, descriptor = asyncio.get_running_loop(), asyncio.Event(), os.pidfd_open(child.pid)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def marked_processes(scaler_id: str, worktree_id: str | None = None) -> list[Found]:
    """The running processes that a scaler started (in one worktree, or in any); children of such a one are part of
    it and not listed."""
    found: dict[int, tuple[Found, int]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environment = process.environ()
            marked = environment.get(WORKTREE_MARK)
            if environment.get(SCALER_MARK) != scaler_id or marked is None or not _is_alive(process):
                continue
            if worktree_id in (None, marked):
                found[process.pid] = (Found(process.pid, process.create_time(), marked), process.ppid())
    return [one for one, parent in found.values() if parent not in found]


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _kill(found: Found) -> None:
    """Kill a process and its children; one whose pid means another process by now is left alone."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(found.pid)
        if process.create_time() != found.created_at:
            return
        for one in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.Error):
                one.kill()
