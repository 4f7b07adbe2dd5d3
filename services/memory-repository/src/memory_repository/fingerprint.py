"""The fingerprint of a state: equal exactly when the visible memories are equal, kept up in O(changes).

A multiset hash in a multiplicative group (MuHash: Bellare and Micciancio 1997; the prime is the one of Bitcoin
Core's MuHash3072): each visible memory is hashed to a number below the prime p = 2^3072 - 1103717, and the state is
their product modulo p. The product does not depend on the order of events, adding multiplies and removing
multiplies by the inverse, so that a commit costs one multiplication per change whatever the memory holds. That two
different sets collide is as hard as the discrete logarithm in that group; a plain sum would not be safe here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

PRIME = 2**3072 - 1103717
STATE_BYTES = 384
EMPTY = (1).to_bytes(STATE_BYTES, "big")
"""The state of a repository without memories."""

Element = tuple[str, str]
"""A visible memory: its id and its version's hash."""


def updated(state: bytes, added: Iterable[Element], removed: Iterable[Element]) -> bytes:
    """The state (384 bytes) after memories were added and removed. A changed memory is removed and added."""
    removal = _product(removed)
    value = int.from_bytes(state, "big") * _product(added) % PRIME
    if removal != 1:
        value = value * pow(removal, -1, PRIME) % PRIME
    return value.to_bytes(STATE_BYTES, "big")


def state_id(state: bytes) -> str:
    """The short name of a state, 64 hex digits: equal exactly when the visible memories are equal."""
    return hashlib.sha256(b"thymos.state.v1\x00" + state).hexdigest()


def _product(elements: Iterable[Element]) -> int:
    product = 1
    for memory_id, version in elements:
        product = product * _number(memory_id, version) % PRIME
    return product


def _number(memory_id: str, version: str) -> int:
    # The version is of fixed length, so that id and version cannot run into each other.
    digest = hashlib.shake_256(b"thymos.element.v1\x00" + version.encode() + memory_id.encode())
    # Zero has no inverse; it would appear once in 2^3072 hashes.
    return int.from_bytes(digest.digest(STATE_BYTES), "big") % PRIME or 1
