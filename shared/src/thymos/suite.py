"""The whole suite on one machine: NATS and the four services as child processes, watched and started again.

    async with Suite(Path(".thymos")) as suite:
        await suite.ready()
        ...                                        # clients connect to suite.url

`thymos up`, `thymos demo` and the end-to-end tests run on this. Each service is a process of its own
(`python -m <module>`), told by its environment where the bus, the configuration and its data are; a service that dies
is started again with backoff. At the end the services stop first, then NATS, and nothing is left running.
"""

import asyncio
import contextlib
import importlib.util
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType

from thymos import config, nats_bus, subjects
from thymos.background import cancelled
from thymos.child_process import Child
from thymos.client import Client
from thymos.data_folder import DataFolder
from thymos.embedded import ROOM_BYTES, NatsServer, check_port_free, free_port
from thymos.errors import Refusal, ThymosError, UnavailableError
from thymos.nats_bus import NatsBus
from thymos.provision import provision
from thymos.requests import Nothing

log = logging.getLogger(__name__)

NATS = "nats"
MODULES: Mapping[str, str] = {
    subjects.METRICS_COLLECTOR: "metrics_collector",
    subjects.DECISION_ENGINE: "decision_engine",
    subjects.MEMORY_REPOSITORY: "memory_repository",
    subjects.WORKTREE_SCALER: "worktree_scaler",
}
CONNECT_WAIT = timedelta(seconds=5)
READY_SECONDS = 60.0
READY_PERIOD_SECONDS = 0.1
READY_TIMEOUT = timedelta(seconds=2)
NATS_PERIOD_SECONDS = 0.25
DEATHS_BEFORE_READY_MAX = 3


class Suite:
    """NATS and the services, running while the context is open.

    Args:
        data_dir: everything that is kept lies here: one file per service, `nats/`, `log/`. One suite at a time.
        nats_url: a server that somebody else runs, or several of a cluster, separated by commas. None: one is started
            here.
        config_path: the thymos.toml of the services. None: they look for one themselves (`thymos.config.load`).
        port: of the server that is started here. None: one that is free.
        metrics_port: each service shows metrics and health over HTTP, from this port on, in the order of `MODULES`.
            0: none does.
        sync_always: that server writes to disk before it acknowledges: nothing is lost with the machine's power.
        tell: is told in words what happens.
    """

    def __init__(
        self,
        data_dir: Path,
        nats_url: str | None = None,
        config_path: Path | None = None,
        port: int | None = None,
        *,
        metrics_port: int = 0,
        sync_always: bool = True,
        tell: Callable[[str], None] = log.info,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.server: NatsServer | None = None
        self.services: Mapping[str, Child] = {}
        self._nats_url = nats_url
        self._config_path = config_path and config_path.absolute()
        self._port = port
        self._metrics_port = metrics_port
        self._sync_always = sync_always
        self._tell = tell
        self._bus: NatsBus | None = None
        self._stack = contextlib.AsyncExitStack()

    @property
    def url(self) -> str:
        """Where clients connect. Raises RuntimeError when the suite is not running."""
        url = self._nats_url or (self.server.url if self.server else None)
        if url is None:
            raise RuntimeError("the suite is not running")
        return url

    @property
    def bus(self) -> NatsBus:
        """The suite's own connection. Raises RuntimeError when the suite is not running."""
        if self._bus is None:
            raise RuntimeError("the suite is not running")
        return self._bus

    async def __aenter__(self) -> "Suite":
        """Start everything; `ready()` waits until it answers.

        Raises:
            Refusal: `conflict`: the data folder is in use, or the port is taken.
            UnavailableError: the given NATS server does not answer.
            ThymosError: a service is not installed, NATS does not start, or its streams cannot be made.
        """
        _check_installed()
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the services, then NATS; what does not stop in time is killed."""
        await self._stack.aclose()

    async def _start(self) -> None:
        folder = self._stack.enter_context(DataFolder(self.data_dir))
        if self._nats_url is None:
            await self._start_nats(folder)
        self._bus = await nats_bus.connect(self.url, "thymos-suite", wait=CONNECT_WAIT)
        self._stack.push_async_callback(self._bus.close)
        await provision(self._bus, config.load(self._config_path).nats.replicas)
        self.services = {
            name: Child(
                name, module, self._environment(name), self.data_dir / "log" / f"{name}.log", folder, self._tell
            )
            for name, module in MODULES.items()
        }
        self._stack.push_async_callback(self._stop_services)
        for child in self.services.values():
            child.start()

    async def _start_nats(self, folder: DataFolder) -> None:
        if self._port is not None:
            check_port_free(self._port)
        self.server = NatsServer(self.data_dir / "nats", self._port or free_port(), self._sync_always)
        server = self.server
        self._stack.push_async_callback(asyncio.to_thread, server.stop)
        await _start(server, folder)
        watching = asyncio.create_task(self._watch_nats(server, folder))
        self._stack.push_async_callback(cancelled, watching)

    async def _watch_nats(self, server: NatsServer, folder: DataFolder) -> None:
        told = False
        while True:
            await asyncio.sleep(NATS_PERIOD_SECONDS)
            if server.running and not server.write_failed():
                continue
            if server.running and server.room_bytes < ROOM_BYTES:
                if not told:
                    self._tell(f"NATS cannot write: make room on the disk that holds {server.store_dir}")
                told = True
                continue
            told = False
            if server.running:
                self._tell("NATS could not write, and takes nothing more; there is room now: it is restarted")
                await asyncio.to_thread(server.stop)
            else:
                self._tell("NATS died; it is started again")
            try:
                await _start(server, folder)
            except ThymosError as error:
                self._tell(f"NATS does not start: {error}")

    def metrics_port_of(self, service: str) -> int:
        """Where a service shows metrics and health; 0 where none does."""
        return self._metrics_port and self._metrics_port + list(MODULES).index(service)

    def _environment(self, service: str) -> dict[str, str]:
        """What a service is told. Only one of the two names of the server's address may be set; of the port for
        metrics each has its own, so that what the configuration says for all is not taken four times."""
        inherited = {name: value for name, value in os.environ.items() if name != "THYMOS_NATS__URL"}
        config = {"THYMOS_CONFIG": str(self._config_path)} if self._config_path else {}
        return {
            **inherited,
            **config,
            "THYMOS_NATS_URL": self.url,
            "THYMOS_DATA_DIR": str(self.data_dir),
            "THYMOS_OBSERVABILITY__PORT": str(self.metrics_port_of(service)),
        }

    async def _stop_services(self) -> None:
        """The scaler first: its agents close their worktrees while memory still answers."""
        await self.services[subjects.WORKTREE_SCALER].stop()
        await asyncio.gather(*(child.stop() for child in self.services.values()))

    async def ready(self, timeout_seconds: float = READY_SECONDS) -> None:
        """Wait until every service says that it is ready to take events.

        Raises:
            ThymosError: one is not ready in time, or dies again and again; the text says which, and where its log is.
        """
        waiting = dict.fromkeys(self.services, "does not answer yet")
        try:
            async with asyncio.timeout(timeout_seconds):
                while waiting:
                    await self._look_for_ready(waiting)
        except TimeoutError as error:
            words = "; ".join(f"{name} {why} (see {self.services[name].log_path})" for name, why in waiting.items())
            raise ThymosError(f"not ready after {timeout_seconds:g} s: {words}") from error

    async def _look_for_ready(self, waiting: dict[str, str]) -> None:
        """One look at each service; those that are ready leave `waiting`, the others have their reason there."""
        for name in list(waiting):
            child = self.services[name]
            if child.deaths >= DEATHS_BEFORE_READY_MAX:
                raise ThymosError(f"{name} does not start: {child.last_words()} (see {child.log_path})")
            why = await not_ready(Client(self.bus), name)
            if why:
                waiting[name] = why
                continue
            del waiting[name]
            self._tell(f"{name} is ready")
        if waiting:
            await asyncio.sleep(READY_PERIOD_SECONDS)

    def kill9(self, service: str) -> None:
        """Kill a service, or `nats`, without warning; it is started again. Raises KeyError for another name."""
        if service == NATS and self.server is not None:
            self.server.kill9()
            return
        self.services[service].kill9()

    async def restart(self, service: str) -> None:
        """Stop a service in an orderly way, start it again and wait until all are ready. Raises as `ready` does."""
        await self.services[service].stop()
        self.services[service].start()
        await self.ready()


async def not_ready(client: Client, service: str) -> str:
    """Why a service is not ready, in words that follow its name; empty when it is."""
    findings = (await readiness(client, service)).findings
    if findings is None:
        return "does not answer"
    return "is not ready: " + "; ".join(findings) if findings else ""


@dataclass(frozen=True)
class ReadyAnswer:
    """What a service says that keeps it from its work, None when it says nothing at all, and what its clock shows."""

    findings: tuple[str, ...] | None
    time: datetime | None = None


async def readiness(client: Client, service: str) -> ReadyAnswer:
    """Ask a service whether it is ready."""
    try:
        data = await client.ask(service, subjects.WHOLE_SERVICE, "ready", Nothing(), READY_TIMEOUT)
    except (Refusal, UnavailableError):
        return ReadyAnswer(None)
    findings = () if data.get("ready") else tuple(data.get("findings") or ("no reason is given",))
    return ReadyAnswer(findings, datetime.fromisoformat(data["time"]) if "time" in data else None)


def _check_installed() -> None:
    for name, module in MODULES.items():
        if importlib.util.find_spec(module) is None:
            raise ThymosError(f"the service {name} is not installed here: install the package thymos-{name}")


async def _start(server: NatsServer, folder: DataFolder) -> None:
    """Start the server in a thread. When cancelled, wait for the thread: a server that was begun must be known."""
    starting = asyncio.ensure_future(asyncio.to_thread(server.start, born=folder.recorder(NATS)))
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait({starting})
        raise
