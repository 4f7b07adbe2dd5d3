"""What becomes of a memory on which two sides collide, once somebody has said so: part by part, or as a whole.

A decision names a side, the base, a value of its own, or that the part goes. Decisions on different parts do not touch
each other, so that their order does not matter; what did not collide stays merged, whichever side a decision takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from memory_repository.core import limits
from memory_repository.core.canonical import canonical_json
from memory_repository.core.memory import DEFAULT_KIND, Memory
from memory_repository.core.merge import (
    ABSENT,
    WHOLE,
    Base,
    Conflict,
    ConflictKind,
    Unknown,
    merge_memory,
)
from memory_repository.core.number_rules import NumberRules
from memory_repository.core.text_merge import Favour, merge_text

MODEL_PREFIX: Final = "model:"
"""How the name of a model begins where somebody decides; people and resolvers are never called so."""


class Take(StrEnum):
    """What a decision takes."""

    OURS = "ours"
    THEIRS = "theirs"
    BASE = "base"
    VALUE = "value"
    DELETE = "delete"

    @property
    def favour(self) -> Favour | None:
        """The side, if it takes one."""
        return {Take.OURS: "ours", Take.THEIRS: "theirs"}.get(self)  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Resolution:
    """A decision about one part of a memory, or the whole of it.

    Attributes:
        take: what it takes.
        value: with `Take.VALUE`: text for "content" and "kind", JSON for a field, for the whole memory an object of
            `content` and, if wanted, `kind` and `fields`.
        by: who decided; a model is "model:<name>".
        rationale: why, in words.
    """

    take: Take
    value: Any = None
    by: str = ""
    rationale: str = ""

    @property
    def by_model(self) -> bool:
        """Whether a model decided."""
        return self.by.startswith(MODEL_PREFIX)


Resolutions = Mapping[str, Resolution]
"""Decisions about one memory by part (`Conflict.part`); one about "whole" decides all of them."""


@dataclass(frozen=True, slots=True)
class Contested:
    """A memory on which the sides collide: the three versions, and what collides between them."""

    id: str
    base: Base
    ours: Memory | None
    theirs: Memory | None
    conflicts: tuple[Conflict, ...]
    fingerprint: str = ""
    """Of the three versions and what collides: equal as long as a decision made about them still fits."""
    rules: NumberRules = field(default_factory=dict)

    def favouring(self, favour: Favour | None) -> Memory | None:
        """The memory with every conflict decided for one side; the other side's clean changes stay."""
        return merge_memory(self.id, self.base, self.ours, self.theirs, favour, self.rules).value

    def part(self, name: str) -> Conflict:
        """The conflict about a part. Raises Refusal (not_found, as invalid: it names the parts there are)."""
        for conflict in self.conflicts:
            if conflict.part == name:
                return conflict
        there = ", ".join(conflict.part for conflict in self.conflicts[:10])
        raise limits.invalid(f"nothing collides in {name!r:.80} of {self.id}", f"what collides is {there}")


def fingerprint_of(base: str | None, ours: str | None, theirs: str | None, conflicts: tuple[Conflict, ...]) -> str:
    """Names three versions, by their hashes (None = absent), and what collides between them: 32 hex digits."""
    facts = [base, ours, theirs, [conflict.part for conflict in conflicts]]
    return hashlib.sha256(canonical_json(["thymos.contested.v1", facts])).hexdigest()[:32]


def left_open(contested: Contested, resolutions: Resolutions) -> tuple[Conflict, ...]:
    """The conflicts that nobody has decided."""
    if WHOLE in resolutions:
        return ()
    return tuple(conflict for conflict in contested.conflicts if conflict.part not in resolutions)


def settled(contested: Contested, resolutions: Resolutions) -> Memory | None:
    """The memory as decided, None where it goes. What is still open counts as ours.

    Raises:
        Refusal: invalid (a decision that cannot be, such as a deleted text), too_large.
    """
    if WHOLE in resolutions:
        return _whole(contested, resolutions[WHOLE])
    memory = contested.favouring(None)
    for part, resolution in sorted(resolutions.items()):
        memory = _decided(contested, memory, contested.part(part), resolution)
    # A side that was erased may be taken as it is: nothing is made of it.
    return memory if memory is None or memory.erased else memory.checked()


def with_decision(contested: Contested, resolutions: Resolutions, part: str | None, decided: Resolution) -> Resolutions:
    """The decisions about a memory after one more. Without a `part` it is about all that collides there.

    A decision about the whole memory replaces those about its parts, and the other way round.

    Raises:
        Refusal: invalid, too_large.
    """
    if part is None:
        by_part = decided.take.favour is not None or decided.take is Take.BASE
        names = [conflict.part for conflict in contested.conflicts] if by_part else [WHOLE]
        more = dict.fromkeys(names, decided)
    else:
        more = {part: decided}
    kept = {} if WHOLE in more or WHOLE in resolutions else resolutions
    result = {**kept, **more}
    settled(contested, result)
    return result


def memory_from(memory_id: str, value: Any) -> Memory:
    """A whole memory as given: {"content", "kind"?, "fields"?}. Raises Refusal (invalid, too_large)."""
    if not isinstance(value, Mapping) or "content" not in value or value.keys() - {"content", "kind", "fields"}:
        hint = 'give {"content": "…", "kind": …, "fields": {…}}'
        raise limits.invalid(f"the value of {memory_id} is no memory", hint)
    kind, fields = value.get("kind"), value.get("fields")
    return Memory(
        memory_id, value["content"], DEFAULT_KIND if kind is None else kind, {} if fields is None else fields
    ).checked()


def plain_memory(memory: Memory | None) -> Any:
    """A memory as `memory_from` takes it."""
    return None if memory is None else {"content": memory.content, "kind": memory.kind, "fields": dict(memory.fields)}


def _whole(contested: Contested, resolution: Resolution) -> Memory | None:
    match resolution.take:
        case Take.VALUE:
            return memory_from(contested.id, resolution.value)
        case Take.DELETE:
            return None
        case Take.BASE:
            return _base(contested)
        case side:
            return contested.favouring(side.favour)


def _decided(contested: Contested, memory: Memory | None, conflict: Conflict, resolution: Resolution) -> Memory | None:
    if conflict.part == WHOLE:
        return _whole(contested, resolution)
    base, ours, theirs = _base(contested), contested.ours, contested.theirs
    if memory is None or ours is None or theirs is None:
        raise limits.invalid(f"{contested.id} is not there on both sides", "decide about it as a whole")
    if conflict.kind is ConflictKind.CONTENT:
        return Memory(memory.id, _text(conflict, base, ours, theirs, resolution), memory.kind, memory.fields)
    sides = {Take.OURS: ours, Take.THEIRS: theirs, Take.BASE: base}
    if conflict.keys == ("kind",):
        side = sides.get(resolution.take)
        kind = side.kind if side is not None else _own_text(conflict, resolution)
        return Memory(memory.id, memory.content, kind, memory.fields)
    keys = conflict.keys[1:]
    value = _own_value(resolution) if resolution.take not in sides else _value_at(sides[resolution.take], keys)
    return Memory(memory.id, memory.content, memory.kind, _with(memory.fields, keys, value))


def _base(contested: Contested) -> Memory | None:
    if isinstance(contested.base, Unknown):
        message = f"{contested.id} has no base: the merges before it disagree, or it was erased"
        raise limits.invalid(message, "take ours, theirs or a value")
    return contested.base


def _text(conflict: Conflict, base: Memory | None, ours: Memory, theirs: Memory, resolution: Resolution) -> str:
    if resolution.take is Take.BASE:
        return base.content if base else ""
    favour = resolution.take.favour
    if favour is None:
        return _own_text(conflict, resolution)
    return merge_text(base.content if base else "", ours.content, theirs.content, favour).text


def _own_text(conflict: Conflict, resolution: Resolution) -> str:
    if resolution.take is not Take.VALUE or not isinstance(resolution.value, str):
        raise limits.invalid(f"the {conflict.part} of {conflict.id} has to be text", "give a value, or take a side")
    return resolution.value


def _own_value(resolution: Resolution) -> Any:
    return ABSENT if resolution.take is Take.DELETE else resolution.value


def _value_at(memory: Memory | None, keys: tuple[str, ...]) -> Any:
    value: Any = memory.fields if memory else {}
    for key in keys:
        value = value.get(key, ABSENT) if isinstance(value, Mapping) else ABSENT
    return value


def _with(value: Mapping[str, Any], keys: tuple[str, ...], new: Any) -> dict[str, Any]:
    """The object with another value under `keys`, or without them; what is not on the way is shared."""
    first, *others = keys
    if others:
        new = _with(value.get(first, {}), tuple(others), new)
    rest = {key: item for key, item in value.items() if key != first}
    return rest if new is ABSENT else {**rest, first: new}
