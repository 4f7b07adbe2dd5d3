"""One realistic message per class, all from one story: a support agent gets worse, an experiment repairs its memory,
a bad commit is rolled back. `make generate` writes them to `proto/examples/`, where they must parse for ever.

A new message class needs its example here; `tests/contract/test_examples.py` names the class that has none.
"""

import base64
import hashlib
import uuid
from datetime import UTC, datetime, timedelta

from pydantic import JsonValue

from thymos import commands as c
from thymos import events as e
from thymos import metrics as m
from thymos import telemetry as t
from thymos.dead_letters import DeadLetter
from thymos.envelope import Envelope
from thymos.input_digest import input_digest
from thymos.message import Kind, Message
from thymos.subjects import METRICS_COLLECTOR, TELEMETRY
from thymos.tasks import TaskAssigned

TENANT = "acme"
AGENT = "support"
BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

CUSTOMERS, PERSON, WORKER = "customers", "cli", "support-worker"
EXPERIMENT = "3f9a1c0d7e42"
CONTROL = f"experiment-{EXPERIMENT}-control"
LEARN = f"experiment-{EXPERIMENT}-learn-from-success"
CAUTIOUS = f"experiment-{EXPERIMENT}-cautious"
WORKTREE = "wt-5b21c9"
TASK = "q-0217"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _id(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:thymos:example:{text}"))


BASE, WINNER, MERGED, BAD, REVERT = (_digest(f"commit {n}") for n in ("base", "winner", "merged", "bad", "revert"))
GOOD_STATE = _digest("state of merged")
DECISION = _id("decision")

_METRICS = m.AgentMetrics(
    branch="main",
    task=m.TaskMetrics(
        success_rate=0.56,
        error_rate=0.0,
        timeout_rate=0.0,
        cancellation_rate=0.0,
        completion=m.Durations(mean_ms=41.5, p50_ms=38.0, p95_ms=77.0, p99_ms=102.0),
        total=120,
        succeeded=67,
        failed=53,
        in_progress=2,
    ),
    response=m.ResponseMetrics(
        latency=m.Durations(mean_ms=44.0, p50_ms=40.5, p95_ms=81.0, p99_ms=110.0),
        throughput_per_second=3.2,
        peak_per_second=11.0,
        timeout_rate=0.0,
        bytes=48_210,
    ),
    resource=m.ResourceMetrics(
        cpu_fraction=0.07,
        memory_fraction=0.012,
        memory_bytes=98_304_000,
        llm_calls=240,
        input_tokens=97_440,
        output_tokens=11_280,
        cost_usd=0.252,
        cost_per_request_usd=0.0021,
        llm_error_rate=0.0,
        rate_limit_hits=0,
    ),
    quality=m.QualityMetrics(output_quality=0.71, quality={"tone": 0.9}, business={"refund_usd": 18.5}),
    memory=m.MemoryMetrics(memories_stored=16, search_latency_ms=0.8, hit_rate=0.93, mean_results=3.4),
    load=0.5,
    overall_score=0.64,
    trend=m.Trend.DECLINING,
    variance=0.011,
    sample_count=120,
    measured_at=BEGIN,
)

_ARMS = [
    e.Arm(name="control", branch=CONTROL, control=True, description="memory as it is on main"),
    e.Arm(name="learn-from-success", branch=LEARN, description="adds the words of answered questions"),
    e.Arm(name="cautious", branch=CAUTIOUS, description="the same where at least three answers agree"),
]
_REPORTS = [
    e.ArmReport(
        arm="learn-from-success",
        verdict=e.Verdict.MERGE,
        pairs=31,
        wins=13,
        losses=1,
        ties=17,
        e_value=155.96,
        e_exact="16376/105",
        threshold=40.0,
        successes=28,
        success_low=0.7,
        success_high=0.98,
        win_share_low=0.56,
        more_pairs_needed=0,
        reason="proven better: 13 wins, 1 loss in 31 pairs",
    ),
    e.ArmReport(
        arm="cautious",
        verdict=e.Verdict.CONTINUE,
        pairs=31,
        wins=4,
        losses=2,
        ties=25,
        e_value=0.943,
        e_exact="33/35",
        threshold=40.0,
        successes=18,
        success_low=0.36,
        success_high=0.77,
        win_share_low=0.12,
        more_pairs_needed=96,
    ),
]
_CONTROL: dict[str, JsonValue] = {"pairs": 31, "successes": 16, "errors": 0}
_EVIDENCE: dict[str, JsonValue] = {"pairs": 31, "wins": 13, "losses": 1, "e_exact": "16376/105", "threshold": "40"}
_CHANGE = c.MemoryChange(
    op="modify", id="refund-window", fields={"keywords": "refund money back return period"}
)  # fmt: skip


def _worktree(happened: type[e.WorktreeEvent], reason: str) -> e.WorktreeEvent:
    return happened(worktree_id=WORKTREE, branch=LEARN, backend="process", experiment_id=EXPERIMENT, reason=reason)


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
    m.MetricsChanged(branch="main", metrics=_METRICS),
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
    e.BaselineFrozen(metrics=_METRICS, samples=300, failures=24, window=412.5, first_row=1, last_row=300),
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

_REMEMBERED: tuple[Message, ...] = (
    t.MemorySampled(memories_stored=16, searches=120, search_hits=112, results_returned=408, search_latency_ms=0.8),
    e.BranchCreated(branch=CONTROL, from_commit=BASE, experiment_id=EXPERIMENT, reason="control"),
    e.BranchDeleted(branch=CAUTIOUS, from_commit=BASE, experiment_id=EXPERIMENT, reason="not the winner"),
    e.BranchMerged(
        source=LEARN,
        target="main",
        commit=MERGED,
        previous_commit=BASE,
        state_id=GOOD_STATE,
        strategy="AutoMerge",
        experiment_id=EXPERIMENT,
        reason="learn-from-success is proven better: 13 wins, 1 loss in 31 pairs",
        evidence=_EVIDENCE,
    ),
    e.BranchRolledBack(
        branch="main",
        restored_commit=MERGED,
        revert_commit=REVERT,
        previous_commit=BAD,
        state_id=GOOD_STATE,
        reason="11 of 13 answers failed since the commit",
        evidence={"failures": 11, "successes": 2, "q0": "181/1000", "threshold": "80"},
    ),
    e.CommitCreated(
        branch="main",
        commit=BAD,
        parents=[MERGED],
        author="jo@acme.example",
        message="rewrite the articles",
        state_id=_digest("state of bad"),
        changes=14,
    ),
    e.SnapshotCreated(
        snapshot_id="snapshot-1",
        commit=BASE,
        experiment_id=EXPERIMENT,
        reason="before the experiment",
        metrics=_METRICS,
    ),
    e.VariantsPrepared(
        experiment_id=EXPERIMENT,
        base_commit=BASE,
        control_branch=CONTROL,
        variants=[
            e.VariantChange(
                name="learn-from-success",
                description="adds the words of answered questions",
                branch=LEARN,
                commit=WINNER,
                changes=9,
            ),
        ],
        skipped=[e.VariantSkipped(name="aggressive", reason="it would change nothing")],
        generator="thymos.generators.v1",
        outcomes_used=120,
    ),
    e.MergeConflicted(
        source=LEARN,
        target="main",
        conflicts=[e.MergeConflict(memory_id="refund-window", kind="field", field="days", base=14, ours=30, theirs=60)],
        conflict_count=1,
        experiment_id=EXPERIMENT,
    ),
    e.CommandRefused(command=c.MergeBranch.type_name(), code="not_found", reason=f"there is no branch {CAUTIOUS}"),
)

_ACTED: tuple[Message, ...] = (
    _worktree(e.WorktreeStarted, "reserved"),
    _worktree(e.WorktreeReady, "first heartbeat"),
    _worktree(e.WorktreeDrained, "released"),
    _worktree(e.WorktreeStopped, "released"),
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
        arms=_ARMS,
        mode="scenario",
        alpha="1/20",
        budget="each",
        challengers=2,
        min_pairs=20,
        deadline=BEGIN + timedelta(minutes=30),
        seed=7,
        tasks=[e.ExperimentTask(task_id=TASK, digest=_digest("shoes"))],
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
        arms=_REPORTS,
        control=_CONTROL,
        reason="learn-from-success is proven better",
        rows={"first": 301, "last": 421},
    ),
    e.ExperimentClosed(
        experiment_id=EXPERIMENT,
        phase="Closed",
        verdict=e.Verdict.MERGE,
        winner="learn-from-success",
        arms=_REPORTS,
        control=_CONTROL,
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
        hashes=[_digest("event 1"), _digest("event 2")],
    ),
)

_ORDERED: tuple[Message, ...] = (
    c.MergeBranch(source=LEARN, experiment_id=EXPERIMENT, reason="proven better", evidence=_EVIDENCE),
    c.RollbackBranch(
        target_commit=MERGED,
        reason="11 of 13 answers failed since the commit",
        evidence={"failures": 11, "successes": 2},
    ),
    c.DeleteBranch(branch=CAUTIOUS, experiment_id=EXPERIMENT, reason="not the winner"),
    c.CreateSnapshot(experiment_id=EXPERIMENT, reason="before the experiment", metrics=_METRICS),
    c.PrepareVariants(
        experiment_id=EXPERIMENT,
        control_branch=CONTROL,
        branch_prefix=f"experiment-{EXPERIMENT}-",
        generators=["learn-from-success", "cautious", "aggressive"],
        reason="success fell from 0.92 to 0.56",
    ),
    c.ReserveWorktrees(experiment_id=EXPERIMENT, arms=_ARMS, deadline=BEGIN + timedelta(minutes=2)),
    c.ReleaseWorktrees(experiment_id=EXPERIMENT, reason="decided"),
    c.RunScenario(experiment_id=EXPERIMENT, arms=_ARMS, task_ids=[TASK, "q-0218"], seed=7),
)

_ASKED: tuple[Message, ...] = (
    c.CreateBranch(branch="try-shorter-answers", reason="to try it out"),
    c.CommitMemory(changes=[_CHANGE], author="jo@acme.example", message="words that customers use", expected_head=BASE),
    c.ScaleWorktree(count=3, for_seconds=600.0, reason="a campaign begins"),
    c.StartExperiment(by="jo@acme.example", reason="new articles", generators=["learn-from-success"]),
    c.ApproveDecision(decision_id=DECISION, by="jo@acme.example"),
    c.AbortExperiment(experiment_id=EXPERIMENT, by="jo@acme.example", reason="the articles change today"),
    c.ProposeStrategy(name="shorter-answers", description="keep answers under 40 words", changes=[_CHANGE]),
)

_STORY: tuple[tuple[str, tuple[Message, ...]], ...] = (
    (WORKER, _REPORTED),
    (CUSTOMERS, _GRADED),
    (METRICS_COLLECTOR, _MEASURED),
    (c.MEMORY_REPOSITORY, _REMEMBERED),
    (c.WORKTREE_SCALER, _ACTED),
    (c.DECISION_ENGINE, _DECIDED),
    (c.DECISION_ENGINE, _ORDERED),
    (PERSON, _ASKED),
)


def _envelope(source: str, data: Message) -> Envelope[Message]:
    identity = uuid.UUID(_id(data.type_name()))
    reported = data.KIND is Kind.TELEMETRY
    return Envelope(
        id=str(identity),
        source=source,
        time=BEGIN + timedelta(seconds=identity.int % 600),  # of its own, so that a new example changes no other
        tenant=TENANT,
        agent=AGENT,
        data=data,
        correlation_id=None if reported else DECISION,
        causation_id=_id("cause of " + data.type_name()) if data.KIND is Kind.EVENT else None,
        traceparent=TRACEPARENT,
    )


EXAMPLES: tuple[Envelope[Message], ...] = tuple(_envelope(source, data) for source, said in _STORY for data in said)
"""One per message class, in the order of the story."""


def example_of(message_class: type[Message]) -> Envelope[Message]:
    """The example of a class. Raises KeyError that says where to add one."""
    for envelope in EXAMPLES:
        if type(envelope.data) is message_class:
            return envelope
    raise KeyError(f"{message_class.__name__} has no example: add one to thymos/examples.py")
