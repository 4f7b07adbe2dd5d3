"""The folder of a suite on this machine: locked by the one that runs, and its processes known by name."""

import asyncio
import contextlib
import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

import psutil

from thymos.errors import Refusal, RefusalCode, ThymosError

LOCK = "up.lock"
PROCESSES = "processes.json"
RESTORING = "restoring"
"""A folder in it that only a restore has, until it is done."""
END_SECONDS = 20.0


class DataFolder:
    """A data folder while it is in use. Leaving it forgets the processes: they have been stopped by then.

    A suite that was killed leaves its processes running; the next one in the same folder ends them first. A process is
    ours only if both its id and the time of its start are those that were written down. `restoring`: it is used by a
    restore, which may begin again where another one was interrupted.
    """

    def __init__(self, path: Path, *, restoring: bool = False) -> None:
        self.path = path
        self._restoring = restoring
        self._lock: IO[str] | None = None
        self._processes: dict[str, tuple[int, float]] = {}

    def __enter__(self) -> "DataFolder":
        """Raises Refusal (`conflict`) when another suite uses the folder, ThymosError when it cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / LOCK).open("a+")
        except OSError as error:
            raise ThymosError(
                f"the data folder {self.path} cannot be written ({error.strerror}); name another with --data"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.seek(0)
            holder = self._lock.read(20).strip()
            self._lock.close()
            raise Refusal(
                RefusalCode.CONFLICT,
                f"the data folder {self.path} is in use by another `thymos up`, process {holder or 'unknown'}",
                "stop that one, or name another folder with --data",
            ) from error
        self._end_left_over()
        if (self.path / RESTORING).exists() and not self._restoring:
            self._lock.close()
            raise Refusal(
                RefusalCode.CONFLICT,
                f"a restore into the data folder {self.path} was interrupted",
                "empty that folder and restore again",
            )
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        (self.path / PROCESSES).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()

    def record(self, name: str, pid: int) -> None:
        """Write down a process of ours. One that is gone already is not."""
        with contextlib.suppress(psutil.Error):
            self._processes[name] = (pid, psutil.Process(pid).create_time())
        beside = self.path / f"{PROCESSES}.new"
        beside.write_text(json.dumps(self._processes))
        beside.replace(self.path / PROCESSES)

    def recorder(self, name: str) -> Callable[[int], object]:
        """`record` for whoever starts a process in another thread: the event loop writes it down, as it does others."""
        loop = asyncio.get_running_loop()
        return lambda pid: loop.call_soon_threadsafe(self.record, name, pid)

    def _end_left_over(self) -> None:
        left = [process for process in (_same(*known) for known in self._known()) if process is not None]
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.terminate()
        _, alive = psutil.wait_procs(left, timeout=END_SECONDS)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=END_SECONDS)

    def _known(self) -> list[tuple[int, float]]:
        try:
            written = json.loads((self.path / PROCESSES).read_text())
            return [(int(pid), float(created)) for pid, created in written.values()]
        except (OSError, ValueError, AttributeError, TypeError):
            return []


def _same(pid: int, created: float) -> psutil.Process | None:
    """The process that was written down, if it still is that one."""
    try:
        process = psutil.Process(pid)
        return process if abs(process.create_time() - created) < 0.01 else None
    except (psutil.Error, ValueError):
        return None
