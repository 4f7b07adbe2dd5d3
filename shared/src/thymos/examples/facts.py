"""What the examples have in common: names, ids and figures of their story."""

import hashlib
import uuid
from datetime import UTC, datetime

from pydantic import JsonValue

from thymos import commands as c
from thymos import events as e
from thymos import metrics as m

TENANT = "acme"
AGENT = "support"
BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

CUSTOMERS, PERSON, WORKER = "customers", "cli", "support-worker"
EXPERIMENT = "3f9a1c0d7e42"
CONTROL = f"experiment-{EXPERIMENT}-control"
LEARN = f"experiment-{EXPERIMENT}-learn-from-success"
CAUTIOUS = f"experiment-{EXPERIMENT}-cautious"
MERGE = "merge-5d0c71aa3b9e"
WORKTREE = "wt-5b21c9"
TASK = "q-0217"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def id_of(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:thymos:example:{text}"))


BASE, WINNER, MERGED, BAD, REVERT = (digest(f"commit {n}") for n in ("base", "winner", "merged", "bad", "revert"))
GOOD_STATE = digest("state of merged")
DECISION = id_of("decision")

METRICS = m.AgentMetrics(
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

ARMS = [
    e.Arm(name="control", branch=CONTROL, control=True, description="memory as it is on main"),
    e.Arm(name="learn-from-success", branch=LEARN, description="adds the words of answered questions"),
    e.Arm(name="cautious", branch=CAUTIOUS, description="the same where at least three answers agree"),
]
REPORTS = [
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
CONTROL_FIGURES: dict[str, JsonValue] = {"pairs": 31, "successes": 16, "errors": 0}
EVIDENCE: dict[str, JsonValue] = {"pairs": 31, "wins": 13, "losses": 1, "e_exact": "16376/105", "threshold": "40"}
CHANGE = c.MemoryChange(
    op="modify", id="refund-window", fields={"keywords": "refund money back return period"}
)  # fmt: skip


def worktree_event(happened: type[e.WorktreeEvent], reason: str) -> e.WorktreeEvent:
    return happened(worktree_id=WORKTREE, branch=LEARN, backend="process", experiment_id=EXPERIMENT, reason=reason)
