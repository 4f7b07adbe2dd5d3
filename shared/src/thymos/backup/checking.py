"""What a restore looks at before it says that it worked."""

import contextlib
import importlib
import importlib.util
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from thymos import nats_snapshot, subjects
from thymos.backup.manifest import Manifest
from thymos.errors import ThymosError
from thymos.nats_bus import NatsBus
from thymos.suite import MODULES

CHECK = "stored_check"
"""A service's module of this name has `problems(database)`: what is wrong with the contents of its store."""
PROBLEMS_MAX = 5


def check_store(service: str, database: Path) -> None:
    """A store as a file, and its contents as far as its service can judge them. Raises ThymosError."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            found = [row[0] for row in connection.execute(f"PRAGMA integrity_check({PROBLEMS_MAX})") if row[0] != "ok"]
            found += [f"foreign key: {row}" for row in connection.execute("PRAGMA foreign_key_check").fetchmany(1)]
        found += _contents(service, database)
    except sqlite3.Error as error:
        found = [str(error)]
    if found:
        words = "; ".join(found[:PROBLEMS_MAX])
        raise ThymosError(f"the restored store of {service} is damaged: {words}")


def _contents(service: str, database: Path) -> Sequence[str]:
    module = f"{MODULES[service]}.{CHECK}"
    if importlib.util.find_spec(MODULES[service]) is None or importlib.util.find_spec(module) is None:
        return []
    found: Sequence[str] = importlib.import_module(module).problems(database)
    return found


async def check_log(bus: NatsBus, manifest: Manifest) -> str:
    """The restored event log: complete, and its seals in order. How that was seen, in words. Raises ThymosError."""
    expected = manifest.stream(subjects.EVENTS.name).state
    state = await nats_snapshot.state_of(bus, subjects.EVENTS.name) or {}
    for what in ("messages", "first_seq", "last_seq") if expected.get("messages") else ("messages", "last_seq"):
        if state.get(what) != expected.get(what):
            words = f"the restored event log has {what} {state.get(what)}, the backup's had {expected.get(what)}"
            raise ThymosError(words)
    return await _sealed(bus)


async def _sealed(bus: NatsBus) -> str:
    from thymos import audit

    report = await audit.verify_log(bus)
    if not report.identical:
        problems = "; ".join(map(str, report.problems[:PROBLEMS_MAX]))
        raise ThymosError(f"the restored event log does not verify: {problems}")
    decisions = f"{report.decisions} of its decisions computed again: identical"
    if not report.seals:
        return f"its events are counted, none is sealed yet; {decisions}"
    return f"{report.checked} of its {report.events} events under {report.seals} seals that hold; {decisions}"
