"""Row numbers in what an agent is told, such as where checking goes on.

Rows are numbered across all repositories of a store, so that a number tells what others write. Sealed under the
repository's key, which never leaves the store unless its owner takes it along, it tells nothing, not even by how much
two of them differ; and a seal that was made up is known as such.
"""

from __future__ import annotations

import hmac
from typing import Final

_NUMBER_BYTES: Final = 8
_SEAL_BYTES: Final = 24


def sealed(key: bytes, number: int) -> str:
    """A number, sealed: 64 hex digits, the same whenever it is sealed under this key."""
    plain = number.to_bytes(_NUMBER_BYTES, "big")
    seal = hmac.digest(key, b"thymos.number.seal.v1\x00" + plain, "sha256")[:_SEAL_BYTES]
    return (seal + _covered(key, seal, plain)).hex()


def opened(key: bytes, text: str) -> int | None:
    """The number that was sealed; None for what was not sealed under this key."""
    try:
        data = bytes.fromhex(text)
    except ValueError:
        return None
    seal, covered = data[:_SEAL_BYTES], data[_SEAL_BYTES:]
    if len(covered) != _NUMBER_BYTES:
        return None
    number = int.from_bytes(_covered(key, seal, covered), "big")
    return number if hmac.compare_digest(sealed(key, number), text) else None


def _covered(key: bytes, seal: bytes, number: bytes) -> bytes:
    """The bytes of a number covered, or uncovered: twice is the same again."""
    cover = hmac.digest(key, b"thymos.number.cover.v1\x00" + seal, "sha256")
    return bytes(one ^ other for one, other in zip(number, cover, strict=False))
