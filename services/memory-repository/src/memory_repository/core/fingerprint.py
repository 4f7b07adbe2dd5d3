"""The fingerprint of a state: equal exactly when the visible memories are equal, kept up in O(changes).

LtHash with 1,024 lanes of 16 bits (Bellare and Micciancio 1997; parameters and about 200 bits of security: Lewi, Kim,
Maykov and Weis, "Securing Update Propagation with Homomorphic Hashing", 2019): each visible memory is hashed to a
vector of 1,024 numbers, and the state is the sum of the vectors, lane by lane modulo 2^16. A sum does not depend on
the order of events, adding adds and removing subtracts, so that a commit costs one addition per change whatever the
memory holds. Finding two sets with the same sum is a short-vector problem in a lattice; a sum of plain 256-bit hashes
would not be safe. MuHash would take a fifth of the space and, in Python, several times the time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

STATE_BYTES = 2048
EMPTY = bytes(STATE_BYTES)
"""The state of a repository without memories."""

Element = tuple[str, str]
"""A visible memory: its id and its version's hash."""

# Lanes are added as two big numbers, of the even and of the odd ones, so that every lane has 16 bits of room.
_LANES = int.from_bytes(b"\x00\x00\xff\xff" * (STATE_BYTES // 4), "big")
_ROOM = 2**16
"""So many numbers of 16 bits have a sum below 2^32: the carry of a lane stays within its room."""
_CARRY = int.from_bytes(b"\x00\x01\x00\x00" * (STATE_BYTES // 4), "big")


def updated(state: bytes, added: Iterable[Element], removed: Iterable[Element]) -> bytes:
    """The state (2,048 bytes) after memories were added and removed. A changed memory is removed and added."""
    even, odd = _lanes(state)
    more_even, more_odd = _sum(added)
    less_even, less_odd = _sum(removed)
    even, odd = (even + more_even + _CARRY - less_even) & _LANES, (odd + more_odd + _CARRY - less_odd) & _LANES
    return (even | odd << 16).to_bytes(STATE_BYTES, "big")


def state_id(state: bytes) -> str:
    """The short name of a state, 64 hex digits: equal exactly when the visible memories are equal."""
    return hashlib.sha256(b"thymos.state.v1\x00" + state).hexdigest()


def _sum(elements: Iterable[Element]) -> tuple[int, int]:
    even = odd = room = 0
    for element in elements:
        number = int.from_bytes(_vector(element), "big")
        even, odd = even + (number & _LANES), odd + (number >> 16 & _LANES)
        room += 1
        if room == _ROOM:
            even, odd, room = even & _LANES, odd & _LANES, 1
    return even & _LANES, odd & _LANES


def _lanes(vector: bytes) -> tuple[int, int]:
    number = int.from_bytes(vector, "big")
    return number & _LANES, number >> 16 & _LANES


def _vector(element: Element) -> bytes:
    # The version is of fixed length, so that id and version cannot run into each other.
    memory_id, version = element
    return hashlib.shake_128(b"thymos.element.v1\x00" + version.encode() + memory_id.encode()).digest(STATE_BYTES)
