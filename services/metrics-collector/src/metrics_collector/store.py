"""The collector's tables, and the one place that reads and writes them.

They mirror what is in memory, row by row: a batch writes what it added and deletes what it pushed out, so its
cost is proportional to the batch, whatever the windows hold. `version` counts the transactions that changed
anything; memory that is of another version than the file is thrown away and read again.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from hashlib import blake2b

from metrics_collector.baseline import Baseline
from metrics_collector.fleet import AgentKey
from metrics_collector.samples import AnySample, Finished, Kind, MemoryUse, Resource, Response
from metrics_collector.window import WindowKey
from thymos.database import Connection
from thymos.telemetry import Outcome

COUNTED_MAX = 1_000_000
"""Counted tasks that are remembered, the newest ones, so that none counts twice."""
_PRUNE_EVERY = 1_000

SCHEMA = """
CREATE TABLE IF NOT EXISTS collector(id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL);
INSERT OR IGNORE INTO collector(id, version) VALUES (1, 0);
CREATE TABLE IF NOT EXISTS agent(
    tenant TEXT NOT NULL, agent TEXT NOT NULL, last_row INTEGER NOT NULL, last_seen_us INTEGER NOT NULL,
    PRIMARY KEY (tenant, agent)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counted(position INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS window(
    window_id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, agent TEXT NOT NULL, branch TEXT NOT NULL,
    experiment_id TEXT NOT NULL, arm TEXT NOT NULL, newest_us INTEGER NOT NULL, late INTEGER NOT NULL,
    used_us INTEGER NOT NULL, UNIQUE (tenant, agent, branch, experiment_id, arm));
CREATE TABLE IF NOT EXISTS sample(
    window_id INTEGER NOT NULL, kind INTEGER NOT NULL, at_us INTEGER NOT NULL, sample_key TEXT NOT NULL,
    body TEXT NOT NULL, PRIMARY KEY (window_id, kind, at_us, sample_key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS begun(
    window_id INTEGER NOT NULL, task_key TEXT NOT NULL, at_us INTEGER NOT NULL,
    PRIMARY KEY (window_id, task_key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS baseline(
    tenant TEXT NOT NULL, agent TEXT NOT NULL, since_us INTEGER NOT NULL, frozen INTEGER NOT NULL,
    PRIMARY KEY (tenant, agent)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS baseline_sample(
    tenant TEXT NOT NULL, agent TEXT NOT NULL, outcome_row INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (tenant, agent, outcome_row)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class WindowRow:
    """A window as it is stored, without its samples."""

    window_id: int
    key: WindowKey
    newest_us: int
    late: int
    used_us: int


@dataclass(slots=True)
class Changes:
    """What one transaction is going to write. Applied in the order of the fields."""

    windows: dict[int, WindowRow] = field(default_factory=dict)
    samples_in: list[tuple[int, Kind, AnySample]] = field(default_factory=list)
    samples_out: list[tuple[int, Kind, AnySample]] = field(default_factory=list)
    begun: dict[tuple[int, str], int | None] = field(default_factory=dict)
    """(window, task) to when it began; None when it is no longer in progress."""
    windows_out: list[int] = field(default_factory=list)
    agents: dict[AgentKey, tuple[int, int]] = field(default_factory=dict)
    """Agent to (last row, last seen)."""
    baselines_out: set[AgentKey] = field(default_factory=set)
    """Agents whose baseline is forgotten, or begun anew."""
    baselines: dict[AgentKey, tuple[int, bool]] = field(default_factory=dict)
    """Agent to (since, frozen)."""
    baseline_samples: list[tuple[AgentKey, int, Finished]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any((self.windows, self.samples_in, self.samples_out, self.begun, self.windows_out)) or any(
            (self.agents, self.baselines_out, self.baselines, self.baseline_samples)
        )


def version(connection: Connection) -> int:
    """How many transactions have changed the file."""
    return int(connection.execute("SELECT version FROM collector").fetchone()[0])


def count_once(connection: Connection, *parts: str) -> bool:
    """Remembers that the task named by `parts` is counted; False when it was before.

    A name is kept as 16 bytes of BLAKE2b: among a million, two different ones collide with a chance of 10⁻²⁷.
    """
    digest = blake2b(json.dumps(parts).encode(), digest_size=16).digest()
    sql = "INSERT INTO counted(digest) VALUES (?) ON CONFLICT DO NOTHING RETURNING position"
    new = connection.execute(sql, (digest,)).fetchone()
    if new is None:
        return False
    position: int = new[0]
    if position % _PRUNE_EVERY == 0:
        connection.execute("DELETE FROM counted WHERE position <= ?", (position - COUNTED_MAX,))
    return True


def last_row(connection: Connection, key: AgentKey) -> int:
    """The row of the agent's newest counted outcome; 0 before the first."""
    found = connection.execute("SELECT last_row FROM agent WHERE tenant = ? AND agent = ?", key).fetchone()
    return int(found[0]) if found else 0


def last_seen(connection: Connection) -> dict[AgentKey, int]:
    """When each agent was last heard of by more than a heartbeat, in microseconds since 1970."""
    rows = connection.execute("SELECT tenant, agent, last_seen_us FROM agent")
    return {(tenant, agent): seen for tenant, agent, seen in rows}


def advance(connection: Connection) -> int:
    """Counts a transaction that changed something, and returns the file's new version."""
    connection.execute("UPDATE collector SET version = version + 1")
    return version(connection)


def write(connection: Connection, changes: Changes) -> int:
    """Writes `changes` and returns the file's new version."""
    many = connection.executemany
    many(
        "INSERT INTO window VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (window_id) DO UPDATE SET"
        " newest_us = excluded.newest_us, late = excluded.late, used_us = excluded.used_us",
        [(row.window_id, *row.key, row.newest_us, row.late, row.used_us) for row in changes.windows.values()],
    )
    many(
        "INSERT OR REPLACE INTO sample VALUES (?, ?, ?, ?, ?)",
        [(window, kind, s.at_us, s.key, encode(s)) for window, kind, s in changes.samples_in],
    )
    many(
        "DELETE FROM sample WHERE window_id = ? AND kind = ? AND at_us = ? AND sample_key = ?",
        [(window, kind, s.at_us, s.key) for window, kind, s in changes.samples_out],
    )
    many(
        "INSERT OR REPLACE INTO begun VALUES (?, ?, ?)",
        [(*key, at_us) for key, at_us in changes.begun.items() if at_us is not None],
    )
    many(
        "DELETE FROM begun WHERE window_id = ? AND task_key = ?",
        [key for key, at_us in changes.begun.items() if at_us is None],
    )
    gone = [(window,) for window in changes.windows_out]
    for table in ("sample", "begun", "window"):
        many(f"DELETE FROM {table} WHERE window_id = ?", gone)
    _write_agents(connection, changes)
    return advance(connection)


def _write_agents(connection: Connection, changes: Changes) -> None:
    many = connection.executemany
    many(
        "INSERT INTO agent VALUES (?, ?, ?, ?) ON CONFLICT (tenant, agent) DO UPDATE SET"
        " last_row = excluded.last_row, last_seen_us = max(last_seen_us, excluded.last_seen_us)",
        [(*key, row, seen) for key, (row, seen) in changes.agents.items()],
    )
    for table in ("baseline", "baseline_sample"):
        many(f"DELETE FROM {table} WHERE tenant = ? AND agent = ?", list(changes.baselines_out))
    many(
        "INSERT OR REPLACE INTO baseline VALUES (?, ?, ?, ?)",
        [(*key, since, frozen) for key, (since, frozen) in changes.baselines.items()],
    )
    many(
        "INSERT OR REPLACE INTO baseline_sample VALUES (?, ?, ?, ?)",
        [(*key, row, encode(sample)) for key, row, sample in changes.baseline_samples],
    )


def windows(connection: Connection) -> Iterator[WindowRow]:
    """All stored windows, least recently used first."""
    for row in connection.execute(
        "SELECT window_id, tenant, agent, branch, experiment_id, arm, newest_us, late, used_us FROM window"
        " ORDER BY used_us, window_id"
    ):
        yield WindowRow(row[0], WindowKey(*row[1:6]), *row[6:])


def samples(connection: Connection) -> Iterator[tuple[int, Kind, AnySample]]:
    """All stored samples with their windows."""
    for window, kind, body in connection.execute("SELECT window_id, kind, body FROM sample"):
        yield window, Kind(kind), decode(Kind(kind), body)


def begun(connection: Connection) -> Iterator[tuple[int, str, int]]:
    """All tasks in progress: (window, task, when it began), the oldest first."""
    yield from connection.execute("SELECT window_id, task_key, at_us FROM begun ORDER BY at_us")


def baselines(connection: Connection) -> Iterator[tuple[AgentKey, Baseline]]:
    """All baseline epochs with their samples."""
    for tenant, agent, since_us, frozen in connection.execute(
        "SELECT tenant, agent, since_us, frozen FROM baseline"
    ).fetchall():
        rows = connection.execute(
            "SELECT outcome_row, body FROM baseline_sample WHERE tenant = ? AND agent = ? ORDER BY outcome_row",
            (tenant, agent),
        )
        kept = [(row, _finished(json.loads(body))) for row, body in rows]
        yield (tenant, agent), Baseline(since_us, bool(frozen), kept)


def encode(sample: AnySample) -> str:
    """A sample as a JSON array of its fields in their order; new fields go last and have a default."""
    return _JSON.encode([getattr(sample, name) for name in _FIELDS[type(sample)]])


def decode(kind: Kind, body: str) -> AnySample:
    """The sample that `encode` wrote."""
    values = json.loads(body)
    match kind:
        case Kind.OUTCOME | Kind.ANSWER:
            return _finished(values)
        case Kind.RESPONSE:
            return Response(*values)
        case Kind.RESOURCE:
            return Resource(*values)
        case Kind.MEMORY:
            return MemoryUse(*values)


_JSON = json.JSONEncoder(separators=(",", ":"))
_FIELDS = {cls: [part.name for part in fields(cls)] for cls in (Finished, Response, Resource, MemoryUse)}


def _finished(values: list[object]) -> Finished:
    at_us, key, outcome, *rest = values
    return Finished(at_us, key, Outcome(outcome), *rest)  # type: ignore[arg-type]  # as `encode` wrote them
