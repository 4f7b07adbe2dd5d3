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


def plain_json(value: Any) -> Any:
    """A JSON value as it is read back once it was stored: a tuple is a list, and any object a dict."""
    return json.loads(canonical_json(value))


def exact(value: Any) -> Any:
    """A JSON value in a form in which Python's == tells what `same_json` tells, to compare many at once."""
    return _EXACT.decode(_ENCODER.encode(value))


def _mapping(value: Any) -> Any:
    if hasattr(value, "keys"):
        return {key: value[key] for key in value.keys()}  # noqa: SIM118  (a Mapping that is not a dict)
    raise ValueError(f"a {type(value).__name__} is not JSON")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False, default=_mapping)
_EXACT = json.JSONDecoder(parse_int=lambda text: (text,), parse_float=lambda text: (text,))
"""Numbers become tuples of their text: nothing else that is read is a tuple."""
