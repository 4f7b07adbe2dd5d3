"""Merges that are kept, as they are seen: which there are, what collides in them, what was decided about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from memory_repository.core import limits, revisions
from memory_repository.core.merge import MergeState, Strategy
from memory_repository.core.number_rules import NumberRules, check_rules
from memory_repository.core.resolution import Contested, Resolutions, left_open
from memory_repository.operations import merge_plan
from memory_repository.operations.merge_plan import Collision
from memory_repository.storage import branch_rules, commits, open_merges
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.open_merges import OpenConflictRow, OpenMergeRow
from memory_repository.storage.store import Repository
from thymos.errors import Refusal, RefusalCode


@dataclass(frozen=True, slots=True)
class KeptMerge:
    """A kept merge.

    Attributes:
        id: its id.
        source: what is merged, as it was named; `source_commit`: the commit that it was.
        target: the branch that it is merged into; `target_commit`: its head when this was planned last.
        strategy: as asked for.
        state: what it waits for.
        revision: counts its changes.
        author: who wanted it.
        opened_at: when, UTC.
        reason: why it is in this state, in words.
        conflicts: how many parts of memories collide; `decided`: how many of them are decided.
        meta: facts for the merge commit (`facts`), and what else was asked for.
    """

    id: str
    source: str
    source_commit: CommitRow
    target: str
    target_commit: CommitRow
    strategy: Strategy
    state: MergeState
    revision: int
    author: str
    opened_at: datetime
    reason: str
    conflicts: int
    decided: int
    meta: Mapping[str, Any]


def waiting(conflicts: int, whom: str = "decisions") -> str:
    """Why a merge is kept, in words."""
    return f"1 conflict waits for {whom}" if conflicts == 1 else f"{conflicts} conflicts wait for {whom}"


def find(repo: Repository, merge_id: str) -> KeptMerge:
    """A kept merge. Raises Refusal (not_found)."""
    return kept_as(repo, row_of(repo, merge_id))


def every(repo: Repository) -> list[KeptMerge]:
    """All kept merges, the oldest first."""
    return [kept_as(repo, row) for row in open_merges.every(repo.db, repo.id)]


def of_pair(repo: Repository, source: str, target: str) -> KeptMerge | None:
    """The kept merge of `source` into `target`, if there is one."""
    row = open_merges.of_pair(repo.db, repo.id, source, target)
    return None if row is None else kept_as(repo, row)


def of_branch(repo: Repository, branch: str) -> list[KeptMerge]:
    """The kept merges from or into a branch, also from a commit that was named by way of it, such as `idea~1`."""
    rows = open_merges.every(repo.db, repo.id)
    return [kept_as(repo, row) for row in rows if row.target == branch or is_named_by(row.source, branch)]


def is_named_by(source: str, branch: str) -> bool:
    """Whether a source is a branch, or a commit that is named by way of it."""
    return revisions.parse(source).name == branch


def collisions(repo: Repository, merge_id: str, limit: int = limits.PAGE_MAX, after: str = "") -> list[Collision]:
    """What collides in a kept merge, by memory, from behind the memory `after`, with what was decided about it.

    Raises:
        Refusal: not_found, invalid.
    """
    limits.check_page(limit)
    limits.check_name("place to begin", after)
    row = row_of(repo, merge_id)
    stored = open_merges.conflicts(repo.db, repo.id, merge_id)
    names = islice((memory_id for memory_id in stored if memory_id > after), limit)
    found: list[Collision] = []
    for contested in contested_in(repo, row, names):
        resolutions = still_decided(stored[contested.id], contested)
        found.append(Collision(contested, resolutions, left_open(contested, resolutions)))
    return found


def row_of(repo: Repository, merge_id: str) -> OpenMergeRow:
    """The row of a kept merge. Raises Refusal (not_found)."""
    row = open_merges.find(repo.db, repo.id, limits.check_ref_id(merge_id))
    if row is None:
        hint = "it was merged or aborted, or was never kept; `merges` lists those that are"
        raise Refusal(RefusalCode.NOT_FOUND, f"no merge is kept as {merge_id!r:.80}", hint)
    return row


def still_decided(stored: OpenConflictRow, contested: Contested) -> Resolutions:
    """What was decided, as far as it was about what collides now."""
    return stored.resolutions if stored.fingerprint == contested.fingerprint else {}


def contested_in(repo: Repository, row: OpenMergeRow, memory_ids: Iterable[str]) -> Iterator[Contested]:
    """Memories as the sides of a kept merge hold them."""
    ours, theirs = (commits.by_no(repo.db, number) for number in (row.target_commit, row.source_commit))
    return merge_plan.contested_memories(repo, ours, theirs, rules_of(repo, row), memory_ids)


def rules_of(repo: Repository, row: OpenMergeRow) -> NumberRules:
    """How numbers merge in a kept merge."""
    return {**branch_rules.number_rules(repo.db, repo.id), **check_rules(row.meta["number_rules"])}


def kept_as(repo: Repository, row: OpenMergeRow) -> KeptMerge:
    """A row, as it is seen."""
    conflicts, decided = open_merges.counts(repo.db, repo.id, row.id)
    source, target = (commits.by_no(repo.db, number) for number in (row.source_commit, row.target_commit))
    return KeptMerge(
        id=row.id,
        source=row.source,
        source_commit=source,
        target=row.target,
        target_commit=target,
        strategy=Strategy(row.strategy),
        state=MergeState(row.state),
        revision=row.revision,
        author=row.author,
        opened_at=row.opened_at,
        reason=row.reason,
        conflicts=conflicts,
        decided=decided,
        meta=row.meta,
    )
