"""Answers about where memories come from."""

from __future__ import annotations

from collections.abc import Iterator

from memory_repository import wire
from memory_repository.handlers import found
from memory_repository.operations import bisecting, reading, tracing
from thymos import requests
from thymos.service import Endpoint
from thymos.unit_of_work import Transaction


def history(request: requests.ReadHistory, tx: Transaction) -> requests.HistoryAnswer:
    """`history`."""
    repo = found(tx)
    told = tracing.history(repo, request.id, request.ref, request.limit)
    heads = wire.heads(repo)
    entries = wire.fitting(
        requests.HistoryEntry(
            commit=wire.commit_answer(repo, change.commit, heads),
            after=None if change.after is None else wire.memory_answer(change.after, change.commit.id),
        )
        for change in told
    )
    return requests.HistoryAnswer(changes=entries, truncated=len(entries) < len(told))


def blame(request: requests.ReadBlame, tx: Transaction) -> requests.BlameAnswer:
    """`blame`."""
    repo = found(tx)
    done = tracing.blame(repo, request.id, request.ref)
    memory, named = wire.memory_answer(done.memory), dict[str, requests.Commit]()

    def parts() -> Iterator[list[requests.Answer]]:
        """Each with the commit that it names, unless one before it does; the first with the memory."""
        beside: list[requests.Answer] = [memory]
        for part in done.parts[request.after :]:
            if part.commit.id not in named:
                named[part.commit.id] = wire.commit_answer(repo, part.commit, {})
                beside.append(named[part.commit.id])
            told = requests.BlamedPart(part=part.part, line=part.line, text=part.text, commit=part.commit.id)
            yield [told, *beside]
            beside = []

    shown = [told for told, *_ in wire.fitting_groups(parts()) if isinstance(told, requests.BlamedPart)]
    through = request.after + len(shown)
    return requests.BlameAnswer(
        memory=memory,
        parts=shown,
        commits=[named[identity] for identity in dict.fromkeys(part.commit for part in shown)],
        whole=done.whole,
        truncated=through < len(done.parts),
        next_after=through if through < len(done.parts) else None,
        commit=done.commit.id,
    )


def merge_base(request: requests.ReadMergeBase, tx: Transaction) -> requests.LogAnswer:
    """`merge_base`."""
    repo = found(tx)
    heads = wire.heads(repo)
    bases = reading.common_ancestors(repo, request.a, request.b)
    return requests.LogAnswer(commits=[wire.commit_answer(repo, commit, heads) for commit in bases])


def bisect(request: requests.Bisect, tx: Transaction) -> requests.BisectAnswer:
    """`bisect`."""
    repo = found(tx)
    step = bisecting.bisect(repo, request.good, request.bad, request.skip)
    return requests.BisectAnswer(
        result="found" if step.next is None else "test",
        next=None if step.next is None else wire.commit_answer(repo, step.next, {}),
        remaining=step.remaining,
        steps=step.steps,
        suspects=[wire.commit_answer(repo, commit, {}) for commit in step.suspects],
    )


ENDPOINTS = (
    Endpoint("history", requests.ReadHistory, history),
    Endpoint("blame", requests.ReadBlame, blame),
    Endpoint("merge_base", requests.ReadMergeBase, merge_base),
    Endpoint("bisect", requests.Bisect, bisect),
)
