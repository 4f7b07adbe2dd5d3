"""Whether a service's SQLite file can be written, and in which words the service says that it cannot."""

import os
import sqlite3
from pathlib import Path

from thymos.database import Connection
from thymos.errors import StoreUnavailableError

FREE_BYTES_MIN = 1024 * 1024
"""With less room than this a disk counts as full, before anything fails on it."""
PROBE_BYTES = 64 * 1024
"""What a store that failed must take before it counts as mended."""

SCHEMA = "CREATE TABLE IF NOT EXISTS probe(content BLOB);"

_WAIT = "it is tried again"
_REMEDIES = {
    sqlite3.SQLITE_BUSY: f"another process holds it; {_WAIT}",
    sqlite3.SQLITE_LOCKED: f"another process holds it; {_WAIT}",
    sqlite3.SQLITE_NOMEM: "the machine has no memory left",
    sqlite3.SQLITE_READONLY: "give the service the right to write it",
    sqlite3.SQLITE_INTERRUPT: _WAIT,
    sqlite3.SQLITE_IOERR: "see whether its disk is full or damaged",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore it from a backup",
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_CANTOPEN: "see whether its disk is full, and give the service the right to write it",
    sqlite3.SQLITE_PROTOCOL: f"another process holds it; {_WAIT}",
    sqlite3.SQLITE_NOTADB: "the file is damaged: restore it from a backup",
}
"""What is the file's or the disk's fault, not that of the work, and what to do about it."""


def unavailable(path: Path, error: Exception) -> StoreUnavailableError | None:
    """The error that says so, and what to do, when `error` is the file's or the disk's fault; None for any other."""
    if isinstance(error, OSError):
        remedy: str | None = "see whether its disk is full, and whether the service may write there"
    else:
        remedy = _REMEDIES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if remedy is None:
        return None
    return StoreUnavailableError(f"the store {path.name} cannot be used right now: {error}: {remedy}")


def disk_finding(path: Path) -> str:
    """That the disk under `path` is full, in words; empty when it is not, or cannot be looked at."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return ""
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes >= FREE_BYTES_MIN:
        return ""
    return f"the disk that holds {path.name} is full ({free_bytes} bytes are free): make room there"


def probe(connection: Connection) -> None:
    """Write as much as an ordinary transaction does, and take it back. Raises sqlite3.Error when it cannot."""
    for statement in (f"INSERT INTO probe VALUES (zeroblob({PROBE_BYTES}))", "DELETE FROM probe"):
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(statement)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
