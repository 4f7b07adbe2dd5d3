"""Messages that nobody can process, and messages that are only strange."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from thymos import subjects
from thymos.bus import CONTENT_TYPE_HEADER
from thymos.envelope import BATCH_CONTENT_TYPE, CONTENT_TYPE

FAR = timedelta(days=400)


@dataclass(frozen=True)
class Raw:
    """A message as bytes. `dead`: it ends among the dead letters."""

    subject: str
    body: bytes
    message_id: str
    content_type: str = CONTENT_TYPE
    dead: bool = True


def _event(now: datetime, identity: str, **changes: object) -> dict[str, object]:
    data = {"task_id": identity, "outcome": "succeeded"}
    whole = {
        "specversion": "1.0", "id": identity, "source": "stranger", "type": "thymos.task.finished.v1",
        "time": now.isoformat(), "data": data,
    }  # fmt: skip
    return {**whole, **changes}


def messages(random: Random, now: datetime, tenant: str, agent: str) -> Sequence[Raw]:
    """One of each kind, in an order of its own."""
    telemetry = subjects.telemetry_subject(tenant, agent)
    command = subjects.command_subject(subjects.MEMORY_REPOSITORY, tenant, agent, "branch.create")
    mark = f"{tenant}-{agent}-{random.randrange(10**9)}"

    def named(name: str) -> str:
        return f"{name}-{mark}"

    def text(event: object) -> bytes:
        return json.dumps(event).encode()

    later, earlier = now + FAR, now - FAR
    found = [
        Raw(telemetry, b'{"specversion": "1.0", "id": ' + mark.encode(), named("cut")),
        Raw(telemetry, b"\xff\xfe" + mark.encode(), named("bytes")),
        Raw(telemetry, b"[" * 200 + mark.encode(), named("deep")),
        Raw(telemetry, text(_event(now, named("other"), tenantid="somebody-else")), named("other")),
        Raw(telemetry, text(_event(now, named("type"), type="thymos.no.such.v9")), named("type")),
        Raw(command, text(_event(now, named("misplaced"))), named("misplaced")),
        Raw(command, b"null" + b" " * random.randrange(9) + mark.encode(), named("null")),
        Raw(telemetry, b'{"a": "' + b"x" * (subjects.MESSAGE_BYTES_MAX + 10) + mark.encode() + b'"}', named("big")),
        Raw(telemetry, text([_event(now, named("good")), {"bad": mark}]), named("batch"), BATCH_CONTENT_TYPE),
        Raw(telemetry, text(_event(later, named("future"), time=later.isoformat())), named("future"), dead=False),
        Raw(telemetry, text(_event(earlier, named("past"), time=earlier.isoformat())), named("past"), dead=False),
    ]  # fmt: skip
    random.shuffle(found)
    return found


def headers(raw: Raw) -> dict[str, str]:
    """What it is published with."""
    return {CONTENT_TYPE_HEADER: raw.content_type}
