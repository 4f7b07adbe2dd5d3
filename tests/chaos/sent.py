"""What services decided to send, noted by their own files: a trigger keeps each row of an outbox when it is committed.

A row leaves the outbox once its message is acknowledged. So what is noted here and waits no more is what a service got
acknowledged; it is compared with what the streams hold.
"""

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from thymos import subjects, unit_of_work
from thymos.database import open_sqlite
from thymos.envelope import Envelope, decode
from thymos.message import Message

_NOTING = """
CREATE TABLE IF NOT EXISTS chaos_sent(
    position INTEGER PRIMARY KEY, subject TEXT NOT NULL, message_id TEXT NOT NULL, body BLOB NOT NULL);
CREATE TRIGGER IF NOT EXISTS chaos_notes_what_is_sent AFTER INSERT ON outbox BEGIN
    INSERT INTO chaos_sent(position, subject, message_id, body)
    VALUES (NEW.position, NEW.subject, NEW.message_id, NEW.body);
END;
"""


@dataclass(frozen=True)
class Sent:
    """One message that a service committed to its outbox; `acknowledged`: the streams were read after it had been."""

    service: str
    message_id: str
    envelope: Envelope[Message]
    acknowledged: bool = True


def note_what_is_sent(data_dir: Path) -> None:
    """Make the services' files, before the services run, so that they note what is sent."""
    data_dir.mkdir(parents=True, exist_ok=True)
    for service in subjects.SERVICES:
        with contextlib.closing(open_sqlite(_file(data_dir, service))) as connection:
            connection.executescript("PRAGMA journal_mode=WAL;")
            connection.executescript(unit_of_work.SCHEMA + _NOTING)


def read_acknowledged(data_dir: Path) -> set[str]:
    """Ids of what has left the outboxes by now; read while the services run."""
    found = set()
    for service in subjects.SERVICES:
        with contextlib.closing(sqlite3.connect(_file(data_dir, service))) as connection:
            left = "SELECT message_id FROM chaos_sent WHERE position NOT IN (SELECT position FROM outbox)"
            found |= {message_id for (message_id,) in connection.execute(left)}
    return found


def read_what_was_sent(data_dir: Path, acknowledged: set[str]) -> list[Sent]:
    """What each service sent, in its order; read when the services are down."""
    found = []
    for service in subjects.SERVICES:
        with contextlib.closing(sqlite3.connect(_file(data_dir, service))) as connection:
            rows = connection.execute("SELECT subject, message_id, body FROM chaos_sent ORDER BY position").fetchall()
        found += [
            Sent(service, message_id, decode(bytes(body), subject), message_id in acknowledged)
            for subject, message_id, body in rows
        ]
    return found


def _file(data_dir: Path, service: str) -> Path:
    return data_dir / f"{service}.db"
