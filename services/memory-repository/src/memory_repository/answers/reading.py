"""What the service answers about memories, commits, branches and worktrees. Reads do not create a repository."""

from __future__ import annotations

from memory_repository import wire
from memory_repository.core.canonical import canonical_json
from memory_repository.handlers import found
from memory_repository.operations import declaring, reading, worktrees
from thymos import requests
from thymos.service import Endpoint
from thymos.unit_of_work import Transaction


def get(request: requests.GetMemory, tx: Transaction) -> requests.Memory:
    """`get`."""
    result = reading.get(found(tx), request.id, request.ref)
    return wire.memory_answer(result.memory, result.commit)


def list_memories(request: requests.ListMemories, tx: Transaction) -> requests.MemoryPage:
    """`list`: a page may be shorter than `limit`, so that it fits a message; `next_after` says whether more follows."""
    page = reading.page(found(tx), request.ref, request.limit, request.after or "", request.kind, request.where)
    memories = wire.fitting(wire.memory_answer(item.memory, item.commit) for item in page.memories)
    cut = len(memories) < len(page.memories)
    return requests.MemoryPage(
        commit=page.commit.id, memories=memories, next_after=memories[-1].id if cut else page.next_after
    )


def log(request: requests.ReadLog, tx: Transaction) -> requests.LogAnswer:
    """`log`."""
    repo = found(tx)
    heads = wire.heads(repo)
    return requests.LogAnswer(
        commits=[wire.commit_answer(repo, commit, heads) for commit in reading.log(repo, request.ref, request.limit)]
    )


def show(request: requests.ShowCommit, tx: Transaction) -> requests.ShowAnswer:
    """`show`."""
    repo = found(tx)
    shown = reading.show(repo, request.ref, request.limit, request.after or "")
    meta = dict(shown.b.meta)
    beside = len(canonical_json(meta))
    changes = wire.fitting(map(wire.change_answer, shown.changes), beside)
    described = wire.commit_answer(repo, shown.b, wire.heads(repo))
    cut = len(changes) < len(shown.changes)
    if changes and not wire.fits(changes, beside):
        # One change that is too large to stand beside them: a later page has them, the last one in any case.
        meta, cut = {}, True
    after = changes[-1].id if cut else shown.next_after
    more = after is not None
    return requests.ShowAnswer(commit=described, changes=changes, truncated=more, meta=meta, next_after=after)


def diff(request: requests.DiffRefs, tx: Transaction) -> requests.DiffAnswer:
    """`diff`."""
    result = reading.diff(
        *(found(tx), request.a, request.b),
        symmetric=request.symmetric,
        limit=request.limit,
        after=request.after or "",
    )
    changes = wire.fitting(map(wire.change_answer, result.changes))
    after = changes[-1].id if len(changes) < len(result.changes) else result.next_after
    more = after is not None
    return requests.DiffAnswer(a=result.a.id, b=result.b.id, changes=changes, truncated=more, next_after=after)


def branches(request: requests.ListBranches, tx: Transaction) -> requests.BranchesAnswer:
    """`branches`."""
    repo = found(tx)
    protected = declaring.protected_branches(repo)
    following = reading.branches(repo, request.after or "")
    shown = wire.fitting(
        requests.BranchAnswer(branch=branch.name, commit=branch.head.id, protected=branch.name in protected)
        for branch in following
    )
    more = len(shown) < len(following)
    return requests.BranchesAnswer(branches=shown, truncated=more, next_after=shown[-1].branch if more else None)


def worktree_list(request: requests.ListWorktrees, tx: Transaction) -> requests.WorktreesAnswer:
    """`worktrees`."""
    del request
    return requests.WorktreesAnswer(worktrees=list(map(wire.worktree_answer, worktrees.list_worktrees(found(tx)))))


def staged(request: requests.ReadStaged, tx: Transaction) -> requests.StagedAnswer:
    """`staged`."""
    following = worktrees.staged_after(found(tx), request.worktree_id, request.after or "")
    shown, more = wire.fitting_of(
        requests.StagedMemory(id=memory_id, memory=None if memory is None else wire.memory_answer(memory))
        for memory_id, memory in following
    )
    return requests.StagedAnswer(staged=shown, truncated=more, next_after=shown[-1].id if more else None)


ENDPOINTS = (
    Endpoint("get", requests.GetMemory, get),
    Endpoint("list", requests.ListMemories, list_memories),
    Endpoint("log", requests.ReadLog, log),
    Endpoint("show", requests.ShowCommit, show),
    Endpoint("diff", requests.DiffRefs, diff),
    Endpoint("branches", requests.ListBranches, branches),
    Endpoint("worktrees", requests.ListWorktrees, worktree_list),
    Endpoint("staged", requests.ReadStaged, staged),
)
