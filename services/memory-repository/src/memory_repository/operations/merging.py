"""Merging one branch into another: three-way from the merge base, O(changes between)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from memory_repository.core import limits
from memory_repository.core.canonical import canonical_json
from memory_repository.core.memory import Memory
from memory_repository.core.merge import Conflict, MergeState, Strategy
from memory_repository.core.number_rules import NumberRules, check_rules
from memory_repository.operations import merge_plan, reading
from memory_repository.operations.committing import checked_draft
from memory_repository.operations.merge_plan import Collision, Plan, Resolver
from memory_repository.storage import branch_rules, commits, open_merges, refs, timeline
from memory_repository.storage.commits import CommitRow, Draft
from memory_repository.storage.store import Repository
from thymos.errors import Refusal, RefusalCode

DECISIONS_LISTED_MAX: Final = 100
DECISIONS_BYTES_MAX: Final = limits.META_BYTES_MAX // 2
"""Decisions that a merge commit names one by one, and their size together; of more it says how many."""
PART_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Merge:
    """What came of a merge.

    Attributes:
        source: the commit that was merged.
        previous: the target's head before.
        commit: the target's head now: a new merge commit, or `previous` when there was nothing to merge or to decide,
            or conflicts are open.
        bases: the merge bases' ids, several after criss-cross merges.
        changes: memories that differ, or in a dry run would differ, from `previous`.
        conflicts: what collided; with a strategy or resolutions that decide them, what they decided.
        open: whether the conflicts wait for a decision: then nothing was changed.
        dry_run: whether only the plan was made.
        collisions: the conflicts by memory, with what was decided about them.
        merge_id: the kept merge that this opened, went on with, or did away with.
        state: of the kept merge, where it is still open.
    """

    source: CommitRow
    previous: CommitRow
    commit: CommitRow
    bases: tuple[str, ...]
    changes: int
    conflicts: tuple[Conflict, ...] = ()
    open: bool = False
    dry_run: bool = False
    collisions: tuple[Collision, ...] = ()
    merge_id: str | None = None
    state: MergeState | None = None

    @property
    def changed(self) -> bool:
        """Whether a merge commit was made. It may hold the same memories as `previous` (`changes` is 0): then it
        records how conflicts were decided, so that they do not come back."""
        return self.commit.no != self.previous.no


def merge(
    repo: Repository,
    source: str,
    target: str,
    strategy: Strategy,
    *,
    author: str,
    now: datetime,
    message: str = "",
    resolutions: Mapping[str, Memory | None] | None = None,
    resolver: Resolver | None = None,
    number_rules: Mapping[str, str] | None = None,
    dry_run: bool = False,
    meta: Mapping[str, Any] | None = None,
) -> Merge:
    """Merge `source` (any ref) into the branch `target`.

    Args:
        repo: the repository.
        source: what is merged.
        target: the branch that moves.
        strategy: what happens to conflicts; those that AutoMerge and Custom leave open are Manual.
        author: who.
        now: when, aware.
        message: why; a default names both sides.
        resolutions: what conflicting memories shall be (None = deleted), decided by the caller; wins over the others.
        resolver: decides conflicts one memory after the other; what it leaves open is for the strategy.
        number_rules: rules for numbers, instead of the repository's where both name a field.
        dry_run: only say what would happen.
        meta: further facts for the merge commit.

    Raises:
        Refusal: not_found, invalid, too_large (a merged memory would be over a limit), refused (a model has decided,
            and the target is protected).
    """
    commit = repo.resolve(source)
    rules = {} if number_rules is None else check_rules(number_rules)
    decide = merge_plan.of_memories(resolutions) if resolutions else resolver or merge_plan.nobody
    done = merge_commit(
        repo,
        commit,
        source,
        target,
        strategy,
        decide,
        author=author,
        now=now,
        message=message,
        rules={**branch_rules.number_rules(repo.db, repo.id), **rules},
        dry_run=dry_run,
        meta=meta or {},
    )
    if done.open or dry_run:
        return done
    if decided_by_model(done.collisions) and branch_rules.is_protected(repo.db, repo.id, target):
        hint = "keep the merge, so that somebody can approve it"
        raise Refusal(RefusalCode.REFUSED, f"{target} is protected, and a model has decided conflicts", hint)
    return superseding(repo, done, source, target)


def merge_commit(
    repo: Repository,
    theirs: CommitRow,
    source: str,
    target: str,
    strategy: Strategy,
    resolver: Resolver,
    *,
    author: str,
    now: datetime,
    message: str,
    rules: NumberRules,
    dry_run: bool,
    meta: Mapping[str, Any],
) -> Merge:
    """Merge a commit that was named `source`; see `merge`."""
    strategy = limits.check_choice("strategy", Strategy, strategy)
    ref = refs.branch(repo.db, repo.id, target)
    ours = commits.by_no(repo.db, ref.commit_no)
    bases = reading.merge_bases(repo, ours, theirs)
    base_ids = tuple(commits.ids_of(repo.db, bases))
    if theirs.no in bases:
        return Merge(theirs, ours, ours, base_ids, 0, dry_run=dry_run)
    plan = merge_plan.make_plan(repo, bases, ours, theirs, strategy, resolver, rules)
    found = plan.conflicts, plan.open, dry_run, tuple(plan.collisions)
    if plan.open or dry_run or not (plan.changes or plan.collisions):
        return Merge(theirs, ours, ours, base_ids, plan.changes, *found)
    plan.store(repo)
    facts = {"strategy": str(strategy), "source": source, "conflicts": len(plan.conflicts)}
    draft = checked_draft(
        target,
        author,
        message or f"merge {source} into {target}"[:500],
        now,
        "merge",
        {**facts, **decisions(plan.collisions), **meta},
    )
    row = _write(repo, draft, ours, theirs, plan)
    refs.move(repo.db, repo.id, ref, row, actor=author, now=now, operation="merge", reason=draft.message, on_top=True)
    return Merge(theirs, ours, row, base_ids, len(plan.on_ours), *found)


def superseding(repo: Repository, done: Merge, source: str, target: str) -> Merge:
    """Do away with a kept merge of the same pair: what it waited for has happened otherwise. Not where its name has
    come to mean something else, and the commit that it was kept for was not merged."""
    kept = open_merges.of_pair(repo.db, repo.id, source, target)
    if kept is None or not reading.is_ancestor(repo, commits.by_no(repo.db, kept.source_commit), done.source):
        return done
    open_merges.delete(repo.db, repo.id, kept.id)
    return replace(done, merge_id=kept.id)


def decided_by_model(collisions: Iterable[Collision]) -> bool:
    """Whether a model has decided something."""
    return any(each.by_model for collision in collisions for each in collision.resolutions.values())


def decisions(collisions: Iterable[Collision]) -> dict[str, Any]:
    """Who decided what, as facts for the merge commit; decisions of a strategy say nothing beyond it and are left out.

    The values that were decided on are not repeated: the commit's memories hold them, and a redaction reaches them
    there.
    """
    listed: list[dict[str, Any]] = []
    size = count = 0
    for collision in collisions:
        for part, each in sorted(collision.resolutions.items()):
            if not each.by:
                continue
            count += 1
            facts = {"memory": collision.contested.id, "part": part[:PART_CHARACTERS], "take": str(each.take)}
            entry = {**facts, "by": each.by, **({"rationale": each.rationale} if each.rationale else {})}
            size += len(canonical_json(entry))
            if len(listed) < DECISIONS_LISTED_MAX and size <= DECISIONS_BYTES_MAX:
                listed.append(entry)
    if not count:
        return {}
    return {"decisions": listed, **({"decisions_not_listed": count - len(listed)} if count > len(listed) else {})}


def _write(repo: Repository, draft: Draft, ours: CommitRow, theirs: CommitRow, plan: Plan) -> CommitRow:
    """Store the merge on top of ours; or of theirs, when the entries between the sides outgrow what truly differs.

    A long-lived branch that keeps taking in main would lie ever further from where it once forked. So it is now and
    then stored anew as main plus its own changes, which costs those and bounds what the merges after it read by twice
    as much. Never on a side that lies deeper, or reading would have ever more lines to look at.
    """
    parents = [ours, theirs]
    depth_ours, depth_theirs = (len(timeline.view_of(repo.db, side.place)) for side in parents)
    if plan.gap > 2 * len(plan.on_theirs) and depth_theirs < depth_ours:
        return commits.write_commit(repo.db, repo.id, draft, parents, plan.on_ours, theirs, plan.on_theirs)
    return commits.write_commit(repo.db, repo.id, draft, parents, plan.on_ours)
