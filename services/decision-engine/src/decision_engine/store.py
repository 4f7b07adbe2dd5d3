"""Where decision-engine keeps its state: functions of a transaction's connection, no decisions.

Reading an agent's state is the dearest part of handling a message, so the last ones are kept parsed beside the bytes
they were parsed from; they are used only while the row still holds those very bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import resources

from decision_engine import agent_state
from decision_engine.agent_state import AgentState, Figures
from thymos.database import Connection
from thymos.requests import DecisionRecord, ExperimentRecord
from thymos.subjects import WHOLE_SERVICE

SCHEMA = resources.files("decision_engine").joinpath("schema.sql").read_text(encoding="utf-8")
CACHED_MAX = 1_000
DECISIONS_MAX = 100_000
"""Decisions kept for the request `decisions`; older ones are in the event log."""
EXPERIMENTS_MAX = 100_000
WAKE_MAX = 500
"""Agents looked at in one tick; the rest follow in the next."""


class AgentStates:
    """Loads and saves agents' states. Used on the store's thread only."""

    def __init__(self) -> None:
        self._parsed: OrderedDict[tuple[str, str], tuple[bytes, AgentState]] = OrderedDict()

    def load(self, connection: Connection, tenant: str, agent: str) -> AgentState:
        """The agent's state; of an unknown agent the empty one."""
        found = connection.execute(
            "SELECT state FROM agents WHERE tenant = ? AND agent = ?", (tenant, agent)
        ).fetchone()
        if found is None:
            return AgentState(tenant, agent)
        text = bytes(found[0])
        known = self._parsed.get((tenant, agent))
        if known is not None and known[0] == text:
            return known[1]
        return agent_state.from_json(text)

    def save(self, connection: Connection, state: AgentState, wake_at: datetime | None) -> None:
        """Keep the state; `wake_at` is when it has to be looked at again."""
        text = agent_state.to_json(state)
        connection.execute(
            "INSERT INTO agents(tenant, agent, state, figures, wake_at) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT(tenant, agent) DO UPDATE SET state = excluded.state, figures = excluded.figures, "
            "wake_at = excluded.wake_at",
            (state.tenant, state.agent, text, agent_state.figures_to_json(state.figures), _utc(wake_at)),
        )
        self._parsed[state.tenant, state.agent] = (text, state)
        self._parsed.move_to_end((state.tenant, state.agent))
        while len(self._parsed) > CACHED_MAX:
            self._parsed.popitem(last=False)


def due(connection: Connection, now: datetime) -> list[tuple[str, str]]:
    """The (tenant, agent) pairs whose time has come, the longest overdue first."""
    rows = connection.execute(
        "SELECT tenant, agent FROM agents WHERE wake_at <= ? ORDER BY wake_at LIMIT ?", (_utc(now), WAKE_MAX)
    )
    return [(tenant, agent) for tenant, agent in rows]


def postpone(connection: Connection, tenant: str, agent: str, until: datetime) -> None:
    """Look at an agent no sooner than this, although its time has come."""
    connection.execute("UPDATE agents SET wake_at = ? WHERE tenant = ? AND agent = ?", (_utc(until), tenant, agent))


def figures(connection: Connection, tenant: str, agent: str) -> Iterator[Figures]:
    """The figures of one agent, or of all of the tenant's."""
    where, values = _whose(tenant, agent)
    for (text,) in connection.execute(f"SELECT figures FROM agents WHERE {where}", values):
        yield agent_state.figures_from_json(text)


def keep_experiment(connection: Connection, record: ExperimentRecord) -> None:
    """Insert or replace an experiment's record; the oldest are forgotten beyond the limit."""
    (position,) = connection.execute(
        "INSERT INTO experiments(tenant, agent, experiment_id, record) VALUES (?, ?, ?, ?) "
        "ON CONFLICT(tenant, agent, experiment_id) DO UPDATE SET record = excluded.record RETURNING position",
        (record.tenant, record.agent, record.experiment_id, record.model_dump_json()),
    ).fetchone()
    connection.execute("DELETE FROM experiments WHERE position <= ?", (position - EXPERIMENTS_MAX,))


def experiments(connection: Connection, tenant: str, agent: str, limit: int) -> Iterator[ExperimentRecord]:
    """Records of experiments, newest first."""
    where, values = _whose(tenant, agent)
    rows = connection.execute(
        f"SELECT record FROM experiments WHERE {where} ORDER BY position DESC LIMIT ?", (*values, limit)
    )
    return (ExperimentRecord.model_validate_json(record) for (record,) in rows)


def experiment(connection: Connection, tenant: str, agent: str, experiment_id: str) -> ExperimentRecord | None:
    """One experiment's record."""
    where, values = _whose(tenant, agent)
    found = connection.execute(
        f"SELECT record FROM experiments WHERE {where} AND experiment_id = ?", (*values, experiment_id)
    ).fetchone()
    return None if found is None else ExperimentRecord.model_validate_json(found[0])


def keep_decision(connection: Connection, tenant: str, record: DecisionRecord) -> None:
    """Remember a decision that was published."""
    (position,) = connection.execute(
        "INSERT INTO decisions(tenant, agent, record) VALUES (?, ?, ?) RETURNING position",
        (tenant, record.agent, record.model_dump_json()),
    ).fetchone()
    connection.execute("DELETE FROM decisions WHERE position <= ?", (position - DECISIONS_MAX,))


def decisions(connection: Connection, tenant: str, agent: str, limit: int) -> Iterator[DecisionRecord]:
    """Decisions, newest first."""
    where, values = _whose(tenant, agent)
    rows = connection.execute(
        f"SELECT record FROM decisions WHERE {where} ORDER BY position DESC LIMIT ?", (*values, limit)
    )
    return (DecisionRecord.model_validate_json(record) for (record,) in rows)


def _whose(tenant: str, agent: str) -> tuple[str, Sequence[str]]:
    """One agent's rows; those of the whole tenant where the request concerns no single agent."""
    if agent == WHOLE_SERVICE:
        return "tenant = ?", (tenant,)
    return "tenant = ? AND agent = ?", (tenant, agent)


def _utc(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds")
