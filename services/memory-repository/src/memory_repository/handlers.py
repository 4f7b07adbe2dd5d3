"""What the service does with messages: one short function per command, and the outcome rows.

Every change of state puts its events into the same transaction. A Refusal becomes `command.refused` (thymos.service).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from memory_repository import announcing, merge_orders, wire
from memory_repository.announcing import publish_commit as publish_commit
from memory_repository.operations import branching, committing, preparing
from memory_repository.operations.collecting import Collected
from memory_repository.operations.committing import Committed
from memory_repository.operations.preparing import Proposal
from memory_repository.storage import outcomes, store
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import Repository
from thymos import commands, events
from thymos.commands import ProposeStrategy
from thymos.envelope import Envelope, happened_at
from thymos.errors import PoisonError, Refusal, RefusalCode, TransientError
from thymos.message import Message
from thymos.metrics import MetricsChanged, MetricsOutcomes
from thymos.unit_of_work import Transaction

OUTCOMES_WAIT = timedelta(seconds=20)
"""The longest that a command to prepare variants waits for outcomes; shorter than all attempts at it together."""


def handle_command(envelope: Envelope[Message], tx: Transaction, *, asks_model: bool = False) -> None:
    """Carry out a command; with `asks_model` what collides in an AutoMerge waits for a model.

    Raises PoisonError for one that is not for this service, Refusal for an expected no.
    """
    if isinstance(envelope.data, commands.MergeBranch):
        merge_branch(envelope.data, envelope.source, tx, asks_model=asks_model)
        return
    handler = COMMANDS.get(type(envelope.data))
    if handler is None:
        raise PoisonError(f"memory-repository has no command {envelope.type}")
    if isinstance(envelope.data, commands.PrepareVariants):
        _await_outcomes(envelope.data.after_row, tx.now - happened_at(envelope, tx.now), tx)
    handler(envelope.data, envelope.source, tx)


def _await_outcomes(row: int, age: timedelta, tx: Transaction) -> None:
    """Outcomes come on another stream than commands, and one may be ahead. Raises TransientError: those that variants
    are to learn from are still on their way. A command that has waited long enough learns from what there is."""
    heard = outcomes.heard_to(tx.connection, tx.tenant, tx.agent)
    if heard < row and age < OUTCOMES_WAIT:
        raise TransientError(f"outcomes up to row {row} are to be learned from, and came in up to {heard} so far")


def handle_metrics(envelope: Envelope[Message], tx: Transaction) -> None:
    """Remember outcomes on main for the generators of variants."""
    if isinstance(envelope.data, MetricsOutcomes):
        outcomes.record(tx.connection, envelope.tenant, envelope.agent, envelope.data)
    elif not isinstance(envelope.data, MetricsChanged):
        raise PoisonError(f"{envelope.type} does not belong on the metrics stream")


# --- repositories and events, shared with the requests (answers.py) --------------------------------------------------


def found(tx: Transaction) -> Repository:
    """The repository that the message is about. Raises Refusal (not_found)."""
    return store.find_repository(tx.connection, tx.tenant, tx.agent).at(tx.now)


def opened(tx: Transaction) -> Repository:
    """The repository that the message is about, created if it writes the first time."""
    result = store.open_repository(
        tx.connection, tx.tenant, tx.agent, now=tx.now, key=secrets.token_bytes(store.KEY_BYTES)
    )
    first = result.created
    if first is not None:
        publish_commit(tx, result.repository, store.MAIN, first)
        criteria = {"declared": "the first commit of a repository is good"}
        tx.publish(events.CommitMarkedGood(branch=store.MAIN, commit=first.id, samples=0, criteria=criteria))
    return result.repository.at(tx.now)


def publish_rollback(tx: Transaction, repo: Repository, command: commands.RollbackBranch, done: Committed) -> None:
    """A branch was brought back. Raises Refusal (refused) when it held that state already."""
    if not done.changed:
        raise Refusal(RefusalCode.REFUSED, f"{command.branch} already holds what {command.target_commit} holds")
    publish_commit(tx, repo, command.branch, done.commit, command.experiment_id)
    tx.publish(
        events.BranchRolledBack(
            branch=command.branch,
            restored_commit=done.commit.meta["restored_commit"],
            revert_commit=done.commit.id,
            previous_commit=done.previous.id,
            state_id=done.commit.state_id,
            experiment_id=command.experiment_id,
            reason=command.reason,
            evidence=command.evidence,
        )
    )


def publish_collected(tx: Transaction, repo: Repository, done: Collected) -> None:
    """What a step of gc has dropped, if anything."""
    if done.commits or done.versions:
        tx.publish(
            events.MemoryCollected(
                commits=done.commits,
                unreachable=done.unreachable,
                entries=done.entries,
                versions=done.versions,
                content_bytes=done.content_bytes,
            ),
            tenant=repo.tenant,
            agent=repo.agent,
        )


# --- commands --------------------------------------------------------------------------------------------------------


def create_branch(command: commands.CreateBranch, actor: str, tx: Transaction) -> None:
    """`branch.create` -> branch.created; the same branch at the same commit again is answered the same way."""
    repo = opened(tx)
    done = branching.create_branch(
        repo, command.branch, command.from_ref, actor=actor, now=tx.now, reason=command.reason
    )
    tx.publish(_branch_created(command.branch, done.commit, command.experiment_id, command.reason))


def delete_branch(command: commands.DeleteBranch, actor: str, tx: Transaction) -> None:
    """`branch.delete` -> branch.deleted. What its worktrees staged goes with it: nothing outlives an experiment."""
    done = branching.delete_branch(
        found(tx), command.branch, actor=actor, now=tx.now, force=True, reason=command.reason
    )
    for kept in done.aborted:
        announcing.publish_aborted(tx, kept, actor, f"{command.branch} is deleted")
    tx.publish(
        events.BranchDeleted(
            branch=command.branch,
            from_commit=done.commit.id,
            experiment_id=command.experiment_id,
            reason=command.reason,
        )
    )


def merge_branch(command: commands.MergeBranch, actor: str, tx: Transaction, *, asks_model: bool = False) -> None:
    """`branch.merge` -> branch.merged, or merge.conflicted when conflicts are left to a person; merge.opened when a
    model is asked, and one of the two when it has answered."""
    merge_orders.carry_out(tx, found(tx), merge_orders.Order(command, actor), asks_model=asks_model)


def rollback_branch(command: commands.RollbackBranch, actor: str, tx: Transaction) -> None:
    """`branch.rollback` -> branch.rolled_back."""
    repo = found(tx)
    done = committing.rollback(
        repo,
        command.branch,
        command.target_commit,
        author=actor,
        reason=command.reason,
        now=tx.now,
        meta=_facts(experiment_id=command.experiment_id),
    )
    publish_rollback(tx, repo, command, done)


def create_snapshot(command: commands.CreateSnapshot, actor: str, tx: Transaction) -> None:
    """`snapshot.create` -> snapshot.created."""
    repo = opened(tx)
    metrics = None if command.metrics is None else command.metrics.model_dump(mode="json", exclude_none=True)
    done = branching.create_snapshot(
        repo,
        f"snapshot-{tx.new_id()}",
        command.branch,
        actor=actor,
        now=tx.now,
        reason=command.reason,
        meta=_facts(experiment_id=command.experiment_id, metrics=metrics),
    )
    tx.publish(
        events.SnapshotCreated(
            snapshot_id=done.name,
            commit=done.commit.id,
            branch=command.branch,
            experiment_id=command.experiment_id,
            reason=command.reason,
            metrics=command.metrics,
        )
    )


def commit_memory(command: commands.CommitMemory, actor: str, tx: Transaction) -> None:
    """`memory.commit` -> commit.created; refused when it would change nothing."""
    del actor  # the command names its author
    repo = opened(tx)
    done = committing.commit(
        repo,
        command.branch,
        wire.changes_of(command.changes),
        author=command.author,
        message=command.message,
        now=tx.now,
        expected_head=command.expected_head,
    )
    if not done.changed:
        raise Refusal(RefusalCode.REFUSED, f"{command.branch} already holds all of that: there is nothing to commit")
    publish_commit(tx, repo, command.branch, done.commit)


def prepare_variants(command: commands.PrepareVariants, actor: str, tx: Transaction) -> None:
    """`variants.prepare` -> the branches and commits of the experiment, then variants.prepared."""
    repo = opened(tx)
    past = outcomes.recorded(tx.connection, tx.tenant, tx.agent)
    proposals, skipped = preparing.generated(repo, command.branch, command.generators, past)
    proposed, unreadable = _proposed(command)
    done = preparing.prepare(
        repo,
        branch=command.branch,
        control_branch=command.control_branch,
        branch_prefix=command.branch_prefix,
        proposals=[*proposed, *proposals],
        author=actor,
        now=tx.now,
        meta={"experiment_id": command.experiment_id},
    )
    experiment, reason = command.experiment_id, command.reason
    tx.publish(_branch_created(command.control_branch, done.base, experiment, reason))
    for variant in done.variants:
        tx.publish(_branch_created(variant.committed.branch, done.base, experiment, reason))
        publish_commit(tx, repo, variant.committed.branch, variant.committed.commit, experiment)
    tx.publish(_variants_prepared(command, done, {**skipped, **unreadable, **done.skipped}, len(past)))


def _variants_prepared(
    command: commands.PrepareVariants, done: preparing.Prepared, skipped: Mapping[str, str], outcomes_used: int
) -> events.VariantsPrepared:
    variants = [
        events.VariantChange(
            name=variant.name,
            description=variant.description,
            branch=variant.committed.branch,
            commit=variant.committed.commit.id,
            changes=variant.committed.commit.changes,
        )
        for variant in done.variants
    ]
    named = [events.VariantSkipped(name=name, reason=why[:4096]) for name, why in skipped.items()]
    return events.VariantsPrepared(
        experiment_id=command.experiment_id,
        base_commit=done.base.id,
        control_branch=command.control_branch,
        variants=variants,
        skipped=named[:32],
        generator=",".join([*(["proposed"] if command.proposed else []), *command.generators]),
        outcomes_used=outcomes_used,
    )


def _proposed(command: commands.PrepareVariants) -> tuple[list[Proposal], dict[str, str]]:
    """The variants that somebody proposed, as in `strategy.propose`; and why some of them cannot be read."""
    proposals: list[Proposal] = []
    unreadable: dict[str, str] = {}
    for number, raw in enumerate(command.proposed, start=1):
        try:
            strategy = ProposeStrategy.model_validate(raw)
            proposals.append(Proposal(strategy.name, strategy.description, wire.changes_of(strategy.changes)))
        except (ValidationError, Refusal) as error:
            unreadable[f"proposed-{number}"] = f"it cannot be read: {error}"
    return proposals, unreadable


def _branch_created(branch: str, commit: CommitRow, experiment_id: str | None, reason: str) -> events.BranchCreated:
    return events.BranchCreated(
        branch=branch, from_commit=commit.id, state_id=commit.state_id, experiment_id=experiment_id, reason=reason
    )


def _facts(**facts: Any) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value}


_Handler = Callable[[Any, str, Transaction], None]
COMMANDS: Mapping[type[Message], _Handler] = MappingProxyType(
    {
        commands.CreateBranch: create_branch,
        commands.DeleteBranch: delete_branch,
        commands.MergeBranch: merge_branch,
        commands.RollbackBranch: rollback_branch,
        commands.CreateSnapshot: create_snapshot,
        commands.CommitMemory: commit_memory,
        commands.PrepareVariants: prepare_variants,
    }
)
"""Every command of the service; the contract test compares them with the catalogue."""
