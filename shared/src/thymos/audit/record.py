"""One event as the log holds it, its line in an exported file, and its hash."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from thymos.errors import ThymosError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ID = re.compile(rb'"id" ?: ?"([^"\\\x00-\x1f]{1,200})"')
_LINE_ID = re.compile(rb'\\"id\\":\\"([^"\\\x00-\x1f]{1,200})\\"')
_LINE_MESSAGE_ID = re.compile(rb'"message_id":"([^"\\\x00-\x1f]{1,900})","body')
_LINE_TYPE = re.compile(rb'\\"type\\":\\"thymos\.([a-z_.]{1,100})\.v\d+\\"')
_LINE_SUBJECT = re.compile(rb'"subject":"thymos\.event\.[^."\\]+\.[^."\\]+\.([a-z_.]{1,100})","message_id')
_KEYS = ("sequence", "stored_at", "subject", "message_id")
SEQUENCE_END = 2**63
RECORD = b'{"sequence":'
"""How an event's line begins."""
UNKNOWN = "unknown"
GUESSED_FROM_BYTES = 20_000
SHOWN_MAX = 200


class NotARecordError(ThymosError):
    """A line of an exported file that is none of those `thymos export` writes; the text says why."""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One stored event, byte for byte. `stored_at` is the server's time, exact to the microsecond."""

    sequence: int
    stored_at: datetime
    subject: str
    message_id: str
    body: bytes

    @property
    def event_id(self) -> str:
        """The CloudEvents id, read without judging the rest, or else the one in the message id; `unknown` when there is
        none."""
        return _found(_ID, self.body) or _id_within(self.message_id) or UNKNOWN

    @property
    def name(self) -> str:
        """What to call it: its type and id; and its message id, where that holds another one."""
        other = self.message_id not in ("", self.event_id) and not self.message_id.endswith(f"/{self.event_id}")
        return f"{self.type} {self.event_id}" + (f" (message id {self.message_id[:SHOWN_MAX]})" if other else "")

    @property
    def type(self) -> str:
        """What happened, such as `branch.merged`: by the subject, which says it also where the body is broken."""
        return self.subject.split(".", 4)[4] if self.subject.count(".") > 3 else UNKNOWN

    def hash(self) -> bytes:
        """SHA-256 over everything that the record holds. Each field is preceded by its length (8 bytes, big-endian), so
        that no two records have the same bytes; the time is in microseconds since 1970."""
        microseconds = (self.stored_at - _EPOCH) // _MICROSECOND
        return digest(
            "thymos event 1",
            str(self.sequence).encode(),
            str(microseconds).encode(),
            self.subject.encode(),
            self.message_id.encode(),
            self.body,
        )


@dataclass(frozen=True)
class BadLine:
    """A line of a file that is none of an export; `event_id` and `type` as far as they can still be made out."""

    line: int
    why: str
    event_id: str
    type: str


def digest(purpose: str, *fields: bytes) -> bytes:
    """SHA-256 of fields, each preceded by its length; `purpose` comes first, so that no hash passes for another's."""
    whole = hashlib.sha256()
    for field in (purpose.encode(), *fields):
        whole.update(len(field).to_bytes(8, "big"))
        whole.update(field)
    return whole.digest()


def to_line(record: LogRecord) -> bytes:
    """The record's line in an exported file, newline included. The body is text (`body`) if it is JSON, and base64
    (`body_base64`) else; either way its bytes come back exactly."""
    key, value = _body_of(record.body)
    return encoded({
        "sequence": record.sequence,
        "stored_at": written(record.stored_at),
        "subject": record.subject,
        "message_id": record.message_id,
        key: value,
    })  # fmt: skip


def of_line(line: bytes) -> LogRecord:
    """The record of a line that `to_line` wrote.

    Raises:
        NotARecordError: it did not write this one.
    """
    parsed = parsed_line(line)
    try:
        text = parsed.get("body")
        body = base64.b64decode(parsed["body_base64"], validate=True) if text is None else text.encode()
        sequence, stored_at, subject, message_id = (parsed[key] for key in _KEYS)
        if type(sequence) is not int or not 0 < sequence < SEQUENCE_END:
            raise NotARecordError("its sequence is no number above 0 and below 2^63")
        if not isinstance(subject, str) or not isinstance(message_id, str):
            raise NotARecordError("its subject and message_id are not both text")
        record = LogRecord(sequence, datetime.fromisoformat(stored_at), subject, message_id, body)
        same = to_line(record) == line
    except KeyError as error:
        raise NotARecordError(f"{error} is missing") from error
    except (ValueError, TypeError, AttributeError, OverflowError, binascii.Error) as error:
        raise NotARecordError(f"a value is not what it should be ({error})") from error
    if not same:
        raise NotARecordError("it is not as `thymos export` writes it")
    return record


def parsed_line(line: bytes) -> dict[str, Any]:
    """The JSON object on a line, newline included. Raises NotARecordError."""
    if not line.endswith(b"\n"):
        raise NotARecordError("it is cut off")
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise NotARecordError(f"it is not JSON ({error})") from error
    if not isinstance(parsed, dict):
        raise NotARecordError("it is not a JSON object")
    return parsed


def encoded(line: dict[str, Any]) -> bytes:
    """A line of an exported file."""
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def written(moment: datetime) -> str:
    """A time as it stands in an exported file: UTC, six digits of a second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def guessed_names(line: bytes) -> tuple[str, str]:
    """Id and type of the event on a line that cannot be read, as far as they can still be made out. Both stand there
    twice: in the body, and in the message id or the subject, which are told from ids and types deeper in the body."""
    beginning = line[:GUESSED_FROM_BYTES]
    message_id, in_body = _found(_LINE_MESSAGE_ID, beginning), _found(_LINE_ID, beginning)
    same = in_body and message_id.endswith(f"/{in_body}")
    event_id = in_body if same else _id_within(message_id) or in_body
    return event_id or UNKNOWN, _found(_LINE_SUBJECT, beginning) or _found(_LINE_TYPE, beginning) or UNKNOWN


def _id_within(message_id: str) -> str:
    """The event's id in `<tenant>/<agent>/<source>/<id>`; empty when it is none of that kind."""
    return message_id.split("/", 3)[3] if message_id.count("/") > 2 else ""


def _found(pattern: re.Pattern[bytes], text: bytes) -> str:
    """What it finds; empty when that is nothing, or no text."""
    match = pattern.search(text)
    try:
        return match.group(1).decode() if match else ""
    except UnicodeDecodeError:
        return ""


def _body_of(body: bytes) -> tuple[str, str]:
    try:
        text = body.decode()
        json.loads(text)
    except (ValueError, RecursionError):
        return "body_base64", base64.b64encode(body).decode()
    return "body", text
