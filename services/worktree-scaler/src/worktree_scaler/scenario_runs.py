"""Running scenarios: the rows behind scenario.py, and what is published when they change.

A run keeps its own copy of the tasks it uses, with what is expected of each: a scenario file that is edited
later
changes nothing, and `expect` never travels. Everything here happens inside the caller's transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import JsonValue

from thymos.commands import RunScenario
from thymos.envelope import Envelope
from thymos.errors import Refusal, RefusalCode
from thymos.events import ScenarioFinished, ScenarioStarted
from thymos.message import Message
from thymos.tasks import TaskAssigned
from thymos.telemetry import Outcome, TaskFinished, TaskStarted
from thymos.unit_of_work import Transaction
from worktree_scaler.grading import grade
from worktree_scaler.scenario import (
    OPEN,
    ArmProgress,
    Happening,
    Stage,
    deadline_after_begin,
    following,
    graded_outcome,
    hand_outs,
    outcome_of,
)
from worktree_scaler.scenario_file import ScenarioTask
from worktree_scaler.store import moment, text

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs(
    experiment_id TEXT PRIMARY KEY, tenant TEXT NOT NULL, agent TEXT NOT NULL, seed INTEGER NOT NULL,
    task_timeout_seconds REAL NOT NULL, arms TEXT NOT NULL, grader TEXT NOT NULL, correlation_id TEXT,
    finished INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS run_tasks(
    experiment_id TEXT NOT NULL, position INTEGER NOT NULL, task_id TEXT NOT NULL, input TEXT NOT NULL,
    expect TEXT NOT NULL, PRIMARY KEY(experiment_id, position));
CREATE UNIQUE INDEX IF NOT EXISTS run_tasks_by_id ON run_tasks(experiment_id, task_id);
CREATE TABLE IF NOT EXISTS assignments(
    experiment_id TEXT NOT NULL, arm TEXT NOT NULL, position INTEGER NOT NULL, stage TEXT NOT NULL,
    deadline TEXT NOT NULL, worktree_id TEXT, outcome TEXT, PRIMARY KEY(experiment_id, arm, position));
CREATE INDEX IF NOT EXISTS assignments_open ON assignments(deadline) WHERE stage IN ('out', 'begun', 'lost');
"""
_OPEN_SQL = ", ".join(f"'{stage}'" for stage in sorted(OPEN))
RUNS_KEPT = 50
"""Finished runs whose rows are kept for looking things up."""


@dataclass(frozen=True)
class Run:
    """One scenario being run. `arms` maps an arm's name to its branch."""

    experiment_id: str
    tenant: str
    agent: str
    seed: int
    task_timeout: timedelta
    arms: Mapping[str, str]
    grader: str
    correlation_id: str | None
    finished: bool


@dataclass(frozen=True)
class Assignment:
    """One task at one arm."""

    run: Run
    arm: str
    position: int
    task_id: str
    input: JsonValue
    expect: JsonValue
    stage: Stage
    deadline: datetime


# --- beginning and handing out ------------------------------------------------------------------------------


def begin(command: RunScenario, tasks: Mapping[str, ScenarioTask], grader: str, tx: Transaction) -> None:
    """Store a run and hand out its first tasks.

    Raises:
        Refusal: the experiment's scenario runs already, a task is not in the scenario, or an arm or
        task comes twice.
    """
    if load(tx.connection, command.experiment_id) is not None:
        raise Refusal(RefusalCode.CONFLICT, f"the scenario of experiment {command.experiment_id} was started before")
    unknown = [task_id for task_id in command.task_ids if task_id not in tasks]
    if unknown:
        raise Refusal(RefusalCode.NOT_FOUND, f"task {unknown[0]!r} is not in the scenario ({len(unknown)} missing)")
    if len(set(command.task_ids)) != len(command.task_ids):
        raise Refusal(RefusalCode.INVALID, "a task comes twice in task_ids")
    arms = {arm.name: arm.branch for arm in command.arms}
    if len(arms) != len(command.arms):
        raise Refusal(RefusalCode.INVALID, "two arms have the same name")
    _forget_oldest(tx.connection)
    tx.connection.execute(
        "INSERT INTO runs(experiment_id, tenant, agent, seed, task_timeout_seconds, arms, grader, correlation_id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            command.experiment_id, tx.tenant, tx.agent, command.seed, command.task_timeout_seconds,
            json.dumps(arms), grader, tx.cause.correlation_id,
        ),
    )  # fmt: skip
    tx.connection.executemany(
        "INSERT INTO run_tasks(experiment_id, position, task_id, input, expect) VALUES (?, ?, ?, ?, ?)",
        (
            (
                command.experiment_id,
                at,
                task_id,
                json.dumps(tasks[task_id].input),
                json.dumps(tasks[task_id].expect),
            )
            for at, task_id in enumerate(command.task_ids)
        ),
    )
    tx.publish(ScenarioStarted(experiment_id=command.experiment_id, tasks=len(command.task_ids)))
    hand_out(command.experiment_id, tx)


def _forget_oldest(connection: sqlite3.Connection) -> None:
    old = connection.execute(
        "SELECT experiment_id FROM runs WHERE finished = 1 ORDER BY rowid DESC LIMIT -1 OFFSET ?",
        (RUNS_KEPT,),
    ).fetchall()
    for table in ("assignments", "run_tasks", "runs"):
        connection.executemany(f"DELETE FROM {table} WHERE experiment_id = ?", old)


def load(connection: sqlite3.Connection, experiment_id: str) -> Run | None:
    """One run."""
    row = connection.execute(
        "SELECT tenant, agent, seed, task_timeout_seconds, arms, grader, correlation_id, finished FROM runs"
        " WHERE experiment_id = ?",
        (experiment_id,),
    ).fetchone()
    if row is None:
        return None
    tenant, agent, seed, seconds, arms, grader, correlation_id, finished = row
    timeout = timedelta(seconds=seconds)
    return Run(experiment_id, tenant, agent, seed, timeout, json.loads(arms), grader, correlation_id, bool(finished))


def hand_out(experiment_id: str, tx: Transaction) -> None:
    """Give every arm of a run the tasks it has room for; announce the end when there are none left
    anywhere.
    """
    run = load(tx.connection, experiment_id)
    if run is None or run.finished:
        return
    task_ids = _task_ids(tx.connection, experiment_id)
    progress = _progress(tx.connection, run)
    for one in hand_outs(task_ids, progress, run.seed, run.task_timeout, tx.now):
        tx.connection.execute(
            "INSERT INTO assignments(experiment_id, arm, position, stage, deadline) VALUES (?, ?, ?, ?, ?)",
            (experiment_id, one.arm, one.position, Stage.OUT, text(one.deadline)),
        )
        task = TaskAssigned(
            task_id=one.task_id,
            branch=run.arms[one.arm],
            input=_input(tx.connection, experiment_id, one.position),
            experiment_id=experiment_id,
            arm=one.arm,
            deadline=one.deadline,
            awaits_grade=True,
        )
        tx.publish(task, tenant=run.tenant, agent=run.agent, correlation_id=run.correlation_id)
    if all(one.next_position >= len(task_ids) and one.outstanding == 0 for one in progress):
        _finish(run, tx, "every task has its outcome")


def _task_ids(connection: sqlite3.Connection, experiment_id: str) -> Sequence[str]:
    rows = connection.execute(
        "SELECT task_id FROM run_tasks WHERE experiment_id = ? ORDER BY position", (experiment_id,)
    )
    return [row[0] for row in rows]


def _input(connection: sqlite3.Connection, experiment_id: str, position: int) -> JsonValue:
    row = connection.execute(
        "SELECT input FROM run_tasks WHERE experiment_id = ? AND position = ?", (experiment_id, position)
    ).fetchone()
    value: JsonValue = json.loads(row[0])
    return value


def _progress(connection: sqlite3.Connection, run: Run) -> list[ArmProgress]:
    rows = connection.execute(
        f"SELECT arm, max(position) + 1, sum(stage IN ({_OPEN_SQL})) FROM assignments WHERE experiment_id = ?"
        " GROUP BY arm",
        (run.experiment_id,),
    )
    at = {arm: (next_position, outstanding) for arm, next_position, outstanding in rows}
    return [ArmProgress(arm, *at.get(arm, (0, 0))) for arm in run.arms]


def _finish(run: Run, tx: Transaction, reason: str) -> None:
    tx.connection.execute("UPDATE runs SET finished = 1 WHERE experiment_id = ?", (run.experiment_id,))
    rows = tx.connection.execute(
        "SELECT outcome = 'cancelled', count(*) FROM assignments WHERE experiment_id = ? AND outcome IS NOT NULL"
        " GROUP BY 1",
        (run.experiment_id,),
    )
    counts = {bool(cancelled): count for cancelled, count in rows}
    tx.publish(
        ScenarioFinished(
            experiment_id=run.experiment_id,
            graded=counts.get(False, 0),
            unmeasured=counts.get(True, 0),
            reason=reason,
        ),
        tenant=run.tenant,
        agent=run.agent,
        correlation_id=run.correlation_id,
    )


# --- what comes back ----------------------------------------------------------------------------------------


def _find(connection: sqlite3.Connection, run: Run, arm: str, task_id: str) -> Assignment | None:
    row = connection.execute(
        "SELECT t.position, t.input, t.expect, a.stage, a.deadline FROM run_tasks t JOIN assignments a"
        " ON a.experiment_id = t.experiment_id AND a.position = t.position"
        " WHERE t.experiment_id = ? AND t.task_id = ? AND a.arm = ?",
        (run.experiment_id, task_id, arm),
    ).fetchone()
    if row is None:
        return None
    position, given, expect, stage, deadline = row
    return Assignment(
        run, arm, position, task_id, json.loads(given), json.loads(expect), Stage(stage), moment(deadline)
    )  # fmt: skip


def _store(one: Assignment, stage: Stage, outcome: Outcome | None, tx: Transaction) -> None:
    tx.connection.execute(
        "UPDATE assignments SET stage = ?, outcome = ? WHERE experiment_id = ? AND arm = ? AND position = ?",
        (stage, outcome, one.run.experiment_id, one.arm, one.position),
    )


def _ours(envelope: Envelope[Message], data: TaskStarted | TaskFinished, tx: Transaction) -> Assignment | None:
    """The assignment that an agent's message is about; None when it is about none, or comes from elsewhere."""
    if data.experiment_id is None or data.arm is None:
        return None
    run = load(tx.connection, data.experiment_id)
    if run is None or (run.tenant, run.agent) != (envelope.tenant, envelope.agent):
        return None
    if run.arms.get(data.arm) != data.branch:
        return None
    return _find(tx.connection, run, data.arm, data.task_id)


def on_started(envelope: Envelope[Message], data: TaskStarted, tx: Transaction) -> None:
    """An agent begins a task: its time-out counts from here, and the worktree it would be lost with is
    known.
    """
    one = _ours(envelope, data, tx)
    if one is None or one.stage not in OPEN:
        return
    deadline = deadline_after_begin(one.deadline, envelope.time, one.run.task_timeout)
    _store(one, following(one.stage, Happening.BEGIN), None, tx)
    tx.connection.execute(
        "UPDATE assignments SET deadline = ?, worktree_id = ? WHERE experiment_id = ? AND arm = ? AND position = ?",
        (text(deadline), envelope.source, one.run.experiment_id, one.arm, one.position),
    )


def on_answer(envelope: Envelope[Message], answer: TaskFinished, tx: Transaction) -> str | None:
    """Grade an answer and publish its outcome; the experiment's id when there may be something to hand out.

    Every assignment awaits a grade, so what answers it is graded, whether or not the agent says that it awaits one.
    """
    one = _ours(envelope, answer, tx)
    if one is None or one.stage not in OPEN:
        return None
    mark = grade(one.run.grader, one.expect, answer.output)
    outcome = graded_outcome(answer.outcome, mark)
    _store(one, following(one.stage, Happening.ANSWER), outcome, tx)
    tx.publish(
        answer.model_copy(update={"outcome": outcome, "awaits_grade": False}),
        tenant=one.run.tenant,
        agent=one.run.agent,
        correlation_id=one.run.correlation_id,
        causation_id=envelope.id,
    )
    return one.run.experiment_id


def on_process_lost(worktree_id: str, tx: Transaction) -> None:
    """A process ended: what it had begun is lost, until another begins it again."""
    tx.connection.execute(
        "UPDATE assignments SET stage = ? WHERE worktree_id = ? AND stage = ?",
        (following(Stage.BEGUN, Happening.LOSE), worktree_id, Stage.BEGUN),
    )


def settle_overdue(tx: Transaction, has_agent: Mapping[tuple[str, str, str], bool]) -> None:
    """End every assignment whose deadline has passed, and hand out what there is room for then.

    Args:
        has_agent: by (tenant, agent, branch), whether a ready agent works there now.
    """
    touched: set[str] = set()
    for one in list(_overdue(tx)):
        alive = has_agent.get((one.run.tenant, one.run.agent, one.run.arms[one.arm]), False)
        _end(one, Happening.DEADLINE_ALIVE if alive else Happening.DEADLINE_GONE, tx)
        touched.add(one.run.experiment_id)
    for experiment_id in sorted(touched):
        hand_out(experiment_id, tx)


def _overdue(tx: Transaction) -> Iterator[Assignment]:
    rows = tx.connection.execute(
        "SELECT a.experiment_id, a.arm, t.task_id FROM assignments a JOIN run_tasks t"
        " ON t.experiment_id = a.experiment_id AND t.position = a.position"
        f" WHERE a.stage IN ({_OPEN_SQL}) AND a.deadline <= ? ORDER BY a.deadline LIMIT 500",
        (text(tx.now),),
    ).fetchall()
    for experiment_id, arm, task_id in rows:
        run = load(tx.connection, experiment_id)
        one = _find(tx.connection, run, arm, task_id) if run else None
        if one is not None:
            yield one


def _end(one: Assignment, happening: Happening, tx: Transaction) -> None:
    """End an assignment without an answer and publish its outcome."""
    stage = following(one.stage, happening)
    outcome = outcome_of(stage)
    if outcome is None:
        return
    _store(one, stage, outcome, tx)
    given = one.input if isinstance(one.input, str) else json.dumps(one.input, ensure_ascii=False)
    tx.publish(
        TaskFinished(
            task_id=one.task_id,
            outcome=outcome,
            branch=one.run.arms[one.arm],
            experiment_id=one.run.experiment_id,
            arm=one.arm,
            latency_ms=one.run.task_timeout.total_seconds() * 1000 if outcome is Outcome.TIMED_OUT else 0.0,
            input=given[:8_192],
            error=f"not answered by its deadline ({one.stage})",
        ),
        tenant=one.run.tenant,
        agent=one.run.agent,
        correlation_id=one.run.correlation_id,
    )


def stop(experiment_id: str, tx: Transaction, reason: str) -> None:
    """End a run whose experiment is over: what is open stays without an outcome, for nobody waits for it."""
    run = load(tx.connection, experiment_id)
    if run is None or run.finished:
        return
    tx.connection.execute(
        f"UPDATE assignments SET stage = ? WHERE experiment_id = ? AND stage IN ({_OPEN_SQL})",
        (following(Stage.OUT, Happening.RELEASE), experiment_id),
    )
    _finish(run, tx, reason)
