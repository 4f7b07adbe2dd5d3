"""What a repository holds: memories, and the changes made to them. Frozen values, checked where they enter."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from memory_repository.core import limits
from memory_repository.core.canonical import canonical_json, canonical_text
from thymos.errors import Refusal, RefusalCode

DEFAULT_KIND = "note"


@dataclass(frozen=True, slots=True)
class Memory:
    """One memory as it stands at some commit.

    Attributes:
        id: its name within the repository, stable over all versions.
        content: the text, at most 64 KiB.
        kind: a short word that says what it is, such as "note" or "answer".
        fields: a JSON object of at most 32 KiB.
        erased: the hash of the version that this was, once a redaction has erased it. What is read of it then (no
            content, the kind "redacted") stands for it and is not what it held.
    """

    id: str
    content: str
    kind: str = DEFAULT_KIND
    fields: Mapping[str, Any] = field(default_factory=dict)
    erased: str | None = field(default=None, kw_only=True, compare=False, repr=False)

    def checked(self) -> Memory:
        """This memory as one that may be written, its fields as they will be read back: a merge asks for lists, and
        finds no tuples. Raises Refusal (invalid, too_large; refused once it is erased)."""
        if self.erased:
            message = f"what {self.id} held was erased, so that nothing can be made of it"
            raise Refusal(RefusalCode.REFUSED, message, "put the memory anew")
        limits.check_memory_id(self.id)
        limits.check_content(self.content)
        limits.check_kind(self.kind)
        if not isinstance(self.fields, Mapping):
            raise limits.invalid(f"the fields of {self.id} are not a JSON object")
        limits.check_json(f"fields of {self.id}", self.fields)
        encoded = canonical_json(self.fields)
        if len(encoded) > limits.FIELDS_BYTES_MAX:
            raise limits.too_large(f"fields of {self.id}", len(encoded), limits.FIELDS_BYTES_MAX)
        return replace(self, fields=json.loads(encoded)) if self.fields else self

    def same_as(self, other: Memory | None) -> bool:
        """Whether both hold the same, as JSON understands it (1, 1.0 and true all differ). What was erased is the same
        as itself alone."""
        return other is not None and self.erased == other.erased and self.body() == other.body()

    def body(self) -> bytes:
        """Everything that makes up this version, in the canonical encoding: what its hash is taken over."""
        return self.body_around(canonical_json(self.fields).decode())

    def body_around(self, fields: str) -> bytes:
        """The same, where the canonical encoding of the fields is known already."""
        texts = (canonical_text(text) for text in (self.id, self.kind, self.content))
        return f"[{','.join(texts)},{fields}]".encode("ascii")


@dataclass(frozen=True, slots=True)
class Put:
    """Create a memory, or replace it whole."""

    memory: Memory

    @property
    def id(self) -> str:
        """The memory that changes."""
        return self.memory.id


@dataclass(frozen=True, slots=True)
class Modify:
    """Change parts of a memory that exists: None leaves a part as it is; `fields` are set key by key."""

    id: str
    content: str | None = None
    kind: str | None = None
    fields: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a memory that exists."""

    id: str


Change = Put | Modify | Delete
CHANGES = (Put, Modify, Delete)


@dataclass(frozen=True, slots=True)
class Difference:
    """How one memory differs between two commits; None where it is absent."""

    id: str
    before: Memory | None
    after: Memory | None

    @property
    def verb(self) -> str:
        """ "added", "removed" or "changed"."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"


def apply_change(change: Change, current: Memory | None) -> Memory | None:
    """The memory after `change`, None when it is deleted.

    Raises:
        Refusal: not_found when a memory that must exist does not; refused when parts of an erased one would change;
            invalid or too_large when a limit is broken.
    """
    match change:
        case Put(memory):
            return memory.checked()
        case Modify():
            if current is None:
                raise _missing(change.id, "modify")
            if change.fields is not None:
                limits.check_object(f"fields of {change.id}", change.fields)
            return Memory(
                id=current.id,
                content=current.content if change.content is None else change.content,
                kind=current.kind if change.kind is None else change.kind,
                fields=current.fields if change.fields is None else {**current.fields, **change.fields},
                erased=current.erased,
            ).checked()
        case Delete():
            if current is None:
                raise _missing(change.id, "delete")
            return None


def changed_ids(changes: Iterable[Change]) -> list[str]:
    """The ids that `changes` touch, each once, in order. Raises Refusal (invalid) for an id against the rule, and for
    the put of something else than a memory."""
    found: dict[str, None] = {}
    for change in changes:
        if isinstance(change, Put):
            limits.check_is("what is put", Memory, change.memory)
        found[limits.check_memory_id(change.id)] = None
    return list(found)


def _missing(memory_id: str, verb: str) -> Refusal:
    return Refusal(RefusalCode.NOT_FOUND, f"cannot {verb} {memory_id}: there is no such memory here")
