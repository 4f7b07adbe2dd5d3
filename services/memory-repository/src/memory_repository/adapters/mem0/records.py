"""One memory of mem0's as a memory of ours, and as the dict that mem0's calls return."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from memory_repository.core.memory import Memory

KIND: Final = "mem0"
PROMOTED: Final = ("user_id", "agent_id", "run_id", "actor_id", "role", "expiration_date")
"""What stands beside the text, not within its metadata."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Record:
    """A memory with what is known of it; `created_at` is None in the version that created it."""

    id: str
    text: str
    facts: Mapping[str, str]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None

    def to_memory(self) -> Memory:
        """The memory that holds it. Raises Refusal (invalid, too_large)."""
        fields: dict[str, Any] = dict(self.facts)
        if self.metadata:
            fields["metadata"] = dict(self.metadata)
        if self.created_at is not None:
            fields["created_us"] = (self.created_at - _EPOCH) // timedelta(microseconds=1)
        return Memory(self.id, self.text, KIND, fields).checked()

    def changed(self, text: str | None, metadata: Mapping[str, Any], created_at: datetime) -> Record:
        """The record with another text, or other metadata key by key."""
        return replace(
            self,
            text=self.text if text is None else text,
            metadata={**self.metadata, **metadata},
            created_at=created_at,
        )

    def with_expiration(self, expiration_date: str | None) -> Record:
        """The record with another last day; None for none."""
        facts = {name: value for name, value in self.facts.items() if name != "expiration_date"}
        return replace(self, facts=facts if expiration_date is None else {**facts, "expiration_date": expiration_date})

    def is_expired(self, today: date) -> bool:
        """Whether its last day is over."""
        last = self.facts.get("expiration_date")
        return last is not None and date.fromisoformat(last) < today

    def is_of(self, scope: Mapping[str, str]) -> bool:
        """Whether it belongs to everybody that a scope names."""
        return all(self.facts.get(name) == value for name, value in scope.items())

    def shown(self, updated_at: datetime, *, score: float | None = None, scored: bool = True) -> dict[str, Any]:
        """As mem0 shows it; without `scored` it has no key for a score."""
        times = {
            "created_at": (self.created_at or updated_at).isoformat(),
            "updated_at": updated_at.isoformat(),
        }
        digest = hashlib.md5(self.text.encode(), usedforsecurity=False).hexdigest()
        found: dict[str, Any] = {"id": self.id, "memory": self.text, "hash": digest}
        found["metadata"] = dict(self.metadata) or None
        if scored:
            found["score"] = score
        return {**found, **times, **{name: self.facts[name] for name in PROMOTED if name in self.facts}}


def from_memory(memory: Memory) -> Record:
    """The record that a memory holds."""
    created = memory.fields.get("created_us")
    return Record(
        memory.id,
        memory.content,
        {name: memory.fields[name] for name in PROMOTED if name in memory.fields},
        memory.fields.get("metadata", {}),
        None if created is None else _EPOCH + timedelta(microseconds=created),
    )


def expiration(value: Any) -> str | None:
    """A last day as YYYY-MM-DD. Raises ValueError."""
    if isinstance(value, datetime):
        return value.date().isoformat()
    if value is None:
        return None
    if isinstance(value, date):
        return value.isoformat()
    try:
        return date.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        raise ValueError("expiration_date must be a valid date in YYYY-MM-DD format.") from None
