"""The tables of docs/faults.md, and the messages that they speak of."""

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from thymos import subjects
from thymos.bus import CONTENT_TYPE_HEADER
from thymos.commands import CommitMemory
from thymos.envelope import BATCH_CONTENT_TYPE, CONTENT_TYPE, Envelope
from thymos.events import CommitMarkedGood
from thymos.examples import example_of
from thymos.metrics import MetricsChanged
from thymos.tasks import TaskAssigned
from thymos.telemetry import Outcome, TaskFinished

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"
TENANT = "hostile"
WORKER = "worker"
DEEP = b"[" * 500_000
Json = dict[str, Any]
numbers = itertools.count(1)


# --- the tables of the document -------------------------------------------------------------------------------------


def table(after: str) -> list[list[str]]:
    """The cells of the first table after a heading."""
    lines = DOCUMENT.read_text().split(f"## {after}\n", 1)[1].split("\n## ", 1)[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return rows[1:]


@dataclass(frozen=True)
class Row:
    """One case of the first table."""

    what: str
    where: tuple[str, ...]
    end: str

    @property
    def reason(self) -> str | None:
        """The words of the dead letter's reason; None when there is to be none."""
        found = re.match(r"dead letter: `([^`]+)`", self.end)
        return found[1] if found else None


ROWS = [Row(what, tuple(re.split(", ?", where)), end) for what, where, end, _ in table("Messages")]
REFUSALS = {what: answer for what, answer in table("Requests")}


# --- what is sent ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """An entry point and whom a message is to concern: `good` is a whole message that would be taken."""

    entry: str
    subject: str
    good: Json

    def body(self, **changes: Any) -> bytes:
        """The good message with changes (None removes a field), in a batch between two good ones for an item."""
        wire = {key: value for key, value in {**self.good, **changes}.items() if value is not None}
        return self.raw(json.dumps(wire).encode())

    def raw(self, text: bytes) -> bytes:
        """Bytes as they are; of an item, in a batch."""
        return b"[" + text + b"]" if self.entry == "item" else text

    def data(self, **changes: Any) -> Json:
        return {**self.good["data"], **changes}

    def replaced(self, written: bytes) -> bytes:
        """The good message with bytes written into its data that `json` would not write."""
        return self.body(data=self.data(extra="@@")).replace(b'"@@"', written)

    @property
    def headers(self) -> Json:
        return {CONTENT_TYPE_HEADER: BATCH_CONTENT_TYPE if self.entry == "item" else CONTENT_TYPE}


def target(entry: str, number: int) -> Target:
    agent = WORKER if entry == "task" else f"h-{number}"
    kinds = {
        "event": example_of(CommitMarkedGood),
        "command": example_of(CommitMemory),
        "metrics": example_of(MetricsChanged),
        "task": example_of(TaskAssigned),
    }
    example: Envelope[Any] = kinds.get(entry) or outcome(agent, f"t-{number}")
    data = example.data.model_copy(update={"branch": "main"}) if entry == "task" else example.data
    own = example.model_copy(
        update={"tenant": TENANT, "agent": agent, "id": f"m-{number}", "time": datetime.now(UTC), "data": data}
    )
    return Target(entry, own.subject, own.to_dict())


def outcome(agent: str, task_id: str, **fields: Any) -> Envelope[TaskFinished]:
    return Envelope(
        id=fields.get("id", f"e-{next(numbers)}"),
        source="customers",
        time=datetime.now(UTC),
        tenant=TENANT,
        agent=agent,
        data=TaskFinished(task_id=task_id, outcome=Outcome.SUCCEEDED),
    )


Maker = Callable[[Target], bytes]
BODIES: dict[str, Maker] = {
    "an empty body": lambda _: b"",
    "JSON cut short": lambda t: t.body()[:-5],
    "bytes that are no UTF-8": lambda t: t.body(source="caf\u00e9").replace(b"\\u00e9", b"\xe9"),
    "UTF-16": lambda t: t.body().decode().encode("utf-16"),
    "JSON that is no object": lambda t: t.raw(b'"text"'),
    "500,000 levels of nesting": lambda _: DEEP,
    "1 MiB, headers included": lambda t: t.body(x="y" * (subjects.MESSAGE_BYTES_MAX + 2_000)),
    "no `data`": lambda t: t.body(data=None),
    "a field missing in `data`": lambda t: t.body(data={}),
    "an unknown type": lambda t: t.body(type="thymos.task.exploded.v1"),
    "a type that belongs on another subject": lambda t: misplaced(t),
    "another tenant in the body": lambda t: t.body(tenantid="other"),
    "another agent in the body": lambda t: t.body(agentid="other"),
    "half a character (a lone surrogate) in any field": lambda t: t.body(data=t.data(extra="\ud800")),
    "an integer of 5,000 digits in any field": lambda t: t.replaced(b"9" * 5_000),
    "NaN or an infinite number (`1e400`) in a field of numbers": lambda t: t.body(data=t.data(latency_ms="@@")).replace(
        b'"@@"', b"1e400"
    ),
    "a text longer than its field takes": lambda t: t.body(data=t.data(error="x" * 100_000)),
    "a time before 1970": lambda t: t.body(time="0001-01-01T00:00:00+14:00"),
    "a time after 9998": lambda t: t.body(time="9999-12-31T23:59:59-14:00"),
    "a batch announced as one event": lambda t: b"[" + t.body() + b"]",
    "one event announced as a batch": lambda t: t.body(),
    "a batch of no event": lambda _: b"[]",
    "a batch of 1,001 events": lambda t: b"[" + b",".join([t.body()] * 1_001) + b"]",
    "an unknown content type": lambda t: t.body(),
    "headers of 4 KiB that nobody knows": lambda t: t.body(),
    "10,000 keys that nobody knows": lambda t: t.body(data=t.data(**{f"k{n}": n for n in range(10_000)})),
    "the NUL character in texts": lambda t: t.body(id="n\0l", data=t.data(error="\0", task_id="t\0")),
    "a key given twice: the last one counts": lambda t: t.body().replace(b'"id":', b'"id": "first", "id":'),
    "no time: it happened when it was received": lambda t: t.body(time=None),
}
"""What is published once, as it is. What needs more than one message, or other headers, is below."""

HEADERS: dict[str, Json] = {
    "one event announced as a batch": {CONTENT_TYPE_HEADER: BATCH_CONTENT_TYPE},
    "a batch of no event": {CONTENT_TYPE_HEADER: BATCH_CONTENT_TYPE},
    "a batch of 1,001 events": {CONTENT_TYPE_HEADER: BATCH_CONTENT_TYPE},
    "an unknown content type": {CONTENT_TYPE_HEADER: "text/html; charset=\udcff".encode("utf-8", "replace").decode()},
    "headers of 4 KiB that nobody knows": {
        "X-Hostile": "x" * 4_096,
        "reply_to": "thymos.event.hostile.x.branch.merged",
    },
}


def misplaced(on: Target) -> bytes:
    other = example_of(CommitMemory if on.entry == "event" else CommitMarkedGood).to_dict()
    return on.raw(json.dumps({**other, "tenantid": None, "agentid": None}).encode())
