"""The JSON lines of a history: values to bytes and back. What is not exactly a line of the format is refused."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from memory_repository.core import limits
from memory_repository.core.commit_id import timestamp
from memory_repository.core.memory import DEFAULT_KIND, Memory
from memory_repository.core.number_rules import check_rules
from memory_repository.core.transfer.values import (
    FORMAT,
    FORMAT_VERSION,
    CommitLine,
    DeleteLine,
    EndLine,
    Header,
    Line,
    Protected,
    PutLine,
    RedactionLine,
    RefLine,
)
from thymos.errors import Refusal

NO_LINES: Final = "0" * 64
"""The digest before the first line."""

_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", re.ASCII)
_COMMIT_KIND = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)
_ZONE = re.compile(r"(?:Z|[+-]\d\d:?\d\d)$", re.ASCII)
YEAR_MIN: Final = 1000
"""Earlier years are not written in the same length everywhere."""
REF_TYPES: Final = ("branch", "tag", "snapshot")

T = TypeVar("T")


def digest_after(digest: str, line: bytes) -> str:
    """The digest of all lines up to `line` (without its end), from that of the lines before it: 64 hex digits.

    SHA-256 over the digest before and the line: a chain, so that it can be carried from batch to batch.
    """
    return hashlib.sha256(digest.encode("ascii") + line).hexdigest()


def encode(line: Line) -> bytes:
    """A line of the file, without its end."""
    facts = {name: value for name, value in _facts(line).items() if value is not None}
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def decode(line: bytes) -> Line:
    """A line, without its end. Raises Refusal (invalid, too_large): what is wrong with it; the caller knows where."""
    if len(line) > limits.LINE_BYTES_MAX:
        raise limits.too_large("the line", len(line), limits.LINE_BYTES_MAX)
    fields = _Fields(_object(line))
    kind = fields.text("type")
    reader = _READERS.get(kind)
    if reader is None:
        raise limits.invalid(f"there is no line of type {kind!r:.40}", f"types are {', '.join(_READERS)}")
    read = reader(fields)
    fields.none_left()
    return read


def text_size(line: bytes) -> int:
    """The bytes that a line takes as a string within JSON, as a request or an answer holds it."""
    return len(line) + line.count(b'"') + line.count(b"\\") + 3


def at_line(number: int, refusal: Refusal) -> Refusal:
    """The same refusal, with the number of the line that it is about."""
    return Refusal(refusal.code, f"line {number:,}: {refusal.message}", refusal.hint)


def renumbered(refusal: Refusal, number_of: Callable[[int], int]) -> Refusal:
    """The same refusal of a line that was made from another file, with the number of the line there."""
    found = re.match(r"line ([\d,]+): ", refusal.message)
    if found is None:
        return refusal
    number = number_of(int(found[1].replace(",", "")))
    return Refusal(refusal.code, f"line {number:,}: {refusal.message[found.end() :]}", refusal.hint)


def _facts(line: Line) -> dict[str, Any]:
    match line:
        case Header():
            key = None if line.key is None else line.key.hex()
            facts: dict[str, Any] = {"hashed": line.hashed, "key": key, "commits": line.commits}
            facts["number_rules"] = {path: str(rule) for path, rule in line.number_rules.items()} or None
            whose = {"tenant": line.tenant or None, "agent": line.agent or None}
            return {"type": "history", "format": FORMAT, "version": FORMAT_VERSION, **whose, **facts}
        case CommitLine():
            return _commit_facts(line)
        case PutLine():
            return _put_facts(line)
        case DeleteLine():
            return {"type": "delete", "id": line.id}
        case RefLine():
            return _ref_facts(line)
        case RedactionLine():
            what = {"type": "redaction", "id": line.id, "hash": line.hash}
            return {**what, "at": timestamp(line.at), "actor": line.actor, "reason": line.reason}
        case EndLine():
            return {"type": "end", "lines": line.lines, "digest": line.digest}


def _commit_facts(line: CommitLine) -> dict[str, Any]:
    return {
        "type": "commit",
        "commit": line.label,
        "parents": list(line.parents),
        "author": line.author,
        "at": timestamp(line.at),
        "message": line.message,
        "kind": line.kind,
        "meta": dict(line.meta) or None,
        "state": line.state,
    }


def _put_facts(line: PutLine) -> dict[str, Any]:
    facts: dict[str, Any] = {"type": "put", "id": line.id, "hash": line.hash, "by": line.writer}
    if line.redacted:
        return {**facts, "redacted": True}
    if line.memory is None:
        return facts
    body = {"kind": line.memory.kind, "content": line.memory.content, "fields": dict(line.memory.fields) or None}
    return {**facts, "salt": None if line.salt is None else line.salt.hex(), **body}


def _ref_facts(line: RefLine) -> dict[str, Any]:
    at, by = line.created_at, line.protected
    return {
        "type": "ref",
        "ref": line.type,
        "name": line.name,
        "commit": line.commit,
        "reason": line.reason or None,
        "meta": dict(line.meta) or None,
        "created_at": None if at is None else timestamp(at),
        "actor": line.actor,
        "protected": None if by is None else {"at": timestamp(by.at), "actor": by.actor, "reason": by.reason},
    }


def _header(fields: _Fields) -> Header:
    if (named := fields.text("format")) != FORMAT:
        raise limits.invalid(f"this is not a history but {named!r:.40}", f"the format is {FORMAT!r}")
    if (version := fields.number("version")) != FORMAT_VERSION:
        raise limits.invalid(f"this is version {version} of the format; known is {FORMAT_VERSION}", "update Thymos")
    key = fields.hex("key", optional=True)
    header = Header(
        tenant=fields.text("tenant", ""),
        agent=fields.text("agent", ""),
        hashed=fields.flag("hashed"),
        key=key,
        commits=fields.number("commits", None),
        number_rules=check_rules(fields.mapping("number_rules")),
    )
    if key is not None and not header.hashed:
        raise limits.invalid("a key is of use with hashes only", 'set "hashed" to true, or leave the key out')
    return header


def _commit(fields: _Fields) -> CommitLine:
    return CommitLine(
        label=_matching("commit", _LABEL, fields.text("commit")),
        parents=_parents(fields),
        author=limits.check_author(fields.text("author")),
        at=fields.time("at"),
        message=limits.check_message(fields.text("message", "")),
        kind=_matching("kind", _COMMIT_KIND, fields.text("kind", "commit")),
        meta=_checked_meta(fields.mapping("meta")),
        state=fields.hash("state"),
    )


def _parents(fields: _Fields) -> tuple[str, ...]:
    names = fields.take("parents", list)
    if len(names) > limits.PARENTS_MAX:
        raise limits.too_large("the list of parents", len(names), limits.PARENTS_MAX, "commits")
    parents = tuple(_matching("parent", _LABEL, name) for name in names)
    if len(set(parents)) < len(parents):
        raise limits.invalid("a parent is named twice")
    return parents


def _put(fields: _Fields) -> PutLine:
    memory_id = limits.check_memory_id(fields.text("id"))
    digest, writer = fields.hash("hash"), fields.text("by", None)
    if fields.flag("redacted", False):
        if digest is None:
            raise limits.invalid("a redacted memory needs the hash that it had")
        return PutLine(memory_id, digest, redacted=True, writer=writer)
    salt = fields.hex("salt", optional=True)
    content = fields.text("content", None)
    if content is None:
        if digest is None or salt is not None:
            raise limits.invalid("a put needs content, or the hash of an earlier one")
        return PutLine(memory_id, digest, writer=writer)
    memory = Memory(memory_id, content, fields.text("kind", DEFAULT_KIND), fields.mapping("fields")).checked()
    return PutLine(memory_id, digest, memory, salt, writer=writer)


def _ref(fields: _Fields) -> RefLine:
    type_, name = fields.text("ref"), fields.text("name")
    if type_ not in REF_TYPES:
        raise limits.invalid(f"there are no refs of type {type_!r:.40}", f"types are {', '.join(REF_TYPES)}")
    actor = fields.text("actor", None)
    return RefLine(
        type=type_,
        name=limits.check_branch_name(name) if type_ == "branch" else limits.check_ref_id(name),
        commit=_matching("commit", _LABEL, fields.text("commit")),
        reason=limits.check_reason(fields.text("reason", "")),
        meta=_checked_meta(fields.mapping("meta")),
        created_at=fields.time("created_at", optional=True),
        actor=actor and limits.check_author(actor),
        protected=_protected(type_, fields.mapping("protected")),
    )


def _protected(type_: str, values: dict[str, Any]) -> Protected | None:
    if not values:
        return None
    if type_ != "branch":
        raise limits.invalid(f"a {type_} cannot be protected", "only branches are")
    fields = _Fields(values)
    reason = limits.check_reason(fields.text("reason", ""))
    read = Protected(fields.time("at"), limits.check_author(fields.text("actor")), reason)
    fields.none_left()
    return read


def _redaction(fields: _Fields) -> RedactionLine:
    return RedactionLine(
        id=limits.check_memory_id(fields.text("id")),
        hash=_matching("hash", _HASH, fields.text("hash")),
        at=fields.time("at"),
        actor=limits.check_author(fields.text("actor")),
        reason=limits.check_reason(fields.text("reason")),
    )


def _checked_meta(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    limits.check_json("the metadata", meta)
    return meta


def _matching(what: str, pattern: re.Pattern[str], text: Any) -> str:
    if not isinstance(text, str) or pattern.fullmatch(text) is None:
        raise limits.invalid(f"{text!r:.80} is no {what}")
    return text


_READERS: Mapping[str, Callable[[_Fields], Line]] = {
    "history": _header,
    "commit": _commit,
    "put": _put,
    "delete": lambda fields: DeleteLine(limits.check_memory_id(fields.text("id"))),
    "ref": _ref,
    "redaction": _redaction,
    "end": lambda fields: EndLine(fields.number("lines", None), fields.hash("digest")),
}


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode(), object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise limits.invalid(f"this is not JSON: {error!s:.200}") from None
    if not isinstance(value, dict):
        raise limits.invalid("this is not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


_REQUIRED: Final[Any] = object()


class _Fields:
    """The values of a line, each taken once and of the right type."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def take(self, name: str, kind: type[T], default: Any = _REQUIRED) -> T:
        if name not in self._values and default is not _REQUIRED:
            return default  # type: ignore[no-any-return]
        value = self._values.pop(name, None)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise limits.invalid(f"{name!r} must be {_TYPES[kind]}")
        return value

    def text(self, name: str, default: Any = _REQUIRED) -> Any:
        return self.take(name, str, default)

    def flag(self, name: str, default: Any = _REQUIRED) -> bool:
        return self.take(name, bool, default)

    def number(self, name: str, default: Any = _REQUIRED) -> Any:
        return self.take(name, int, default)

    def mapping(self, name: str) -> dict[str, Any]:
        return self.take(name, dict, {})

    def hash(self, name: str) -> str | None:
        text = self.text(name, None)
        return None if text is None else _matching(name, _HASH, text)

    def hex(self, name: str, *, optional: bool) -> bytes | None:
        text = self.text(name, None if optional else _REQUIRED)
        try:
            return None if text is None else bytes.fromhex(text)
        except ValueError:
            raise limits.invalid(f"{name!r} must be hexadecimal") from None

    def time(self, name: str, *, optional: bool = False) -> Any:
        text = self.text(name, None if optional else _REQUIRED)
        if text is None:
            return None
        try:
            at = datetime.fromisoformat(text).astimezone(UTC) if _ZONE.search(text) else None
        except (ValueError, OverflowError):
            at = None
        if at is None or at.year < YEAR_MIN:
            raise limits.invalid(f"{name!r} must be a time such as 2026-03-01T12:00:00.000000Z")
        return at

    def none_left(self) -> None:
        if self._values:
            raise limits.invalid(f"unknown: {', '.join(map(repr, self._values)):.200}")


_TYPES: Final[Mapping[type, str]] = {
    str: "text", bool: "true or false", int: "an integer", list: "a list", dict: "an object",
}  # fmt: skip
