"""How commits are named, so that history is tamper-evident and memories can still be erased from it.

    body        = canonical [id, kind, content, fields]
    salt        = HMAC-SHA-256(repository key, body)
    version     = SHA-256("thymos.version.v1" NUL salt body)
    delta       = SHA-256(canonical ["thymos.delta.v1", [[id, version or null], ...] sorted by id])
    commit id   = SHA-256(canonical ["thymos.commit.v1", {parents, delta, state, author, at, message, kind, meta}])

A commit holds its content only through `version`. Redaction removes body and salt; `version` stays, so every commit
above it still verifies, and without the salt nobody can test a guess against it. The salt depends on the key and the
body alone: the same memory has the same version on every branch, and no randomness enters a commit.
`state` is the fingerprint of everything visible at the commit (fingerprint.py). `delta` is against the first parent.

These definitions can never change: a change would be a new "v2" beside them.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from memory_repository.core.canonical import canonical_json

KEY_BYTES_MIN = 16


@dataclass(frozen=True, slots=True)
class CommitHeader:
    """Everything that a commit id is taken over.

    Attributes:
        parents: commit ids, the first one is the commit that `delta` changes.
        delta: the delta's hash, hex.
        state_id: the fingerprint of the visible state, hex.
        author: who made it.
        at: when, UTC, as `timestamp` writes it.
        message: why, in words.
        kind: "initial", "commit", "merge" or "rollback".
        meta: further facts as JSON, such as the restored commit or the merge's strategy.
    """

    parents: Sequence[str]
    delta: str
    state_id: str
    author: str
    at: str
    message: str
    kind: str
    meta: Mapping[str, Any]


def timestamp(at: datetime) -> str:
    """A time as text, UTC, microseconds, always the same length. Raises ValueError for a naive time."""
    if at.tzinfo is None:
        raise ValueError("a time without a time zone cannot be recorded")
    utc = at.astimezone(UTC)
    # The same as strftime, which takes several times as long, from the year 1000 on.
    if utc.year >= 1000:
        return f"{utc.isoformat(timespec='microseconds').removesuffix('+00:00')}Z"
    return utc.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def salt_of(key: bytes, body: bytes) -> bytes:
    """The 32-byte salt of a memory's body under a repository's key."""
    return hmac.digest(key, body, "sha256")


def version_hash(salt: bytes, body: bytes) -> str:
    """The salted hash by which a commit holds a memory, 64 hex digits."""
    return hashlib.sha256(b"thymos.version.v1\x00" + salt + body).hexdigest()


def delta_hash(changes: Iterable[tuple[str, str | None]]) -> str:
    """The hash of a commit's changes: (memory id, new version's hash or None for deleted), in any order."""
    ordered = [[memory_id, version] for memory_id, version in sorted(changes, key=lambda change: change[0])]
    return hashlib.sha256(canonical_json(["thymos.delta.v1", ordered])).hexdigest()


def commit_id(header: CommitHeader) -> str:
    """The id of a commit: 64 hex digits."""
    facts = {
        "parents": list(header.parents),
        "delta": header.delta,
        "state": header.state_id,
        "author": header.author,
        "at": header.at,
        "message": header.message,
        "kind": header.kind,
        "meta": header.meta,
    }
    return hashlib.sha256(canonical_json(["thymos.commit.v1", facts])).hexdigest()
