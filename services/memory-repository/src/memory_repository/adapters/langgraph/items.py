"""Items as memories. A value's text is the content, its other parts are fields, so that branches merge it part by
part and search finds it; what is about the item stands in keys and numbers, which search does not look at.

    {"text": "I like tea", "since": 2020}   content "I like tea", fields {"value": {"since": 2020}, "slot": {"text": 0}}

A value that is no plain field (over 32 KiB, over 14 levels deep) is the content as JSON instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from memory_repository.adapters.langgraph import naming
from memory_repository.core.limits import AGE_MAX, invalid
from memory_repository.core.memory import Memory
from thymos.errors import Refusal

KIND: Final = "item"
UNSEARCHED: Final = "item-unsearched"
"""The kind of an item that queries shall not find."""
SLOTS: Final = ("content", "text", "memory", "data")
"""The parts of a value that can be the content: the first one that is text is."""
TTL_MINUTES_MAX: Final = AGE_MAX // timedelta(minutes=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item as its memory holds it.

    Attributes:
        created_at: None where the version is the item's first one.
        searched: paths within the value that queries look at; None for all of it.
    """

    namespace: tuple[str, ...]
    key: str
    value: dict[str, Any]
    ttl_minutes: float | None = None
    created_at: datetime | None = None
    searched: tuple[str, ...] | None = None
    hidden: bool = False

    def like(self, created_at: datetime | None) -> StoredItem:
        """The same item, created then."""
        return replace(self, created_at=created_at)

    def to_memory(self) -> Memory:
        """The memory that holds it. Raises Refusal: invalid (no JSON), too_large."""
        identity = naming.memory_id(self.namespace, self.key)
        facts: dict[str, Any] = {}
        if naming.is_hashed(identity):
            facts["name"] = {naming.full_name(self.namespace, self.key): 0}
        if self.ttl_minutes is not None:
            facts["ttl_minutes"] = self.ttl_minutes
        if self.created_at is not None:
            facts["created_us"] = (self.created_at - _EPOCH) // timedelta(microseconds=1)
        if self.searched is not None:
            facts["searched"] = {path: place for place, path in enumerate(self.searched)}
        kind = UNSEARCHED if self.hidden else KIND
        plain = _plain(self.value)
        slot = next((name for name in SLOTS if isinstance(plain.get(name), str)), None)
        rest = {name: part for name, part in plain.items() if name != slot}
        placed = {} if slot is None else {"slot": {slot: 0}}
        try:
            return Memory(
                identity, plain.get(slot, "") if slot else "", kind, {**facts, **placed, "value": rest}
            ).checked()
        except Refusal:
            return Memory(identity, _json(plain), kind, {**facts, "json": True}).checked()


def check_ttl(minutes: Any) -> float:
    """How long an item is kept, in minutes: more than 0, at most 1,000 years. Raises Refusal (invalid)."""
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 < minutes <= TTL_MINUTES_MAX:
        hint = f"give more than 0 and at most {TTL_MINUTES_MAX:,}, or None for no end"
        raise invalid(f"the ttl is {minutes!r:.60} minutes", hint)
    return float(minutes)


def ending(begun: datetime, ttl_minutes: float) -> datetime:
    """When an item expires that was written or read then; what lies beyond the last date never comes."""
    try:
        return begun + timedelta(minutes=ttl_minutes)
    except OverflowError:
        return _NEVER


def from_memory(memory: Memory) -> StoredItem:
    """The item that a memory holds."""
    fields = memory.fields
    name = next(iter(fields.get("name") or (memory.id,)))
    namespace, key = naming.parsed(name)
    if fields.get("json"):
        value = json.loads(memory.content)
    else:
        value = {**fields.get("value", {}), **{slot: memory.content for slot in fields.get("slot", ())}}
    created, searched = fields.get("created_us"), fields.get("searched")
    return StoredItem(
        namespace=namespace,
        key=key,
        value=value,
        ttl_minutes=fields.get("ttl_minutes"),
        created_at=None if created is None else _EPOCH + timedelta(microseconds=created),
        searched=None if searched is None else tuple(sorted(searched, key=searched.__getitem__)),
        hidden=memory.kind == UNSEARCHED,
    )


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    # As it will be read back: tuples are lists then.
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(value)))
    except (TypeError, ValueError, RecursionError) as error:
        raise invalid(f"the value is not JSON: {error}", "give numbers, text, lists and dicts") from None
    return plain


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, sort_keys=True)
    return text


__all__: Sequence[str] = (
    "KIND",
    "SLOTS",
    "TTL_MINUTES_MAX",
    "UNSEARCHED",
    "StoredItem",
    "check_ttl",
    "ending",
    "from_memory",
)
