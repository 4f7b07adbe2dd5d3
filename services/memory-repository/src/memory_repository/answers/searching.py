"""Answers to searches, each of which is counted: how long it took, and whether it found anything."""

from __future__ import annotations

from collections.abc import Callable

from memory_repository import wire
from memory_repository.embedders import Embedder
from memory_repository.handlers import found
from memory_repository.operations import searching
from memory_repository.operations.searching import Mode
from memory_repository.sampling import MemoryUse
from memory_repository.storage.store import MAIN, has_repository
from thymos import requests
from thymos.service import Endpoint
from thymos.unit_of_work import Transaction

Stopwatch = Callable[[], float]
"""Seconds, of which only differences mean something."""


def endpoint(embedder: Embedder | None, use: MemoryUse, stopwatch: Stopwatch) -> Endpoint:
    """`search`."""

    def search(request: requests.SearchMemories, tx: Transaction) -> requests.SearchAnswer:
        # An agent that has never written a memory finds nothing: that is no error of its.
        if request.ref == MAIN and not has_repository(tx.connection, tx.tenant, tx.agent):
            return requests.SearchAnswer(commit=None, results=[])
        began = stopwatch()
        result = searching.search(
            found(tx),
            request.query,
            request.ref,
            request.limit,
            request.kind,
            where=request.where,
            skip=request.skip,
            mode=Mode(request.mode),
            embedder=embedder,
        )
        use.searched(tx.tenant, tx.agent, request.ref, result.total > 0, len(result.hits), (stopwatch() - began) * 1000)
        hits = wire.fitting(map(wire.hit_answer, result.hits))
        return requests.SearchAnswer(commit=result.commit.id, results=hits, total=result.total)

    return Endpoint("search", requests.SearchMemories, search)
