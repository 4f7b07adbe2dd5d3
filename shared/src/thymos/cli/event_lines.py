"""One line of `thymos publish -` as a message: a CloudEvent, or `{"type", "agent", "data"}` for short."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from thymos.client import Client
from thymos.envelope import Envelope, decode, first_problem, subject_of
from thymos.errors import PoisonError
from thymos.message import REGISTRY, Kind, Message
from thymos.names import check_agent, check_tenant
from thymos.subjects import MESSAGE_BYTES_MAX

PUBLISHABLE = (Kind.TELEMETRY, Kind.COMMAND, Kind.TASK)
"""What is for anybody to say. Events, metrics and dead letters are the services' own record."""
SHORT_KEYS = {"type", "agent", "tenant", "data", "id", "time"}


def envelope_of(text: bytes, client: Client, agent: str | None) -> Envelope[Message]:
    """The message of a line; `agent` is whose it is when the line does not say.

    Raises:
        PoisonError: it is no message that may be published; the text says what is wrong.
    """
    line = _object(text)
    short = "specversion" not in line
    if short and (unknown := sorted(set(line) - SHORT_KEYS)):
        raise PoisonError(f"unknown key {unknown[0]!r}; a line is a CloudEvent, or {{type, agent, data}}")
    cloud = _cloud_event(line, client, agent) if short else line
    message_class = _class_of(cloud.get("type"))
    tenant = _name("tenant", cloud.get("tenantid") or client.tenant)
    owner = _name("agent", cloud.get("agentid") or agent)
    try:
        data = message_class.model_validate(cloud.get("data"))
    except ValidationError as error:
        raise PoisonError(f"{message_class.NAME}: data.{first_problem(error)}") from error
    return decode(json.dumps({"time": _now(), **cloud}).encode(), subject_of(data, tenant, owner))


def _object(text: bytes) -> dict[str, Any]:
    if len(text) > MESSAGE_BYTES_MAX:
        raise PoisonError(f"larger than {MESSAGE_BYTES_MAX} bytes, which is the most that a message holds")
    try:
        line = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PoisonError(f"not JSON: {error}") from error
    if not isinstance(line, dict):
        raise PoisonError('not a JSON object; a line is a CloudEvent, or {"type", "agent", "data"}')
    return line


def _cloud_event(line: dict[str, Any], client: Client, agent: str | None) -> dict[str, Any]:
    """The short form in full. `type` may be a name such as `task.finished`."""
    name = line.get("type")
    known = isinstance(name, str) and name in REGISTRY
    return {
        "specversion": "1.0",
        "id": line.get("id") or str(uuid.uuid4()),
        "source": client.source,
        "type": name if known else f"thymos.{name}.v1",
        "time": line.get("time") or _now(),
        "tenantid": line.get("tenant") or client.tenant,
        "agentid": line.get("agent") or agent,
        "data": line.get("data"),
    }


def _class_of(type_name: object) -> type[Message]:
    message_class = REGISTRY.get(str(type_name))
    if message_class is None:
        raise PoisonError(f"unknown type {str(type_name)[:200]!r}")
    if message_class.KIND not in PUBLISHABLE:
        raise PoisonError(f"{message_class.NAME} is for services to say; telemetry, commands and tasks can be sent")
    return message_class


def _name(what: str, name: object) -> str:
    if name is None:
        raise PoisonError(f"no {what} is named; add it to the line, or use --{what}")
    try:
        return (check_agent if what == "agent" else check_tenant)(name)  # type: ignore[arg-type]
    except ValueError as error:
        raise PoisonError(str(error)) from error


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
