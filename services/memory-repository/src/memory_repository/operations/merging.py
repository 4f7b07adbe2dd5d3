"""Merging one branch into another: three-way from the merge base, O(changes between)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from memory_repository.core import limits
from memory_repository.core.memory import Memory
from memory_repository.core.merge import UNKNOWN, Base, Conflict, Strategy, merge_bases_of, merge_memory
from memory_repository.operations import reading
from memory_repository.operations.committing import checked_draft, new_slots
from memory_repository.storage import commits, refs, timeline, versions
from memory_repository.storage.commits import CommitRow, Draft
from memory_repository.storage.store import Repository
from memory_repository.storage.timeline import Differing, Slot, View

NESTED_BASES_MAX: Final = 16
"""Criss-cross merges on top of each other that are looked through; beyond it a base counts as unknown."""


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
    """

    source: CommitRow
    previous: CommitRow
    commit: CommitRow
    bases: tuple[str, ...]
    changes: int
    conflicts: tuple[Conflict, ...] = ()
    open: bool = False
    dry_run: bool = False

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
    dry_run: bool = False,
    meta: Mapping[str, Any] | None = None,
) -> Merge:
    """Merge `source` (any ref) into the branch `target`.

    Args:
        repo: the repository.
        source: what is merged.
        target: the branch that moves.
        strategy: what happens to conflicts; AutoMerge and Custom are Manual, as there is no model or resolver here.
        author: who.
        now: when, aware.
        message: why; a default names both sides.
        resolutions: what conflicting memories shall be (None = deleted), decided by the caller; wins over `strategy`.
        dry_run: only say what would happen.
        meta: further facts for the merge commit.

    Raises:
        Refusal: not_found, invalid, too_large (a merged memory would be over a limit).
    """
    ref = refs.branch(repo.db, repo.id, target)
    ours = commits.by_no(repo.db, ref.commit_no)
    theirs = repo.resolve(source)
    bases = reading.merge_bases(repo, ours, theirs)
    base_ids = tuple(commits.ids_of(repo.db, bases))
    if theirs.no in bases:
        return Merge(theirs, ours, ours, base_ids, 0, dry_run=dry_run)
    plan = _plan(repo, bases, ours, theirs, strategy, resolutions or {})
    if plan.open or dry_run or not (plan.on_ours or plan.conflicts):
        size, found = len(plan.on_ours), tuple(plan.conflicts)
        return Merge(theirs, ours, ours, base_ids, size, found, open=plan.open, dry_run=dry_run)
    facts = {"strategy": str(strategy), "source": source, "conflicts": len(plan.conflicts), **(meta or {})}
    draft = checked_draft(target, author, message or f"merge {source} into {target}"[:500], now, "merge", facts)
    row = _write(repo, draft, ours, theirs, plan)
    refs.move(repo.db, repo.id, ref, row, actor=author, now=now, operation="merge", reason=draft.message, on_top=True)
    return Merge(theirs, ours, row, base_ids, len(plan.on_ours), tuple(plan.conflicts))


@dataclass(slots=True)
class _Plan:
    """The merged state, as changes against either side."""

    on_ours: Differing = field(default_factory=dict)
    on_theirs: Differing = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)
    open: bool = False
    gap: int = 0
    """Entries between the sides: what finding their difference had to read."""

    def add(self, memory_id: str, ours: Slot | None, theirs: Slot | None, merged: Slot | None) -> None:
        for delta, old in ((self.on_ours, ours), (self.on_theirs, theirs)):
            if (old and old.version) != (merged and merged.version):
                delta[memory_id] = (old, merged)


def _plan(
    repo: Repository,
    bases: Sequence[int],
    ours: CommitRow,
    theirs: CommitRow,
    strategy: Strategy,
    resolutions: Mapping[str, Memory | None],
) -> _Plan:
    """Only memories on which the sides differ can need merging, so only those are looked at."""
    ours_view, theirs_view = (timeline.view_of(repo.db, side.place) for side in (ours, theirs))
    between = timeline.entries_between(repo.db, ours_view, theirs_view)
    plan = _Plan(gap=len(between))
    base_of = _Bases(repo, bases)
    differing = timeline.difference(repo.db, ours_view, theirs_view, between)
    base_of.look_up(differing)
    both: Differing = {}
    for memory_id, (our, their) in differing.items():
        same = base_of.side(memory_id, our, their)
        if same is None:
            both[memory_id] = (our, their)
        else:
            plan.add(memory_id, our, their, their if same == "ours" else our)
    _merge_contents(repo, plan, both, base_of, strategy, resolutions)
    return plan


def _merge_contents(
    repo: Repository,
    plan: _Plan,
    both: Differing,
    base_of: _Bases,
    strategy: Strategy,
    resolutions: Mapping[str, Memory | None],
) -> None:
    """Merge the memories that both sides changed."""
    held = versions.load_memories(repo.db, timeline.rows_in(both))
    new: dict[str, Memory] = {}
    for memory_id, (our, their) in both.items():
        sides = [None if slot is None else held[slot.version] for slot in (our, their)]
        merged = merge_memory(memory_id, base_of.value(memory_id), sides[0], sides[1], strategy.favour)
        value = merged.value
        if merged.conflicts:
            plan.conflicts += merged.conflicts
            if memory_id in resolutions:
                value = resolutions[memory_id]
            elif strategy.favour is None:
                plan.open = True
                continue
        # A side's own version where it is the same, so that its writer stays known.
        same = [slot for slot, side in zip((our, their), sides, strict=True) if value and value.same_as(side)]
        if value is None or same:
            plan.add(memory_id, our, their, same[0] if same else None)
        else:
            new[memory_id] = _checked(memory_id, value)
    for memory_id, slot in new_slots(repo, list(new.values())).items():
        plan.add(memory_id, *both[memory_id], slot)


def _checked(memory_id: str, value: Memory) -> Memory:
    if value.id != memory_id:
        raise limits.invalid(f"the resolution of {memory_id} has another id: {value.id}")
    return value.checked()


def _write(repo: Repository, draft: Draft, ours: CommitRow, theirs: CommitRow, plan: _Plan) -> CommitRow:
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


class _Bases:
    """Memories at the merge base, or at the virtual base that several merge bases make together."""

    def __init__(self, repo: Repository, bases: Sequence[int]) -> None:
        self._repo = repo
        self._bases = tuple(bases)
        self._views: dict[int, View] = {}
        self._inner: dict[tuple[int, int], tuple[int, ...]] = {}
        self._looked_up: frozenset[str] = frozenset()
        self._slots: dict[int, dict[str, Slot]] = {}

    def look_up(self, memory_ids: Iterable[str]) -> None:
        """Read what the bases hold of memories, at once."""
        self._looked_up = frozenset(memory_ids)
        for base in self._bases:
            self._slots[base] = timeline.visible_many(self._repo.db, self._view(base), sorted(self._looked_up))

    def side(self, memory_id: str, ours: Slot | None, theirs: Slot | None) -> str | None:
        """The side that is as it was at the only base, by version alone; None when content must be looked at."""
        if len(self._bases) != 1:
            return None
        slot = self._slot(self._bases[0], memory_id)
        version = slot and slot.version
        if version == (ours and ours.version):
            return "ours"
        return "theirs" if version == (theirs and theirs.version) else None

    def value(self, memory_id: str) -> Base:
        """The memory at the base. Of several bases, the merge of them over their own bases, one after the other."""
        return self._value(self._bases, memory_id, 0)

    def _value(self, bases: tuple[int, ...], memory_id: str, depth: int) -> Base:
        if depth > NESTED_BASES_MAX:
            return UNKNOWN
        first, *others = bases
        value: Base = self._memory(first, memory_id)
        for other in others:
            next_value = self._memory(other, memory_id)
            inner = self._value(self._inner_bases(first, other), memory_id, depth + 1)
            value = merge_bases_of(memory_id, inner, value, next_value)
        return value

    def _memory(self, commit_no: int, memory_id: str) -> Memory | None:
        slot = self._slot(commit_no, memory_id)
        return None if slot is None else versions.load_memory(self._repo.db, slot.version)

    def _slot(self, commit_no: int, memory_id: str) -> Slot | None:
        if commit_no in self._slots and memory_id in self._looked_up:
            return self._slots[commit_no].get(memory_id)
        return timeline.visible(self._repo.db, self._view(commit_no), memory_id)

    def _view(self, commit_no: int) -> View:
        view = self._views.get(commit_no)
        if view is None:
            place = commits.by_no(self._repo.db, commit_no).place
            view = self._views[commit_no] = timeline.view_of(self._repo.db, place)
        return view

    def _inner_bases(self, one: int, other: int) -> tuple[int, ...]:
        found = self._inner.get((one, other))
        if found is None:
            rows = commits.by_no(self._repo.db, one), commits.by_no(self._repo.db, other)
            found = self._inner[one, other] = tuple(reading.merge_bases(self._repo, *rows))
        return found
