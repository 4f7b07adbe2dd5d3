"""A short chaos: every service, NATS and an agent disturbed during one story, in each of its parts. `make chaos` goes
on for longer."""

from pathlib import Path

from tests.chaos.faults import SERVICES, Action, Fault
from tests.chaos.load import PARTS
from tests.chaos.soak import fixed

FAULTS = [
    Fault(0.5, Action.KILL, "memory-repository", part="baseline"),
    Fault(1.5, Action.PAUSE, "agent", lasts=0.5, part="baseline"),
    Fault(0.1, Action.KILL, "nats", part="drift"),
    Fault(0.1, Action.KILL, "worktree-scaler", part="experiment"),
    Fault(0.4, Action.STOP, "metrics-collector", part="experiment"),
    Fault(0.0, Action.STOP, "decision-engine", part="recovery"),
    Fault(0.0, Action.PAUSE, "decision-engine", lasts=0.5, part="bad commit"),
    Fault(0.1, Action.KILL, "metrics-collector", part="burst"),
]


async def test_nothing_is_lost_doubled_or_left_behind(tmp_path: Path) -> None:
    told: list[str] = []
    result = await fixed(tmp_path / "suite", 1, FAULTS, told.append)

    assert result.broken == [], told
    assert result.missed == []
    assert result.stages == list(PARTS)
    hit = [done for done in result.timeline if done.hit]
    assert {done.fault.target for done in hit} == {*SERVICES, "nats", "agent"}
    assert {done.part for done in hit} == set(PARTS)
    happened = {what: result.counts[what] for what in ("lost", "doubled in the log", "rollbacks")}
    assert happened == {"lost": 0, "doubled in the log": 0, "rollbacks": 1}
