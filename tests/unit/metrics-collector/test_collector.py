"""What comes in, what goes out, and what a restart remembers."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics_collector import store
from metrics_collector.collector import Collector, Emission
from metrics_collector.event_time import SECOND_US, from_us, to_us
from metrics_collector.fleet import FleetLimits
from metrics_collector.handlers import Handlers
from metrics_collector.window import Limits
from thymos import subjects
from thymos.database import Connection, open_sqlite
from thymos.envelope import Envelope
from thymos.events import BaselineFrozen, CommitMarkedGood
from thymos.message import Message
from thymos.metrics import AgentMetrics, MetricsChanged, MetricsOutcomes, OutcomeRow
from thymos.telemetry import AgentHeartbeat, Outcome, ResponseSent, TaskFinished, TaskStarted
from thymos.unit_of_work import Cause, Transaction

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
NOW = to_us(START)


@pytest.fixture
def db() -> Iterator[Connection]:
    connection = open_db()
    yield connection
    connection.close()


def open_db() -> Connection:
    connection = open_sqlite(":memory:")
    connection.executescript(store.SCHEMA)
    return connection


_ids = iter(range(1, 10**9))


def sent(data: Message, agent: str = "support", seconds_ago: float = 0.0) -> Envelope[Message]:
    time = START - timedelta(seconds=seconds_ago)
    return Envelope(id=f"e{next(_ids)}", source="test", time=time, tenant="default", agent=agent, data=data)


def finished(task: str, outcome: Outcome = Outcome.SUCCEEDED, ago: float = 0.0, **data: Any) -> Envelope[Message]:
    """An outcome: of an experiment's arm as its grader says it, else as anybody does."""
    agent = data.pop("agent", "support")
    source = data.pop("source", subjects.WORKTREE_SCALER if "experiment_id" in data else "test")
    said = sent(TaskFinished(task_id=task, outcome=outcome, **data), agent, ago)
    return said.model_copy(update={"source": source})


def rows(emissions: list[Emission]) -> list[OutcomeRow]:
    return [row for e in emissions if isinstance(e.message, MetricsOutcomes) for row in e.message.rows]


def changed(emissions: list[Emission]) -> list[MetricsChanged]:
    return [e.message for e in emissions if isinstance(e.message, MetricsChanged)]


def main_metrics(collector: Collector, db: Connection, now_us: int = NOW) -> AgentMetrics:
    return collector.metrics(db, "default", "support", now_us, "main")[0]


def everything(collector: Collector, db: Connection, now_us: int = NOW) -> list[AgentMetrics]:
    return [m for agent in collector.agents(db, "default") for m in collector.metrics(db, "default", agent, now_us)]


# --- outcomes ------------------------------------------------------------------------------------------------------


def test_outcomes_become_rows_and_a_snapshot(db: Connection) -> None:
    emissions = Collector().observe(db, [finished("t1"), finished("t2", Outcome.FAILED)], NOW)
    assert [(row.row, row.task_id, row.outcome) for row in rows(emissions)] == [
        (1, "t1", Outcome.SUCCEEDED),
        (2, "t2", Outcome.FAILED),
    ]
    assert [message.metrics.task.success_rate for message in changed(emissions)] == [0.5]
    assert isinstance(emissions[0].message, MetricsOutcomes)


def test_the_same_task_under_another_message_id_counts_once(db: Connection) -> None:
    collector = Collector()
    first = collector.observe(db, [finished("t1")], NOW)
    again = collector.observe(db, [finished("t1", Outcome.FAILED)], NOW)
    assert (len(rows(first)), len(rows(again))) == (1, 0)
    assert main_metrics(collector, db).task.total == 1


def test_a_task_counts_once_per_arm_and_once_outside_experiments(db: Connection) -> None:
    arms: list[dict[str, Any]] = [
        {"branch": "experiment-1-control", "experiment_id": "1", "arm": "control"},
        {"branch": "experiment-1-cautious", "experiment_id": "1", "arm": "cautious"},
        {"branch": "main"},
    ]
    emissions = Collector().observe(db, [finished("t1", **arm) for arm in arms * 2], NOW)
    assert [row.row for row in rows(emissions)] == [1, 2, 3]
    keys = [(m.branch, m.experiment_id, m.arm) for e in emissions if isinstance(m := e.message, MetricsOutcomes)]
    assert keys == [
        ("experiment-1-control", "1", "control"),
        ("experiment-1-cautious", "1", "cautious"),
        ("main", None, None),
    ]


def test_rows_of_one_message_are_consecutive_whatever_order_the_arms_report_in(db: Connection) -> None:
    mixed = [finished(f"t{n}", branch="main" if n % 2 else "other") for n in range(6)]
    messages = [e.message for e in Collector().observe(db, mixed, NOW) if isinstance(e.message, MetricsOutcomes)]
    assert [[row.row for row in message.rows] for message in messages] == [[1, 2, 3], [4, 5, 6]]


def test_agents_have_row_counters_of_their_own(db: Connection) -> None:
    emissions = Collector().observe(db, [finished("t1", agent="a"), finished("t1", agent="b")], NOW)
    assert [(e.agent, row.row) for e in emissions for row in rows([e])] == [("a", 1), ("b", 1)]


def test_an_answer_that_awaits_its_grade_is_a_response_and_no_outcome(db: Connection) -> None:
    collector = Collector()
    collector.observe(db, [sent(TaskStarted(task_id="t1")), sent(TaskStarted(task_id="t2"))], NOW)
    answer = collector.observe(db, [finished("t1", latency_ms=40.0, awaits_grade=True)], NOW)
    assert rows(answer) == []
    seen = main_metrics(collector, db)
    assert (seen.task.total, seen.task.in_progress, seen.response.latency.mean_ms) == (0, 1, 40.0)
    grade = collector.observe(db, [finished("t1", Outcome.FAILED, latency_ms=40.0)], NOW)
    assert [row.outcome for row in rows(grade)] == [Outcome.FAILED]
    assert main_metrics(collector, db).task.failed == 1


def test_an_arm_cannot_grade_itself(db: Connection) -> None:
    collector = Collector()
    arm: dict[str, Any] = {"branch": "experiment-1-bold", "experiment_id": "1", "arm": "bold"}
    boast = collector.observe(db, [finished("t1", latency_ms=40.0, source="raw-client", **arm)], NOW)
    assert rows(boast) == [], "it says that it succeeded and awaits no grade: an answer all the same"
    (answered,) = collector.metrics(db, "default", "support", NOW, "experiment-1-bold")
    assert (answered.task.total, answered.response.latency.mean_ms) == (0, 40.0)
    grade = collector.observe(db, [finished("t1", Outcome.FAILED, latency_ms=40.0, **arm)], NOW)
    assert [row.outcome for row in rows(grade)] == [Outcome.FAILED]


def test_a_late_outcome_keeps_its_row_and_leaves_the_window_alone(db: Connection) -> None:
    collector = Collector()
    emissions = collector.observe(db, [finished("now"), finished("late", ago=400), finished("early", ago=-400)], NOW)
    assert [row.task_id for row in rows(emissions)] == ["now", "late", "early"]
    seen = main_metrics(collector, db)
    assert (seen.task.total, seen.task.late) == (1, 2)


def test_a_message_without_a_time_happened_when_it_was_received(db: Connection) -> None:
    timeless = finished("t").model_copy(update={"time": from_us(0)})
    collector = Collector()
    assert [row.finished_at for row in rows(collector.observe(db, [timeless], NOW))] == [START]
    assert main_metrics(collector, db).task.total == 1


# --- snapshots -----------------------------------------------------------------------------------------------------


def test_snapshots_are_coalesced_and_none_is_forgotten(db: Connection) -> None:
    collector = Collector()
    assert len(changed(collector.observe(db, [finished("t1")], NOW))) == 1
    assert changed(collector.observe(db, [finished("t2")], NOW + 1_000)) == []
    assert changed(collector.due(db, NOW + 200_000)) == []
    assert [m.metrics.task.total for m in changed(collector.due(db, NOW + 251_000))] == [2]
    assert changed(collector.due(db, NOW + 900_000)) == []


def test_an_arm_has_a_window_of_its_own_besides_its_branch(db: Connection) -> None:
    arm = finished("t1", branch="main", experiment_id="1", arm="control")
    snapshots = changed(Collector().observe(db, [arm, finished("t2", Outcome.FAILED)], NOW))
    assert {(m.arm, m.metrics.task.total, m.metrics.task.success_rate) for m in snapshots} == {
        ("control", 1, 1.0),
        (None, 2, 0.5),
    }


def test_time_passing_is_a_change_too(db: Connection) -> None:
    collector = Collector()
    collector.observe(db, [finished("t1")], NOW)
    later = NOW + 301 * SECOND_US
    assert collector.sweep(db, later) == 1
    assert [m.metrics.task.success_rate for m in changed(collector.due(db, later))] == [None]
    assert collector.sweep(db, later + SECOND_US) == 0


def test_load_comes_from_heartbeats(db: Connection) -> None:
    collector = Collector()
    beat = AgentHeartbeat(worktree_id="w1", in_flight=3, capacity=4)
    assert [m.metrics.load for m in changed(collector.observe(db, [sent(beat)], NOW))] == [0.75]
    assert main_metrics(collector, db, NOW + 6 * SECOND_US).load is None


# --- baseline ------------------------------------------------------------------------------------------------------


def frozen(emissions: list[Emission]) -> list[BaselineFrozen]:
    return [e.message for e in emissions if isinstance(e.message, BaselineFrozen)]


def batch(first: int, count: int, outcome: Outcome = Outcome.SUCCEEDED, ago: float = 0) -> list[Envelope[Message]]:
    return [finished(f"t{n}", outcome, ago) for n in range(first, first + count)]


def test_the_baseline_freezes_once_after_its_samples(db: Connection) -> None:
    collector = Collector(baseline_samples=100)
    assert frozen(collector.observe(db, batch(0, 99), NOW)) == []
    events = frozen(collector.observe(db, batch(99, 50, Outcome.FAILED), NOW))
    assert [(e.samples, e.failures, e.first_row, e.last_row) for e in events] == [(100, 1, 1, 100)]
    assert frozen(collector.observe(db, batch(200, 300), NOW)) == []


def test_a_good_mark_begins_a_new_baseline(db: Connection) -> None:
    collector = Collector(baseline_samples=100)
    collector.observe(db, batch(0, 150), NOW)
    assert collector.mark_good(db, "default", "support", NOW, NOW)
    assert not collector.mark_good(db, "default", "support", NOW, NOW)
    before_the_mark = collector.observe(db, batch(200, 100, Outcome.FAILED, ago=1), NOW)
    assert frozen(before_the_mark) == []
    events = frozen(collector.observe(db, batch(300, 100, ago=-1), NOW))
    assert [(e.failures, e.first_row) for e in events] == [(0, 251)]


@pytest.mark.parametrize("year", [1970, 2999])
def test_a_mark_of_a_wrong_clock_begins_its_baseline_now(db: Connection, year: int) -> None:
    collector = Collector(baseline_samples=100)
    collector.observe(db, batch(0, 150, ago=2), NOW)
    mark = sent(CommitMarkedGood(branch="main", commit="c", samples=20, restart_baseline=True))
    mark = mark.model_copy(update={"time": datetime(year, 1, 2, tzinfo=UTC)})
    Handlers(collector).event(mark, Transaction(db, START, "test", Cause("m", "default", "support")))
    assert frozen(collector.observe(db, batch(200, 100, ago=1), NOW)) == [], "from before the mark"
    assert [e.failures for e in frozen(collector.observe(db, batch(300, 100, ago=-1), NOW))] == [0]


def test_a_rollback_throws_away_a_baseline_that_is_being_collected_but_none_that_is_frozen(
    db: Connection,
) -> None:
    collector = Collector(baseline_samples=100)
    collector.observe(db, batch(0, 80, Outcome.FAILED, ago=1), NOW)
    assert collector.roll_back(db, "default", "support", NOW, NOW)
    events = frozen(collector.observe(db, batch(100, 100, ago=-1), NOW))
    assert [e.failures for e in events] == [0]
    assert not collector.roll_back(db, "default", "support", NOW, NOW)


def test_what_is_late_is_in_no_baseline(db: Connection) -> None:
    collector = Collector(baseline_samples=100)
    collector.observe(db, batch(0, 99), NOW)
    assert frozen(collector.observe(db, batch(100, 50, Outcome.FAILED, ago=400), NOW)) == []
    assert [e.failures for e in frozen(collector.observe(db, batch(200, 1), NOW))] == [0]


def test_only_main_makes_the_baseline(db: Connection) -> None:
    collector = Collector(baseline_samples=100)
    other = [finished(f"t{n}", branch="experiment-1-control", experiment_id="1", arm="control") for n in range(200)]
    assert frozen(collector.observe(db, other, NOW)) == []


# --- restart, rollback, limits -------------------------------------------------------------------------------------


def some_of_everything() -> list[Envelope[Message]]:
    return [
        *(finished(f"t{n}", Outcome.SUCCEEDED, ago=n, cost_usd=0.1 * n) for n in range(0, 50, 3)),
        *(finished(f"t{n}", Outcome.FAILED, ago=n, cost_usd=0.1 * n) for n in range(50) if n % 3),
        *(finished(f"x{n}", branch="b", experiment_id="1", arm="cautious", quality={"tone": 0.5}) for n in range(9)),
        *(sent(TaskStarted(task_id=f"s{n}")) for n in range(3)),
        *(sent(ResponseSent(latency_ms=5.0, ok=True, bytes=n)) for n in range(3)),
        finished("a1", awaits_grade=True),
        finished("late", ago=400),
    ]


def test_a_restart_continues_exactly_where_it_was(db: Connection) -> None:
    first = Collector(baseline_samples=100)
    first.observe(db, some_of_everything(), NOW)
    reborn = Collector(baseline_samples=100)
    assert everything(reborn, db) == everything(first, db)
    assert rows(reborn.observe(db, [finished("t1"), finished("new")], NOW))[0].row == 61
    assert [e.failures for e in frozen(reborn.observe(db, batch(100, 60), NOW))] == [33]


def test_what_was_rolled_back_never_happened(db: Connection) -> None:
    collector = Collector(baseline_samples=100)
    collector.observe(db, some_of_everything(), NOW)
    before = everything(collector, db)
    db.execute("BEGIN IMMEDIATE")
    collector.observe(db, batch(500, 80), NOW)
    collector.delete_branch(db, "default", "support", "b", NOW)
    db.execute("ROLLBACK")
    assert everything(collector, db) == before
    assert rows(collector.observe(db, batch(500, 1), NOW))[0].row == 61


def test_a_failure_in_the_middle_leaves_no_trace_either(db: Connection) -> None:
    collector = Collector()
    collector.observe(db, some_of_everything(), NOW)
    before = everything(collector, db)
    db.execute("CREATE TRIGGER full BEFORE INSERT ON baseline_sample BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    db.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.DatabaseError, match="disk full"):
        collector.observe(db, batch(500, 3), NOW)
    db.execute("ROLLBACK")
    assert everything(collector, db) == before


@settings(max_examples=25, deadline=None)
@given(st.integers(), st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_windows_depend_neither_on_order_nor_duplicates_nor_batches_nor_restarts(seed: int, sizes: list[int]) -> None:
    random = Random(seed)
    told = [e for e in some_of_everything() if not (isinstance(e.data, TaskFinished) and e.data.task_id == "late")]
    straight, shaken = open_db(), open_db()
    Collector().observe(straight, told, NOW)
    shuffled = [*told, *(e for e in random.sample(told, 20) if isinstance(e.data, TaskFinished))]
    random.shuffle(shuffled)
    while shuffled:
        size = sizes[random.randrange(len(sizes))]
        Collector().observe(shaken, shuffled[:size], NOW)
        del shuffled[:size]
    assert everything(Collector(), shaken) == everything(Collector(), straight)
    straight.close()
    shaken.close()


def test_the_file_holds_no_more_than_the_windows(db: Connection) -> None:
    collector = Collector(FleetLimits(window=Limits(count_max=10)))
    for first in range(0, 100, 7):
        collector.observe(db, batch(first, 7), NOW)
    assert db.execute("SELECT count(*) FROM sample").fetchone() == (10,)
    collector.sweep(db, NOW + 400 * SECOND_US)
    assert db.execute("SELECT count(*) FROM sample").fetchone() == (0,)


def test_deleting_a_branch_ends_its_windows_and_no_task_counts_again(db: Connection) -> None:
    collector = Collector()
    arm: dict[str, Any] = {"branch": "experiment-1-a", "experiment_id": "1", "arm": "a"}
    collector.observe(db, [finished("t1"), finished("t1", **arm)], NOW)
    assert collector.delete_branch(db, "default", "support", "experiment-1-a", NOW) == 2
    assert collector.metrics(db, "default", "support", NOW, "experiment-1-a") == []
    assert [m.branch for m in collector.metrics(db, "default", "support", NOW)] == ["main"]
    assert rows(collector.observe(db, [finished("t1", **arm)], NOW)) == []


def test_too_many_branches_drop_the_one_used_longest_ago_but_never_main(db: Connection) -> None:
    collector = Collector(FleetLimits(windows_per_agent_max=3))
    for branch in ("main", "a", "b", "c", "d"):
        collector.observe(db, [finished("t1", branch=branch)], NOW)
    assert [m.branch for m in collector.metrics(db, "default", "support", NOW)] == ["main", "c", "d"]
    assert everything(Collector(), db) == everything(collector, db)


def test_too_many_agents_drop_the_one_heard_of_longest_ago_and_its_rows_go_on_later(db: Connection) -> None:
    collector = Collector(FleetLimits(agents_max=2))
    for agent in ("a", "b", "c"):
        collector.observe(db, [finished("t1", agent=agent)], NOW)
    assert list(collector.agents(db, "default")) == ["b", "c"]
    assert rows(collector.observe(db, [finished("t2", agent="a")], NOW))[0].row == 2


def test_too_many_samples_drop_whole_agents(db: Connection) -> None:
    collector = Collector(FleetLimits(samples_max=10))
    for agent in ("a", "b", "c"):
        collector.observe(db, [finished(f"t{n}", agent=agent) for n in range(5)], NOW)
    assert list(collector.agents(db, "default")) == ["b", "c"]


def test_an_idle_branch_is_forgotten_and_main_is_not(db: Connection) -> None:
    collector = Collector()
    collector.observe(db, [finished("t1"), finished("t1", branch="old")], NOW)
    collector.sweep(db, NOW + 3_601 * SECOND_US)
    assert [m.branch for m in collector.metrics(db, "default", "support", NOW)] == ["main"]


def test_nobody_sees_the_agents_of_another_tenant(db: Connection) -> None:
    collector = Collector()
    collector.observe(db, [finished("t1")], NOW)
    assert list(collector.agents(db, "default")) == ["support"]
    assert collector.agents(db, "other") == {}
    assert collector.metrics(db, "other", "support", NOW) == []
