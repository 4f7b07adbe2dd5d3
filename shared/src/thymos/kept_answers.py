"""The answers that a service gave, by the idempotency keys of the requests: one that is made again changes nothing, and
gets the first answer.

Of each request a digest is kept: a key that comes again with another request is refused, not answered with what was
done for somebody else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from thymos.database import Connection
from thymos.errors import Refusal, RefusalCode

ANSWERS_MAX = 100_000
"""Answers remembered; the oldest are forgotten."""

SCHEMA = """
DROP TABLE IF EXISTS replies;
CREATE TABLE IF NOT EXISTS kept_answers(
    position INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, request TEXT NOT NULL, reply BLOB);
"""
"""`reply` is NULL where it was erased. `replies` is what older stores kept, where no redaction would reach it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that may be made again: its key, below its tenant, agent and verb, and a digest of the rest of it."""

    key: str
    digest: str


def once(connection: Connection, asked: Asked, work: Callable[[], bytes]) -> bytes:
    """What `work` answers, or what it answered when it was asked first.

    Raises:
        Refusal: conflict, when the key stands for another request, or the first answer was erased.
    """
    known = connection.execute("SELECT request, reply FROM kept_answers WHERE key = ?", (asked.key,)).fetchone()
    if known is not None:
        return _first(asked, *known)
    reply = work()
    (position,) = connection.execute(
        "INSERT INTO kept_answers(key, request, reply) VALUES (?, ?, ?) RETURNING position",
        (asked.key, asked.digest, reply),
    ).fetchone()
    connection.execute("DELETE FROM kept_answers WHERE position <= ?", (position - ANSWERS_MAX,))
    return reply


def _first(asked: Asked, digest: str, reply: bytes | None) -> bytes:
    if digest != asked.digest:
        hint = "a key belongs to one request and to its repetitions: take a new one"
        raise Refusal(RefusalCode.CONFLICT, "another request was made with this idempotency_key", hint)
    if reply is None:
        hint = "it is not carried out again; look at what it did"
        raise Refusal(RefusalCode.CONFLICT, "this was carried out; its answer was erased with a memory", hint)
    return bytes(reply)


def erase(connection: Connection, tenant: str, agent: str, name: str) -> int:
    """Erase the answers to an agent's requests that hold a name as a JSON string; returns how many. That the requests
    were carried out stays known."""
    own, quoted = f"{tenant}/{agent}/", json.dumps(name, ensure_ascii=False).encode()
    rows = connection.execute(
        "SELECT position, reply FROM kept_answers WHERE key >= ? AND key < ? AND reply IS NOT NULL",
        (own, f"{own}\U0010ffff"),
    ).fetchall()
    found = [(position,) for position, reply in rows if quoted in bytes(reply)]
    connection.executemany("UPDATE kept_answers SET reply = NULL WHERE position = ?", found)
    return len(found)
