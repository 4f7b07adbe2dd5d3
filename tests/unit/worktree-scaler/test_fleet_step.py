"""One look at all fleets: the shell's decisions in one transaction, on a database in memory and a clock of
ours.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from thymos.bus import QueueDepth
from thymos.commands import ReserveWorktrees, RunScenario
from thymos.database import open_sqlite
from thymos.envelope import Envelope, decode
from thymos.errors import Refusal
from thymos.events import Arm, ExperimentClosed, Verdict, WorktreeFailed
from thymos.message import Message
from thymos.telemetry import AgentHeartbeat, Outcome, TaskFinished
from thymos.unit_of_work import SCHEMA, Cause, Transaction
from worktree_scaler import reservations, scenario_runs, store
from worktree_scaler.fleet_step import FleetStep, Seen, Todo
from worktree_scaler.handlers import Handlers
from worktree_scaler.processes import Sign
from worktree_scaler.scaling import ScalingPolicy
from worktree_scaler.settings import AgentSettings, ScalerSettings
from worktree_scaler.store import Branch

NOW = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
MAIN = Branch("default", "support", "main")
SETTINGS = ScalerSettings(
    nats_url="",
    data_dir=Path(),
    directory=Path(),
    agents={"support": AgentSettings(("agent",), capacity=2)},
    policy=ScalingPolicy(min_worktrees=2, max_worktrees=6),
)


class World:
    """A scaler without processes and bus: the test says what was seen, and reads what is to be done."""

    def __init__(self, settings: ScalerSettings = SETTINGS) -> None:
        self.connection = open_sqlite(":memory:")
        self.connection.executescript(SCHEMA + store.SCHEMA + scenario_runs.SCHEMA)
        self.settings = settings
        self.step = FleetStep(settings)
        self.now = NOW
        self.serial = 0

    def transaction(self) -> Transaction:
        """As a command's; a look's and a batch's has no tenant and agent of its own."""
        return self.nobodys("default", "support")

    def nobodys(self, tenant: str = "", agent: str = "") -> Transaction:
        self.serial += 1
        return Transaction(self.connection, self.now, "worktree-scaler", Cause(str(self.serial), tenant, agent))

    def look(self, after: float = 0, exited: Mapping[str, int | None] | None = None, **seen: Any) -> Todo:
        self.now += timedelta(seconds=after)
        depths = seen.pop("depths", {MAIN: QueueDepth(0, 0)})
        trusted_since = seen.pop("trusted_since", NOW)
        return self.step(Seen(exited or {}, depths, trusted_since, **seen), self.nobodys())

    def beat(self, worktree_id: str | None, in_flight: int = 0, branch: str = "main") -> None:
        data = AgentHeartbeat(worktree_id=worktree_id, branch=branch, in_flight=in_flight, capacity=2)
        envelope: Envelope[Message] = Envelope(
            id=str(self.serial),
            source=worktree_id or "raw-client",
            time=self.now,
            tenant="default",
            agent="support",
            data=data,
        )
        Handlers(self.settings, lambda: None).on_telemetry([envelope], self.nobodys())

    def reserve(self, *branches: str, deadline: datetime | None = None) -> None:
        arms = [Arm(name=branch, branch=branch) for branch in branches]
        command = ReserveWorktrees(experiment_id="e", arms=arms, deadline=deadline)
        reservations.grant(command, self.settings.policy, self.transaction())

    def phases(self) -> dict[str, str]:
        return dict(self.connection.execute("SELECT worktree_id, phase FROM worktrees"))

    def told(self) -> list[str]:
        """The names of what was published since the last time."""
        return [said.NAME for said in self.heard()]

    def heard(self) -> list[Message]:
        """What was published since the last time."""
        rows = self.connection.execute("SELECT body, subject FROM outbox ORDER BY position").fetchall()
        self.connection.execute("DELETE FROM outbox")
        return [decode(body, subject).data for body, subject in rows]

    def ready_fleet(self) -> list[str]:
        ids = [row.worktree_id for row in self.look().starts]
        for worktree_id in ids:
            self.beat(worktree_id)
        self.told()
        return ids


def test_a_configured_agent_has_its_minimum_on_main() -> None:
    world = World()

    assert [row.branch for row in world.look().starts] == [MAIN, MAIN]
    assert world.look().starts == []


def test_a_hung_agent_is_killed_but_not_because_the_bus_was_away() -> None:
    world = World()
    a, b = world.ready_fleet()
    world.now += timedelta(seconds=100)

    assert world.look(trusted_since=world.now - timedelta(seconds=29)).signs == []
    assert set(world.look(trusted_since=NOW).signs) == {(a, Sign.KILL), (b, Sign.KILL)}


def test_a_heartbeat_of_the_former_process_does_not_make_the_new_one_ready() -> None:
    world = World()
    a, _ = world.ready_fleet()
    world.look(after=1, exited={a: 1})
    (again,) = world.look(after=1).starts
    world.now -= timedelta(seconds=1.5)
    world.beat(a)

    assert again.worktree_id == a
    assert world.phases()[a] == "starting"


def test_a_crash_loop_on_main_is_tried_again_later_in_a_new_worktree() -> None:
    world = World(replace(SETTINGS, policy=ScalingPolicy(min_worktrees=1, max_worktrees=6)))
    (row,) = world.look().starts
    for _ in range(5):
        world.look(exited={row.worktree_id: 1})
        world.look(after=59)
    told = world.told()

    assert world.phases() == {row.worktree_id: "failed"}
    assert told.count("worktree.failed") == 6, "each crash, and giving up"
    assert world.look(after=299 - 59).starts == []
    (fresh,) = world.look(after=60).starts
    assert fresh.worktree_id != row.worktree_id


def test_an_arms_crash_loop_is_not_tried_again() -> None:
    world = World()
    world.ready_fleet()
    world.reserve("arm")
    (row,) = world.look().starts
    for _ in range(5):
        world.look(exited={row.worktree_id: 1}, trusted_since=world.now)
        world.look(after=59, trusted_since=world.now)

    assert world.phases()[row.worktree_id] == "failed"
    assert world.look(after=3_600, trusted_since=world.now + timedelta(seconds=3_600)).starts == []


def test_scaling_says_what_it_saw() -> None:
    world = World()
    ids = world.ready_fleet()
    todo = world.look(depths={MAIN: QueueDepth(35, 0)})

    assert len(todo.starts) == 2
    assert world.told() == ["worktree.scaled"]
    assert len(ids) == 2


def test_an_unknown_queue_depth_changes_nothing() -> None:
    world = World()
    world.ready_fleet()

    assert world.look(depths={}).starts == []
    assert world.told() == []


def test_scaling_switched_off_stays_at_the_minimum() -> None:
    world = World(replace(SETTINGS, scaling_enabled=False))
    world.ready_fleet()

    assert world.look(depths={MAIN: QueueDepth(500, 0)}).starts == []


def test_reserved_worktrees_take_room_from_main() -> None:
    world = World()
    world.ready_fleet()
    world.reserve("one", "two", "three")
    todo = world.look(depths={MAIN: QueueDepth(500, 0)})

    assert sorted(row.branch.branch for row in todo.starts) == ["main", "one", "three", "two"]


def test_a_released_experiment_is_drained_cleaned_and_told_once() -> None:
    world = World()
    world.ready_fleet()
    world.reserve("arm")
    (row,) = world.look().starts
    world.beat(row.worktree_id, in_flight=1, branch="arm")
    reservations.release("default", "support", "e", world.transaction(), "decided", None)
    assert world.look().signs == [(row.worktree_id, Sign.DRAIN)]
    todo = world.look(exited={row.worktree_id: 0})
    assert [branch.branch for branch in todo.clean] == ["arm"]
    world.told()
    world.look(cleaned=frozenset(todo.clean))

    assert world.told() == ["worktrees.released"]
    assert world.look().clean == []


def test_anothers_experiment_of_the_same_id_is_nobody_elses() -> None:
    world = World()
    world.ready_fleet()
    world.reserve("arm")
    closed = ExperimentClosed(experiment_id="e", phase="Closed", verdict=Verdict.INCONCLUSIVE)
    for tenant, agent in (("other", "support"), ("default", "other")):
        stranger = Envelope[Message](
            id=f"{tenant}-{agent}", source="cli", time=NOW, tenant=tenant, agent=agent, data=closed
        )
        Handlers(world.settings, lambda: None).on_event(stranger, world.transaction())
        assert not reservations.release(tenant, agent, "e", world.transaction(), "theirs", None)
    assert len(world.look().starts) == 1, "the arm keeps its worktree"
    command = ReserveWorktrees(experiment_id="e", arms=[Arm(name="arm", branch="arm")])
    theirs = Transaction(world.connection, NOW, "worktree-scaler", Cause("theirs", "other", "support"))
    reservations.grant(command, world.settings.policy, theirs)


def test_a_scenario_is_handed_only_to_reserved_arms() -> None:
    world = World()
    world.reserve("arm")
    strangers = [Arm(name="main", branch="main")]
    command = RunScenario(experiment_id="e", arms=strangers, task_ids=["t"], seed=1)

    with pytest.raises(Refusal, match="main has no worktree reserved"):
        reservations.check_arms(command, world.transaction())


def test_a_reservation_ends_at_its_deadline() -> None:
    world = World()
    world.ready_fleet()
    world.reserve("arm", deadline=NOW + timedelta(seconds=5))
    (row,) = world.look(after=1).starts

    assert world.look(after=4).signs == [(row.worktree_id, Sign.DRAIN)]


def test_an_agent_that_is_no_longer_configured_is_drained() -> None:
    world = World()
    ids = world.ready_fleet()
    world.step = FleetStep(replace(SETTINGS, agents={}))

    assert set(world.look().signs) == {(one, Sign.DRAIN) for one in ids}
    assert set(world.phases().values()) == {"draining"}
    todo = world.look(exited=dict.fromkeys(ids, 0))
    assert todo.clean == [], "customers' tasks wait for whoever is configured next"
    assert store.fleets(world.connection) == []


def test_closing_drains_everything_and_starts_nothing() -> None:
    world = World()
    ids = world.ready_fleet()
    todo = world.look(closing=True)
    assert {worktree_id for worktree_id, _ in todo.signs} == set(ids)
    assert world.look(closing=True, exited=dict.fromkeys(ids, 0)).with_process == 0

    assert len(World().look(closing=True).starts) == 0
    assert len(world.look().starts) == 2, "the next scaler fills the fleet again"


def test_a_silent_external_agent_fails_may_come_back_and_is_forgotten_in_the_end() -> None:
    world = World(replace(SETTINGS, agents={}))
    world.beat("elsewhere")
    assert world.told() == ["worktree.started", "worktree.ready"]
    todo = world.look(after=31)
    assert (todo.starts, todo.signs, todo.with_process) == ([], [], 0)
    assert (world.told(), world.phases()) == (["worktree.failed"], {"elsewhere": "failed"})
    world.now += timedelta(seconds=1)
    world.beat("elsewhere")
    assert (world.told(), world.phases()) == (["worktree.started", "worktree.ready"], {"elsewhere": "ready"})
    world.look(after=31)
    world.look(after=3_601)
    assert (world.told(), world.phases()) == (["worktree.failed", "worktree.stopped"], {"elsewhere": "stopped"})
    world.now += timedelta(seconds=1)
    world.beat("elsewhere")
    assert world.phases() == {"elsewhere": "ready"}


@pytest.mark.parametrize(
    ("branch", "name"), [("main", "default.support.main"), ("b" * 127, "default.support." + "b" * 127)]
)
def test_agents_that_give_no_worktree_id_are_one_for_each_branch(branch: str, name: str) -> None:
    world = World(replace(SETTINGS, agents={}))
    world.beat(None, branch=branch)
    world.beat(None, branch=branch)

    assert world.phases() == {name: "ready"}


def test_the_longest_names_give_no_id_that_is_too_long() -> None:
    world = World(replace(SETTINGS, agents={}))
    data = AgentHeartbeat(branch="b" * 127, in_flight=0, capacity=1)
    envelope = Envelope[Message](id="1", source="raw", time=NOW, tenant="t" * 63, agent="a" * 63, data=data)
    Handlers(world.settings, lambda: None).on_telemetry([envelope], world.nobodys())

    assert world.told() == ["worktree.started", "worktree.ready"]


def test_an_external_agent_is_neither_counted_nor_ended_with_the_fleet_of_its_branch() -> None:
    world = World()
    world.beat("elsewhere")
    assert len(world.look().starts) == 2, "main has its own minimum beside it"
    todo = world.look(closing=True)
    assert "elsewhere" not in [worktree_id for worktree_id, _ in todo.signs]
    assert world.phases()["elsewhere"] == "ready"


def test_a_crash_loop_is_forgotten_after_an_hour() -> None:
    world = World(replace(SETTINGS, policy=ScalingPolicy(min_worktrees=1, max_worktrees=6)))
    (row,) = world.look().starts
    for _ in range(5):
        world.look(exited={row.worktree_id: 1})
        world.look(after=59)
    world.look(after=3_600)

    assert world.phases()[row.worktree_id] == "stopped"


def test_a_failed_worktree_names_the_memory_it_last_answered_with() -> None:
    world = World()
    a, b = world.ready_fleet()
    for commit, tenant in (("c1", "default"), ("c2", "default"), ("c3", "other")):
        said = TaskFinished(task_id=commit, outcome=Outcome.SUCCEEDED, commit=commit)
        envelope = Envelope[Message](id=commit, source=a, time=NOW, tenant=tenant, agent="support", data=said)
        Handlers(world.settings, lambda: None).on_telemetry([envelope], world.nobodys())
    world.look(exited={a: 1, b: 1})

    assert [said.commit for said in world.heard() if isinstance(said, WorktreeFailed)] == ["c2", None]
