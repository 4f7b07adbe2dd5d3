"""Takes a backup of a suite that runs.

All services hold back what they publish, so that the event log stands still while it is copied; then each store is
copied as it is at a moment of that time. Whatever a store has caused is therefore either in the log's copy or still
in the store's own outbox: nothing is lost between the two, and nothing is there twice. Requests and messages are
handled all the while; only what they cause is told later.
"""

import asyncio
import base64
import contextlib
import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from thymos import nats_snapshot, subjects
from thymos.background import running
from thymos.backup import manifest
from thymos.backup.manifest import BackedUpFile, BackedUpStore, BackedUpStream, Manifest
from thymos.backup.requests import HOLD_SECONDS, BackupRequest, CopyPart
from thymos.client import Client
from thymos.errors import Refusal, RefusalCode, ThymosError, TransientError, UnavailableError
from thymos.nats_bus import NatsBus

STREAMS = (
    subjects.TASKS,
    subjects.METRICS,
    subjects.COMMANDS,
    subjects.EVENTS,
    subjects.ADVISORIES,
    subjects.TELEMETRY,
    subjects.DEAD_LETTERS,
)
"""In this order: a task is gone only when its outcome is in the telemetry, a message only when its dead letter is kept;
telemetry, which agents send all the while, is copied shortly before the stores.
"""
LOCK = ".lock"
HOLD_TIMEOUT = timedelta(seconds=30)
STEP_TIMEOUT = timedelta(seconds=30)
COPY_POLL_SECONDS = 0.1
READ_ATTEMPTS = 5
LOG_ATTEMPTS = 3


@dataclass(frozen=True)
class Progress:
    """Who is told what happens: `step` of what is begun, `moved` of bytes as they come."""

    step: Callable[[str], None] = lambda _: None
    moved: Callable[[int], None] = lambda _: None


SILENT = Progress()


def names() -> tuple[str, ...]:
    """Every stream of a backup, those under the buckets too, in the order in which they are copied."""
    return tuple(f"KV_{bucket.name}" for bucket in subjects.BUCKETS) + tuple(stream.name for stream in STREAMS)


async def take(bus: NatsBus, folder: Path, progress: Progress = SILENT) -> Manifest:
    """Write a backup into a folder that does not exist yet, or is empty. It has its name only when it is whole.

    Raises:
        Refusal: `conflict`: the folder holds something, another backup is being taken, or a service was started again
            meanwhile.
        UnavailableError: a service or the bus does not answer.
        ThymosError: the folder cannot be written, or the server refuses.
    """
    partial, lock = await asyncio.to_thread(_begun, folder)
    try:
        taken = await _Taking(bus, partial, progress).run()
        await asyncio.to_thread(_finish, partial, folder, taken)
    except OSError as error:
        words = f"the backup cannot be written into {folder}: {error.strerror or error}"
        raise ThymosError(f"{words}; make room, or name another folder") from error
    finally:
        await asyncio.to_thread(shutil.rmtree, partial, True)
        lock.close()
    return taken


def _begun(folder: Path) -> tuple[Path, IO[str]]:
    """The folder to write into, and its lock; what an earlier attempt left there is gone."""
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            words = f"{folder} is there already and is not empty"
            raise Refusal(RefusalCode.CONFLICT, words, "name a folder of its own for each backup")
        partial = folder.with_name(folder.name + manifest.PARTIAL)
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir(mode=0o700, exist_ok=True)
        lock = _locked(partial / LOCK, folder)
        for left in partial.iterdir():
            if left.name != LOCK:
                left.unlink()
    except OSError as error:
        raise ThymosError(f"the backup cannot be written into {folder}: {error.strerror}") from error
    return partial, lock


def _locked(path: Path, folder: Path) -> IO[str]:
    """The lock of a folder that nobody else writes a backup into. Raises Refusal (`conflict`), OSError."""
    lock = path.open("a")
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock.fileno()), path.stat()):  # else it has become a backup meanwhile
            return lock
    lock.close()
    words = f"another backup into {folder} is being taken"
    raise Refusal(RefusalCode.CONFLICT, words, "wait until it has ended, or name another folder")


def _finish(partial: Path, folder: Path, taken: Manifest) -> None:
    """Everything on the disk first, then the manifest, then the name."""
    (partial / manifest.NAME).write_bytes(taken.to_bytes())
    for path in (*partial.iterdir(), partial):
        sync(path)
    if folder.exists():
        folder.rmdir()
    partial.rename(folder)
    (folder / LOCK).unlink()
    sync(folder)
    sync(folder.parent)


def sync(path: Path) -> None:
    """Wait until a file, or what stands in a folder, is on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Taking:
    """One backup on its way."""

    def __init__(self, bus: NatsBus, folder: Path, progress: Progress) -> None:
        self._bus = bus
        self._folder = folder
        self._progress = progress
        self._client = Client(bus, subjects.WHOLE_SERVICE, "backup")
        self._token = uuid.uuid4().hex

    async def run(self) -> Manifest:
        """Copy everything. Raises as `take` does."""
        try:
            async with self._held():
                copied = [await self._stream(name) for name in names()]
                taken_at = datetime.now(UTC)
                await self._all("pin")
                await self._all("release")
            stores = [await self._store(service) for service in subjects.SERVICES]
        finally:
            await self._end()
        return Manifest(taken_at=taken_at, streams=tuple(copied), stores=tuple(stores))

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[None]:
        """While nothing is published. Leaving it in an error lets go of it, too."""
        self._progress.step("asking the services to hold back what they publish")
        try:
            await self._all("hold", HOLD_TIMEOUT)
            async with running(self._renewed()):
                yield
        except BaseException:
            for service in subjects.SERVICES:
                with contextlib.suppress(ThymosError):
                    await self._ask(service, "release")
            raise

    async def _renewed(self) -> None:
        """Signs of life. When one fails, `release` says so: nothing has to be done here."""
        while True:
            await asyncio.sleep(HOLD_SECONDS / 6)
            with contextlib.suppress(ThymosError):
                await self._all("renew")

    async def _all(self, step: str, timeout: timedelta = STEP_TIMEOUT) -> None:
        results = await asyncio.gather(
            *(self._ask(service, step, timeout=timeout) for service in subjects.SERVICES), return_exceptions=True
        )
        for failed in results:
            if isinstance(failed, BaseException):
                raise failed

    async def _ask(self, service: str, step: str, offset: int = 0, timeout: timedelta = STEP_TIMEOUT) -> CopyPart:
        request = BackupRequest.model_validate({"step": step, "token": self._token, "offset": offset})
        try:
            answer = await self._client.ask(service, subjects.WHOLE_SERVICE, "backup", request, timeout)
        except UnavailableError as error:
            words = f"{service} does not answer, and a backup needs its store ({error})"
            raise UnavailableError(words) from error
        return CopyPart.model_validate(answer)

    async def _stream(self, name: str) -> BackedUpStream:
        """A stream; the event log must not have grown meanwhile."""
        path = self._folder / f"{name}.snapshot"
        for _ in range(LOG_ATTEMPTS):
            self._progress.step(f"copying the stream {name}")
            path.unlink(missing_ok=True)
            copy = await nats_snapshot.save(self._bus, name, path, self._progress.moved)
            after = await nats_snapshot.state_of(self._bus, name)
            if name != subjects.EVENTS.name or (after and after["last_seq"] == copy.state["last_seq"]):
                file = BackedUpFile(name=path.name, bytes=copy.bytes, sha256=copy.sha256)
                return BackedUpStream(name=name, file=file, config=copy.config, state=copy.state)
        words = f"{name} grows although the services hold back: somebody else publishes events"
        raise Refusal(RefusalCode.CONFLICT, words, "find out who, and take the backup again")

    async def _store(self, service: str) -> BackedUpStore:
        """A service's copy, part by part."""
        self._progress.step(f"copying the store of {service}")
        path = self._folder / f"{service}.db"
        digest, size, part = hashlib.sha256(), 0, CopyPart()
        with path.open("xb") as file:
            while part.total is None or size < part.total:
                part = await self._part(service, size)
                if part.total is None:
                    await asyncio.sleep(COPY_POLL_SECONDS)
                    continue
                data = base64.b64decode(part.data)
                file.write(data)
                digest.update(data)
                size += len(data)
                self._progress.moved(len(data))
        if digest.hexdigest() != part.sha256:
            raise ThymosError(f"the copy of {service}'s store did not arrive as it was sent; take the backup again")
        return BackedUpStore(service=service, file=BackedUpFile(name=path.name, bytes=size, sha256=digest.hexdigest()))

    async def _part(self, service: str, offset: int) -> CopyPart:
        """A part; asked for again when the bus was away for a moment."""
        for attempt in range(READ_ATTEMPTS):
            try:
                return await self._ask(service, "read", offset)
            except (UnavailableError, TransientError):
                if attempt + 1 == READ_ATTEMPTS:
                    raise
                await asyncio.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")

    async def _end(self) -> None:
        for service in subjects.SERVICES:
            with contextlib.suppress(ThymosError):
                await self._ask(service, "end", timeout=timedelta(seconds=2))
