"""What the server's advisories mean: given up by somebody, or not."""

import json

import pytest

from thymos import nats_bus, subjects
from thymos.dead_letters_net import DELETED, Advisory, advisory


def said(stream: subjects.Stream, reason: str) -> Advisory | None:
    kind = "io.nats.jetstream.advisory.v1.terminated"
    body = {"type": kind, "stream": stream.name, "consumer": "x", "stream_seq": 7, "deliveries": 1, "reason": reason}
    return advisory(json.dumps(body).encode())


def test_what_thymos_terminated_itself_is_no_news() -> None:
    assert said(subjects.EVENTS, nats_bus.TERMINATED) is None


@pytest.mark.parametrize("queue", [subjects.TASKS, subjects.COMMANDS], ids=lambda stream: str(stream.name))
def test_what_went_from_a_work_queue_was_done_or_called_off(queue: subjects.Stream) -> None:
    assert said(queue, DELETED) is None
    assert said(queue, "not for me") is not None


def test_what_a_limit_deleted_before_it_was_handled_is_lost_and_said() -> None:
    found = said(subjects.TELEMETRY, DELETED)
    assert found is not None
    assert DELETED in found.why
