"""One look at all fleets, in one transaction: note what ended, scale, reconcile, release. Returns what is left to do
with processes and the bus, which the caller (supervision.py) does after the transaction; if it is cut off
before that,
the next look finds the difference again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from thymos.bus import QueueDepth
from thymos.events import (
    WorktreeDrained,
    WorktreeScaled,
    WorktreesReleased,
    WorktreeStopped,
)
from thymos.unit_of_work import Transaction
from worktree_scaler import external, reservations, scenario_runs, store
from worktree_scaler.lifecycle import SERVING, WITH_PROCESS, Phase, Trigger, following
from worktree_scaler.processes import Sign
from worktree_scaler.recompute import ScalingBasis
from worktree_scaler.reconcile import (
    Action,
    Drain,
    Fleet,
    Kill,
    MarkFailed,
    Start,
    Stop,
    after_exit,
    plan,
)
from worktree_scaler.scaling import Direction, ScalingHistory, ScalingSignal, evolve
from worktree_scaler.settings import MAIN, ScalerSettings
from worktree_scaler.store import Branch, FleetRow, WorktreeRow
from worktree_scaler.worktree_events import tell, tell_failed

FORGET_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Seen:
    """What the shell saw before the look: processes that ended (with their exit code where known), how deep the task
    queues are (a branch is missing where that could not be told), since when the bus has answered
    without a gap, and
    the branches whose tasks and consumer are gone."""

    exited: Mapping[str, int | None]
    depths: Mapping[Branch, QueueDepth]
    trusted_since: datetime
    cleaned: frozenset[Branch] = frozenset()
    start_errors: Mapping[str, str] = field(default_factory=dict)
    closing: bool = False


@dataclass(frozen=True)
class Todo:
    """What the look decided and a transaction cannot do: worktrees to start a process in, processes to tell
    something, branches whose tasks and consumer are to be deleted, and how many processes there still are."""

    starts: Sequence[WorktreeRow]
    signs: Sequence[tuple[str, Sign]]
    clean: Sequence[Branch]
    with_process: int


class FleetStep:
    """The looks of one scaler. Keeps the scaling histories between looks; a new scaler watches anew."""

    def __init__(self, settings: ScalerSettings) -> None:
        self._settings = settings
        self._histories: dict[Branch, ScalingHistory] = {}
        self._forgotten_at: datetime | None = None

    def __call__(self, seen: Seen, tx: Transaction) -> Todo:
        """One look."""
        self._note_exits(seen, tx)
        external.note_silence(self._settings.limits.heartbeat_timeout, seen.trusted_since, tx)
        self._keep_main_fleets(tx)
        reservations.release_overdue(tx)
        starts: list[WorktreeRow] = []
        signs: list[tuple[str, Sign]] = []
        clean: list[Branch] = []
        for fleet in store.fleets(tx.connection):
            rows = store.worktrees_of(tx.connection, fleet.branch)
            if fleet.experiment_id is None and not fleet.releasing and not seen.closing:
                fleet = self._scale(fleet, rows, seen, tx)
            for action in self._plan(fleet, rows, seen, tx):
                self._obey(action, fleet, starts, signs, tx)
            if fleet.releasing and not store.worktrees_of(tx.connection, fleet.branch):
                self._end_fleet(fleet, seen, clean, tx)
        self._settle_scenarios(tx)
        self._forget(tx)
        return Todo(starts, signs, clean, len(store.with_process(tx.connection)))

    # --- what happened by itself ----------------------------------------------------------------------------

    def _note_exits(self, seen: Seen, tx: Transaction) -> None:
        for worktree_id, exit_code in seen.exited.items():
            row = store.worktree(tx.connection, worktree_id)
            if row is None or row.phase not in WITH_PROCESS:
                continue
            limits = self._settings.limits_of(row.branch.agent)
            phase, crashes = after_exit(row.observed(row.phase_at), limits, tx.now)
            why = seen.start_errors.get(worktree_id) or _how_it_ended(exit_code)
            store.set_phase(tx.connection, worktree_id, phase, tx.now, why, crashes)
            store.set_exit_code(tx.connection, worktree_id, exit_code)
            scenario_runs.on_process_lost(worktree_id, tx)
            if phase is Phase.STOPPED:
                if row.phase is Phase.DRAINING:
                    tell(WorktreeDrained, row, row.reason, tx)
                tell(WorktreeStopped, row, f"{row.reason}; {why}", tx)
            else:
                tell_failed(row, why, exit_code, crash_loop=False, tx=tx)

    # --- what should be -------------------------------------------------------------------------------------

    def _keep_main_fleets(self, tx: Transaction) -> None:
        """Every configured agent with a command has a fleet on main; an agent no longer configured has
        none.
        """
        started = [name for name, agent in self._settings.agents.items() if agent.command]
        for name in started:
            main = Branch(self._settings.tenant, name, MAIN)
            store.add_fleet(tx.connection, main, self._settings.policy.min_worktrees)
        for fleet in store.fleets(tx.connection):
            if fleet.experiment_id is None and fleet.branch.agent not in started and not fleet.releasing:
                store.release_fleet(tx.connection, fleet.branch)

    def _scale(self, fleet: FleetRow, rows: Sequence[WorktreeRow], seen: Seen, tx: Transaction) -> FleetRow:
        """Decide how many worktrees main has, and say so when that changes."""
        history = self._histories.get(fleet.branch, ScalingHistory())
        override = store.override(tx.connection, fleet.branch)
        overridden = override is not None and tx.now < override.until
        history = ScalingHistory(**{**vars(history), "override": override if overridden else None})
        signal = self._signal(fleet, rows, seen.depths.get(fleet.branch), tx)
        enabled = self._settings.scaling_enabled or overridden
        basis = ScalingBasis(history, signal, self._settings.policy, tx.now, enabled)
        action = basis.action()
        self._histories[fleet.branch] = evolve(history, signal, self._settings.policy, action, tx.now)
        if action.direction is Direction.HOLD:
            return fleet
        store.set_desired(tx.connection, fleet.branch, action.count)
        tx.publish(
            WorktreeScaled(
                branch=fleet.branch.branch,
                from_count=fleet.desired,
                to_count=action.count,
                signal=signal.shown(),
                reason=action.reason,
                inputs=basis.to_json(),
            ),
            tenant=fleet.branch.tenant,
            agent=fleet.branch.agent,
        )
        return FleetRow(fleet.branch, action.count, fleet.releasing, fleet.experiment_id)

    def _signal(
        self, fleet: FleetRow, rows: Sequence[WorktreeRow], depth: QueueDepth | None, tx: Transaction
    ) -> ScalingSignal:
        """Worktrees that are wanted but not there yet count as starting, with their capacity."""
        agent = self._settings.agents[fleet.branch.agent]
        serving = [row for row in rows if row.phase in SERVING]
        missing = max(0, fleet.desired - len(serving))
        return ScalingSignal(
            current=fleet.desired,
            pending=depth.pending if depth else None,
            ack_pending=depth.ack_pending if depth else None,
            in_flight=sum(row.in_flight for row in serving),
            capacity=sum(row.capacity for row in serving) + missing * agent.capacity,
            reserved=store.reserved(tx.connection, fleet.branch.tenant, fleet.branch.agent),
        )

    def _plan(self, fleet: FleetRow, rows: Sequence[WorktreeRow], seen: Seen, tx: Transaction) -> Sequence[Action]:
        retry = self._settings.failed_retry_after if fleet.experiment_id is None else None
        wanted = Fleet(fleet.desired, fleet.releasing or seen.closing, retry)
        observed = [row.observed(seen.trusted_since) for row in rows]
        return plan(wanted, observed, self._settings.limits_of(fleet.branch.agent), tx.now)

    # --- obeying the plan -----------------------------------------------------------------------------------

    def _obey(
        self,
        action: Action,
        fleet: FleetRow,
        starts: list[WorktreeRow],
        signs: list[tuple[str, Sign]],
        tx: Transaction,
    ) -> None:
        match action:
            case Start(worktree_id=None, reason=reason):
                starts.append(self._new_worktree(fleet, reason, tx))
            case Start(worktree_id=str(worktree_id), reason=reason):
                starts.append(_move(worktree_id, Trigger.RESTART, reason, tx))
            case Drain(worktree_id=worktree_id, reason=reason):
                row = _move(worktree_id, Trigger.DRAIN, reason, tx)
                if row.phase is Phase.DRAINING:
                    signs.append((worktree_id, Sign.DRAIN))
                else:
                    tell(WorktreeStopped, row, reason, tx)
            case Stop(worktree_id=worktree_id, reason=reason):
                _move(worktree_id, Trigger.OVERDUE, reason, tx)
                signs.append((worktree_id, Sign.STOP))
            case Kill(worktree_id=worktree_id):
                signs.append((worktree_id, Sign.KILL))
            case MarkFailed(worktree_id=worktree_id, reason=reason):
                row = _move(worktree_id, Trigger.GIVE_UP, reason, tx)
                tell_failed(row, reason, row.exit_code, crash_loop=True, tx=tx)

    def _new_worktree(self, fleet: FleetRow, reason: str, tx: Transaction) -> WorktreeRow:
        agent = self._settings.agents.get(fleet.branch.agent)
        row = WorktreeRow(
            worktree_id=tx.new_id().replace("-", "")[:12],
            branch=fleet.branch,
            backend=store.PROCESS,
            phase=Phase.STARTING,
            phase_at=tx.now,
            crashes=0,
            in_flight=0,
            capacity=agent.capacity if agent else 1,
            heartbeat_at=None,
            experiment_id=fleet.experiment_id,
            reason=reason,
            exit_code=None,
            pid=None,
            created_at=None,
        )
        store.add_worktree(tx.connection, row)
        return row

    # --- ends -----------------------------------------------------------------------------------------------

    def _end_fleet(self, fleet: FleetRow, seen: Seen, clean: list[Branch], tx: Transaction) -> None:
        """A released fleet without worktrees: an experiment's tasks and consumer go first, then the fleet, then the
        reservation. What waits for main is customers' work and stays."""
        if fleet.experiment_id is not None and fleet.branch not in seen.cleaned:
            clean.append(fleet.branch)
            return
        store.remove_fleet(tx.connection, fleet.branch)
        self._histories.pop(fleet.branch, None)
        for ended in reservations.take_ended(tx):
            tx.publish(
                WorktreesReleased(experiment_id=ended.experiment_id, branches=list(ended.branches)),
                tenant=ended.tenant,
                agent=ended.agent,
                correlation_id=ended.correlation_id,
                causation_id=ended.released_by,
            )

    def _settle_scenarios(self, tx: Transaction) -> None:
        ready = tx.connection.execute(
            "SELECT DISTINCT tenant, agent, branch FROM worktrees WHERE phase = ?", (Phase.READY,)
        )
        scenario_runs.settle_overdue(tx, {(t, a, b): True for t, a, b in ready})

    def _forget(self, tx: Transaction) -> None:
        if self._forgotten_at is None or tx.now - self._forgotten_at >= FORGET_EVERY:
            self._forgotten_at = tx.now
            for row in store.long_failed(tx.connection, tx.now - self._settings.failed_kept):
                moved = _move(row.worktree_id, Trigger.FORGET, f"{row.reason}; forgotten", tx)
                tell(WorktreeStopped, moved, moved.reason, tx)
            store.forget_oldest_stopped(tx.connection)


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is None:
        return "its process is gone"
    return f"ended by signal {-exit_code}" if exit_code < 0 else f"ended with code {exit_code}"


def _move(worktree_id: str, trigger: Trigger, reason: str, tx: Transaction) -> WorktreeRow:
    """Move a worktree along the table; the row as it is then."""
    row = store.worktree(tx.connection, worktree_id)
    if row is None:
        raise LookupError(f"worktree {worktree_id} vanished inside a transaction")
    store.set_phase(tx.connection, worktree_id, following(row.phase, trigger), tx.now, reason, row.crashes)
    moved = store.worktree(tx.connection, worktree_id)
    if moved is None:
        raise LookupError(f"worktree {worktree_id} vanished inside a transaction")
    return moved
