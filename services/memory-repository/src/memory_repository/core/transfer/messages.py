"""What a commit or tag of Thymos says of itself, as git says it: a message with trailers, idents, times in seconds.

Whatever git cannot hold exactly stands in a trailer, and only then; the trailers are one block at the end, which
`git log --format=%(trailers)` shows:

    Thymos-Commit    the commit's id
    Thymos-Kind      commit, merge, rollback, …
    Thymos-Time      the time, where it has parts of a second or is before 1970
    Thymos-Author    the author, as JSON, where the ident had to be changed
    Thymos-Message   the message, as JSON, where git would not keep it: empty, or with blanks at its ends
    Thymos-Meta      further facts, as JSON

A message that was edited in git, or a time or author that was changed there, wins over its trailer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from memory_repository.core import limits
from memory_repository.core.canonical import canonical_json
from memory_repository.core.commit_id import timestamp

DOMAIN: Final = "thymos.invalid"
"""Addresses of authors who have none: the reserved top-level domain, so that nobody ever gets mail."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_WHOLE_IDENT = re.compile(r"([^<>\n\r\x00]*[^<>\n\r\x00 ]) <([^<>\s\x00]+)>")
_TRAILER = re.compile(r"Thymos-([A-Z][a-z]+): (.*)")


@dataclass(frozen=True, slots=True)
class Said:
    """What a commit or tag says of itself. `trailers` holds what is beyond author, time and message, as text."""

    author: str
    at: datetime
    message: str
    trailers: Mapping[str, str]


def written(said: Said) -> tuple[str, bytes]:
    """The ident line, `Name <address> seconds +0000`, and the message with its trailers; for an empty message
    stands its kind in brackets."""
    name, address = _ident(said.author)
    seconds = _seconds(said.at)
    trailers = dict(said.trailers)
    if EPOCH + timedelta(seconds=seconds) != said.at:
        trailers["Time"] = timestamp(said.at)
    if _author(name, address) != said.author:
        trailers["Author"] = json.dumps(said.author)
    shown = _shown(said.message, trailers)
    if shown != said.message:
        trailers["Message"] = json.dumps(said.message)
    block = "".join(f"Thymos-{key}: {value}\n" for key, value in trailers.items())
    return f"{name} <{address}> {seconds} +0000", f"{shown}\n\n{block}".encode()


def read(ident: str, text: str) -> Said:
    """What an ident line and a message say. Raises Refusal (invalid, too_large)."""
    found = re.fullmatch(r"([^<>]*?) ?<([^<>]*)> (\d{1,12}) ([+-]\d{4})", ident)
    if found is None:
        raise limits.invalid(f"{ident!r:.120} is not `Name <address> seconds zone`", "export with the raw date format")
    name, address, seconds = found[1], found[2], int(found[3])
    body, trailers = _split(text)
    message = _json_text(trailers.pop("Message", None))
    if message is None or _shown(message, trailers) != body:
        message = body
    author = _json_text(trailers.pop("Author", None))
    if author is None or _ident(author) != (name, address):
        author = _author(name, address)
    limits.check_message(message)
    return Said(limits.check_author(author), _time(seconds, trailers.pop("Time", None)), message, trailers)


def meta_of(trailers: Mapping[str, str]) -> dict[str, Any]:
    """The further facts in the trailers. Raises Refusal (invalid)."""
    try:
        meta = json.loads(trailers.get("Meta", "{}"))
    except (ValueError, RecursionError):
        meta = None
    if not isinstance(meta, dict):
        raise limits.invalid("Thymos-Meta is not a JSON object")
    limits.check_json("the metadata", meta)
    return meta


def meta_text(meta: Mapping[str, Any]) -> str:
    """The further facts as a trailer has them."""
    return canonical_json(meta).decode()


def _shown(message: str, trailers: Mapping[str, str]) -> str:
    return message.replace("\r", "").strip() or f"({trailers.get('Kind') or trailers.get('Ref')})"


def _ident(author: str) -> tuple[str, str]:
    whole = _WHOLE_IDENT.fullmatch(author)
    if whole and whole[1] == whole[1].strip():
        return whole[1], whole[2]
    name = " ".join("".join(c if c.isprintable() and c not in "<>" else " " for c in author).split())
    local = re.sub(r"[^a-z0-9._+-]+", "-", author.lower()).strip(".-")[:64]
    return name or "unknown", f"{local or 'unknown'}@{DOMAIN}"


def _author(name: str, address: str) -> str:
    """Who an ident names; `_ident` of the result is that ident again."""
    if not address or address.endswith(f"@{DOMAIN}"):
        return name or "unknown"
    return f"{name} <{address}>" if name else address


def _seconds(at: datetime) -> int:
    return max(0, (at - EPOCH) // timedelta(seconds=1))


def _time(seconds: int, exact: str | None) -> datetime:
    if exact is not None:
        try:
            at = limits.check_time("Thymos-Time", datetime.fromisoformat(exact))
            if _seconds(at) == seconds:
                return at
        except ValueError:
            raise limits.invalid(f"Thymos-Time {exact!r:.40} is no time") from None
    try:
        return EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        raise limits.invalid(f"{seconds} seconds after 1970 is no time") from None


def _split(text: str) -> tuple[str, dict[str, str]]:
    """The message, and the trailers of Thymos in its last paragraph; trailers of others stay in the message."""
    body, blank, block = text.rstrip("\n").rpartition("\n\n")
    if not blank:
        body, block = "", text.rstrip("\n")
    lines = block.split("\n")
    found = [_TRAILER.fullmatch(line) for line in lines]
    if not any(found):
        return text.strip(), {}
    others = "\n".join(line for line, trailer in zip(lines, found, strict=True) if trailer is None)
    message = f"{body}\n\n{others}" if others and body else body or others
    return message.strip(), {trailer[1]: trailer[2] for trailer in found if trailer}


def _json_text(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, str):
        raise limits.invalid("a trailer of Thymos is not JSON text")
    return value
