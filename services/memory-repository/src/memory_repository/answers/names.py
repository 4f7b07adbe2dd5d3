"""What the service answers about names for commits: tags, snapshots, renamed branches, where a branch has stood."""

from __future__ import annotations

from collections.abc import Sequence

from memory_repository import wire
from memory_repository.answers.writing import REQUEST
from memory_repository.handlers import found
from memory_repository.operations import branching, reading
from memory_repository.operations.branching import Named
from thymos import events, requests
from thymos.service import Endpoint
from thymos.unit_of_work import Transaction


def branch_rename(request: requests.RenameBranch, tx: Transaction) -> requests.BranchAnswer:
    """`branch_rename`."""
    done = branching.rename_branch(
        found(tx), request.branch, request.new_name, actor=request.by or REQUEST, now=tx.now, reason=request.reason
    )
    if done.created:
        tx.publish(
            events.BranchRenamed(
                branch=request.branch, new_name=done.name, commit=done.commit.id, reason=request.reason
            )
        )
    return requests.BranchAnswer(branch=done.name, commit=done.commit.id)


def reflog(request: requests.ReadReflog, tx: Transaction) -> requests.ReflogAnswer:
    """`reflog`."""
    moves = reading.moves(found(tx), request.branch, "branch", request.limit, request.skip)
    return requests.ReflogAnswer(
        moves=wire.fitting(
            requests.RefMove(
                at=move.at,
                actor=move.actor,
                operation=move.operation,
                old=move.old,
                new=move.new,
                reason=move.reason,
            )
            for move in moves
        )
    )


def tags(request: requests.ListTags, tx: Transaction) -> requests.NamedCommitsAnswer:
    """`tags`."""
    return _listed(reading.named(found(tx), "tag", request.after or ""))


def snapshots(request: requests.ListSnapshots, tx: Transaction) -> requests.NamedCommitsAnswer:
    """`snapshots`."""
    return _listed(reading.named(found(tx), "snapshot", request.after or ""))


def tag_create(request: requests.NewTag, tx: Transaction) -> requests.NamedCommit:
    """`tag_create`."""
    done = branching.create_tag(
        found(tx), request.tag, request.ref, actor=request.by or REQUEST, now=tx.now, reason=request.reason
    )
    if done.created:
        tx.publish(events.TagCreated(tag=done.name, commit=done.commit.id, reason=request.reason))
    return _named(done, request.reason)


def tag_delete(request: requests.RemoveTag, tx: Transaction) -> requests.NamedCommit:
    """`tag_delete`."""
    done = branching.delete_named(
        found(tx), "tag", request.tag, actor=request.by or REQUEST, now=tx.now, reason=request.reason
    )
    tx.publish(events.TagDeleted(tag=done.name, commit=done.commit.id, reason=request.reason))
    return _named(done, request.reason)


def snapshot_delete(request: requests.RemoveSnapshot, tx: Transaction) -> requests.NamedCommit:
    """`snapshot_delete`."""
    done = branching.delete_named(
        found(tx), "snapshot", request.snapshot_id, actor=request.by or REQUEST, now=tx.now, reason=request.reason
    )
    tx.publish(events.SnapshotDeleted(snapshot_id=done.name, commit=done.commit.id, reason=request.reason))
    return _named(done, request.reason)


def _named(done: Named, reason: str) -> requests.NamedCommit:
    return requests.NamedCommit(name=done.name, commit=done.commit.id, reason=reason)


def _listed(found_names: Sequence[reading.NamedCommit]) -> requests.NamedCommitsAnswer:
    named = wire.fitting(
        requests.NamedCommit(
            name=each.name,
            commit=each.commit.id,
            created_at=each.created_at,
            reason=each.reason,
            metadata=dict(each.meta),
        )
        for each in found_names
    )
    more = len(named) < len(found_names)
    return requests.NamedCommitsAnswer(named=named, truncated=more, next_after=named[-1].name if more else None)


ENDPOINTS = (
    Endpoint("branch_rename", requests.RenameBranch, branch_rename),
    Endpoint("reflog", requests.ReadReflog, reflog),
    Endpoint("tags", requests.ListTags, tags),
    Endpoint("tag_create", requests.NewTag, tag_create),
    Endpoint("tag_delete", requests.RemoveTag, tag_delete),
    Endpoint("snapshots", requests.ListSnapshots, snapshots),
    Endpoint("snapshot_delete", requests.RemoveSnapshot, snapshot_delete),
)
