"""Merges that are kept until somebody has decided what collides: kept, shown, resolved, continued, aborted.

    awaiting_model ──answer──▶ merged, or awaiting_approval where the target is protected
          │ no valid answer, or a person decides
          ▼
        open ──all decided, continue──▶ merged          awaiting_approval ──approve──▶ merged

A merge is continued against the head that the target has then. What was decided stays decided where base, ours and
theirs are what they were; what collides anew is added, and said. Everything here is rows: it survives a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from memory_repository.core import limits
from memory_repository.core.canonical import canonical_json
from memory_repository.core.merge import MergeState, Strategy
from memory_repository.core.resolution import (
    MODEL_PREFIX,
    Contested,
    Resolution,
    Resolutions,
    left_open,
    with_decision,
)
from memory_repository.operations import merging, reading
from memory_repository.operations.kept_merges import (
    KeptMerge,
    contested_in,
    find,
    is_named_by,
    kept_as,
    row_of,
    rules_of,
    still_decided,
)
from memory_repository.operations.merge_plan import Collision
from memory_repository.operations.merging import Merge
from memory_repository.storage import branch_rules, commits, open_merges
from memory_repository.storage.open_merges import OpenConflictRow, OpenMergeRow
from memory_repository.storage.store import Repository
from thymos.errors import Refusal, RefusalCode


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a merge that is kept was asked for; `facts` go into its commit's metadata."""

    source: str
    target: str
    strategy: Strategy
    author: str
    message: str = ""
    number_rules: Mapping[str, str] | None = None
    facts: Mapping[str, Any] | None = None
    cause: Mapping[str, Any] | None = None


def keep(
    repo: Repository, done: Merge, wanted: Wanted, *, merge_id: str, state: MergeState, reason: str, now: datetime
) -> KeptMerge:
    """Keep a merge whose conflicts are open. A merge of the same pair that is kept already becomes this one, with what
    was decided about it.

    Raises:
        Refusal: invalid, too_large (100 kept merges, 10,000 memories in conflict); conflict when the one that is kept
            is for a commit that this one's source does not hold: its name has come to mean something else.
    """
    known = open_merges.of_pair(repo.db, repo.id, wanted.source, wanted.target)
    if known and not reading.is_ancestor(repo, commits.by_no(repo.db, known.source_commit), done.source):
        meant = commits.ids_of(repo.db, [known.source_commit])[0]
        message = f"{known.id} is kept for another commit that was called {wanted.source:.80}, {meant[:12]}"
        raise Refusal(RefusalCode.CONFLICT, message, "continue or abort that one, or name the source otherwise")
    if known is None:
        kept_count = len(open_merges.every(repo.db, repo.id))
        if kept_count >= limits.OPEN_MERGES_MAX:
            raise limits.too_large("the repository", kept_count + 1, limits.OPEN_MERGES_MAX, "kept merges")
    meta = {"facts": wanted.facts or {}, "number_rules": dict(wanted.number_rules or {}), "cause": wanted.cause or {}}
    row = OpenMergeRow(
        id=known.id if known else limits.check_ref_id(merge_id),
        source=wanted.source,
        target=wanted.target,
        source_commit=done.source.no,
        target_commit=done.previous.no,
        strategy=str(wanted.strategy),
        state=state,
        revision=known.revision + 1 if known else 1,
        author=limits.check_author(wanted.author),
        opened_at=known.opened_at if known else now,
        message=limits.check_message(wanted.message),
        reason=limits.check_reason(reason),
        meta=_checked(meta),
    )
    open_merges.save(repo.db, repo.id, row)
    _sync(repo, row.id, done.collisions)
    return kept_as(repo, row)


def resolve(
    repo: Repository, merge_id: str, memory_id: str, decided: Resolution, *, part: str | None = None
) -> KeptMerge:
    """Decide about a memory of a kept merge: about one part of it, or about all that collides there.

    A decision can be changed until the merge is continued. One that is made while a model is asked takes the merge
    over: the model's answer is not waited for any more. Where nothing is left of what a model decided, nobody has to
    approve it.

    Raises:
        Refusal: not_found, invalid (no such conflict, a decision that cannot be), too_large.
    """
    limits.check_author(decided.by)
    limits.check_rationale(decided.rationale)
    if decided.by_model:
        raise limits.invalid(
            f"{decided.by!r:.60} is a name of models", f"a person's does not begin with {MODEL_PREFIX}"
        )
    row = row_of(repo, merge_id)
    _decide(repo, row, memory_id, {part or "": decided})
    if row.state == MergeState.AWAITING_MODEL:
        row = replace(row, state=MergeState.OPEN, reason=f"{decided.by[:200]} decides about it")
    return changed(repo, _as_decided(repo, row))


def decide_by_model(repo: Repository, row: OpenMergeRow, answer: Mapping[str, Resolutions]) -> None:
    """Note what a model has decided, by memory and part. Raises Refusal (invalid, too_large)."""
    for memory_id, resolutions in answer.items():
        _decide(repo, row, memory_id, resolutions)


def continue_merge(
    repo: Repository,
    merge_id: str,
    *,
    author: str,
    now: datetime,
    message: str = "",
    approved_by: str = "",
) -> Merge:
    """Go on with a kept merge, against the head that the target has now.

    With everything decided it is a merge commit, and no longer kept. Otherwise nothing changes but what is kept: what
    collides anew is added, and what no longer does is gone.

    Raises:
        Refusal: not_found; conflict while a model is asked; refused when a model has decided and the target is
            protected, without `approved_by`; invalid, too_large.
    """
    if approved_by.startswith(MODEL_PREFIX):
        raise limits.invalid(f"{approved_by!r:.60} is a name of models", "a person approves")
    row = row_of(repo, merge_id)
    stored = open_merges.conflicts(repo.db, repo.id, merge_id)
    if row.state == MergeState.AWAITING_MODEL:
        raise Refusal(RefusalCode.CONFLICT, f"{merge_id} waits for a model", "wait for it, or resolve a conflict")
    if not approved_by and needs_approval(repo, row, stored.values()):
        raise Refusal(
            RefusalCode.REFUSED,
            f"{row.target} is protected, and a model has decided conflicts of {merge_id}",
            "somebody has to look at them and approve",
        )

    def resolver(contested: Contested) -> Resolutions:
        known = stored.get(contested.id)
        return {} if known is None else still_decided(known, contested)

    done = merging.merge_commit(
        repo,
        commits.by_no(repo.db, row.source_commit),
        row.source,
        row.target,
        Strategy(row.strategy),
        resolver,
        author=author,
        now=now,
        message=message or row.message,
        rules=rules_of(repo, row),
        dry_run=False,
        meta=_facts(row, author, approved_by),
    )
    if not done.open:
        open_merges.delete(repo.db, repo.id, merge_id)
        return replace(done, merge_id=merge_id)
    added = _sync(repo, merge_id, done.collisions)
    left = sum(len(collision.open) for collision in done.collisions)
    said = _conflicts_are_open(left) + (f"; {_collide(added)} anew with {row.target}" if added else "")
    kept = changed(repo, replace(row, target_commit=done.previous.no, state=MergeState.OPEN, reason=said))
    return replace(done, merge_id=merge_id, state=kept.state)


def rename_branch(repo: Repository, branch: str, name: str) -> None:
    """What is kept goes on from or into a branch under its new name, also from what was named by way of it."""
    open_merges.rename_target(repo.db, repo.id, branch, name)
    for row in open_merges.every(repo.db, repo.id):
        if is_named_by(row.source, branch):
            open_merges.rename_source(repo.db, repo.id, row, name + row.source.removeprefix(branch))


def abort(repo: Repository, merge_id: str) -> KeptMerge:
    """Keep a merge no longer, and forget what was decided about it. Raises Refusal (not_found)."""
    kept = find(repo, merge_id)
    open_merges.delete(repo.db, repo.id, merge_id)
    return kept


def needs_approval(repo: Repository, row: OpenMergeRow, stored: Iterable[OpenConflictRow]) -> bool:
    """Whether a person has to approve: the target is protected, and a model has decided something."""
    if not branch_rules.is_protected(repo.db, repo.id, row.target):
        return False
    return any(each.by_model for conflict in stored for each in conflict.resolutions.values())


def changed(repo: Repository, row: OpenMergeRow) -> KeptMerge:
    """Write a kept merge that has changed."""
    row = replace(row, revision=row.revision + 1)
    open_merges.save(repo.db, repo.id, row)
    return kept_as(repo, row)


def _as_decided(repo: Repository, row: OpenMergeRow) -> OpenMergeRow:
    """A kept merge after a person's decision: it says what it still waits for."""
    conflicts, decided = open_merges.counts(repo.db, repo.id, row.id)
    awaits_approval = row.state == MergeState.AWAITING_APPROVAL
    if decided < conflicts and not awaits_approval:
        return row
    if needs_approval(repo, row, open_merges.conflicts(repo.db, repo.id, row.id).values()):
        return row
    if decided < conflicts:
        return replace(row, state=MergeState.OPEN, reason=_conflicts_are_open(conflicts - decided))
    return replace(row, state=MergeState.OPEN, reason="everything is decided: it is merged when it is continued")


def _conflicts_are_open(count: int) -> str:
    """So many conflicts, in words."""
    return "1 conflict is open" if count == 1 else f"{count} conflicts are open"


def _collide(count: int) -> str:
    return "1 memory collides" if count == 1 else f"{count} memories collide"


def _decide(repo: Repository, row: OpenMergeRow, memory_id: str, decisions: Mapping[str, Resolution]) -> None:
    stored = open_merges.conflicts(repo.db, repo.id, row.id).get(limits.check_memory_id(memory_id))
    if stored is None:
        raise Refusal(RefusalCode.NOT_FOUND, f"{memory_id} does not collide in {row.id}")
    (contested,) = contested_in(repo, row, [memory_id])
    if not contested.conflicts:
        raise Refusal(RefusalCode.NOT_FOUND, f"{memory_id} no longer collides in {row.id}", "continue the merge")
    resolutions = still_decided(stored, contested)
    for part, decided in decisions.items():
        limits.check_json(f"the value for {memory_id}", decided.value)
        resolutions = with_decision(contested, resolutions, part or None, decided)
    open_merges.save_conflict(repo.db, repo.id, row.id, _conflict_row(contested, resolutions))


def _sync(repo: Repository, merge_id: str, found: Sequence[Collision]) -> int:
    """Make what is kept agree with what collides. Returns how many memories collide anew, or differently."""
    if len(found) > limits.OPEN_CONFLICTS_MAX:
        raise limits.too_large("the merge", len(found), limits.OPEN_CONFLICTS_MAX, "memories in conflict")
    stored = open_merges.conflicts(repo.db, repo.id, merge_id)
    anew = 0
    for collision in found:
        contested, known = collision.contested, stored.pop(collision.contested.id, None)
        same = known is not None and known.fingerprint == contested.fingerprint
        if known is not None and same and known.resolutions:
            continue
        anew += not same
        open_merges.save_conflict(repo.db, repo.id, merge_id, _conflict_row(contested, collision.resolutions))
    open_merges.delete_conflicts(repo.db, repo.id, merge_id, stored)
    return anew


def _conflict_row(contested: Contested, resolutions: Resolutions) -> OpenConflictRow:
    parts = len(contested.conflicts)
    decided = parts - len(left_open(contested, resolutions))
    return OpenConflictRow(contested.id, contested.fingerprint, parts, decided, resolutions)


def _facts(row: OpenMergeRow, author: str, approved_by: str) -> dict[str, Any]:
    facts = {"merge_id": row.id, **row.meta["facts"]}
    if row.author != author:
        facts["opened_by"] = row.author
    return {**facts, "approved_by": approved_by} if approved_by else facts


def _checked(meta: dict[str, Any]) -> dict[str, Any]:
    limits.check_json("the metadata", meta)
    size = len(canonical_json(meta))
    if size > limits.META_BYTES_MAX:
        raise limits.too_large("the metadata", size, limits.META_BYTES_MAX)
    return meta
