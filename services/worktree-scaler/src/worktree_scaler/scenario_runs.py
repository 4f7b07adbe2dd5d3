"""Running scenarios: the rows behind scenario.py, and what is published when they change.

A run keeps its own copy of the tasks it uses, with what is expected of each: a scenario file that is edited
later
changes nothing, and `expect` never travels. Everything here happens inside the caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue

from thymos.commands import RunScenario
from thymos.database import Connection
from thymos.envelope import Envelope, happened_at
from thymos.errors import Refusal, RefusalCode
from thymos.events import ScenarioFinished, ScenarioStarted
from thymos.message import Message
from thymos.scenario import ScenarioTask
from thymos.tasks import TaskAssigned
from thymos.telemetry import Outcome, TaskFinished, TaskStarted
from thymos.unit_of_work import Transaction
from worktree_scaler.grading import grade
from worktree_scaler.scenario import (
    OPEN,
    ArmProgress,
    Happening,
    Stage,
    at_deadline,
    deadline_after_begin,
    following,
    graded_outcome,
    hand_outs,
    outcome_of,
)
from worktree_scaler.store import moment, text

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs(
    run_id INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, agent TEXT NOT NULL, experiment_id TEXT NOT NULL,
    seed INTEGER NOT NULL, task_timeout_seconds REAL NOT NULL, arms TEXT NOT NULL, grader TEXT NOT NULL,
    correlation_id TEXT, finished INTEGER NOT NULL DEFAULT 0, UNIQUE(tenant, agent, experiment_id));
CREATE TABLE IF NOT EXISTS run_tasks(
    run_id INTEGER NOT NULL, position INTEGER NOT NULL, task_id TEXT NOT NULL, input TEXT NOT NULL,
    expect TEXT NOT NULL, PRIMARY KEY(run_id, position));
CREATE UNIQUE INDEX IF NOT EXISTS run_tasks_by_id ON run_tasks(run_id, task_id);
CREATE TABLE IF NOT EXISTS assignments(
    run_id INTEGER NOT NULL, arm TEXT NOT NULL, position INTEGER NOT NULL, stage TEXT NOT NULL,
    handed_deadline TEXT NOT NULL, deadline TEXT NOT NULL, was_lost INTEGER NOT NULL DEFAULT 0, worktree_id TEXT,
    outcome TEXT, PRIMARY KEY(run_id, arm, position));
CREATE INDEX IF NOT EXISTS assignments_open ON assignments(deadline) WHERE stage IN ('out', 'begun', 'lost');
"""
_OPEN_SQL = ", ".join(f"'{stage}'" for stage in sorted(OPEN))
RUNS_KEPT = 50
"""Finished runs whose rows are kept for looking things up."""


@dataclass(frozen=True)
class Run:
    """One scenario being run, known by its own number: an experiment's id is its agent's alone. `arms` maps an arm's
    name to its branch."""

    run_id: int
    tenant: str
    agent: str
    experiment_id: str
    seed: int
    task_timeout: timedelta
    arms: Mapping[str, str]
    grader: str
    correlation_id: str | None
    finished: bool


@dataclass(frozen=True)
class Assignment:
    """One task at one arm. It was handed out with `handed_deadline`; `deadline` is the one that counts now. Once
    `was_lost`, a process that had begun it has ended."""

    run: Run
    arm: str
    position: int
    task_id: str
    input: JsonValue
    expect: JsonValue
    stage: Stage
    handed_deadline: datetime
    deadline: datetime
    was_lost: bool


# --- beginning and handing out ------------------------------------------------------------------------------


def begin(command: RunScenario, tasks: Mapping[str, ScenarioTask], grader: str, tx: Transaction) -> None:
    """Store a run and hand out its first tasks.

    Raises:
        Refusal: the experiment's scenario runs already, a task is not in the scenario, or an arm or
        task comes twice.
    """
    if find(tx.connection, tx.tenant, tx.agent, command.experiment_id) is not None:
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
    (run_id,) = tx.connection.execute(
        "INSERT INTO runs(tenant, agent, experiment_id, seed, task_timeout_seconds, arms, grader, correlation_id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING run_id",
        (
            tx.tenant, tx.agent, command.experiment_id, command.seed, command.task_timeout_seconds,
            json.dumps(arms), grader, tx.cause.correlation_id,
        ),
    ).fetchone()  # fmt: skip
    tx.connection.executemany(
        "INSERT INTO run_tasks(run_id, position, task_id, input, expect) VALUES (?, ?, ?, ?, ?)",
        (
            (run_id, at, task_id, json.dumps(tasks[task_id].input), json.dumps(tasks[task_id].expect))
            for at, task_id in enumerate(command.task_ids)
        ),
    )
    tx.publish(
        ScenarioStarted(experiment_id=command.experiment_id, tasks=len(command.task_ids)),
        tenant=tx.tenant,
        agent=tx.agent,
    )
    hand_out(run_id, tx)


def _forget_oldest(connection: Connection) -> None:
    old = connection.execute(
        "SELECT run_id FROM runs WHERE finished = 1 ORDER BY run_id DESC LIMIT -1 OFFSET ?",
        (RUNS_KEPT,),
    ).fetchall()
    for table in ("assignments", "run_tasks", "runs"):
        connection.executemany(f"DELETE FROM {table} WHERE run_id = ?", old)


_RUN_COLUMNS = (
    "run_id, tenant, agent, experiment_id, seed, task_timeout_seconds, arms, grader, correlation_id, finished"
)


def find(connection: Connection, tenant: str, agent: str, experiment_id: str) -> Run | None:
    """The run of an agent's experiment."""
    return _run(
        connection.execute(
            f"SELECT {_RUN_COLUMNS} FROM runs WHERE tenant = ? AND agent = ? AND experiment_id = ?",
            (tenant, agent, experiment_id),
        ).fetchone()
    )


def _load(connection: Connection, run_id: int) -> Run | None:
    return _run(connection.execute(f"SELECT {_RUN_COLUMNS} FROM runs WHERE run_id = ?", (run_id,)).fetchone())


def _run(row: Sequence[Any] | None) -> Run | None:
    if row is None:
        return None
    number, tenant, agent, experiment_id, seed, seconds, arms, grader, correlation_id, finished = row
    timeout, branches = timedelta(seconds=seconds), json.loads(arms)
    return Run(
        number, tenant, agent, experiment_id, seed, timeout, branches, grader, correlation_id, bool(finished)
    )  # fmt: skip


def hand_out(run_id: int, tx: Transaction) -> None:
    """Give every arm of a run the tasks it has room for; announce the end when there are none left
    anywhere.
    """
    run = _load(tx.connection, run_id)
    if run is None or run.finished:
        return
    task_ids = _task_ids(tx.connection, run_id)
    progress = _progress(tx.connection, run)
    for one in hand_outs(task_ids, progress, run.seed, run.task_timeout, tx.now):
        tx.connection.execute(
            "INSERT INTO assignments(run_id, arm, position, stage, handed_deadline, deadline)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (run_id, one.arm, one.position, Stage.OUT, text(one.deadline), text(one.deadline)),
        )
        task = TaskAssigned(
            task_id=one.task_id,
            branch=run.arms[one.arm],
            input=_input(tx.connection, run_id, one.position),
            experiment_id=run.experiment_id,
            arm=one.arm,
            deadline=one.deadline,
            awaits_grade=True,
        )
        tx.publish(task, tenant=run.tenant, agent=run.agent, correlation_id=run.correlation_id)
    if all(one.next_position >= len(task_ids) and one.outstanding == 0 for one in progress):
        _finish(run, tx, "every task has its outcome")


def _task_ids(connection: Connection, run_id: int) -> Sequence[str]:
    rows = connection.execute("SELECT task_id FROM run_tasks WHERE run_id = ? ORDER BY position", (run_id,))
    return [row[0] for row in rows]


def _input(connection: Connection, run_id: int, position: int) -> JsonValue:
    row = connection.execute(
        "SELECT input FROM run_tasks WHERE run_id = ? AND position = ?", (run_id, position)
    ).fetchone()
    value: JsonValue = json.loads(row[0])
    return value


def _progress(connection: Connection, run: Run) -> list[ArmProgress]:
    rows = connection.execute(
        f"SELECT arm, max(position) + 1, sum(stage IN ({_OPEN_SQL})) FROM assignments WHERE run_id = ? GROUP BY arm",
        (run.run_id,),
    )
    at = {arm: (next_position, outstanding) for arm, next_position, outstanding in rows}
    return [ArmProgress(arm, *at.get(arm, (0, 0))) for arm in run.arms]


def _finish(run: Run, tx: Transaction, reason: str) -> None:
    tx.connection.execute("UPDATE runs SET finished = 1 WHERE run_id = ?", (run.run_id,))
    rows = tx.connection.execute(
        "SELECT outcome = 'cancelled', count(*) FROM assignments WHERE run_id = ? AND outcome IS NOT NULL GROUP BY 1",
        (run.run_id,),
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


def _find(connection: Connection, run: Run, arm: str, task_id: str) -> Assignment | None:
    row = connection.execute(
        "SELECT t.position, t.input, t.expect, a.stage, a.handed_deadline, a.deadline, a.was_lost FROM run_tasks t"
        " JOIN assignments a ON a.run_id = t.run_id AND a.position = t.position"
        " WHERE t.run_id = ? AND t.task_id = ? AND a.arm = ?",
        (run.run_id, task_id, arm),
    ).fetchone()
    if row is None:
        return None
    position, given, expect, stage, handed, deadline, lost = row
    return Assignment(
        run, arm, position, task_id, json.loads(given), json.loads(expect), Stage(stage), moment(handed),
        moment(deadline), bool(lost),
    )  # fmt: skip


def _store(one: Assignment, stage: Stage, outcome: Outcome | None, tx: Transaction) -> None:
    tx.connection.execute(
        "UPDATE assignments SET stage = ?, outcome = ? WHERE run_id = ? AND arm = ? AND position = ?",
        (stage, outcome, one.run.run_id, one.arm, one.position),
    )


def _ours(envelope: Envelope[Message], data: TaskStarted | TaskFinished, tx: Transaction) -> Assignment | None:
    """The assignment that an agent's message is about; None when it is about none, or comes from elsewhere."""
    if data.experiment_id is None or data.arm is None:
        return None
    run = find(tx.connection, envelope.tenant, envelope.agent, data.experiment_id)
    if run is None or run.arms.get(data.arm) != data.branch:
        return None
    return _find(tx.connection, run, data.arm, data.task_id)


def on_started(envelope: Envelope[Message], data: TaskStarted, tx: Transaction) -> None:
    """An agent begins a task: its time-out counts from here, and the worktree it would be lost with is known. One that
    was lost with its process begins anew; one that is begun already (the same news again) keeps its time.
    """
    one = _ours(envelope, data, tx)
    if one is None or one.stage not in OPEN:
        return
    deadline = one.deadline
    if one.stage is not Stage.BEGUN:
        deadline = deadline_after_begin(one.handed_deadline, happened_at(envelope, tx.now), one.run.task_timeout)
    _store(one, following(one.stage, Happening.BEGIN), None, tx)
    tx.connection.execute(
        "UPDATE assignments SET deadline = ?, worktree_id = ? WHERE run_id = ? AND arm = ? AND position = ?",
        (text(deadline), envelope.source, one.run.run_id, one.arm, one.position),
    )


def on_answer(envelope: Envelope[Message], answer: TaskFinished, tx: Transaction) -> int | None:
    """Grade an answer and publish its outcome; the run's number when there may be something to hand out.

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
    return one.run.run_id


def on_process_lost(worktree_id: str, tx: Transaction) -> None:
    """A process ended: what it had begun is lost, until another begins it again. Until then it has the time it was
    handed out with."""
    tx.connection.execute(
        "UPDATE assignments SET stage = ?, was_lost = 1, deadline = handed_deadline"
        " WHERE worktree_id = ? AND stage = ?",
        (following(Stage.BEGUN, Happening.LOSE), worktree_id, Stage.BEGUN),
    )


def settle_overdue(tx: Transaction, has_agent: Mapping[tuple[str, str, str], bool]) -> None:
    """End every assignment whose deadline has passed, and hand out what there is room for then.

    Args:
        has_agent: by (tenant, agent, branch), whether a ready agent works there now.
    """
    touched: set[int] = set()
    for one in list(_overdue(tx)):
        alive = has_agent.get((one.run.tenant, one.run.agent, one.run.arms[one.arm]), False)
        _end(one, at_deadline(alive, one.was_lost, one.deadline, one.handed_deadline), tx)
        touched.add(one.run.run_id)
    for run_id in sorted(touched):
        hand_out(run_id, tx)


def _overdue(tx: Transaction) -> Iterator[Assignment]:
    rows = tx.connection.execute(
        "SELECT a.run_id, a.arm, t.task_id FROM assignments a JOIN run_tasks t"
        " ON t.run_id = a.run_id AND t.position = a.position"
        f" WHERE a.stage IN ({_OPEN_SQL}) AND a.deadline <= ? ORDER BY a.deadline LIMIT 500",
        (text(tx.now),),
    ).fetchall()
    for run_id, arm, task_id in rows:
        run = _load(tx.connection, run_id)
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


def stop(tenant: str, agent: str, experiment_id: str, tx: Transaction, reason: str) -> None:
    """End the run of an agent's experiment that is over: what is open stays without an outcome, for nobody waits for
    it."""
    run = find(tx.connection, tenant, agent, experiment_id)
    if run is None or run.finished:
        return
    tx.connection.execute(
        f"UPDATE assignments SET stage = ? WHERE run_id = ? AND stage IN ({_OPEN_SQL})",
        (following(Stage.OUT, Happening.RELEASE), run.run_id),
    )
    _finish(run, tx, reason)
