"""Makes a suite of a backup: streams into an empty NATS, stores into an empty data folder, then looks at both.

Everything is put together in `restoring/` of the data folder and moved to its place at the end: a restore that was
interrupted is seen by `thymos up`, and leaves nothing that looks like a suite.
"""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from thymos import nats_bus, nats_snapshot, subjects
from thymos.backup import manifest
from thymos.backup.checking import check_log, check_store
from thymos.backup.manifest import Manifest
from thymos.backup.taking import SILENT, Progress, sync
from thymos.client import Client
from thymos.data_folder import LOCK, PROCESSES, RESTORING, DataFolder
from thymos.embedded import NatsServer
from thymos.errors import Refusal, RefusalCode, ThymosError, UnavailableError
from thymos.nats_bus import NatsBus
from thymos.provision import provision
from thymos.requests import Nothing

NATS_FOLDER = "nats"
LOGS = "log"
LEFT_ALONE = (LOCK, PROCESSES, LOGS, RESTORING)
"""What a data folder may hold before a restore: nothing of it is state."""
CONNECT_WAIT = timedelta(seconds=5)
SERVICE_WAIT = timedelta(seconds=1)


@dataclass(frozen=True)
class Restored:
    """What was restored, and how it was looked at."""

    manifest: Manifest
    log: str


async def check(backup: Path, progress: Progress = SILENT) -> Manifest:
    """Whether a backup is whole and as it was written. Raises Refusal that names what is not."""
    found = await asyncio.to_thread(manifest.read, backup)
    progress.step("checking the backup's files")
    await asyncio.to_thread(manifest.check_files, backup, found, progress.moved)
    return found


async def restore(backup: Path, data: Path, nats_url: str | None = None, progress: Progress = SILENT) -> Restored:
    """Restore a backup into an empty data folder and, with `nats_url`, an empty server; else into a server of its own
    in the data folder, which runs for the restore only.

    Raises:
        Refusal: `not_found`, `refused`: there is no backup, or it is damaged; `conflict`: the data folder or the
            server holds something already, or a suite is running.
        UnavailableError: the server does not answer.
        ThymosError: the folder cannot be written, or what was restored does not verify.
    """
    found = await asyncio.to_thread(manifest.read, backup)
    await asyncio.to_thread(_check_outside, backup, data)
    with DataFolder(data, restoring=True) as folder:
        _check_empty(data)
        place = data / RESTORING
        try:
            await check(backup, progress)
            await asyncio.to_thread(_begin, place)
            for store in found.stores:
                progress.step(f"restoring the store of {store.service}")
                await asyncio.to_thread(shutil.copyfile, backup / store.file.name, place / store.file.name)
                await asyncio.to_thread(check_store, store.service, place / store.file.name)
            async with _server(folder, nats_url) as bus, _undone(bus, found):
                log = await _streams(bus, backup, found, progress)
        except BaseException as error:
            await asyncio.to_thread(shutil.rmtree, place, True)
            if isinstance(error, OSError):
                words = f"{data} cannot be written ({error.strerror or error}): make room there"
                raise ThymosError(words) from error
            raise
        await asyncio.to_thread(_in_place, place, data)
    return Restored(found, log)


def _begin(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()


def _check_outside(backup: Path, data: Path) -> None:
    if data.resolve().is_relative_to(backup.resolve()):
        raise Refusal(RefusalCode.CONFLICT, f"{data} lies within the backup", "name a folder elsewhere with --data")


def _check_empty(data: Path) -> None:
    """Raises Refusal (`conflict`) when the folder holds more than logs, or what a broken restore left."""
    found = sorted(path.name for path in data.iterdir() if path.name not in LEFT_ALONE)
    if found:
        words, hint = f"the data folder {data} holds {', '.join(found[:3])} already", "or move that one away"
        if (data / RESTORING).exists():
            words, hint = f"{words}, from a restore that was interrupted at its very end", "or empty that one"
        raise Refusal(RefusalCode.CONFLICT, words, f"name an empty one with --data, {hint}")


def _in_place(place: Path, data: Path) -> None:
    """Everything on the disk first, then the parts to where a suite looks for them, and the folder that says "not yet"
    last."""
    for path in (*place.rglob("*"), place):
        sync(path)
    for part in sorted(place.iterdir()):
        part.rename(data / part.name)
    sync(data)
    place.rmdir()
    sync(data)


@asynccontextmanager
async def _server(folder: DataFolder, nats_url: str | None) -> AsyncIterator[NatsBus]:
    """The server to restore into: an empty one, without services."""
    async with contextlib.AsyncExitStack() as stack:
        if nats_url is None:
            server = NatsServer(folder.path / RESTORING / NATS_FOLDER, sync_always=True)
            stack.push_async_callback(asyncio.to_thread, server.stop)
            await asyncio.to_thread(server.start, born=folder.recorder(NATS_FOLDER))
            nats_url = server.url
        bus = await nats_bus.connect(nats_url, "thymos-restore", wait=CONNECT_WAIT)
        stack.push_async_callback(bus.close)
        await _check_alone(bus)
        yield bus


async def _check_alone(bus: NatsBus) -> None:
    """Raises Refusal (`conflict`) when services run on the bus."""
    client = Client(bus, subjects.WHOLE_SERVICE, "restore")
    for service in subjects.SERVICES:
        try:
            await client.ask(service, subjects.WHOLE_SERVICE, "ready", Nothing(), SERVICE_WAIT)
        except UnavailableError:
            continue
        raise Refusal(RefusalCode.CONFLICT, f"{service} is running", "stop the services before a restore")


@asynccontextmanager
async def _undone(bus: NatsBus, found: Manifest) -> AsyncIterator[None]:
    """Empty streams make way for those of the backup; when it fails, none of these is left.

    Raises:
        Refusal: `conflict`: a stream holds messages, or held some.
    """
    for stream in found.streams:
        state = await nats_snapshot.state_of(bus, stream.name)
        if state is not None and state["last_seq"] and stream.name != subjects.ADVISORIES.name:
            words = f"the stream {stream.name} of the server holds, or held, {state['last_seq']} messages"
            raise Refusal(RefusalCode.CONFLICT, words, "restore into an empty server")
    try:
        for stream in found.streams:
            if await nats_snapshot.state_of(bus, stream.name) is not None:
                await nats_snapshot.ask_server(bus, f"STREAM.DELETE.{stream.name}")
        yield
    except BaseException:
        for stream in found.streams:
            with contextlib.suppress(ThymosError):
                await nats_snapshot.ask_server(bus, f"STREAM.DELETE.{stream.name}")
        raise


async def _streams(bus: NatsBus, backup: Path, found: Manifest, progress: Progress) -> str:
    replicas = _replicas(bus, found)
    for stream in found.streams:
        progress.step(f"restoring the stream {stream.name}")
        path, config = backup / stream.file.name, {**stream.config, "num_replicas": replicas}
        await nats_snapshot.load(bus, stream.name, config, stream.state, path, progress.moved)
    await provision(bus, replicas)
    progress.step("verifying the event log")
    return await check_log(bus, found)


def _replicas(bus: NatsBus, found: Manifest) -> int:
    """As many as there were, if it is a cluster that the streams go into."""
    had = found.stream(subjects.EVENTS.name).config.get("num_replicas", 1)
    return int(str(had)) if bus.client._server_info.get("cluster") else 1
