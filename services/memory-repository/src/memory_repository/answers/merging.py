"""What the service answers to requests that merge, at once or over a while."""

from __future__ import annotations

from memory_repository import announcing, merge_orders, wire
from memory_repository.core.resolution import Resolution, Take
from memory_repository.handlers import found
from memory_repository.merge_orders import Order
from memory_repository.operations import kept_merges, open_merges
from memory_repository.operations.merging import Merge
from thymos import commands, requests
from thymos.service import Endpoint
from thymos.unit_of_work import Transaction

REQUEST = "request"
"""Who asks, where a request does not say."""


def merge(request: requests.Merge, tx: Transaction) -> requests.MergeAnswer:
    """`merge`, where there is no model."""
    return _merge(request, tx, asks_model=False)


def merge_with_model(request: requests.Merge, tx: Transaction) -> requests.MergeAnswer:
    """`merge`, where what collides in an AutoMerge waits for a model."""
    return _merge(request, tx, asks_model=True)


def _merge(request: requests.Merge, tx: Transaction, *, asks_model: bool) -> requests.MergeAnswer:
    command = commands.MergeBranch(
        source=request.source,
        target=request.target,
        strategy=request.strategy,
        reason=request.reason,
        keep=request.keep,
        resolver=request.resolver,
    )
    message = f"merge {request.source} into {request.target}: {request.reason}"[:500] if request.reason else ""
    order = Order(command, request.by or REQUEST, message, request.number_rules, request.dry_run, is_command=False)
    done, reason = merge_orders.carry_out(tx, found(tx), order, asks_model=asks_model)
    return wire.merge_answer(done, request.target, reason)


def merges(request: requests.ListMerges, tx: Transaction) -> requests.MergesAnswer:
    """`merges`."""
    del request
    return requests.MergesAnswer(merges=[wire.merge_summary(kept) for kept in kept_merges.every(found(tx))])


def merge_show(request: requests.ShowMerge, tx: Transaction) -> requests.KeptMergeAnswer:
    """`merge_show`: pages end with a memory."""
    repo = found(tx)
    kept = kept_merges.find(repo, request.merge_id)
    collisions = kept_merges.collisions(repo, kept.id, request.limit, request.after or "")
    shown = wire.fitting_groups(wire.collision_answers(collision) for collision in collisions)
    more = len(shown) < len(collisions) or len(collisions) == request.limit
    return requests.KeptMergeAnswer(
        merge=wire.merge_summary(kept),
        conflicts=[answer for group in shown for answer in group],
        next_after=collisions[len(shown) - 1].contested.id if more and shown else None,
    )


def merge_resolve(request: requests.ResolveConflict, tx: Transaction) -> requests.MergeSummary:
    """`merge_resolve`."""
    decided = Resolution(Take(request.take), request.value, request.by, request.reason)
    kept = open_merges.resolve(found(tx), request.merge_id, request.memory_id, decided, part=request.part)
    announcing.publish_resolved(tx, kept, [request.memory_id], request.by, request.reason)
    return wire.merge_summary(kept)


def merge_continue(request: requests.ContinueMerge, tx: Transaction) -> requests.MergeAnswer:
    """`merge_continue`."""
    repo = found(tx)
    kept = kept_merges.find(repo, request.merge_id)
    done = open_merges.continue_merge(repo, kept.id, author=request.by, now=tx.now, message=request.message)
    return _continued(tx, kept, done, request.by)


def merge_approve(request: requests.ApproveMerge, tx: Transaction) -> requests.MergeAnswer:
    """`merge_approve`."""
    repo = found(tx)
    kept = kept_merges.find(repo, request.merge_id)
    done = open_merges.continue_merge(repo, kept.id, author=request.by, now=tx.now, approved_by=request.by)
    return _continued(tx, kept, done, request.by)


def merge_abort(request: requests.AbortMerge, tx: Transaction) -> requests.MergeSummary:
    """`merge_abort`."""
    kept = open_merges.abort(found(tx), request.merge_id)
    announcing.publish_aborted(tx, kept, request.by, request.reason)
    return wire.merge_summary(kept)


def _continued(tx: Transaction, kept: kept_merges.KeptMerge, done: Merge, by: str) -> requests.MergeAnswer:
    repo = found(tx)
    merge_orders.announce(tx, repo, kept, done, by)
    return wire.merge_answer(done, kept.target, kept_merges.find(repo, kept.id).reason if done.open else "")


def endpoints(*, asks_model: bool) -> tuple[Endpoint, ...]:
    """The verbs of merging."""
    return (
        Endpoint("merge", requests.Merge, merge_with_model if asks_model else merge),
        Endpoint("merges", requests.ListMerges, merges),
        Endpoint("merge_show", requests.ShowMerge, merge_show),
        Endpoint("merge_resolve", requests.ResolveConflict, merge_resolve),
        Endpoint("merge_continue", requests.ContinueMerge, merge_continue),
        Endpoint("merge_approve", requests.ApproveMerge, merge_approve),
        Endpoint("merge_abort", requests.AbortMerge, merge_abort),
    )
