"""What is published about one worktree; always for its own tenant and agent."""

from __future__ import annotations

from thymos.events import WorktreeDrained, WorktreeFailed, WorktreeStarted, WorktreeStopped
from thymos.unit_of_work import Transaction
from worktree_scaler.store import WorktreeRow


def tell_started(row: WorktreeRow, tx: Transaction) -> None:
    """An agent works in the worktree."""
    tell(WorktreeStarted, row, row.reason, tx)


def tell(
    happened: type[WorktreeStarted] | type[WorktreeDrained] | type[WorktreeStopped],
    row: WorktreeRow,
    reason: str,
    tx: Transaction,
) -> None:
    """Say that something happened to a worktree, and why."""
    tx.publish(
        happened(
            worktree_id=row.worktree_id,
            branch=row.branch.branch,
            backend=row.backend,
            experiment_id=row.experiment_id,
            reason=reason[:4096],
        ),
        tenant=row.branch.tenant,
        agent=row.branch.agent,
    )


def tell_failed(row: WorktreeRow, reason: str, exit_code: int | None, *, crash_loop: bool, tx: Transaction) -> None:
    """Say that a worktree's agent is gone without having been told to, and which memory it last answered with."""
    tx.publish(
        WorktreeFailed(
            worktree_id=row.worktree_id,
            branch=row.branch.branch,
            backend=row.backend,
            experiment_id=row.experiment_id,
            reason=reason[:4096],
            exit_code=exit_code,
            crash_loop=crash_loop,
            commit=row.last_commit,
        ),
        tenant=row.branch.tenant,
        agent=row.branch.agent,
    )
