"""How the memory of each agent is used: counted here, and now and then reported as telemetry, `memory.sampled`.

Counts are kept in memory only: a restart forgets those of the last seconds, which is what telemetry may do.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import timedelta

from memory_repository.core import limits
from memory_repository.storage import commits, refs, store
from thymos.database import Connection
from thymos.errors import Refusal
from thymos.telemetry import MemorySampled
from thymos.unit_of_work import Transaction

EVERY = timedelta(seconds=5)
BRANCHES_MAX = 1_000
"""Branches that one report tells of; the searches on further ones wait for the next."""
COUNTED_MAX = 10_000
"""Branches that are counted at once; searches on further ones are not counted until there is room."""

Place = tuple[str, str, str]
"""Tenant, agent, branch."""


@dataclass(slots=True)
class Use:
    """Searches since the last report."""

    searches: int = 0
    hits: int = 0
    results: int = 0
    latency_ms: float = 0.0


class MemoryUse:
    """Counts searches, from any thread, and reports them with what is stored."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used: dict[Place, Use] = {}
        self._seen: tuple[int, str] | None = None
        """The newest commit at the last report: its number and its id."""

    def searched(self, tenant: str, agent: str, branch: str, found: bool, results: int, latency_ms: float) -> None:
        """A search found something or nothing, and was answered with so many results: those of its page. One at what
        can be no branch is not counted."""
        place = (tenant, agent, branch)
        with self._lock:
            if place not in self._used and (len(self._used) >= COUNTED_MAX or not _is_branch(branch)):
                return
            use = self._used.setdefault(place, Use())
            use.searches += 1
            use.hits += found
            use.results += results
            use.latency_ms += latency_ms

    def report(self, tx: Transaction) -> None:
        """Publish what was counted, and of every branch that has moved since the last report how much it holds."""
        with self._lock:
            used = {place: self._used.pop(place) for place in list(self._used)[:BRANCHES_MAX]}
        for place in self._moved(tx.connection):
            used.setdefault(place, Use())
        for (tenant, agent, branch), use in used.items():
            stored = _stored(tx.connection, tenant, agent, branch)
            if stored is None:  # the branch is gone, or it was the name of a tag
                continue
            sample = MemorySampled(
                branch=branch,
                memories_stored=stored,
                searches=use.searches,
                search_hits=use.hits,
                results_returned=use.results,
                search_latency_ms=use.latency_ms / use.searches if use.searches else None,
            )
            tx.publish(sample, tenant=tenant, agent=agent)

    def _moved(self, db: Connection) -> list[Place]:
        """The branches whose head is newer than what was seen last; none at the first look."""
        newest = db.execute("SELECT commit_no, commit_id FROM commits ORDER BY commit_no DESC LIMIT 1").fetchone()
        seen, self._seen = self._seen, newest or (0, "")
        if seen is None or seen == self._seen:
            return []
        # Where the last ones went, SQLite gives their numbers anew, and nobody knows which commits are new.
        known = db.execute("SELECT 1 FROM commits WHERE commit_no = ? AND commit_id = ?", seen).fetchone()
        before = seen[0] if known else 0
        rows = db.execute(
            "SELECT r.tenant, r.agent, f.name FROM ref f JOIN repository r ON r.repo_id = f.repo_id"
            " WHERE f.type = 'branch' AND f.commit_no > ? ORDER BY f.commit_no DESC LIMIT ?",
            (before, BRANCHES_MAX),
        )
        return [(tenant, agent, branch) for tenant, agent, branch in rows]


def _is_branch(name: str) -> bool:
    try:
        limits.check_branch_name(name)
    except Refusal:
        return False
    return True


def _stored(db: Connection, tenant: str, agent: str, branch: str) -> int | None:
    """How many memories a branch holds; None where there is no such branch."""
    if not store.has_repository(db, tenant, agent):
        return None
    found = refs.find(db, store.find_repository(db, tenant, agent).id, "branch", branch)
    return None if found is None else commits.by_no(db, found.commit_no).memories
