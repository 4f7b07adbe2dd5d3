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

ANSWERS_MAX = 10_000
"""Answers remembered of each agent of each tenant; its oldest are forgotten, and nobody else's."""
UNCOUNTED_MAX = 100_000
"""Answers after which one that an older store kept is forgotten: there they were counted all together."""

SCHEMA = """
DROP TABLE IF EXISTS replies;
CREATE TABLE IF NOT EXISTS kept_answers(
    position INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, request TEXT NOT NULL, reply BLOB);
CREATE TABLE IF NOT EXISTS kept_answer_turns(
    owner TEXT NOT NULL, turn INTEGER NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (owner, turn)) WITHOUT ROWID;
INSERT INTO kept_answer_turns(owner, turn, position) SELECT '', position, position FROM kept_answers
    WHERE NOT EXISTS (SELECT 1 FROM kept_answer_turns) ON CONFLICT DO NOTHING;
"""
"""`reply` is NULL where it was erased. `turn` counts the answers of an owner, which is an agent of a tenant; what an
older store kept has none, and its turn is its position. `replies` is what still older stores kept, where no redaction
would reach it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that may be made again: its key, below its tenant, agent and verb, and a digest of the rest of it."""

    key: str
    digest: str

    @property
    def owner(self) -> str:
        """Whose answer it is: the tenant and the agent."""
        return "/".join(self.key.split("/")[:2])


def once(connection: Connection, asked: Asked, work: Callable[[], bytes]) -> bytes:
    """What `work` answers, or what it answered when it was asked first. O(1) beside the work.

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
    (last,) = connection.execute("SELECT max(turn) FROM kept_answer_turns WHERE owner = ?", (asked.owner,)).fetchone()
    turn = (last or 0) + 1
    connection.execute(
        "INSERT INTO kept_answer_turns(owner, turn, position) VALUES (?, ?, ?)", (asked.owner, turn, position)
    )
    _forget(connection, asked.owner, turn - ANSWERS_MAX)
    _forget(connection, "", position - UNCOUNTED_MAX)
    return reply


def _forget(connection: Connection, owner: str, until: int) -> None:
    """Forget the answers of an owner up to a turn."""
    gone = connection.execute(
        "DELETE FROM kept_answer_turns WHERE owner = ? AND turn <= ? RETURNING position", (owner, until)
    ).fetchall()
    connection.executemany("DELETE FROM kept_answers WHERE position = ?", gone)


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
