"""A short chaos: every service, NATS and an agent disturbed during one story. `make chaos` goes on for longer."""

from pathlib import Path

from tests.chaos.faults import SERVICES, Action, Fault
from tests.chaos.load import PARTS
from tests.chaos.soak import fixed

FAULTS = [
    Fault(0.5, Action.KILL, "memory-repository"),
    Fault(1.5, Action.PAUSE, "agent", lasts=0.5),
    Fault(2.5, Action.KILL, "nats"),
    Fault(4.0, Action.STOP, "metrics-collector"),
    Fault(5.5, Action.KILL, "worktree-scaler"),
    Fault(7.0, Action.PAUSE, "decision-engine", lasts=0.5),
    Fault(8.0, Action.STOP, "decision-engine"),
    Fault(10.0, Action.KILL, "metrics-collector"),
]


async def test_nothing_is_lost_doubled_or_left_behind(tmp_path: Path) -> None:
    told: list[str] = []
    result = await fixed(tmp_path / "suite", 1, FAULTS, told.append)

    assert result.broken == [], told
    assert result.missed == []
    assert result.stages == list(PARTS)
    assert {done.fault.target for done in result.timeline if done.hit} == {*SERVICES, "nats", "agent"}
    happened = {what: result.counts[what] for what in ("lost", "doubled in the log", "merges", "rollbacks")}
    assert happened == {"lost": 0, "doubled in the log": 0, "merges": 1, "rollbacks": 1}
