"""An experiment's worktrees: reserved all together or not at all, released together, never outliving a
deadline.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from thymos.commands import ReserveWorktrees, RunScenario
from thymos.errors import Refusal, RefusalCode
from thymos.events import WorktreesReserved
from thymos.unit_of_work import Transaction
from worktree_scaler import scenario_runs, store
from worktree_scaler.scaling import ScalingPolicy, ScalingSignal, reserve
from worktree_scaler.settings import MAIN
from worktree_scaler.store import Branch, text

_WHOSE = "tenant = ? AND agent = ? AND experiment_id = ?"
"""An experiment's id is its agent's alone: another's may be the same."""


@dataclass(frozen=True)
class Ended:
    """A reservation whose fleets are all gone."""

    experiment_id: str
    tenant: str
    agent: str
    branches: Sequence[str]
    correlation_id: str | None
    released_by: str | None


def grant(command: ReserveWorktrees, policy: ScalingPolicy, tx: Transaction) -> None:
    """Give every arm a fleet of one worktree.

    Raises:
        Refusal: there is no room for all of them, the experiment has a reservation, or an arm's
        branch is taken.
    """
    experiment_id = command.experiment_id
    if tx.connection.execute(
        f"SELECT 1 FROM reservations WHERE {_WHOSE}", (tx.tenant, tx.agent, experiment_id)
    ).fetchone():
        raise Refusal(RefusalCode.CONFLICT, f"experiment {experiment_id} has reserved its worktrees before")
    branches = [arm.branch for arm in command.arms]
    if len(set(branches)) != len(branches):
        raise Refusal(RefusalCode.INVALID, "two arms are on the same branch")
    for branch in branches:
        if branch == MAIN or store.fleet(tx.connection, Branch(tx.tenant, tx.agent, branch)):
            raise Refusal(RefusalCode.CONFLICT, f"branch {branch} has a fleet of its own already")
    main = store.fleet(tx.connection, Branch(tx.tenant, tx.agent, MAIN))
    taken = store.reserved(tx.connection, tx.tenant, tx.agent)
    signal = ScalingSignal(main.desired if main else 0, None, None, None, None, reserved=taken)
    decision = reserve(len(branches), signal, policy)
    if not decision.granted:
        raise Refusal(RefusalCode.REFUSED, decision.reason, "raise max_worktrees or test fewer variants at once")
    for branch in branches:
        store.add_fleet(tx.connection, Branch(tx.tenant, tx.agent, branch), 1, experiment_id)
    tx.connection.execute(
        "INSERT INTO reservations(experiment_id, tenant, agent, branches, deadline, correlation_id)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            experiment_id, tx.tenant, tx.agent, json.dumps(branches),
            text(command.deadline) if command.deadline else None, tx.cause.correlation_id,
        ),
    )  # fmt: skip
    reserved = WorktreesReserved(experiment_id=experiment_id, branches=branches)
    tx.publish(reserved, tenant=tx.tenant, agent=tx.agent)


def check_arms(command: RunScenario, tx: Transaction) -> None:
    """Tasks are handed only to arms that the experiment has reserved. Raises Refusal."""
    for arm in command.arms:
        fleet = store.fleet(tx.connection, Branch(tx.tenant, tx.agent, arm.branch))
        if fleet is None or fleet.releasing or fleet.experiment_id != command.experiment_id:
            raise Refusal(
                RefusalCode.CONFLICT,
                f"branch {arm.branch} has no worktree reserved for experiment {command.experiment_id}",
                "reserve all arms first",
            )


def release(tenant: str, agent: str, experiment_id: str, tx: Transaction, reason: str, released_by: str | None) -> bool:
    """Let the fleets of an agent's experiment end and its scenario with them. False when it has no reservation."""
    whose = (tenant, agent, experiment_id)
    scenario_runs.stop(*whose, tx, reason)
    row = tx.connection.execute(f"SELECT branches FROM reservations WHERE {_WHOSE} AND released = 0", whose).fetchone()
    if row is None:
        return False
    for branch in json.loads(row[0]):
        store.release_fleet(tx.connection, Branch(tenant, agent, branch))
    tx.connection.execute(
        f"UPDATE reservations SET released = 1, released_by = coalesce(released_by, ?) WHERE {_WHOSE}",
        (released_by, *whose),
    )
    return True


def release_overdue(tx: Transaction) -> None:
    """No worktree outlives its experiment, also when nobody says that it is over."""
    rows = tx.connection.execute(
        "SELECT tenant, agent, experiment_id FROM reservations"
        " WHERE released = 0 AND deadline IS NOT NULL AND deadline <= ?",
        (text(tx.now),),
    ).fetchall()
    for tenant, agent, experiment_id in rows:
        release(tenant, agent, experiment_id, tx, "the reservation's deadline has passed", None)


def take_ended(tx: Transaction) -> list[Ended]:
    """Remove and return the reservations whose fleets are all gone."""
    rows = tx.connection.execute(
        "SELECT tenant, agent, experiment_id, branches, correlation_id, released_by FROM reservations r"
        " WHERE released = 1 AND NOT EXISTS (SELECT 1 FROM fleets f WHERE f.tenant = r.tenant AND f.agent = r.agent"
        " AND f.experiment_id = r.experiment_id)"
    ).fetchall()
    tx.connection.executemany(f"DELETE FROM reservations WHERE {_WHOSE}", [row[:3] for row in rows])
    return [Ended(ex, t, a, json.loads(branches), c, by) for t, a, ex, branches, c, by in rows]
