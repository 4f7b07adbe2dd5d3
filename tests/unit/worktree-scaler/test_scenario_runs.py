"""A scenario being run: what agents say about its tasks, and what is published of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from thymos.commands import RunScenario
from thymos.database import open_sqlite
from thymos.envelope import Envelope, decode
from thymos.events import Arm
from thymos.message import Message
from thymos.scenario import ScenarioTask
from thymos.telemetry import Outcome, TaskFinished, TaskStarted
from thymos.unit_of_work import SCHEMA, Cause, Transaction
from worktree_scaler import scenario_runs, store
from worktree_scaler.handlers import Handlers
from worktree_scaler.settings import AgentSettings, ScalerSettings

NOW = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
TASKS = {"t1": ScenarioTask("t1", "a question", "right", "digest")}


@pytest.fixture
def settings() -> ScalerSettings:
    """One configured agent, `support`."""
    return ScalerSettings(
        nats_url="", data_dir=Path(), directory=Path(), agents={"support": AgentSettings(("agent",), capacity=2)}
    )


class Run:
    """One scenario of one task at two arms, and agents that talk about it; time passes as the test says."""

    def __init__(self, settings: ScalerSettings) -> None:
        self.connection = open_sqlite(":memory:")
        self.connection.executescript(SCHEMA + store.SCHEMA + scenario_runs.SCHEMA)
        self.handlers = Handlers(settings, lambda: None)
        self.now = NOW
        self.serial = 0

    def transaction(self, tenant: str = "", agent: str = "") -> Transaction:
        self.serial += 1
        return Transaction(self.connection, self.now, "worktree-scaler", Cause(str(self.serial), tenant, agent))

    def begin(self, tenant: str = "default", agent: str = "support") -> None:
        arms = [Arm(name="control", branch="e-control", control=True), Arm(name="bold", branch="e-bold")]
        command = RunScenario(experiment_id="e", arms=arms, task_ids=["t1"], seed=1, task_timeout_seconds=30)
        scenario_runs.begin(command, TASKS, "exact", self.transaction(tenant, agent))
        self.outcomes()

    def says(
        self,
        data: Message,
        source: str = "w1",
        tenant: str = "default",
        after: float = 0,
        clock: datetime | None = None,
    ) -> None:
        self.now += timedelta(seconds=after)
        envelope: Envelope[Message] = Envelope(
            id=f"m{self.serial}", source=source, time=clock or self.now, tenant=tenant, agent="support", data=data
        )
        self.handlers.on_telemetry([envelope], self.transaction())

    def outcomes(self) -> list[tuple[str, Outcome]]:
        """(tenant, outcome) of what was graded or ended since the last time."""
        rows = self.connection.execute("SELECT body, subject FROM outbox ORDER BY position").fetchall()
        self.connection.execute("DELETE FROM outbox")
        said = [decode(body, subject) for body, subject in rows]
        return [(one.tenant, one.data.outcome) for one in said if isinstance(one.data, TaskFinished)]


def answer(output: str, **data: Any) -> TaskFinished:
    where = {"branch": "e-bold", "experiment_id": "e", "arm": "bold"}
    return TaskFinished(task_id="t1", outcome=Outcome.SUCCEEDED, output=output, **where, **data)


def test_an_answer_is_graded_whatever_its_flag_says_and_the_grade_is_not(settings: ScalerSettings) -> None:
    run = Run(settings)
    run.begin()
    run.says(answer("wrong", awaits_grade=False), source="raw-client")

    assert run.outcomes() == [("default", Outcome.FAILED)]

    other = Run(settings)
    other.begin()
    other.says(answer("right"), source="worktree-scaler")
    assert other.outcomes() == [], "what this service itself has said is no answer"


BEGUN = TaskStarted(task_id="t1", branch="e-bold", experiment_id="e", arm="bold")
ALIVE = {("default", "support", "e-bold"): True, ("default", "support", "e-control"): True}


def test_a_task_lost_and_begun_again_is_not_blamed_on_the_second_process(settings: ScalerSettings) -> None:
    run = Run(settings)
    run.begin()
    run.says(BEGUN)
    run.now += timedelta(seconds=5)
    scenario_runs.on_process_lost("w1", run.transaction())
    run.says(BEGUN, after=16)
    run.now += timedelta(seconds=9)
    scenario_runs.settle_overdue(run.transaction(), ALIVE)

    assert sorted(run.outcomes()) == [("default", Outcome.CANCELLED), ("default", Outcome.TIMED_OUT)]
    arms = dict(run.connection.execute("SELECT arm, outcome FROM assignments"))
    assert arms == {"bold": "cancelled", "control": "timed_out"}, "30 s, of which the second process had 9"


def test_a_task_begun_again_has_its_whole_time_within_what_it_was_handed(settings: ScalerSettings) -> None:
    run = Run(settings)
    run.begin()
    handed = NOW + timedelta(seconds=60)
    run.connection.execute("UPDATE assignments SET handed_deadline = ?, deadline = ?", [store.text(handed)] * 2)
    run.says(BEGUN)
    scenario_runs.on_process_lost("w1", run.transaction())
    run.says(BEGUN, after=20)
    run.now += timedelta(seconds=29)
    scenario_runs.settle_overdue(run.transaction(), ALIVE)
    assert run.outcomes() == [], "nothing of the first process's clock"
    run.now += timedelta(seconds=1)
    scenario_runs.settle_overdue(run.transaction(), ALIVE)
    assert run.outcomes() == [("default", Outcome.TIMED_OUT)], "it had its 30 s"


def test_the_same_beginning_told_again_gives_no_more_time(settings: ScalerSettings) -> None:
    run = Run(settings)
    run.begin()
    handed = NOW + timedelta(seconds=600)
    run.connection.execute("UPDATE assignments SET handed_deadline = ?, deadline = ?", [store.text(handed)] * 2)
    run.says(BEGUN)
    run.says(BEGUN, after=20)
    run.now += timedelta(seconds=10)
    scenario_runs.settle_overdue(run.transaction(), ALIVE)

    assert run.outcomes() == [("default", Outcome.TIMED_OUT)]


@pytest.mark.parametrize("year", [1970, 9998])
def test_a_wrong_clock_gives_a_task_no_more_time_and_takes_none(settings: ScalerSettings, year: int) -> None:
    run = Run(settings)
    run.begin()
    handed = NOW + timedelta(seconds=600)
    run.connection.execute("UPDATE assignments SET handed_deadline = ?, deadline = ?", [store.text(handed)] * 2)
    run.says(BEGUN, clock=datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC))
    run.now += timedelta(seconds=29)
    scenario_runs.settle_overdue(run.transaction(), ALIVE)
    assert run.outcomes() == []
    run.now += timedelta(seconds=1)
    scenario_runs.settle_overdue(run.transaction(), ALIVE)
    assert run.outcomes() == [("default", Outcome.TIMED_OUT)]


def test_two_tenants_run_experiments_of_the_same_id(settings: ScalerSettings) -> None:
    run = Run(settings)
    run.begin()
    run.begin(tenant="other")
    scenario_runs.stop("other", "support", "e", run.transaction(), "theirs is over")
    run.says(answer("right"), tenant="other")
    assert run.outcomes() == []
    run.says(answer("right"))

    assert run.outcomes() == [("default", Outcome.SUCCEEDED)]
