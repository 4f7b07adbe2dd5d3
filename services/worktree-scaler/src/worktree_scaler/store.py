"""The scaler's tables: fleets, worktrees, reservations, overrides. Rows in, rows out; nothing is decided here.

Times are UTC as ISO text with microseconds, so that text order is time order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from thymos.database import Connection
from worktree_scaler.lifecycle import WITH_PROCESS, Phase
from worktree_scaler.reconcile import Known, Observed
from worktree_scaler.scaling import Override

PROCESS = "process"
EXTERNAL = "external"
EXTERNAL_MAX = 20_000
"""Agents that started themselves and are remembered; more are not."""
STOPPED_KEPT = 1_000
"""Ended worktrees that are remembered, so that their late heartbeats are not taken for strangers'."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS identity(id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS fleets(
    tenant TEXT NOT NULL, agent TEXT NOT NULL, branch TEXT NOT NULL, desired INTEGER NOT NULL,
    releasing INTEGER NOT NULL DEFAULT 0, experiment_id TEXT, PRIMARY KEY(tenant, agent, branch));
CREATE TABLE IF NOT EXISTS reservations(
    tenant TEXT NOT NULL, agent TEXT NOT NULL, experiment_id TEXT NOT NULL, branches TEXT NOT NULL, deadline TEXT,
    correlation_id TEXT, released_by TEXT, released INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY(tenant, agent, experiment_id));
CREATE TABLE IF NOT EXISTS overrides(
    tenant TEXT NOT NULL, agent TEXT NOT NULL, branch TEXT NOT NULL, count INTEGER NOT NULL, until TEXT
    NOT NULL,
    reason TEXT NOT NULL, PRIMARY KEY(tenant, agent, branch));
CREATE TABLE IF NOT EXISTS worktrees(
    worktree_id TEXT PRIMARY KEY, tenant TEXT NOT NULL, agent TEXT NOT NULL, branch TEXT NOT NULL,
    backend TEXT NOT NULL, phase TEXT NOT NULL, phase_at TEXT NOT NULL, pid INTEGER, created_at REAL,
    crashes INTEGER NOT NULL DEFAULT 0, in_flight INTEGER NOT NULL DEFAULT 0, capacity INTEGER NOT NULL
    DEFAULT 1,
    heartbeat_at TEXT, experiment_id TEXT, reason TEXT NOT NULL DEFAULT '', exit_code INTEGER,
    last_commit TEXT);
CREATE INDEX IF NOT EXISTS worktrees_of ON worktrees(tenant, agent, branch);
CREATE INDEX IF NOT EXISTS worktrees_in ON worktrees(phase, phase_at);
"""

_COLUMNS = (
    "worktree_id, tenant, agent, branch, backend, phase, phase_at, crashes, in_flight, capacity, heartbeat_at,"
    " experiment_id, reason, exit_code, pid, created_at, last_commit"
)


@dataclass(frozen=True)
class Branch:
    """Whose branch: what a fleet works on."""

    tenant: str
    agent: str
    branch: str


@dataclass(frozen=True)
class FleetRow:
    """A branch's fleet and how many worktrees it should have."""

    branch: Branch
    desired: int
    releasing: bool
    experiment_id: str | None


@dataclass(frozen=True)
class WorktreeRow:
    """One worktree as it is stored. `last_commit` is the memory that its newest answer was given with."""

    worktree_id: str
    branch: Branch
    backend: str
    phase: Phase
    phase_at: datetime
    crashes: int
    in_flight: int
    capacity: int
    heartbeat_at: datetime | None
    experiment_id: str | None
    reason: str
    exit_code: int | None
    pid: int | None
    created_at: float | None
    last_commit: str | None = None

    def observed(self, trusted_since: datetime) -> Observed:
        """What reconciling sees. Silence counts only since the bus could be trusted to carry heartbeats."""
        may_be_silent = self.phase in (Phase.STARTING, Phase.READY)
        heard = max(self.heartbeat_at, trusted_since) if self.heartbeat_at else trusted_since
        return Observed(
            self.worktree_id,
            self.phase,
            max(self.phase_at, trusted_since) if may_be_silent else self.phase_at,
            self.in_flight,
            heard if self.phase is Phase.READY else None,
            self.crashes,
        )


def text(moment: datetime) -> str:
    """A moment as it is stored."""
    return moment.isoformat(timespec="microseconds")


def moment(stored: str) -> datetime:
    """A stored moment."""
    return datetime.fromisoformat(stored)


# --- fleets -------------------------------------------------------------------------------------------------


def fleets(connection: Connection) -> list[FleetRow]:
    """All fleets."""
    rows = connection.execute("SELECT tenant, agent, branch, desired, releasing, experiment_id FROM fleets")
    return [FleetRow(Branch(t, a, b), desired, bool(releasing), ex) for t, a, b, desired, releasing, ex in rows]


def fleet(connection: Connection, branch: Branch) -> FleetRow | None:
    """One branch's fleet."""
    row = connection.execute(
        "SELECT desired, releasing, experiment_id FROM fleets WHERE tenant = ? AND agent = ? AND branch = ?",
        (branch.tenant, branch.agent, branch.branch),
    ).fetchone()
    return FleetRow(branch, row[0], bool(row[1]), row[2]) if row else None


def add_fleet(connection: Connection, branch: Branch, desired: int, experiment_id: str | None = None) -> None:
    """Give a branch a fleet; no effect where it has one."""
    connection.execute(
        "INSERT OR IGNORE INTO fleets(tenant, agent, branch, desired, experiment_id) VALUES (?, ?, ?, ?, ?)",
        (branch.tenant, branch.agent, branch.branch, desired, experiment_id),
    )


def set_desired(connection: Connection, branch: Branch, desired: int) -> None:
    """Change how many worktrees a branch should have."""
    connection.execute(
        "UPDATE fleets SET desired = ? WHERE tenant = ? AND agent = ? AND branch = ?",
        (desired, branch.tenant, branch.agent, branch.branch),
    )


def release_fleet(connection: Connection, branch: Branch) -> None:
    """Let a branch's fleet end."""
    connection.execute(
        "UPDATE fleets SET desired = 0, releasing = 1 WHERE tenant = ? AND agent = ? AND branch = ?",
        (branch.tenant, branch.agent, branch.branch),
    )


def remove_fleet(connection: Connection, branch: Branch) -> None:
    """Forget a fleet that has ended."""
    connection.execute(
        "DELETE FROM fleets WHERE tenant = ? AND agent = ? AND branch = ?",
        (branch.tenant, branch.agent, branch.branch),
    )


def reserved(connection: Connection, tenant: str, agent: str) -> int:
    """The agent's worktrees that belong to experiments."""
    row = connection.execute(
        "SELECT coalesce(sum(max(desired, releasing)), 0) FROM fleets WHERE tenant = ? AND agent = ?"
        " AND experiment_id IS NOT NULL",
        (tenant, agent),
    ).fetchone()
    return int(row[0])


# --- worktrees ----------------------------------------------------------------------------------------------


def _worktree(row: Sequence[object]) -> WorktreeRow:
    (
        wid,
        tenant,
        agent,
        branch,
        backend,
        phase,
        at,
        crashes,
        busy,
        cap,
        heard,
        ex,
        reason,
        code,
        pid,
        made,
        commit,
    ) = row
    return WorktreeRow(
        str(wid), Branch(str(tenant), str(agent), str(branch)), str(backend), Phase(str(phase)), moment(str(at)),
        int(str(crashes)), int(str(busy)), int(str(cap)), moment(str(heard)) if heard else None,
        str(ex) if ex else None, str(reason), int(str(code)) if code is not None else None,
        int(str(pid)) if pid is not None else None, float(str(made)) if made is not None else None,
        str(commit) if commit is not None else None,
    )  # fmt: skip


def worktree(connection: Connection, worktree_id: str) -> WorktreeRow | None:
    """One worktree."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM worktrees WHERE worktree_id = ?", (worktree_id,)).fetchone()
    return _worktree(row) if row else None


def worktrees_of(connection: Connection, branch: Branch) -> list[WorktreeRow]:
    """The process worktrees of a branch that have not ended."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM worktrees WHERE tenant = ? AND agent = ? AND branch = ? AND backend = ?"
        " AND phase != 'stopped' ORDER BY phase_at, worktree_id",
        (branch.tenant, branch.agent, branch.branch, PROCESS),
    )
    return [_worktree(row) for row in rows]


def live_worktrees(connection: Connection, tenant: str, agent: str | None = None) -> list[WorktreeRow]:
    """All worktrees of a tenant (or of one agent) that have not ended."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM worktrees WHERE tenant = ? AND (? IS NULL OR agent = ?) AND phase != 'stopped'"
        " ORDER BY agent, branch, worktree_id",
        (tenant, agent, agent),
    )
    return [_worktree(row) for row in rows]


def with_process(connection: Connection) -> list[WorktreeRow]:
    """Worktrees that are meant to have a process."""
    marks = ", ".join(f"'{phase}'" for phase in sorted(WITH_PROCESS))
    rows = connection.execute(f"SELECT {_COLUMNS} FROM worktrees WHERE backend = ? AND phase IN ({marks})", (PROCESS,))
    return [_worktree(row) for row in rows]


def known(rows: Iterable[WorktreeRow]) -> list[Known]:
    """What adoption needs of worktrees."""
    return [Known(row.worktree_id, row.phase, row.pid, row.created_at) for row in rows]


def add_worktree(connection: Connection, row: WorktreeRow) -> None:
    """Store a new worktree."""
    connection.execute(
        f"INSERT INTO worktrees({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row.worktree_id, row.branch.tenant, row.branch.agent, row.branch.branch, row.backend, row.phase,
            text(row.phase_at), row.crashes, row.in_flight, row.capacity,
            text(row.heartbeat_at) if row.heartbeat_at else None, row.experiment_id, row.reason, row.exit_code,
            row.pid, row.created_at, row.last_commit,
        ),
    )  # fmt: skip


def set_phase(connection: Connection, worktree_id: str, phase: Phase, now: datetime, reason: str, crashes: int) -> None:
    """Move a worktree into a phase. Without a process it has no pid and nothing in hand."""
    connection.execute(
        "UPDATE worktrees SET phase = ?, phase_at = ?, reason = ?, crashes = ? WHERE worktree_id = ?",
        (phase, text(now), reason, crashes, worktree_id),
    )
    if phase not in WITH_PROCESS or phase is Phase.STARTING:
        connection.execute(
            "UPDATE worktrees SET pid = NULL, created_at = NULL, in_flight = 0, heartbeat_at = NULL"
            " WHERE worktree_id = ?",
            (worktree_id,),
        )


def set_process(connection: Connection, worktree_id: str, pid: int, created_at: float) -> None:
    """Note which process works in a worktree; `created_at` in seconds since 1970."""
    connection.execute(
        "UPDATE worktrees SET pid = ?, created_at = ? WHERE worktree_id = ?", (pid, created_at, worktree_id)
    )


def set_exit_code(connection: Connection, worktree_id: str, exit_code: int | None) -> None:
    """Note how a worktree's process ended."""
    connection.execute("UPDATE worktrees SET exit_code = ? WHERE worktree_id = ?", (exit_code, worktree_id))


def set_heartbeat(connection: Connection, worktree_id: str, at: datetime, in_flight: int, capacity: int) -> None:
    """Note a sign of life."""
    connection.execute(
        "UPDATE worktrees SET heartbeat_at = ?, in_flight = ?, capacity = ? WHERE worktree_id = ?",
        (text(at), in_flight, capacity, worktree_id),
    )


def set_commit(connection: Connection, worktree_id: str, whose: tuple[str, str], commit: str) -> None:
    """Note the commit of an answer that was given in a worktree of `whose` (tenant, agent)."""
    connection.execute(
        "UPDATE worktrees SET last_commit = ? WHERE worktree_id = ? AND tenant = ? AND agent = ?",
        (commit, worktree_id, *whose),
    )


def long_failed(connection: Connection, before: datetime) -> list[WorktreeRow]:
    """Worktrees that failed before a moment; those of experiments' arms hold their place until the arm is released."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM worktrees WHERE phase = 'failed' AND phase_at < ? AND experiment_id IS NULL",
        (text(before),),
    )
    return [_worktree(row) for row in rows]


def forget_oldest_stopped(connection: Connection) -> None:
    """Keep only the newest ended worktrees."""
    connection.execute(
        "DELETE FROM worktrees WHERE phase = 'stopped' AND worktree_id NOT IN"
        " (SELECT worktree_id FROM worktrees WHERE phase = 'stopped' ORDER BY phase_at DESC LIMIT ?)",
        (STOPPED_KEPT,),
    )


def external_count(connection: Connection) -> int:
    """Agents that started themselves and are remembered."""
    row = connection.execute("SELECT count(*) FROM worktrees WHERE backend = ?", (EXTERNAL,)).fetchone()
    return int(row[0])


def silent_external(connection: Connection, before: datetime) -> list[WorktreeRow]:
    """Agents that started themselves and were last heard of before a moment."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM worktrees WHERE phase = 'ready' AND backend = ? AND heartbeat_at < ?",
        (EXTERNAL, text(before)),
    )
    return [_worktree(row) for row in rows]


# --- overrides, identity ------------------------------------------------------------------------------------


def set_override(connection: Connection, branch: Branch, override: Override) -> None:
    """Remember a count asked for by hand."""
    connection.execute(
        "INSERT OR REPLACE INTO overrides(tenant, agent, branch, count, until, reason) VALUES (?, ?, ?, ?, ?, ?)",
        (branch.tenant, branch.agent, branch.branch, override.count, text(override.until), override.reason),
    )


def override(connection: Connection, branch: Branch) -> Override | None:
    """The count asked for by hand, also when its time is over."""
    row = connection.execute(
        "SELECT count, until, reason FROM overrides WHERE tenant = ? AND agent = ? AND branch = ?",
        (branch.tenant, branch.agent, branch.branch),
    ).fetchone()
    return Override(row[0], moment(row[1]), row[2]) if row else None


def identity(connection: Connection, fresh: str) -> str:
    """This scaler's own id, the mark of its processes; `fresh` becomes it the first time."""
    connection.execute("INSERT INTO identity(id) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM identity)", (fresh,))
    return str(connection.execute("SELECT id FROM identity").fetchone()[0])
