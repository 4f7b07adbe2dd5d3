"""One realistic message per class, all from one story: a support agent gets worse, an experiment repairs its memory,
a bad commit is rolled back. `make generate` writes them to `proto/examples/`, where they must parse for ever.

A new message class needs its example here; `tests/contract/test_examples.py` names the class that has none.
"""

import base64
import uuid
from datetime import timedelta

from thymos import commands as c
from thymos import events as e
from thymos import metrics as m
from thymos import telemetry as t
from thymos.dead_letters import DeadLetter
from thymos.envelope import Envelope
from thymos.examples.facts import (
    AGENT,
    ARMS,
    BASE,
    BEGIN,
    CAUTIOUS,
    CHANGE,
    CONTROL,
    CONTROL_FIGURES,
    CUSTOMERS,
    DECISION,
    EVIDENCE,
    EXPERIMENT,
    LEARN,
    MERGED,
    METRICS,
    PERSON,
    REPORTS,
    TASK,
    TENANT,
    TRACEPARENT,
    WINNER,
    WORKER,
    WORKTREE,
    digest,
    id_of,
    worktree_event,
)
from thymos.examples.memory import REMEMBERED
from thymos.input_digest import input_digest
from thymos.message import Kind, Message
from thymos.subjects import METRICS_COLLECTOR, TELEMETRY
from thymos.tasks import TaskAssigned

_REPORTED: tuple[Message, ...] = (
    t.TaskStarted(task_id=TASK),
    t.ResponseSent(latency_ms=40.5, bytes=402, ok=True),
    t.ResourceSampled(cpu_fraction=0.07, memory_bytes=98_304_000, memory_fraction=0.012, worktree_id=WORKTREE),
    t.AgentHeartbeat(worktree_id=WORKTREE, in_flight=2, capacity=4),
)

_GRADED: tuple[Message, ...] = (
    t.TaskFinished(
        task_id=TASK,
        outcome=t.Outcome.FAILED,
        commit=BASE,
        latency_ms=38.2,
        cost_usd=0.0021,
        input_tokens=812,
        output_tokens=94,
        llm_calls=2,
        quality={"tone": 0.9},
        business={"refund_usd": 18.5},
        input="How long may I keep the shoes before sending them back?",
        output="shipping-times",
        recalled_ids=["shipping-times", "refund-window"],
        worktree_id=WORKTREE,
    ),
)

_MEASURED: tuple[Message, ...] = (
    m.MetricsChanged(branch="main", metrics=METRICS),
    m.MetricsOutcomes(
        branch=LEARN,
        experiment_id=EXPERIMENT,
        arm="learn-from-success",
        rows=[
            m.OutcomeRow(
                row=421,
                task_id=TASK,
                outcome=t.Outcome.SUCCEEDED,
                commit=WINNER,
                latency_ms=37.4,
                finished_at=BEGIN,
                input="How long may I keep the shoes before sending them back?",
                input_digest=input_digest("How long may I keep the shoes before sending them back?"),
                recalled_ids=["refund-window"],
            )
        ],
    ),
    e.BaselineFrozen(metrics=METRICS, samples=300, failures=24, window=412.5, first_row=1, last_row=300),
    DeadLetter(
        original=base64.b64encode(b'{"specversion": "1.0", "type": ').decode(),
        subject=Envelope(
            id="0", source=WORKER, time=BEGIN, tenant=TENANT, agent=AGENT, data=t.TaskStarted(task_id=TASK)
        ).subject,
        reason="PoisonError: not JSON: Expecting value: line 1 column 32 (char 31)",
        handler=f"{METRICS_COLLECTOR}:{TELEMETRY.name}",
        attempts=1,
        original_bytes=31,
        stream=TELEMETRY.name,
        sequence=4711,
        message_id="acme/support/worker/broken",
        content_type="application/cloudevents+json",
    ),
)

_ACTED: tuple[Message, ...] = (
    worktree_event(e.WorktreeStarted, "reserved"),
    worktree_event(e.WorktreeReady, "first heartbeat"),
    worktree_event(e.WorktreeDrained, "released"),
    worktree_event(e.WorktreeStopped, "released"),
    e.WorktreeFailed(
        worktree_id="wt-88d0f1", branch="main", backend="process", reason="ended with code 1", exit_code=1, commit=BASE
    ),
    e.WorktreeScaled(
        branch="main",
        from_count=1,
        to_count=3,
        signal={"lag": 24, "capacity": 4},
        reason="24 tasks wait for a capacity of 4",
    ),
    e.WorktreesReserved(experiment_id=EXPERIMENT, branches=[CONTROL, LEARN, CAUTIOUS]),
    e.WorktreesReleased(experiment_id=EXPERIMENT, branches=[CONTROL, LEARN, CAUTIOUS]),
    e.ScenarioStarted(experiment_id=EXPERIMENT, tasks=128),
    e.ScenarioFinished(experiment_id=EXPERIMENT, graded=93, unmeasured=0, reason="released"),
    TaskAssigned(
        task_id=TASK,
        branch=LEARN,
        input="How long may I keep the shoes before sending them back?",
        key="customer-31",
        experiment_id=EXPERIMENT,
        arm="learn-from-success",
        deadline=BEGIN + timedelta(seconds=30),
        awaits_grade=True,
    ),
)

_DECIDED: tuple[Message, ...] = (
    e.CommitMarkedGood(branch="main", commit=MERGED, samples=20, criteria={"consecutive": 20}, restart_baseline=True),
    e.ExperimentStarted(
        experiment_id=EXPERIMENT,
        arms=ARMS,
        mode="scenario",
        alpha="1/20",
        budget="each",
        challengers=2,
        min_pairs=20,
        deadline=BEGIN + timedelta(minutes=30),
        seed=7,
        tasks=[e.ExperimentTask(task_id=TASK, digest=digest("shoes"))],
        base_commit=BASE,
        decision_id=DECISION,
        reason="success fell from 0.92 to 0.56",
    ),
    e.ExperimentRunning(
        experiment_id=EXPERIMENT, phase="Running", verdict=e.Verdict.CONTINUE, reason="all arms are ready"
    ),
    e.ExperimentDecided(
        experiment_id=EXPERIMENT,
        phase="Merging",
        verdict=e.Verdict.MERGE,
        winner="learn-from-success",
        arms=REPORTS,
        control=CONTROL_FIGURES,
        reason="learn-from-success is proven better",
        rows={"first": 301, "last": 421},
    ),
    e.ExperimentClosed(
        experiment_id=EXPERIMENT,
        phase="Closed",
        verdict=e.Verdict.MERGE,
        winner="learn-from-success",
        arms=REPORTS,
        control=CONTROL_FIGURES,
        reason="merged; its branches and worktrees are gone",
        duration_seconds=21.4,
        improvement=0.39,
    ),
    e.DecisionMade(
        decision_id=DECISION,
        rule="performance-drop",
        inputs={"success_rate": 0.56, "baseline": 0.92, "samples": 41},
        verdict="drop",
        actions=[{"action": "CreateBranch", "experiment_id": EXPERIMENT}],
        not_done=[e.NotDone(action="Rollback", why="no commit is being watched: the world changed, not the memory")],
        mode="act",
        reason="success fell from 0.92 to 0.56 over 41 tasks",
        experiment_id=EXPERIMENT,
    ),
    e.ApprovalRequested(
        decision_id=DECISION, by=c.DECISION_ENGINE, expires_at=BEGIN + timedelta(hours=8), reason="mode is approve"
    ),
    e.ApprovalGiven(decision_id=DECISION, by="jo@acme.example", answer="approved"),
    e.StrategyProposed(
        name="shorter-answers",
        description="keep answers under 40 words",
        changes=[{"op": "put", "id": "style", "content": "Answer in at most 40 words."}],
    ),
    e.AuditSealed(
        from_sequence=1,
        to_sequence=2,
        previous_hash="0" * 64,
        hash="074ec87d985cdcabbeb318d28e7b317117ed2971e343f247b00fd240d08e5248",
        hashes=[digest("event 1"), digest("event 2")],
    ),
)

_ORDERED: tuple[Message, ...] = (
    c.MergeBranch(source=LEARN, experiment_id=EXPERIMENT, reason="proven better", evidence=EVIDENCE),
    c.RollbackBranch(
        target_commit=MERGED,
        reason="11 of 13 answers failed since the commit",
        evidence={"failures": 11, "successes": 2},
    ),
    c.DeleteBranch(branch=CAUTIOUS, experiment_id=EXPERIMENT, reason="not the winner"),
    c.CreateSnapshot(experiment_id=EXPERIMENT, reason="before the experiment", metrics=METRICS),
    c.PrepareVariants(
        experiment_id=EXPERIMENT,
        control_branch=CONTROL,
        branch_prefix=f"experiment-{EXPERIMENT}-",
        generators=["learn-from-success", "cautious", "aggressive"],
        reason="success fell from 0.92 to 0.56",
    ),
    c.ReserveWorktrees(experiment_id=EXPERIMENT, arms=ARMS, deadline=BEGIN + timedelta(minutes=2)),
    c.ReleaseWorktrees(experiment_id=EXPERIMENT, reason="decided"),
    c.RunScenario(experiment_id=EXPERIMENT, arms=ARMS, task_ids=[TASK, "q-0218"], seed=7),
)

_ASKED: tuple[Message, ...] = (
    c.CreateBranch(branch="try-shorter-answers", reason="to try it out"),
    c.CommitMemory(changes=[CHANGE], author="jo@acme.example", message="words that customers use", expected_head=BASE),
    c.ScaleWorktree(count=3, for_seconds=600.0, reason="a campaign begins"),
    c.StartExperiment(by="jo@acme.example", reason="new articles", generators=["learn-from-success"]),
    c.ApproveDecision(decision_id=DECISION, by="jo@acme.example"),
    c.AbortExperiment(experiment_id=EXPERIMENT, by="jo@acme.example", reason="the articles change today"),
    c.ProposeStrategy(name="shorter-answers", description="keep answers under 40 words", changes=[CHANGE]),
)

_STORY: tuple[tuple[str, tuple[Message, ...]], ...] = (
    (WORKER, _REPORTED),
    (CUSTOMERS, _GRADED),
    (METRICS_COLLECTOR, _MEASURED),
    (c.MEMORY_REPOSITORY, REMEMBERED),
    (c.WORKTREE_SCALER, _ACTED),
    (c.DECISION_ENGINE, _DECIDED),
    (c.DECISION_ENGINE, _ORDERED),
    (PERSON, _ASKED),
)


def _envelope(source: str, data: Message) -> Envelope[Message]:
    identity = uuid.UUID(id_of(data.type_name()))
    reported = data.KIND is Kind.TELEMETRY
    return Envelope(
        id=str(identity),
        source=source,
        time=BEGIN + timedelta(seconds=identity.int % 600),  # of its own, so that a new example changes no other
        tenant=TENANT,
        agent=AGENT,
        data=data,
        correlation_id=None if reported else DECISION,
        causation_id=id_of("cause of " + data.type_name()) if data.KIND is Kind.EVENT else None,
        traceparent=TRACEPARENT,
    )


EXAMPLES: tuple[Envelope[Message], ...] = tuple(_envelope(source, data) for source, said in _STORY for data in said)
"""One per message class, in the order of the story."""


def example_of(message_class: type[Message]) -> Envelope[Message]:
    """The example of a class. Raises KeyError that says where to add one."""
    for envelope in EXAMPLES:
        if type(envelope.data) is message_class:
            return envelope
    raise KeyError(f"{message_class.__name__} has no example: add one to thymos/examples/")
