"""`thymos backup` and `thymos restore`: memory, event log and everything between them, as of one moment."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from thymos.cli.exit_codes import UsageError
from thymos.cli.options import HERE, Json, Where, server_url
from thymos.cli.output import count, emit, say

if TYPE_CHECKING:
    from thymos.backup.manifest import Manifest
    from thymos.backup.taking import Progress

TELL_SECONDS = 1.0
MIB = 1024 * 1024


def register(app: App) -> None:
    """Add the verbs to the command line."""
    app.command(backup, name="backup")
    app.command(restore, name="restore")


async def backup(folder: Annotated[Path, Parameter(name="DIR")], *, json: Json = False, where: Where = HERE) -> None:
    """Copy a suite that runs: every service's store and every stream, of all tenants.

    Parameters
    ----------
    folder
        Where to: a folder that does not exist yet, or is empty. It has its name only when it is whole.
    """
    from thymos.backup.taking import take

    async with where.bus() as bus:
        taken = await take(bus, folder.absolute(), _progress())
    if json:
        emit(_summary(taken, folder))
    else:
        say(f"{folder}: {_words(taken)}, as of {_time(taken)}")


async def restore(
    folder: Annotated[Path, Parameter(name="DIR")],
    *,
    data: Annotated[Path | None, Parameter(show_default=False)] = None,
    check: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Make a suite of a backup, and verify it. No service may run meanwhile; `thymos up` starts it afterwards.

    With --nats the streams go into that server, which must be empty; else into the data folder, for `thymos up`.

    Parameters
    ----------
    folder
        The backup.
    data
        The data folder, which must be empty [default: the configuration's storage.directory].
    check
        Only look whether the backup is whole and as it was written.
    """
    from thymos.backup.restoring import check as checked
    from thymos.backup.restoring import restore as restored

    if check and (data or where.nats):
        raise UsageError("--check restores nothing: leave --data and --nats out")
    if check:
        found, log = await checked(folder, _progress()), ""
    else:
        _check_database(where)
        url = server_url("--nats", where.nats) if where.nats else None
        target = (data or where.data_folder()).absolute()
        done = await restored(folder, target, url, _progress())
        found, log = done.manifest, done.log
    if json:
        emit({**_summary(found, folder), "log": log or None, "data": None if check else str(target)})
    elif check:
        say(f"{folder} is whole and as it was written: {_words(found)}, as of {_time(found)}")
    else:
        begin = "start its services" if where.nats else f"`thymos up --data {target}` starts it"
        say(f"restored into {target}: {_words(found)}, as of {_time(found)}; {log}; {begin}")


def _check_database(where: Where) -> None:
    """Raises Refusal (`refused`) when memories would be restored where no service looks for them; ConfigError."""
    from thymos.errors import Refusal, RefusalCode

    if where.database() is not None:
        words = "the configuration keeps memories in PostgreSQL; a restore writes files, where nobody would see them"
        hint = "restore with a configuration without storage.url, then export and import them: docs/postgresql.md"
        raise Refusal(RefusalCode.REFUSED, words, hint)


def _words(found: Manifest) -> str:
    from thymos.subjects import EVENTS

    events = found.stream(EVENTS.name).messages
    return f"{count(len(found.stores), 'store')}, {count(len(found.streams), 'stream')}, " + (
        f"{count(events, 'event')}, {found.size / MIB:.1f} MiB"
    )


def _time(found: Manifest) -> str:
    from datetime import UTC

    return found.taken_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _summary(found: Manifest, folder: Path) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "taken_at": _time(found),
        "thymos": found.thymos,
        "bytes": found.size,
        "streams": {stream.name: stream.messages for stream in found.streams},
        "stores": {store.service: store.file.bytes for store in found.stores},
    }


def _progress() -> Progress:
    """What is done, on a terminal only: a step at once, bytes about once a second."""
    from thymos.backup.taking import SILENT, Progress

    if not sys.stderr.isatty():
        return SILENT
    state = {"bytes": 0, "told": time.monotonic()}

    def step(words: str) -> None:
        state["told"] = time.monotonic()
        say(words)

    def moved(size: int) -> None:
        state["bytes"] += size
        if time.monotonic() - state["told"] >= TELL_SECONDS:
            state["told"] = time.monotonic()
            say(f"{state['bytes'] / MIB:.0f} MiB")

    return Progress(step, moved)
