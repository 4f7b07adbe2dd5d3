"""Events of what has happened to branches, in the transaction in which it happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memory_repository import wire
from memory_repository.core.merge import Conflict
from memory_repository.operations import kept_merges, reading
from memory_repository.operations.kept_merges import KeptMerge
from memory_repository.operations.merging import Merge
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import Repository
from thymos import commands, events
from thymos.unit_of_work import Transaction

ACTOR_CHARACTERS = 300
MEMORIES_SHOWN = 100


def publish_commit(
    tx: Transaction, repo: Repository, branch: str, commit: CommitRow, experiment_id: str | None = None
) -> None:
    """A branch stands at a new commit."""
    tx.publish(
        events.CommitCreated(
            branch=branch,
            commit=commit.id,
            parents=reading.parents(repo, commit),
            author=commit.author,
            message=commit.message,
            state_id=commit.state_id,
            changes=commit.changes,
            experiment_id=experiment_id,
        )
    )


def publish_merge(tx: Transaction, repo: Repository, command: commands.MergeBranch, done: Merge) -> None:
    """A branch was merged; `commit` equals `previous_commit` when it held everything already. A commit that only
    records how conflicts were decided has the `state_id` of the one before."""
    if done.changed:
        publish_commit(tx, repo, command.target, done.commit, command.experiment_id)
    # Of the commit that was made now: an old one that is the head all the same says nothing about this merge.
    facts = done.commit.meta if done.changed else {}
    tx.publish(
        events.BranchMerged(
            source=command.source,
            target=command.target,
            commit=done.commit.id,
            previous_commit=done.previous.id,
            state_id=done.commit.state_id,
            strategy=command.strategy,
            experiment_id=command.experiment_id,
            reason=command.reason,
            evidence=command.evidence,
            merge_id=facts.get("merge_id"),
            model=facts.get("model"),
            approved_by=facts.get("approved_by"),
        )
    )


def publish_conflicts(
    tx: Transaction, command: commands.MergeBranch, done: Merge, kept: KeptMerge | None, reason: str = ""
) -> None:
    """Conflicts are left to a person; `kept` is where they wait, if they are kept."""
    waiting = [conflict for collision in done.collisions for conflict in collision.open]
    _publish_conflicts(tx, command, waiting, len(waiting), kept, reason or (kept.reason if kept else ""))


def publish_kept(tx: Transaction, repo: Repository, command: commands.MergeBranch, kept: KeptMerge) -> None:
    """The same of a merge that was kept before: what a model left open, or has decided and somebody has to approve."""
    found = kept_merges.collisions(repo, kept.id, MEMORIES_SHOWN)
    conflicts = [conflict for collision in found for conflict in collision.contested.conflicts]
    _publish_conflicts(tx, command, conflicts, kept.conflicts, kept, kept.reason)


def _publish_conflicts(
    tx: Transaction,
    command: commands.MergeBranch,
    conflicts: Sequence[Conflict],
    count: int,
    kept: KeptMerge | None,
    reason: str,
) -> None:
    tx.publish(
        events.MergeConflicted(
            source=command.source,
            target=command.target,
            conflicts=[events.MergeConflict.model_validate(shown) for shown in wire.shown_conflicts(conflicts)],
            conflict_count=count,
            experiment_id=command.experiment_id,
            merge_id=kept and kept.id,
            state=kept and kept.state.value,
            reason=reason,
        )
    )


def publish_opened(tx: Transaction, kept: KeptMerge) -> None:
    """A merge is kept, and a model is asked."""
    tx.publish(events.MergeOpened(**_about(kept), conflict_count=kept.conflicts - kept.decided))


def publish_resolved(tx: Transaction, kept: KeptMerge, memory_ids: list[str], by: str, reason: str = "") -> None:
    """Somebody has decided conflicts of a kept merge."""
    left = kept.conflicts - kept.decided
    shown = memory_ids[:MEMORIES_SHOWN]
    who = by[:ACTOR_CHARACTERS]
    tx.publish(events.MergeResolved(**_about(kept), memory_ids=shown, by=who, open_count=left, reason=reason))


def publish_aborted(tx: Transaction, kept: KeptMerge, by: str, reason: str = "") -> None:
    """A merge is kept no longer."""
    tx.publish(events.MergeAborted(**_about(kept), by=by[:ACTOR_CHARACTERS], reason=reason))


def _about(kept: KeptMerge) -> dict[str, Any]:
    return {
        "merge_id": kept.id,
        "source": kept.source,
        "target": kept.target,
        "experiment_id": kept.meta["facts"].get("experiment_id"),
    }
