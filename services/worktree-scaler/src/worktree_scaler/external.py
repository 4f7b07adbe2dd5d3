"""Agents that somebody else starts: the external back end. They are only listened to.

One registers by its first heartbeat with a worktree id that nobody here has given, or with none: then it is named after
its tenant, agent and branch, so that all such of a branch are one. It fails when it is silent, may come back, and is
forgotten when it does not. No process of it is ever started, told or ended here: what starts and ends processes looks
at worktrees of the process back end alone.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256

from thymos.envelope import Envelope, happened_at
from thymos.message import Message
from thymos.telemetry import AgentHeartbeat
from thymos.unit_of_work import Transaction
from worktree_scaler import store
from worktree_scaler.lifecycle import Phase, Trigger, following
from worktree_scaler.store import Branch, WorktreeRow
from worktree_scaler.worktree_events import tell_failed, tell_started

ID_MAX = 200
REGISTERED = "registered by its heartbeat"


def registered(envelope: Envelope[Message], beat: AgentHeartbeat, tx: Transaction) -> WorktreeRow | None:
    """The worktree that a heartbeat is from: ours, or an external agent's, which registers (again) by it. None when it
    is another's, or when too many are remembered."""
    worktree_id = beat.worktree_id or _named_after(envelope.tenant, envelope.agent, beat.branch)
    row = store.worktree(tx.connection, worktree_id)
    if row is None:
        return _new(worktree_id, envelope, beat, tx)
    if (row.branch.tenant, row.branch.agent) != (envelope.tenant, envelope.agent):
        return None
    gone = row.backend == store.EXTERNAL and row.phase in (Phase.FAILED, Phase.STOPPED)
    if gone and happened_at(envelope, tx.now) > row.phase_at:
        phase = following(row.phase, Trigger.RETURN)
        store.set_phase(tx.connection, worktree_id, phase, row.phase_at, "heard of again", 0)
        row = store.worktree(tx.connection, worktree_id)
        if row is not None:
            tell_started(row, tx)
    return row


def _named_after(tenant: str, agent: str, branch: str) -> str:
    """The worktree id of agents that give none; the longest names together would be too long for an id."""
    name = f"{tenant}.{agent}.{branch}"
    return name if len(name) <= ID_MAX else f"external.{sha256(name.encode()).hexdigest()[:32]}"


def _new(worktree_id: str, envelope: Envelope[Message], beat: AgentHeartbeat, tx: Transaction) -> WorktreeRow | None:
    if store.external_count(tx.connection) >= store.EXTERNAL_MAX:
        return None
    row = WorktreeRow(
        worktree_id=worktree_id,
        branch=Branch(envelope.tenant, envelope.agent, beat.branch),
        backend=store.EXTERNAL,
        phase=Phase.STARTING,
        phase_at=happened_at(envelope, tx.now),
        crashes=0,
        in_flight=beat.in_flight,
        capacity=beat.capacity,
        heartbeat_at=None,
        experiment_id=None,
        reason=REGISTERED,
        exit_code=None,
        pid=None,
        created_at=None,
    )
    store.add_worktree(tx.connection, row)
    tell_started(row, tx)
    return row


def note_silence(timeout: timedelta, trusted_since: datetime, tx: Transaction) -> None:
    """Fail those that are heard of no more. While the bus could not carry heartbeats, silence means nothing."""
    if tx.now - trusted_since < timeout:
        return
    for row in store.silent_external(tx.connection, tx.now - timeout):
        reason = f"no heartbeat for {timeout.total_seconds():g} s"
        store.set_phase(tx.connection, row.worktree_id, following(row.phase, Trigger.SILENCE), tx.now, reason, 0)
        tell_failed(row, reason, None, crash_loop=False, tx=tx)
