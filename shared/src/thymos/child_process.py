"""A service as a child process: started, started again when it dies, stopped in an orderly way."""

import asyncio
import contextlib
import json
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Mapping
from pathlib import Path

from thymos.data_folder import DataFolder

STOP_SECONDS = 20.0
"""A service may take ten seconds to finish what it has in hand; then it is killed."""
BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
STEADY_SECONDS = 30.0
"""A process that lived this long begins the backoff anew."""
LOG_BYTES_MAX = 16 * 1024 * 1024


class Child:
    """One service. It runs in a session of its own, so that Ctrl-C reaches it through us, in the right order.

    Args:
        name: of the service.
        module: what `python -m` runs.
        environment: of the process, whole.
        log_path: where its output goes; the log before is kept beside it as `.1` once it is large.
        folder: keeps its process id, so that a suite that was killed leaves nothing behind for the next.
        tell: is told of deaths.
    """

    def __init__(
        self,
        name: str,
        module: str,
        environment: Mapping[str, str],
        log_path: Path,
        folder: DataFolder,
        tell: Callable[[str], None],
    ) -> None:
        self.name = name
        self.log_path = log_path
        self.deaths = 0
        """Deaths in a row, each sooner than `STEADY_SECONDS` after its start."""
        self._command = (sys.executable, "-P", "-m", module)  # -P: a file in this directory shadows no module
        self._environment = dict(environment)
        self._folder = folder
        self._tell = tell
        self._process: Process | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, while it lives."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    def start(self) -> None:
        """Begin to keep it running. No effect while it is."""
        if self._running is None:
            self._running = asyncio.create_task(self._keep_running())

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when that is not enough; returns when it is gone. No effect when it is not running."""
        if self._running is None:
            return
        running, self._running = self._running, None
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        self.deaths = 0

    def kill9(self) -> None:
        """Kill it without warning; it is started again."""
        self._signal(signal.SIGKILL)

    def last_words(self) -> str:
        """The last line of its log, shortened."""
        try:
            lines = self.log_path.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        with contextlib.suppress(ValueError, KeyError, TypeError):
            last = str(json.loads(last)["message"])
        return last[:300]

    async def _keep_running(self) -> None:
        clock = asyncio.get_running_loop().time
        try:
            while True:
                began = clock()
                code = await (await self._spawn()).wait()
                self.deaths = 1 if clock() - began > STEADY_SECONDS else self.deaths + 1
                self._tell(f"{self.name} died ({_how(code)}); it is started again")
                await asyncio.sleep(BACKOFF_SECONDS[min(self.deaths, len(BACKOFF_SECONDS)) - 1])
        finally:
            await self._end()

    async def _spawn(self) -> Process:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_BYTES_MAX:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        with self.log_path.open("ab") as log:
            # Shielded: a process that was begun must be known here, or nobody would end it.
            spawning = asyncio.ensure_future(
                asyncio.create_subprocess_exec(
                    *self._command, stdin=DEVNULL, stdout=log, stderr=log, env=self._environment, start_new_session=True
                )
            )
            try:
                self._process = await asyncio.shield(spawning)
            except asyncio.CancelledError:
                self._process = await spawning
                raise
        self._folder.record(self.name, self._process.pid)
        return self._process

    async def _end(self) -> None:
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._tell(f"{self.name} does not stop; it is killed")
            self._signal(signal.SIGKILL)
            await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
