"""Whose fault an error of PostgreSQL is, and in which words a service says so."""

from __future__ import annotations

import re
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from thymos.errors import DatabaseUnavailableError, Refusal, RefusalCode, StoreUnavailableError

_AGAIN = "it is tried again"
_CONTENTION = {"40001", "40P01", "55P03", "57014"}
"""Others were in the way: the server itself is well."""
_AWAY = f"see whether it runs and can be reached; {_AGAIN}"
_DAMAGED = "its files are damaged: restore them from a backup"
_REMEDIES = {
    "08": _AWAY,
    "25006": "it takes no writes: name the primary, or see `default_transaction_read_only`",
    "28": "check the role (the user and the password, and the server's pg_hba.conf)",
    "3D000": "create the database (docs/postgresql.md)",
    "40001": f"another writer was faster; {_AGAIN}",
    "40P01": f"another writer was faster; {_AGAIN}",
    "42501": "grant the user the rights on the schema and its tables",
    "53100": "make room on its disk",
    "53200": "its machine has no memory left",
    "53300": "allow it more connections (`max_connections`), or run fewer replicas",
    "53400": "see the limits that are set in its configuration",
    "55P03": f"another writer holds what is wanted; {_AGAIN}",
    "57": _AWAY,
    "57014": f"it took longer than `statement_timeout` allows, or was cancelled; {_AGAIN}",
    "58": "see whether its disk is full or damaged",
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
}
"""By SQLSTATE, or by the class that its first two characters name: what is the server's fault, not that of the work."""
_STAYS = ("28", "3D000")
"""What no waiting mends."""
_REFUSED = (
    ("3D000", re.compile(r'FATAL: +database ".*" does not exist')),
    ("28000", re.compile(r'FATAL: +role ".*" does not exist|no pg_hba\.conf entry|authentication failed for user')),
    ("28P01", re.compile(r"no password supplied")),
)
"""What a server says to who connects; libpq gives no SQLSTATE then."""


def unavailable(name: str, error: psycopg.Error) -> StoreUnavailableError | None:
    """The error that says so, and what to do, when `error` is the server's fault or that of other writers (then it is
    no DatabaseUnavailableError); None for any other."""
    remedy = _remedy(error)
    if remedy is None:
        return None
    when = "" if (_state(error) or "").startswith(_STAYS) else " right now"
    words = f"the store {name} cannot be used{when}: {' '.join(str(error).split())}: {remedy}"
    return StoreUnavailableError(words) if error.sqlstate in _CONTENTION else DatabaseUnavailableError(words)


def is_lost(error: psycopg.Error) -> bool:
    """Whether the server has ended the connection, or never answered."""
    state = error.sqlstate or ""
    return isinstance(error, psycopg.OperationalError) and (not state or state.startswith(("08", "57P")))


def shown(url: str) -> str:
    """A database's name for messages: `postgresql://host:port/name`, without user, password and settings.

    Raises:
        Refusal: invalid, for what is no URL of PostgreSQL.
    """
    parts = parsed(url)
    host = str(parts.get("host") or parts.get("hostaddr") or "")
    ports = str(parts.get("port") or "").strip(",")
    port = f":{ports}" if ports else ""
    place = quote(host, safe="[]:,") if not host.startswith("/") else ""
    return f"postgresql://{place}{port}/{parts.get('dbname', '')}"


def parsed(url: str) -> dict[str, str | int | None]:
    """What a URL says, as libpq names it. Raises Refusal: invalid."""
    try:
        return dict(conninfo_to_dict(url))
    except psycopg.ProgrammingError as error:
        words = f"the address of the database cannot be read: {' '.join(str(error).split())}"
        raise Refusal(RefusalCode.INVALID, words, "give postgresql://user@host/database") from None


def _remedy(error: psycopg.Error) -> str | None:
    state = _state(error)
    if state is None:
        return _AWAY if isinstance(error, psycopg.OperationalError) else None
    return _REMEDIES.get(state) or _REMEDIES.get(state[:2])


def _state(error: psycopg.Error) -> str | None:
    """The SQLSTATE, also where it is known by the words alone. Of several servers each has to have refused."""
    if error.sqlstate or not isinstance(error, psycopg.OperationalError):
        return error.sqlstate
    told = str(error).split("connection to server")
    states = [_refused(words) for words in told[1:] or told]
    return states[0] if all(states) else None


def _refused(words: str) -> str | None:
    return next((state for state, pattern in _REFUSED if pattern.search(words)), None)
