"""The last outcomes on main of every agent: what the generators of variants learn from."""

from __future__ import annotations

import json

from memory_repository.core.variants import OUTCOMES_MAX, PastOutcome
from memory_repository.storage.store import MAIN
from thymos.database import Connection
from thymos.metrics import MetricsOutcomes
from thymos.telemetry import Outcome

SCHEMA = """
CREATE TABLE IF NOT EXISTS outcome (
    tenant        TEXT NOT NULL,
    agent         TEXT NOT NULL,
    row           INTEGER NOT NULL,           -- as metrics-collector counts them
    succeeded     INTEGER NOT NULL,
    input         TEXT NOT NULL,
    recalled_ids  TEXT NOT NULL,
    PRIMARY KEY (tenant, agent, row)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outcome_heard (
    tenant TEXT NOT NULL,
    agent  TEXT NOT NULL,
    row    INTEGER NOT NULL,                  -- the newest that came in, of whatever branch
    PRIMARY KEY (tenant, agent)
) WITHOUT ROWID;
"""


def record(db: Connection, tenant: str, agent: str, outcomes: MetricsOutcomes) -> None:
    """Keep the rows of main that say what was asked and recalled, and forget all but the last 1,000.

    Outcomes of experiments are left out: what judges a variant must not have taught it. So is what broke, timed out
    or was cancelled: it says nothing about the memories.
    """
    newest = max((row.row for row in outcomes.rows), default=0)
    db.execute(
        "INSERT INTO outcome_heard (tenant, agent, row) VALUES (?, ?, ?)"
        " ON CONFLICT (tenant, agent) DO UPDATE SET row = excluded.row WHERE excluded.row > outcome_heard.row",
        (tenant, agent, newest),
    )
    if outcomes.branch != MAIN or outcomes.experiment_id is not None:
        return
    db.executemany(
        "INSERT INTO outcome (tenant, agent, row, succeeded, input, recalled_ids) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        [
            (tenant, agent, row.row, row.outcome is Outcome.SUCCEEDED, row.input, json.dumps(row.recalled_ids))
            for row in outcomes.rows
            if row.outcome in (Outcome.SUCCEEDED, Outcome.FAILED) and row.input and row.recalled_ids
        ],
    )
    db.execute(
        "DELETE FROM outcome WHERE tenant = ? AND agent = ? AND row <="
        " (SELECT row FROM outcome WHERE tenant = ? AND agent = ? ORDER BY row DESC LIMIT 1 OFFSET ?)",
        (tenant, agent, tenant, agent, OUTCOMES_MAX),
    )


def forget(db: Connection, tenant: str, agent: str, memory_id: str) -> int:
    """Forget the outcomes that recalled a memory; returns how many."""
    rows = db.execute("SELECT row, recalled_ids FROM outcome WHERE tenant = ? AND agent = ?", (tenant, agent))
    found = [row for row, recalled in rows.fetchall() if memory_id in json.loads(recalled)]
    db.executemany(
        "DELETE FROM outcome WHERE tenant = ? AND agent = ? AND row = ?", [(tenant, agent, row) for row in found]
    )
    return len(found)


def heard_to(db: Connection, tenant: str, agent: str) -> int:
    """The newest row that came in of an agent; 0 when there is none."""
    found = db.execute("SELECT row FROM outcome_heard WHERE tenant = ? AND agent = ?", (tenant, agent)).fetchone()
    return 0 if found is None else int(found[0])


def recorded(db: Connection, tenant: str, agent: str) -> list[PastOutcome]:
    """What is kept, oldest first."""
    rows = db.execute(
        "SELECT succeeded, input, recalled_ids FROM outcome WHERE tenant = ? AND agent = ? ORDER BY row",
        (tenant, agent),
    )
    return [PastOutcome(bool(succeeded), text, tuple(json.loads(ids))) for succeeded, text, ids in rows]
