"""The CloudEvents 1.0 JSON object that every message travels in.

The tenant and agent are those of the subject; a body that names others is refused. `Nats-Msg-Id` is built from
tenant, agent, source and id: deduplication spans a stream, so that a bare id would let one tenant suppress another's.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Generic, Literal, TypeVar, cast

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from thymos import catalogue as catalogue  # declares every message, so that REGISTRY is complete
from thymos import subjects
from thymos.commands import Command
from thymos.dead_letters import DeadLetter
from thymos.errors import PoisonError
from thymos.message import REGISTRY, AgentName, Kind, Message, TenantName
from thymos.names import check_agent, check_tenant

CONTENT_TYPE = "application/cloudevents+json"
BATCH_CONTENT_TYPE = "application/cloudevents-batch+json"
BATCH_MAX = 1_000
"""Events in one telemetry batch message."""
NESTING_MAX = 64
"""Levels of JSON nesting in a message; deeper ones are refused before they are parsed."""
NO_TIME = datetime.fromtimestamp(0, UTC)
"""The time of a message that states none: receivers take it as happening when it is received."""
TIME_END = datetime(9999, 1, 1, tzinfo=UTC)
"""Times from here on, like those before 1970, are refused: nothing may overflow that reckons with a time."""
WAITS_MAX = timedelta(days=7)
"""The longest that a message waits on a stream that forgets; a time longer ago is that of a wrong clock."""

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SQUARE = bytes.maketrans(b"{}", b"[]")

M = TypeVar("M", bound=Message, covariant=True)
Identifier = Annotated[str, Field(min_length=1, max_length=200)]


class _Wire(BaseModel):
    """The CloudEvent as it is on the wire, before its `data` is given a class."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: Literal["1.0"]
    id: Identifier
    source: Identifier
    type: Annotated[str, Field(min_length=1, max_length=200)]
    subject: Annotated[str, Field(max_length=500)] | None = None
    time: AwareDatetime | None = None
    datacontenttype: Literal["application/json"] = "application/json"
    data: dict[str, Any]
    tenantid: TenantName | None = None
    agentid: AgentName | None = None
    correlationid: Identifier | None = None
    causationid: Identifier | None = None
    traceparent: Annotated[str, Field(max_length=100)] | None = None


class Envelope(BaseModel, Generic[M]):
    """One message with its metadata. Generic over the class of its `data`."""

    model_config = ConfigDict(frozen=True)

    id: Identifier
    source: Identifier
    time: AwareDatetime
    tenant: str
    agent: str
    data: M
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None

    @property
    def type(self) -> str:
        """The CloudEvents type, for example `thymos.branch.merged.v1`."""
        return self.data.type_name()

    @property
    def subject(self) -> str:
        """The NATS subject that this message belongs on."""
        return subject_of(self.data, self.tenant, self.agent)

    @property
    def message_id(self) -> str:
        """`Nats-Msg-Id`: what the stream deduplicates by."""
        return f"{self.tenant}/{self.agent}/{self.source}/{self.id}"

    def to_dict(self) -> dict[str, Any]:
        """The CloudEvents JSON object; absent extensions are left out."""
        wire = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": self.time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "tenantid": self.tenant,
            "agentid": None if self.agent == subjects.WHOLE_SERVICE else self.agent,
            "correlationid": self.correlation_id,
            "causationid": self.causation_id,
            "traceparent": self.traceparent,
            "data": self.data.model_dump(mode="json", exclude_none=True),
        }
        return {key: value for key, value in wire.items() if value is not None}

    def to_bytes(self) -> bytes:
        """The CloudEvents JSON text. Raises PoisonError when it is larger than a message may be."""
        body = json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":")).encode()
        if len(body) > subjects.MESSAGE_BYTES_MAX:
            raise PoisonError(
                f"{self.type} would be {len(body)} bytes; a message holds at most {subjects.MESSAGE_BYTES_MAX}"
            )
        return body


def subject_of(data: Message, tenant: str, agent: str) -> str:
    """The subject of a message body. Raises ValueError for a kind that has none."""
    if isinstance(data, Command):
        return subjects.command_subject(data.SERVICE, tenant, agent, data.NAME)
    match data.KIND:
        case Kind.TELEMETRY:
            return subjects.telemetry_subject(tenant, agent)
        case Kind.EVENT:
            return subjects.event_subject(tenant, agent, data.NAME)
        case Kind.METRICS:
            return subjects.metrics_subject(tenant, agent, cast(str, getattr(data, "branch")))  # noqa: B009
        case Kind.TASK:
            return subjects.task_subject(tenant, agent, cast(str, getattr(data, "branch")))  # noqa: B009
        case Kind.DEAD_LETTER if isinstance(data, DeadLetter):
            return subjects.dead_subject(data.handler.split(":", 1)[0], tenant)
        case _:
            raise ValueError(f"{data.type_name()} has no subject")


def decode(body: bytes, subject: str) -> Envelope[Message]:
    """One message from the wire.

    Raises:
        PoisonError: too large, not JSON, nested too deeply, not a CloudEvent of ours, of an unknown type, or one
            whose tenant, agent or subject disagrees with the subject it came on.
    """
    parsed, suspicious = _json(body)
    return _envelope(_wire(parsed, suspicious), subject)


def decode_batch(body: bytes, subject: str) -> list[Envelope[Message] | PoisonError]:
    """The messages of a telemetry batch, each with its own error. Raises PoisonError when the whole is no batch."""
    parsed, suspicious = _json(body)
    if not isinstance(parsed, list) or not parsed or len(parsed) > BATCH_MAX:
        raise PoisonError(f"a batch is a JSON array of 1 to {BATCH_MAX} CloudEvents")
    return [_item(item, subject, suspicious) for item in parsed]


def _item(item: object, subject: str, suspicious: bool) -> Envelope[Message] | PoisonError:
    try:
        return _envelope(_wire(item, suspicious), subject)
    except PoisonError as error:
        return error


def _json(body: bytes) -> tuple[object, bool]:
    """The parsed text, and whether it may hold half a character, which can be neither stored nor sent on."""
    if len(body) > subjects.MESSAGE_BYTES_MAX:
        raise PoisonError(f"{len(body)} bytes; a message holds at most {subjects.MESSAGE_BYTES_MAX}")
    if _nesting(body) > NESTING_MAX:
        raise PoisonError(f"nested more than {NESTING_MAX} levels deep")
    try:
        text = body.decode("utf-8-sig")
        return cast(object, json.loads(text)), _SURROGATE.search(text) is not None
    except (ValueError, RecursionError) as error:
        raise PoisonError(f"not JSON: {error}") from error


def _nesting(body: bytes) -> int:
    """How deeply brackets outside strings are nested; beyond `NESTING_MAX` at least `NESTING_MAX + 1`.

    Found on the bytes, so that no parser recurses first, and without a step of Python per byte, so that a hostile
    message costs little more than its parsing: each round takes the innermost pairs away.
    """
    if body.count(b"{") + body.count(b"[") <= NESTING_MAX:
        return 0
    left = _STRING.sub(b"", body).translate(_SQUARE, _NOT_BRACKETS)
    rounds = 0
    while rounds <= NESTING_MAX and (fewer := left.replace(b"[]", b"")) != left:
        left = fewer
        rounds += 1
    return rounds + left.count(b"[")


def _wire(parsed: object, suspicious: bool) -> _Wire:
    try:
        if suspicious:
            json.dumps(parsed, ensure_ascii=False).encode()
        return _Wire.model_validate(parsed)
    except UnicodeEncodeError as error:
        raise PoisonError(f"not text: {error}") from error
    except ValidationError as error:
        raise PoisonError(f"not a CloudEvent: {first_problem(error)}") from error


def _envelope(wire: _Wire, subject: str) -> Envelope[Message]:
    try:
        where = subjects.address(subject)
        check_tenant(where.tenant)
        if where.kind != "dead":
            check_agent(where.agent)
    except ValueError as error:
        raise PoisonError(str(error)) from error
    message_class = REGISTRY.get(wire.type)
    if message_class is None:
        raise PoisonError(f"unknown type {wire.type[:200]!r}")
    if wire.tenantid not in (None, where.tenant):
        raise PoisonError(f"tenantid {wire.tenantid!r} on a subject of tenant {where.tenant!r}")
    if wire.agentid not in (None, where.agent) and where.kind != "dead":
        raise PoisonError(f"agentid {wire.agentid!r} on a subject of agent {where.agent!r}")
    try:
        data = message_class.model_validate(wire.data)
    except ValidationError as error:
        raise PoisonError(f"{wire.type}: {first_problem(error)}") from error
    envelope: Envelope[Message] = Envelope(
        id=wire.id,
        source=wire.source,
        time=_time(wire),
        tenant=where.tenant,
        agent=wire.agentid or where.agent,
        data=data,
        correlation_id=wire.correlationid,
        causation_id=wire.causationid,
        traceparent=wire.traceparent,
    )
    if where.kind != "dead" and envelope.subject != subject:
        raise PoisonError(f"{wire.type} belongs on {envelope.subject}, not on {subject}")
    return envelope


def _time(wire: _Wire) -> datetime:
    try:
        time = (wire.time or NO_TIME).astimezone(UTC)
    except OverflowError:
        time = None
    if time is None or not NO_TIME <= time < TIME_END:
        raise PoisonError(f"time {wire.time} is before 1970 or after 9998")
    return time


def happened_at(envelope: Envelope[Message], now: datetime) -> datetime:
    """When a message happened, as far as its time can be believed: never after `now`, which it is, too, for a message
    that states no time or one more than `WAITS_MAX` ago."""
    return envelope.time if timedelta(0) <= now - envelope.time <= WAITS_MAX else now


def first_problem(error: ValidationError) -> str:
    """The first problem of a validation, in one line: where it is, what is wrong, and how many more there are."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    where = ".".join(str(part) for part in problems[0]["loc"])[:200] or "body"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where}: {problems[0]['msg'][:500]}{more}"
