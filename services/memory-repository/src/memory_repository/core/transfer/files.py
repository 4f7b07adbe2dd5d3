"""A memory as a file in a git tree: Markdown with front matter. Exact: reading what was written gives the same memory.

    ---
    kind: answer
    fields:
      "keywords": ["refund", "return"]
    ---
    A refund takes thirty days.

Each field is one line of JSON, so that git shows and merges fields one by one. One line feed is added after the
content. A version whose content was erased says so instead, with the hash that it had.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from memory_repository.core import limits
from memory_repository.core.memory import Memory
from memory_repository.core.transfer.values import PutLine

ERASED: Final = "The content of this version was erased.\n"

_REDACTED = re.compile(r"redacted: ([0-9a-f]{64})\n---\n")
_KIND = re.compile(r"kind: (\S+)\n")
_FIELD = re.compile(r'  ("(?:[^"\\]|\\.)*"): (.+)\n')
_FENCE: Final = "---\n"
_FIELDS: Final = "fields:\n"


def file_of(put: PutLine) -> bytes:
    """The file of a version. Raises ValueError for a version that is only referred to."""
    if put.redacted:
        return f"{_FENCE}redacted: {put.hash}\n{_FENCE}{ERASED}".encode()
    if put.memory is None:
        raise ValueError(f"the content of {put.id} is not there")
    memory = put.memory
    fields = "".join(f"  {_json(key)}: {_json(memory.fields[key])}\n" for key in sorted(memory.fields))
    front = f"kind: {memory.kind}\n{_FIELDS if fields else ''}{fields}"
    return f"{_FENCE}{front}{_FENCE}{memory.content}\n".encode()


def put_of(memory_id: str, data: bytes) -> PutLine:
    """The version that a file holds. Raises Refusal (invalid, too_large)."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise limits.invalid(f"the file of {memory_id} is not UTF-8: {error.reason}") from None
    if not text.startswith(_FENCE):
        raise _malformed(memory_id, "it does not begin with ---")
    at = len(_FENCE)
    redacted = _REDACTED.match(text, at)
    if redacted:
        if text[redacted.end() :] != ERASED:
            raise _malformed(memory_id, "it is redacted and has content", "delete the line `redacted:`, give a kind")
        return PutLine(memory_id, redacted[1], redacted=True)
    kind = _KIND.match(text, at)
    if kind is None:
        raise _malformed(memory_id, "the second line is not `kind: <kind>`")
    fields, end = _fields(memory_id, text, kind.end())
    content = text[end:].removesuffix("\n")
    return PutLine(memory_id, memory=Memory(memory_id, content, kind[1], fields).checked())


def _fields(memory_id: str, text: str, at: int) -> tuple[dict[str, Any], int]:
    """The fields, and where the content begins."""
    fields: dict[str, Any] = {}
    if text.startswith(_FIELDS, at):
        at += len(_FIELDS)
        while found := _FIELD.match(text, at):
            key = _parsed(memory_id, found[1])
            if key in fields:
                raise _malformed(memory_id, f"the field {key!r:.60} stands there twice")
            fields[key] = _parsed(memory_id, found[2])
            at = found.end()
    if not text.startswith(_FENCE, at):
        shown = text[at : at + 200].partition("\n")[0]
        rule = 'fields are lines of the form `  "name": <JSON>`, and --- ends them'
        raise _malformed(memory_id, f"{shown!r:.80} is no field", rule)
    return fields, at + len(_FENCE)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)


def _parsed(memory_id: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _malformed(memory_id, f"{text!r:.60} is not JSON: {error!s:.100}") from None


def _malformed(memory_id: str, why: str, hint: str = "") -> Exception:
    return limits.invalid(f"the file of {memory_id} is not a memory: {why}", hint or "see docs/memory-export.md")
