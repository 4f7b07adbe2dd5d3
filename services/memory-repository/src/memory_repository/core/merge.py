"""The three-way merge of one memory: record by record, then part by part.

A side that did not change gives way to the side that did. Where both changed, `content` merges by line (diff3),
`fields` by key, nested objects by key again, lists that are sets by element (`merged_set`), numbers by declared rule
(number_rules.py); anything else that both changed differently is a typed conflict. There is no silent winner, and
swapping the sides of a clean merge gives the same result. What both sides hold they agree on, but for counters: each
side has counted.

    conflict        base      ours            theirs
    content         present   changed text    changed text that overlaps
    field           present   changed value   changed value of `fields` (or `kind`) under `path`
    modify_delete   present   changed         deleted (or the other way round)
    add_add         absent    added           added differently

Of a memory that was erased nobody knows what it held: as a base it is no base, and a side that is erased collides as a
whole with any other version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import combinations
from types import MappingProxyType
from typing import Any, Final

from memory_repository.core.canonical import canonical_json, same_json
from memory_repository.core.memory import Memory
from memory_repository.core.number_rules import (
    NumberRule,
    NumberRules,
    has_sums,
    is_counter,
    merged_number,
    pointer,
)
from memory_repository.core.text_merge import Favour, merge_text


class Strategy(StrEnum):
    """What happens to what collides; a clean merge is the same under all of them.

    Ours and Theirs decide each conflict for one side and keep the other side's clean changes. Manual hands the
    conflicts back as data, to be resolved later. AutoMerge asks a model about the conflicts, Custom a function; what
    they leave open is Manual.
    """

    OURS = "Ours"
    THEIRS = "Theirs"
    MANUAL = "Manual"
    AUTO_MERGE = "AutoMerge"
    CUSTOM = "Custom"

    @property
    def favour(self) -> Favour | None:
        """The side that wins conflicts, None when nobody does."""
        return {Strategy.OURS: "ours", Strategy.THEIRS: "theirs"}.get(self)  # type: ignore[return-value]


class MergeState(StrEnum):
    """What a kept merge waits for: decisions, a model's answer, or somebody's approval of what a model decided."""

    OPEN = "open"
    AWAITING_MODEL = "awaiting_model"
    AWAITING_APPROVAL = "awaiting_approval"


WHOLE: Final = "whole"
"""The part of a conflict that is about a memory as a whole."""


class ConflictKind(StrEnum):
    """The four ways in which two sides collide."""

    CONTENT = "content"
    FIELD = "field"
    MODIFY_DELETE = "modify_delete"
    ADD_ADD = "add_add"


@dataclass(frozen=True, slots=True)
class Conflict:
    """One collision, as data.

    Attributes:
        id: the memory.
        kind: see the module's table.
        path: for `field`: "kind", or the keys below `fields` joined by "/"; else None.
        base, ours, theirs: the colliding values; None where absent. For `modify_delete` and `add_add` the whole
            memories as {"content", "kind", "fields"}, for `content` the texts.
        keys: for `field`: ("kind",), or "fields" and the keys below it.
    """

    id: str
    kind: ConflictKind
    path: str | None
    base: Any
    ours: Any
    theirs: Any
    keys: tuple[str, ...] = ()

    @property
    def part(self) -> str:
        """What of the memory collides: "content", "kind", "fields/<path>" (see number_rules.pointer) or "whole"."""
        if self.kind is ConflictKind.CONTENT:
            return "content"
        return pointer(self.keys) if self.kind is ConflictKind.FIELD else WHOLE


@dataclass(frozen=True, slots=True)
class MergedMemory:
    """The merged memory (None = absent) and what collided.

    With conflicts and no favoured side `value` means nothing: somebody has to choose. `lines` is what its text took.
    """

    value: Memory | None
    conflicts: tuple[Conflict, ...] = ()
    lines: int = field(default=0, compare=False)


class Unknown:
    """The base of a memory on which several merge bases disagree, or that was erased: equal to nothing."""


UNKNOWN: Final = Unknown()
Base = Memory | None | Unknown
NO_RULES: Final[NumberRules] = MappingProxyType({})

ABSENT: Final = object()
"""A key that is not there (null is a value)."""


def merge_memory(
    memory_id: str,
    base: Base,
    ours: Memory | None,
    theirs: Memory | None,
    favour: Favour | None = None,
    rules: NumberRules = NO_RULES,
) -> MergedMemory:
    """Merge one memory.

    Args:
        memory_id: its id.
        base: the memory at the merge base; None where absent; UNKNOWN where several bases disagree.
        ours: the memory on the branch that is merged into; None where absent.
        theirs: the memory on the branch that is merged; None where absent.
        favour: the side that wins conflicts; None leaves them open.
        rules: how numbers merge that both sides changed.
    """
    alike = _same(ours, theirs)
    if alike and not (ours and has_sums(rules)):
        return MergedMemory(ours)
    if not isinstance(base, Unknown):
        if _same(base, theirs):
            return MergedMemory(ours)
        if _same(base, ours):
            return MergedMemory(theirs)
    base, chosen = known_base(base), theirs if favour == "theirs" else ours
    if alike and (isinstance(base, Unknown) or (ours and ours.erased)):
        return MergedMemory(ours)
    if ours is None or theirs is None:
        return MergedMemory(chosen, (_whole(memory_id, ConflictKind.MODIFY_DELETE, base, ours, theirs),))
    if isinstance(base, Unknown) or ours.erased or theirs.erased:
        return MergedMemory(chosen, (_whole(memory_id, ConflictKind.ADD_ADD, base, ours, theirs),))
    if base is None:
        # A favoured side wins what collides; what only the other side added is clean and stays.
        merged = _merge_parts(Memory(memory_id, "", "", {}), ours, theirs, favour, rules)
        return (
            merged
            if alike
            else replace(merged, conflicts=(_whole(memory_id, ConflictKind.ADD_ADD, None, ours, theirs),))
        )
    return _merge_parts(base, ours, theirs, favour, rules)


def known_base(base: Base) -> Base:
    """What is known of a base: nothing once it was erased."""
    return UNKNOWN if isinstance(base, Memory) and base.erased else base


def merge_bases_of(
    memory_id: str, base: Base, one: Base, other: Base, rules: NumberRules = NO_RULES
) -> tuple[Base, int]:
    """The virtual base of a memory from two merge bases and their own base: UNKNOWN where those collide. And the lines
    that this took."""
    if isinstance(one, Unknown) or isinstance(other, Unknown):
        return UNKNOWN, 0
    merged = merge_memory(memory_id, base, one, other, rules=rules)
    return UNKNOWN if merged.conflicts else merged.value, merged.lines


def _merge_parts(base: Memory, ours: Memory, theirs: Memory, favour: Favour | None, rules: NumberRules) -> MergedMemory:
    part = _Parts(base.id, favour, rules)
    content = merge_text(base.content, ours.content, theirs.content, favour)
    if content.conflicts:
        part.conflicts.append(Conflict(base.id, ConflictKind.CONTENT, None, base.content, ours.content, theirs.content))
    kind = part.merge(("kind",), base.kind, ours.kind, theirs.kind)
    fields = part.merge_objects(("fields",), base.fields, ours.fields, theirs.fields)
    return MergedMemory(Memory(base.id, content.text, kind, fields), tuple(part.conflicts), content.lines)


class _Parts:
    """Merges JSON values and collects what collides, depth first in the order of the keys."""

    def __init__(self, memory_id: str, favour: Favour | None, rules: NumberRules) -> None:
        self._id = memory_id
        self._favour = favour
        self._rules = rules
        self.conflicts: list[Conflict] = []

    def merge(self, keys: tuple[str, ...], base: Any, ours: Any, theirs: Any) -> Any:
        if _same_value(base, theirs) or (_same_value(ours, theirs) and not self._counts(keys, base, ours)):
            return ours
        if _same_value(base, ours):
            return theirs
        if all(isinstance(side, Mapping) for side in (ours, theirs, {} if base is ABSENT else base)):
            return self.merge_objects(keys, {} if base is ABSENT else base, ours, theirs)
        elements = merged_set([] if base is ABSENT else base, ours, theirs)
        if elements is not None:
            return elements
        rule = self._rule(keys)
        number = None if rule is None else merged_number(rule, None if base is ABSENT else base, ours, theirs)
        return self._collided(keys, base, ours, theirs) if number is None else number

    def merge_objects(
        self, keys: tuple[str, ...], base: Mapping[str, Any], ours: Mapping[str, Any], theirs: Mapping[str, Any]
    ) -> dict[str, Any]:
        merged = {}
        for key in sorted({*base, *ours, *theirs}):
            values = (side.get(key, ABSENT) for side in (base, ours, theirs))
            value = self.merge((*keys, key), *values)
            if value is not ABSENT:
                merged[key] = value
        return merged

    def _counts(self, keys: tuple[str, ...], base: Any, value: Any) -> bool:
        """Whether a value at which both sides arrived may hold what both have counted."""
        if isinstance(value, Mapping):
            return has_sums(self._rules) and (base is ABSENT or isinstance(base, Mapping))
        return is_counter(self._rule(keys), None if base is ABSENT else base, value)

    def _rule(self, keys: tuple[str, ...]) -> NumberRule | None:
        return self._rules.get(pointer(keys[1:])) if self._rules and keys[0] == "fields" else None

    def _collided(self, keys: tuple[str, ...], base: Any, ours: Any, theirs: Any) -> Any:
        base, our, their = (None if value is ABSENT else value for value in (base, ours, theirs))
        path = "/".join(keys[1:]) or keys[0]
        self.conflicts.append(Conflict(self._id, ConflictKind.FIELD, path, base, our, their, keys))
        return theirs if self._favour == "theirs" else ours


def merged_set(base: Any, ours: Any, theirs: Any) -> list[Any] | None:
    """Merge lists by element, where they are sets for all that can be told; None where they are not.

    They are lists of distinct scalars, and what any two of them hold stands in one order. Of anything but texts it
    takes more: that the base has some, and that nothing stands where something else stood. Two that made `[9, 20]` and
    `[10, 20]` of `[5, 20]`, or of nothing, meant two ranges.

    What the base held and neither side removed keeps the base's order; what either side added follows, sorted by
    its JSON text, so that the result does not depend on which side is ours.
    """
    if not all(map(_is_distinct, (base, ours, theirs))):
        return None
    sets = [{canonical_json(item): item for item in side} for side in (base, ours, theirs)]
    base_set, ours_set, theirs_set = sets
    if not all(_in_one_order(one, other) for one, other in combinations(sets, 2)):
        return None
    are_texts = all(isinstance(item, str) for side in (base, ours, theirs) for item in side)
    if not are_texts and (not base or any(_is_replaced(base_set, side) for side in (ours_set, theirs_set))):
        return None
    kept = [item for key, item in base_set.items() if key in ours_set and key in theirs_set]
    both = {**ours_set, **theirs_set}
    return kept + [both[key] for key in sorted(both) if key not in base_set]


_Elements = Mapping[bytes, Any]
"""The elements of a list in their order, by their JSON text."""


def _is_distinct(value: Any) -> bool:
    if not isinstance(value, list) or any(isinstance(item, Mapping | list) for item in value):
        return False
    return len({canonical_json(item) for item in value}) == len(value)


def _in_one_order(one: _Elements, other: _Elements) -> bool:
    return [key for key in one if key in other] == [key for key in other if key in one]


def _is_replaced(base: _Elements, side: _Elements) -> bool:
    """Whether something new stands where something else was removed, between two elements that stayed."""
    return not _gaps(base, side).isdisjoint(_gaps(side, base))


def _gaps(one: _Elements, other: _Elements) -> set[int]:
    """Where the first has elements that the second has not: after how many of those that both have."""
    found: set[int] = set()
    shared = 0
    for key in one:
        if key in other:
            shared += 1
        else:
            found.add(shared)
    return found


def _same(one: Memory | None, other: Memory | None) -> bool:
    return other is None if one is None else one.same_as(other)


def _same_value(one: Any, other: Any) -> bool:
    if one is ABSENT or other is ABSENT:
        return one is other
    return same_json(one, other)


def _whole(memory_id: str, kind: ConflictKind, base: Base, ours: Memory | None, theirs: Memory | None) -> Conflict:
    known = None if isinstance(base, Unknown) else base
    return Conflict(memory_id, kind, None, _plain(known), _plain(ours), _plain(theirs))


def _plain(memory: Memory | None) -> dict[str, Any] | None:
    if memory is None:
        return None
    return {"content": memory.content, "kind": memory.kind, "fields": dict(memory.fields)}
