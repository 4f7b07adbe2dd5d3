"""What worktree-scaler shows of its store at `/metrics`."""

from __future__ import annotations

from collections.abc import Iterator

from thymos.database import Connection
from thymos.observability.instruments import Figure
from worktree_scaler.lifecycle import Phase
from worktree_scaler.store import EXTERNAL, PROCESS


def figures(connection: Connection) -> Iterator[Figure]:
    """Worktrees by back end and phase, what they work on, and the scenarios under way; of all agents together."""
    counts = {(backend, phase.value): 0 for backend in (PROCESS, EXTERNAL) for phase in Phase}
    in_hand = crashes = 0
    rows = connection.execute(
        "SELECT backend, phase, count(*), sum(in_flight), sum(crashes) FROM worktrees GROUP BY backend, phase"
    )
    for backend, phase, count, busy, crashed in rows:
        if (backend, phase) in counts:
            counts[backend, phase] = count
        if phase != Phase.STOPPED:
            in_hand, crashes = in_hand + busy, crashes + crashed
    for (backend, phase), count in counts.items():
        yield Figure("thymos_worktrees", count, (backend, phase))
    yield Figure("thymos_tasks_in_hand", in_hand)
    yield Figure("thymos_worktree_crashes", crashes)
    runs = connection.execute("SELECT count(*) FROM runs WHERE finished = 0").fetchone()[0]
    yield Figure("thymos_scenario_runs_open", runs)
