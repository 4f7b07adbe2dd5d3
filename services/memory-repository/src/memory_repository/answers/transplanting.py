"""What the service answers to requests that bring changes to where they were not made."""

from __future__ import annotations

from memory_repository import wire
from memory_repository.answers.writing import committed
from memory_repository.core.merge import Strategy
from memory_repository.handlers import found
from memory_repository.operations import transplanting
from thymos import events, requests
from thymos.service import Endpoint
from thymos.unit_of_work import Transaction


def cherry_pick(request: requests.CherryPick, tx: Transaction) -> requests.CommitAnswer:
    """`cherry_pick`."""
    done = transplanting.cherry_pick(
        found(tx),
        request.branch,
        request.commit,
        author=request.author,
        now=tx.now,
        message=request.message,
        strategy=Strategy(request.strategy),
        mainline=request.mainline,
    )
    return committed(done, tx)


def revert(request: requests.Revert, tx: Transaction) -> requests.CommitAnswer:
    """`revert`."""
    done = transplanting.revert(
        found(tx),
        request.branch,
        request.commit,
        author=request.author,
        now=tx.now,
        reason=request.reason,
        strategy=Strategy(request.strategy),
        mainline=request.mainline,
    )
    return committed(done, tx)


def rebase(request: requests.Rebase, tx: Transaction) -> requests.RebaseAnswer:
    """`rebase`."""
    repo = found(tx)
    strategy = Strategy(request.strategy)
    done = transplanting.rebase(
        repo, request.branch, request.onto, author=request.author, now=tx.now, strategy=strategy
    )
    if done.commit.no != done.previous.no:
        tx.publish(
            events.BranchRebased(
                branch=done.branch,
                onto=done.onto.id,
                commit=done.commit.id,
                previous_commit=done.previous.id,
                state_id=done.commit.state_id,
                replayed=len(done.replayed),
                dropped=len(done.dropped),
                reason=request.reason,
            )
        )
    replayed = wire.fitting(wire.commit_answer(repo, commit, {}) for commit in done.replayed)
    return requests.RebaseAnswer(
        branch=done.branch,
        onto=done.onto.id,
        commit=done.commit.id,
        previous_commit=done.previous.id,
        replayed=replayed,
        dropped=list(done.dropped),
        replayed_count=len(done.replayed),
        truncated=len(replayed) < len(done.replayed),
    )


ENDPOINTS = (
    Endpoint("cherry_pick", requests.CherryPick, cherry_pick),
    Endpoint("revert", requests.Revert, revert),
    Endpoint("rebase", requests.Rebase, rebase),
)
