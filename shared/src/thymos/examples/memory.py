"""What memory-repository says in the story."""

from thymos import commands as c
from thymos import events as e
from thymos import telemetry as t
from thymos.examples.facts import (
    BAD,
    BASE,
    CAUTIOUS,
    CONTROL,
    EVIDENCE,
    EXPERIMENT,
    GOOD_STATE,
    LEARN,
    MERGED,
    METRICS,
    REVERT,
    WINNER,
    digest,
)
from thymos.message import Message

REMEMBERED: tuple[Message, ...] = (
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
        evidence=EVIDENCE,
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
        state_id=digest("state of bad"),
        changes=14,
    ),
    e.SnapshotCreated(
        snapshot_id="snapshot-1",
        commit=BASE,
        experiment_id=EXPERIMENT,
        reason="before the experiment",
        metrics=METRICS,
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
    e.BranchRenamed(branch="try-shorter-answers", new_name="short-answers", commit=WINNER, reason="it is shorter"),
    e.BranchRebased(
        branch="short-answers",
        onto=MERGED,
        commit=REVERT,
        previous_commit=WINNER,
        state_id=GOOD_STATE,
        replayed=3,
        dropped=1,
        reason="the articles have changed",
    ),
    e.TagCreated(tag="spring-2026", commit=MERGED, reason="what we ship"),
    e.TagDeleted(tag="spring-2025", commit=BASE, reason="a year is over"),
    e.SnapshotDeleted(snapshot_id="snapshot-before-spring", commit=BASE, reason="a year is over"),
)
