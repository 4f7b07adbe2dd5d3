"""What the service answers to requests that change a branch or a worktree. What writes memories
creates a repository; a name is for a commit, which has to be there."""

from __future__ import annotations

from memory_repository import announcing, handlers, wire
from memory_repository.handlers import found, opened
from memory_repository.operations import branching, committing, worktrees
from memory_repository.operations.committing import Committed
from memory_repository.storage import refs
from thymos import commands, events, requests
from thymos.service import Endpoint
from thymos.unit_of_work import Transaction

REQUEST = "request"
"""Who asks, where a request does not say."""


def commit(request: requests.CommitChanges, tx: Transaction) -> requests.CommitAnswer:
    """`commit`."""
    done = committing.commit(
        opened(tx),
        request.branch,
        wire.changes_of(request.changes),
        author=request.author,
        message=request.message,
        now=tx.now,
        expected_head=request.expected_head,
    )
    return committed(done, tx)


def branch_create(request: requests.NewBranch, tx: Transaction) -> requests.BranchAnswer:
    """`branch_create`."""
    done = branching.create_branch(
        found(tx), request.branch, request.from_ref, actor=request.by or REQUEST, now=tx.now, reason=request.reason
    )
    if done.created:
        tx.publish(
            events.BranchCreated(
                branch=request.branch,
                from_commit=done.commit.id,
                state_id=done.commit.state_id,
                reason=request.reason,
            )
        )
    return requests.BranchAnswer(branch=request.branch, commit=done.commit.id)


def branch_delete(request: requests.RemoveBranch, tx: Transaction) -> requests.BranchAnswer:
    """`branch_delete`."""
    by = request.by or REQUEST
    done = branching.delete_branch(
        found(tx), request.branch, actor=by, now=tx.now, force=request.force, reason=request.reason
    )
    for kept in done.aborted:
        announcing.publish_aborted(tx, kept, by, f"{request.branch} is deleted")
    tx.publish(events.BranchDeleted(branch=request.branch, from_commit=done.commit.id, reason=request.reason))
    return requests.BranchAnswer(branch=request.branch, commit=done.commit.id)


def rollback(request: requests.Rollback, tx: Transaction) -> requests.CommitAnswer:
    """`rollback`."""
    repo = found(tx)
    author = request.author or REQUEST
    done = committing.rollback(repo, request.branch, request.to, author=author, reason=request.reason, now=tx.now)
    if done.changed:
        command = commands.RollbackBranch(
            branch=request.branch, target_commit=done.commit.meta["restored_commit"], reason=request.reason
        )
        handlers.publish_rollback(tx, repo, command, done)
    return _commit_answer(done)


def snapshot(request: requests.Snapshot, tx: Transaction) -> requests.SnapshotAnswer:
    """`snapshot`."""
    repo = found(tx)
    done = branching.create_snapshot(
        repo,
        request.snapshot_id or f"snapshot-{tx.new_id()}",
        request.ref,
        actor=request.by or REQUEST,
        now=tx.now,
        reason=request.reason,
        meta=request.metadata,
    )
    branch = request.ref if refs.find(repo.db, repo.id, "branch", request.ref) else "main"
    if done.created:
        tx.publish(
            events.SnapshotCreated(snapshot_id=done.name, commit=done.commit.id, branch=branch, reason=request.reason)
        )
    return requests.SnapshotAnswer(snapshot_id=done.name, commit=done.commit.id)


def worktree_open(request: requests.OpenWorktree, tx: Transaction) -> requests.WorktreeAnswer:
    """`worktree_open`."""
    opened_worktree = worktrees.open_worktree(
        opened(tx), request.worktree_id, request.branch, owner=request.by or REQUEST, now=tx.now
    )
    return wire.worktree_answer(opened_worktree)


def worktree_stage(request: requests.StageChanges, tx: Transaction) -> requests.WorktreeAnswer:
    """`worktree_stage`."""
    return wire.worktree_answer(worktrees.stage(found(tx), request.worktree_id, wire.changes_of(request.changes)))


def worktree_commit(request: requests.CommitWorktree, tx: Transaction) -> requests.CommitAnswer:
    """`worktree_commit`."""
    done = worktrees.commit_worktree(
        found(tx), request.worktree_id, author=request.author, message=request.message, now=tx.now
    )
    return committed(done, tx)


def worktree_close(request: requests.CloseWorktree, tx: Transaction) -> requests.WorktreeAnswer:
    """`worktree_close`."""
    return wire.worktree_answer(worktrees.close_worktree(found(tx), request.worktree_id, force=request.force))


def committed(done: Committed, tx: Transaction) -> requests.CommitAnswer:
    """Where a branch stands after a write; the event goes out if there is a new commit."""
    if done.changed:
        handlers.publish_commit(tx, found(tx), done.branch, done.commit)
    return _commit_answer(done)


def _commit_answer(done: Committed) -> requests.CommitAnswer:
    return requests.CommitAnswer(
        branch=done.branch,
        commit=done.commit.id,
        previous_commit=done.previous.id,
        changes=done.commit.changes if done.changed else 0,
        rebased=done.rebased,
    )


ENDPOINTS = (
    Endpoint("commit", requests.CommitChanges, commit),
    Endpoint("branch_create", requests.NewBranch, branch_create),
    Endpoint("branch_delete", requests.RemoveBranch, branch_delete),
    Endpoint("rollback", requests.Rollback, rollback),
    Endpoint("snapshot", requests.Snapshot, snapshot),
    Endpoint("worktree_open", requests.OpenWorktree, worktree_open),
    Endpoint("worktree_stage", requests.StageChanges, worktree_stage),
    Endpoint("worktree_commit", requests.CommitWorktree, worktree_commit),
    Endpoint("worktree_close", requests.CloseWorktree, worktree_close),
)
