"""One name for the content of a task's input, wherever it is met: in a scenario, on the bus, in a report.

A report carries an input as text and only its beginning, a scenario carries it as a JSON value. Both have the same
digest, so that a task that live traffic showed to a generator is recognised and judges none of its variants.
"""

import hashlib
import json

from pydantic import JsonValue

CHARACTERS_MAX = 8_192
"""How much of an input counts: what a worker reports of it."""


def input_text(value: JsonValue) -> str:
    """An input as text: text as it is, anything else as canonical JSON (sorted keys, no spaces).

    Raises:
        TypeError, ValueError, RecursionError: `value` is no JSON value.
    """
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def input_digest(value: JsonValue) -> str:
    """SHA-256 (hex) of the text of an input, UTF-8; a lone surrogate counts as `?`. Raises as `input_text` does."""
    return hashlib.sha256(input_text(value)[:CHARACTERS_MAX].encode(errors="replace")).hexdigest()
