"""The service's side of a backup: what it publishes is held, and its store is copied as of one moment.

A read transaction on a second connection keeps that moment (SQLite's WAL), while the service goes on writing; the
copy is a file beside the store, handed out in parts, and gone when it has been read or nobody asks for it any more.
"""

import asyncio
import base64
import contextlib
import hashlib
import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from thymos.background import cancelled
from thymos.backup.requests import CHUNK_BYTES_MAX, HOLD_SECONDS, BackupRequest, CopyPart
from thymos.bus import Bus
from thymos.errors import Refusal, RefusalCode
from thymos.sqlite_file import SqliteFile
from thymos.unit_of_work import ServiceStore

log = logging.getLogger(__name__)

COPY_SECONDS = 600.0
"""How long a copy waits for the next question about it."""
PAGES_AT_ONCE = 256
SUFFIX = ".copy"


@dataclass
class _Copy:
    """A copy, being made or finished."""

    token: str
    path: Path
    making: asyncio.Future[tuple[int, str]]
    asked: asyncio.Event


class Copies:
    """Holds, and the one copy, of a service's store.

    Args:
        hold_seconds, copy_seconds: how long they last without a sign of life.
    """

    def __init__(
        self, store: ServiceStore, bus: Bus, hold_seconds: float = HOLD_SECONDS, copy_seconds: float = COPY_SECONDS
    ) -> None:
        self._store = store
        self._bus = bus
        self._hold_seconds = hold_seconds
        self._copy_seconds = copy_seconds
        self._holder: str | None = None
        self._alive = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._copy: _Copy | None = None
        self._forgetting: asyncio.Task[None] | None = None
        self._path = Path(store.database.path) if isinstance(store.database, SqliteFile) else None
        for left in self._path.parent.glob(f"{self._path.name}.*{SUFFIX}*") if self._path else ():
            left.unlink(missing_ok=True)

    async def answer(self, request: BackupRequest) -> CopyPart:
        """One step. Raises Refusal: `conflict` for a backup that does not hold or another one, TransientError."""
        match request.step:
            case "hold":
                await self._hold(request.token)
            case "renew":
                self._check_holder(request.token)
                self._alive.set()
            case "pin":
                self._check_holder(request.token)
                await self._pin(request.token)
            case "release":
                self._check_holder(request.token)
                await self._release()
            case "read":
                return await self._read(request.token, request.offset)
            case "end":
                self._check_copy(request.token)
                await self._forget()
        return CopyPart()

    async def close(self) -> None:
        """The service ends: publish what was held, and leave no copy behind."""
        await self._release()
        await self._forget()

    async def _hold(self, token: str) -> None:
        self._file()
        if self._holder not in (None, token):
            hint = f"wait until it has ended; one that was killed is forgotten after {self._hold_seconds:g} s"
            raise Refusal(RefusalCode.CONFLICT, "another backup is being taken", hint)
        self._alive.set()
        if self._holder == token:
            return
        self._holder = token
        try:
            await self._store.hold_relay(self._bus)
        except BaseException:
            self._holder = None
            raise
        self._ending = asyncio.create_task(self._end_when_silent())

    async def _end_when_silent(self) -> None:
        with contextlib.suppress(TimeoutError):
            while True:
                self._alive.clear()
                await asyncio.wait_for(self._alive.wait(), self._hold_seconds)
        log.warning("%s: the backup was not heard of for %g s; publishing again", self._store.service,
                    self._hold_seconds)  # fmt: skip
        self._unhold()

    async def _release(self) -> None:
        if self._ending is None:
            return
        ending, self._ending = self._ending, None
        await cancelled(ending)
        self._unhold()

    def _unhold(self) -> None:
        self._ending = None
        if self._holder is not None:
            self._holder = None
            self._store.release_relay()

    def _check_holder(self, token: str) -> None:
        if self._holder != token or self._ending is None:
            words = f"{self._store.service} has not held back what it publishes all the time: was it started again?"
            raise Refusal(RefusalCode.CONFLICT, words, "take the backup again")

    # --- the copy --------------------------------------------------------------------------------------------------

    async def _pin(self, token: str) -> None:
        await self._forget()
        store = self._file()
        path = store.with_name(f"{store.name}.{token}{SUFFIX}")
        loop, pinned = asyncio.get_running_loop(), asyncio.Event()
        making = asyncio.ensure_future(
            asyncio.to_thread(_copied, store, path, lambda: loop.call_soon_threadsafe(pinned.set))
        )
        making.add_done_callback(lambda _: pinned.set())
        self._copy = _Copy(token, path, making, asyncio.Event())
        await pinned.wait()
        if making.done():
            self._result_of(making)
        self._forgetting = asyncio.create_task(self._forget_when_silent(self._copy))

    def _file(self) -> Path:
        """The store's file. Raises Refusal (`refused`) when it is none."""
        if self._path is not None:
            return self._path
        words = f"{self._store.service} keeps its state in {self._store.database.name}, which is no part of a backup"
        hint = "take it with pg_dump, and back up the other services' files while the suite is down: docs/postgresql.md"
        raise Refusal(RefusalCode.REFUSED, words, hint)

    async def _read(self, token: str, offset: int) -> CopyPart:
        copy = self._check_copy(token)
        copy.asked.set()
        if not copy.making.done():
            return CopyPart()
        total, digest = self._result_of(copy.making)
        data = await asyncio.to_thread(_part, copy.path, offset)
        return CopyPart(total=total, sha256=digest, data=base64.b64encode(data).decode())

    def _check_copy(self, token: str) -> _Copy:
        if self._copy is None or self._copy.token != token:
            words = f"{self._store.service} has no copy of its store for this backup: was it started again?"
            raise Refusal(RefusalCode.CONFLICT, words, "take the backup again")
        return self._copy

    def _result_of(self, making: "asyncio.Future[tuple[int, str]]") -> tuple[int, str]:
        try:
            return making.result()
        except (sqlite3.Error, OSError) as error:
            words = f"the copy of {self._store.service}'s store cannot be written beside it: {error}"
            raise Refusal(RefusalCode.UNAVAILABLE, words, f"make room in {self._file().parent}") from error

    async def _forget_when_silent(self, copy: _Copy) -> None:
        await asyncio.wait({copy.making})
        with contextlib.suppress(TimeoutError):
            while True:
                copy.asked.clear()
                await asyncio.wait_for(copy.asked.wait(), self._copy_seconds)
        self._forgetting = None
        await self._forget()

    async def _forget(self) -> None:
        if self._forgetting is not None:
            forgetting, self._forgetting = self._forgetting, None
            await cancelled(forgetting)
        copy, self._copy = self._copy, None
        if copy is not None:
            await asyncio.wait({copy.making})
            copy.making.exception()
            copy.path.unlink(missing_ok=True)


def _copied(store: Path, copy: Path, pinned: Callable[[], object]) -> tuple[int, str]:
    """Copy the store as it is when `pinned` is called; size in bytes and SHA-256 of the copy."""
    try:
        with contextlib.closing(sqlite3.connect(store, isolation_level=None, timeout=5.0)) as source:
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
            pinned()
            with contextlib.closing(sqlite3.connect(copy)) as target:
                source.backup(target, pages=PAGES_AT_ONCE)
                target.execute("PRAGMA journal_mode=DELETE")
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
    with copy.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return copy.stat().st_size, digest


def _part(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(CHUNK_BYTES_MAX)
