"""What the log says of the message in hand, and of what was done about it."""

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from io import StringIO

import pytest

from thymos.bus import Stored
from thymos.envelope import Envelope
from thymos.events import BranchMerged
from thymos.logs import JsonFormatter
from thymos.message import Message
from thymos.observability.in_hand import Observer, observed_ids
from thymos.observability.instruments import Instruments
from thymos.store_watch import Sent
from thymos.telemetry import TaskStarted

WHEN = datetime(2026, 3, 2, tzinfo=UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def envelope(data: Message) -> Envelope[Message]:
    return Envelope(
        id="e1",
        source="memory-repository",
        time=WHEN,
        tenant="acme",
        agent="support",
        data=data,
        correlation_id="story",
        traceparent=TRACE,
    )


def logged(sent: Sequence[Message]) -> list[dict[str, str]]:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("memory-repository"))
    logger = logging.getLogger("thymos.observability.in_hand")
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        Observer(Instruments("memory-repository", (), ())).wrote([Sent(envelope(each), None) for each in sent])
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_event_is_a_line_with_its_ids_and_its_reason() -> None:
    merged = BranchMerged(
        source="idea",
        target="main",
        commit="c2",
        previous_commit="c1",
        strategy="Ours",
        experiment_id="x1",
        reason="better",
    )
    (line,) = logged([merged, TaskStarted(task_id="t1")])
    assert line["message"] == "branch.merged: better"
    expected = {"event_id": "e1", "correlation_id": "story", "tenant": "acme", "experiment_id": "x1", "commit": "c2"}
    assert {name: line[name] for name in expected} == expected
    assert line["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"correlationid": "story", "traceparent": "%s", oops' % TRACE.encode(), ("story", TRACE[3:35])),
        (b'{"correlationid": 7, "traceparent": "none"}', (None, None)),
        (b"\xff\xfe", (None, None)),
        (b'{"correlationid": "line\nbreak"}', (None, None)),
    ],
)
def test_ids_are_found_in_what_cannot_be_read(body: bytes, expected: tuple[str | None, str | None]) -> None:
    ids = observed_ids(Stored("thymos.telemetry.acme.support", body, 7, WHEN))
    assert (ids["correlation_id"], ids["trace_id"]) == expected
