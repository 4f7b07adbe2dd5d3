"""What a history is made of outside a store: one value per line of the JSON format (docs/memory-export.md).

    header, then commits, each followed by its changes and every commit after its parents, then refs, then what was
    erased, then the end

Whatever reads or writes a history, JSON lines or git, does so as an iterator of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from memory_repository.core.memory import Memory
from memory_repository.core.number_rules import NumberRules

FORMAT = "thymos.memory"
FORMAT_VERSION = 1
INITIAL = "initial"
"""The kind of a first commit."""
ORIGINAL = "original_commit"
"""Where a commit whose id could not stay says, in `meta`, which one it had first."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first line.

    Attributes:
        tenant, agent: whose memory it was; for people, an import goes where it is told to go.
        hashed: whether commits are named by their ids and memories carry their salted hashes, so that an import can
            recompute all of them; else commits have any labels that are unique in the file.
        key: the repository's key, with which an import gives the same commit ids; None when it was left out.
        commits: how many follow, as far as is known.
        number_rules: how numbers merge (core/number_rules.py).
    """

    tenant: str = ""
    agent: str = ""
    hashed: bool = False
    key: bytes | None = None
    commits: int | None = None
    number_rules: NumberRules = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CommitLine:
    """A commit: its id or label, and everything that its id is taken over but its changes, which follow.

    `state` is the fingerprint of what is visible at it (64 hex digits), in a hashed file.
    """

    label: str
    parents: tuple[str, ...]
    author: str
    at: datetime
    message: str = ""
    kind: str = "commit"
    meta: Mapping[str, Any] = field(default_factory=dict)
    state: str | None = None


@dataclass(frozen=True, slots=True)
class PutLine:
    """A memory is from this commit on what is said here.

    Attributes:
        id: its id.
        hash: the salted hash of this version, in a hashed file, and of a redacted version in any.
        memory: the version itself; None when it is redacted, or when an earlier line had it.
        salt: 32 bytes, given with `memory` in a hashed file.
        redacted: whether the content was erased.
        writer: the commit that wrote this version first, when it is another: what merges and rollbacks brought along.
    """

    id: str
    hash: str | None = None
    memory: Memory | None = None
    salt: bytes | None = None
    redacted: bool = False
    writer: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteLine:
    """A memory is gone from this commit on."""

    id: str


@dataclass(frozen=True, slots=True)
class Protected:
    """That a branch is protected: since when, by whom, why."""

    at: datetime
    actor: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RefLine:
    """A name for a commit: `type` is branch, tag or snapshot. `created_at` and `actor` are None where not known."""

    type: str
    name: str
    commit: str
    reason: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    actor: str | None = None
    protected: Protected | None = None


@dataclass(frozen=True, slots=True)
class RedactionLine:
    """A version of a memory was erased; `hash` is what it had in the store that erased it."""

    id: str
    hash: str
    at: datetime
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class EndLine:
    """The last line: how many lines come before it, and their digest; both are checked where they are given."""

    lines: int | None = None
    digest: str | None = None


Line = Header | CommitLine | PutLine | DeleteLine | RefLine | RedactionLine | EndLine
