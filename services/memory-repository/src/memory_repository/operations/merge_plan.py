"""What a merge would make of the memories on which two commits differ: planned first, written by merging.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from memory_repository.core import limits
from memory_repository.core.memory import Memory
from memory_repository.core.merge import (
    UNKNOWN,
    WHOLE,
    Base,
    Conflict,
    MergedMemory,
    Strategy,
    Unknown,
    known_base,
    merge_bases_of,
    merge_memory,
)
from memory_repository.core.number_rules import NumberRules, has_sums
from memory_repository.core.resolution import (
    Contested,
    Resolution,
    Resolutions,
    Take,
    fingerprint_of,
    left_open,
    plain_memory,
    settled,
)
from memory_repository.operations import reading
from memory_repository.operations.committing import new_slots
from memory_repository.storage import commits, timeline, versions
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import Repository
from memory_repository.storage.timeline import Differing, Slot, View

NESTED_BASES_MAX: Final = 16
"""Criss-cross merges on top of each other that are looked through; beyond it a base counts as unknown."""

Resolver = Callable[[Contested], Resolutions]
"""Decides what collides in a memory: by part, or as a whole; what it does not name stays open."""


@dataclass(frozen=True, slots=True)
class Collision:
    """A memory on which the sides collide, and what was decided about it."""

    contested: Contested
    resolutions: Resolutions
    open: tuple[Conflict, ...]


@dataclass(slots=True)
class Plan:
    """The merged state, as changes against either side; and what collides.

    What neither side holds is in `new`, with the sides, until `store` writes it: a plan that is not carried out leaves
    nothing behind.
    """

    on_ours: Differing = field(default_factory=dict)
    on_theirs: Differing = field(default_factory=dict)
    new: dict[str, tuple[tuple[Slot | None, Slot | None], Memory]] = field(default_factory=dict)
    collisions: list[Collision] = field(default_factory=list)
    gap: int = 0
    """Entries between the sides: what finding their difference had to read."""

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """Everything that collides, decided or not."""
        return tuple(conflict for collision in self.collisions for conflict in collision.contested.conflicts)

    @property
    def open(self) -> bool:
        """Whether something waits for a decision."""
        return any(collision.open for collision in self.collisions)

    @property
    def changes(self) -> int:
        """How many memories differ from ours."""
        return len(self.on_ours) + len(self.new)

    def store(self, repo: Repository) -> None:
        """Store the versions that are new, so that the changes are complete."""
        for memory_id, slot in new_slots(repo, [memory for _, memory in self.new.values()]).items():
            self.add(memory_id, *self.new[memory_id][0], slot)
        self.new.clear()

    def add(self, memory_id: str, ours: Slot | None, theirs: Slot | None, merged: Slot | None) -> None:
        """Note what a memory becomes."""
        for delta, old in ((self.on_ours, ours), (self.on_theirs, theirs)):
            if (old and old.version) != (merged and merged.version):
                delta[memory_id] = (old, merged)


def nobody(contested: Contested) -> Resolutions:
    """Leaves everything open."""
    del contested
    return {}


def make_plan(
    repo: Repository,
    bases: Sequence[int],
    ours: CommitRow,
    theirs: CommitRow,
    strategy: Strategy,
    resolver: Resolver,
    rules: NumberRules,
) -> Plan:
    """Plan a merge. Memories on which the sides differ can need merging, and, where numbers are summed, those that both
    sides have changed to the same; only those are looked at.

    What `resolver` leaves open is decided by the side that `strategy` favours, if it favours one.

    Raises:
        Refusal: invalid, too_large (a merged or decided memory cannot be, more lines than one merge compares).
    """
    ours_view, theirs_view = (timeline.view_of(repo.db, side.place) for side in (ours, theirs))
    between = timeline.entries_between(repo.db, ours_view, theirs_view)
    plan = Plan(gap=len(between))
    base_of = _Bases(repo, tuple(bases), rules)
    differing = timeline.difference(repo.db, ours_view, theirs_view, between)
    alike = _alike(repo, base_of, ours_view, theirs_view, differing) if has_sums(rules) else {}
    base_of.look_up(differing.keys() | alike.keys())
    both: Differing = {**alike}
    for memory_id, slots in differing.items():
        same = base_of.side(memory_id, *slots)
        if same is None:
            both[memory_id] = slots
        else:
            plan.add(memory_id, *slots, slots[1] if same == "ours" else slots[0])
    _merge_contents(repo, plan, both, base_of, strategy, resolver)
    return plan


def _alike(repo: Repository, base_of: _Bases, ours: View, theirs: View, differing: Differing) -> Differing:
    """The memories that both sides have changed since their bases and that are the same on both now: counters may have
    been counted on either side."""
    changed = base_of.changed_until(ours) & base_of.changed_until(theirs)
    found = timeline.visible_many(repo.db, ours, sorted(changed - differing.keys()))
    return {memory_id: (slot, slot) for memory_id, slot in found.items()}


def _merge_contents(
    repo: Repository, plan: Plan, both: Differing, base_of: _Bases, strategy: Strategy, resolver: Resolver
) -> None:
    """Merge the memories that both sides changed."""
    held = versions.load_memories(repo.db, timeline.rows_in(both))
    lines = 0
    for memory_id, slots in both.items():
        our, their = (None if slot is None else held[slot.version] for slot in slots)
        contested, merged = _three_way(repo, memory_id, base_of, slots, (our, their))
        # What collides is merged again for who decides it, and for what is made of the decision.
        lines += merged.lines * (3 if merged.conflicts else 1)
        limits.check_merge_lines(lines + base_of.lines)
        value = merged.value
        if contested.conflicts:
            collision = _decided(contested, resolver(contested), strategy)
            plan.collisions.append(collision)
            if collision.open:
                continue
            value = settled(contested, collision.resolutions)
        # A side's own version where it is the same, so that its writer stays known.
        same = [slot for slot, side in zip(slots, (our, their), strict=True) if value and value.same_as(side)]
        if value is None or same:
            plan.add(memory_id, *slots, same[0] if same else None)
        else:
            plan.new[memory_id] = slots, value.checked()


def contested_memories(
    repo: Repository, ours: CommitRow, theirs: CommitRow, rules: NumberRules, memory_ids: Iterable[str]
) -> Iterator[Contested]:
    """Some memories as a merge of the two commits would find them; one without conflicts merges cleanly."""
    base_of = _Bases(repo, tuple(reading.merge_bases(repo, ours, theirs)), rules)
    views = [timeline.view_of(repo.db, side.place) for side in (ours, theirs)]
    for memory_id in memory_ids:
        our, their = (timeline.visible(repo.db, view, memory_id) for view in views)
        sides = reading.slot_memory(repo.db, our), reading.slot_memory(repo.db, their)
        yield _three_way(repo, memory_id, base_of, (our, their), sides)[0]


def _three_way(
    repo: Repository,
    memory_id: str,
    base_of: _Bases,
    slots: tuple[Slot | None, Slot | None],
    sides: tuple[Memory | None, Memory | None],
) -> tuple[Contested, MergedMemory]:
    """What collides in a memory, and what becomes of it where nothing does."""
    base, rules = base_of.value(memory_id), base_of.rules
    merged = merge_memory(memory_id, base, *sides, rules=rules)
    base = known_base(base)
    name = _fingerprint(repo, base, slots, merged.conflicts) if merged.conflicts else ""
    return Contested(memory_id, base, *sides, merged.conflicts, name, rules), merged


def _decided(contested: Contested, resolutions: Resolutions, strategy: Strategy) -> Collision:
    open_ = left_open(contested, resolutions)
    if open_ and strategy.favour is not None:
        side = Resolution(Take(strategy.favour))
        return Collision(contested, {**dict.fromkeys((each.part for each in open_), side), **resolutions}, ())
    return Collision(contested, resolutions, open_)


def _fingerprint(
    repo: Repository, base: Base, slots: tuple[Slot | None, Slot | None], conflicts: tuple[Conflict, ...]
) -> str:
    """By salted hashes: what is left of it after a redaction says nothing about the memory."""
    if isinstance(base, Unknown):
        base_hash: str | None = "unknown"
    else:
        base_hash = None if base is None else versions.hash_of(repo.key, base)
    ours, theirs = (slot.hash if slot else None for slot in slots)
    return fingerprint_of(base_hash, ours, theirs, conflicts)


class _Bases:
    """Memories at the merge base, or at the virtual base that several merge bases make together."""

    def __init__(self, repo: Repository, bases: tuple[int, ...], rules: NumberRules) -> None:
        self._repo = repo
        self._bases = bases
        self.rules = rules
        self.lines = 0
        """What merging several bases has taken so far, see `limits.check_merge_lines`."""
        self._views: dict[int, View] = {}
        self._inner: dict[tuple[int, int], tuple[int, ...]] = {}
        self._looked_up: frozenset[str] = frozenset()
        self._slots: dict[int, dict[str, Slot]] = {}

    def look_up(self, memory_ids: Iterable[str]) -> None:
        """Read what the bases hold of memories, at once."""
        self._looked_up = frozenset(memory_ids)
        for base in self._bases:
            self._slots[base] = timeline.visible_many(self._repo.db, self._view(base), sorted(self._looked_up))

    def changed_until(self, view: View) -> set[str]:
        """The memories that have entries between each of the bases and a view."""
        between = [set(timeline.entries_between(self._repo.db, self._view(base), view)) for base in self._bases]
        return set.intersection(*between) if between else set()

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
        """The memory at the base. Of several bases, the merge of them over their own bases, one after the other; where
        the retention has left none, nobody knows."""
        return self._value(self._bases, memory_id, 0)

    def _value(self, bases: tuple[int, ...], memory_id: str, depth: int) -> Base:
        if not bases or depth > NESTED_BASES_MAX:
            return UNKNOWN
        first, *others = bases
        value: Base = self._memory(first, memory_id)
        for other in others:
            next_value = self._memory(other, memory_id)
            inner = self._value(self._inner_bases(first, other), memory_id, depth + 1)
            value, lines = merge_bases_of(memory_id, inner, value, next_value, self.rules)
            self.lines += lines
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


def by_conflict(resolve: Callable[[Conflict], Resolution | None], name: str) -> Resolver:
    """A function that decides single conflicts, as one that decides memories; `name` is who decides, unless it says."""

    def decide(contested: Contested) -> Resolutions:
        decided = {conflict.part: resolve(conflict) for conflict in contested.conflicts}
        return {part: replace(each, by=each.by or name) for part, each in decided.items() if each is not None}

    return decide


def of_memories(decided: Mapping[str, Memory | None]) -> Resolver:
    """Decides by what memories shall be: None = deleted. Raises Refusal (invalid) when one is of another id."""

    def resolve(contested: Contested) -> Resolutions:
        if contested.id not in decided:
            return {}
        memory = decided[contested.id]
        if memory is not None and memory.id != contested.id:
            raise limits.invalid(f"the resolution of {contested.id} has another id: {memory.id}")
        return {WHOLE: whole(memory)}

    return resolve


def whole(memory: Memory | None) -> Resolution:
    """The decision for a whole memory, or against it. Raises Refusal (invalid, too_large, refused)."""
    return Resolution(Take.DELETE) if memory is None else Resolution(Take.VALUE, plain_memory(memory.checked()))
