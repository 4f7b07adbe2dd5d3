"""The one encoding that everything is hashed in.

JSON with sorted keys (by code point), no spaces, ASCII only (everything else as \\uXXXX), numbers as Python's `repr`
writes them (the shortest text that reads back as the same number). Two values are equal as JSON exactly when their
encodings are: 1, 1.0 and true differ. This can never change: commit ids are computed over it.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii
from typing import Any


def canonical_json(value: Any) -> bytes:
    """The canonical encoding of a JSON value. Raises ValueError for NaN and infinities."""
    return _ENCODER.encode(value).encode("ascii")


def canonical_text(text: str) -> str:
    """The canonical encoding of a text, as `canonical_json` writes it."""
    return encode_basestring_ascii(text)


def same_json(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same, telling 1 from 1.0 and from true (which Python's == does not)."""
    return one is other or canonical_json(one) == canonical_json(other)


def _mapping(value: Any) -> Any:
    if hasattr(value, "keys"):
        return {key: value[key] for key in value.keys()}  # noqa: SIM118  (a Mapping that is not a dict)
    raise ValueError(f"a {type(value).__name__} is not JSON")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False, default=_mapping)
