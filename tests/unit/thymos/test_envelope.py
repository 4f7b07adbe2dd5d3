"""The envelope: read only when it is right, and refused in words that say what is wrong."""

import gc
import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from thymos import subjects
from thymos.envelope import BATCH_MAX, NESTING_MAX, WAITS_MAX, Envelope, decode, decode_batch, happened_at
from thymos.errors import PoisonError
from thymos.events import BranchMerged
from thymos.examples import example_of
from thymos.message import Message
from thymos.telemetry import Outcome, TaskFinished, TaskStarted

SUBJECT = subjects.telemetry_subject("acme", "support")
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "7",
    "source": "shop",
    "type": "thymos.task.finished.v1",
    "time": "2026-03-02T10:00:00+01:00",
    "data": {"task_id": "t", "outcome": "failed"},
}


def wire(**changes: Any) -> bytes:
    return json.dumps({**EVENT, **changes}).encode()


def refusal(body: bytes, subject: str = SUBJECT) -> str:
    with pytest.raises(PoisonError) as refused:
        decode(body, subject)
    return str(refused.value)


def test_the_least_that_is_needed() -> None:
    envelope = decode(wire(), SUBJECT)
    assert envelope.data == TaskFinished(task_id="t", outcome=Outcome.FAILED)
    assert (envelope.tenant, envelope.agent) == ("acme", "support")
    assert envelope.time == datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def test_a_time_is_believed_within_reason() -> None:
    """A wrong clock moves nothing into the future, and lets no deadline pass that is counted from its time."""
    now, minute = datetime(2026, 3, 2, 12, 0, tzinfo=UTC), timedelta(minutes=1)

    def believed(**changes: Any) -> datetime:
        return happened_at(decode(wire(**changes), SUBJECT), now)

    assert believed(time=(now - minute).isoformat()) == now - minute
    assert believed(time=(now - WAITS_MAX).isoformat()) == now - WAITS_MAX
    for wrong in (now + minute, now - WAITS_MAX - minute, datetime(1970, 1, 2, tzinfo=UTC)):
        assert believed(time=wrong.isoformat()) == now
    assert believed(time=None) == now, "none is stated"


def test_what_is_not_known_is_ignored() -> None:
    data = {**EVENT["data"], "added_later": {"x": 1}}
    assert decode(wire(data=data, newextension="y"), SUBJECT) == decode(wire(), SUBJECT)


def test_what_is_absent_is_left_out_on_the_wire() -> None:
    written = json.loads(decode(wire(), SUBJECT).to_bytes())
    assert not {"correlationid", "causationid", "traceparent"} & set(written)
    assert "cost_usd" not in written["data"]
    assert written["time"] == "2026-03-02T09:00:00Z"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (wire().decode().encode("utf-16"), "not JSON"),
        (wire(data={**EVENT["data"], "added_later": "\ud800"}), "surrogates not allowed"),
        (wire()[:-5], "not JSON"),
        (b"null", "not a CloudEvent"),
        (b"[]", "not a CloudEvent"),
        (b'"text"', "not a CloudEvent"),
        (b"{}", "not a CloudEvent: specversion: Field required (and 4 more)"),
        (wire(specversion="0.3"), "specversion"),
        (wire(id=""), "id: String should have at least 1 character"),
        (wire(id="x" * 201), "id"),
        (wire(time="yesterday"), "time"),
        (wire(time="1969-12-31T23:59:59Z"), "is before 1970 or after 9998"),
        (wire(time="0001-01-01T00:00:00+14:00"), "is before 1970 or after 9998"),
        (wire(time="9999-12-31T23:59:59-14:00"), "is before 1970 or after 9998"),
        (wire(time="2026-03-02T10:00:00"), "time: Input should have timezone info"),
        (wire(datacontenttype="text/plain"), "datacontenttype"),
        (wire(data="text"), "data"),
        (wire(tenantid="Acme Corp"), "a tenant name is 1 to 63 characters"),
        (wire(type="thymos.task.exploded.v1"), "unknown type 'thymos.task.exploded.v1'"),
        (wire(type="thymos.task.finished.v2"), "unknown type"),
        (wire(data={"task_id": "t", "outcome": "won"}), "thymos.task.finished.v1: outcome"),
        (wire(data={"task_id": "t", "outcome": "failed", "latency_ms": -1}), "latency_ms"),
        (wire(data={"task_id": "t", "outcome": "failed", "branch": "a.b"}), "a branch name is 1 to 127"),
        (wire().replace(b'"failed"', b'"failed", "cost_usd": NaN'), "cost_usd"),
        (wire().replace(b'"failed"', b'"failed", "latency_ms": 1e999'), "latency_ms"),
    ],
)
def test_what_is_wrong_is_said(body: bytes, why: str) -> None:
    assert why in refusal(body)


def test_the_tenant_and_the_agent_are_those_of_the_subject() -> None:
    assert refusal(wire(tenantid="other")) == "tenantid 'other' on a subject of tenant 'acme'"
    assert refusal(wire(agentid="other")) == "agentid 'other' on a subject of agent 'support'"
    assert decode(wire(tenantid="acme", agentid="support"), SUBJECT)


def test_a_message_is_read_on_its_own_subject_only() -> None:
    merged = example_of(BranchMerged)
    elsewhere = subjects.event_subject("acme", "support", "branch.deleted")
    assert "belongs on thymos.event.acme.support.branch.merged" in refusal(merged.to_bytes(), elsewhere)
    assert "belongs on" in refusal(wire(), subjects.metrics_subject("acme", "support", "main"))
    assert "is not a subject of Thymos" in refusal(wire(), "foreign.acme.support")


def test_depth_is_limited_before_anything_is_parsed() -> None:
    def nested(levels: int) -> bytes:
        return wire().replace(b'"failed"', b'"failed", "x": ' + b"[" * levels + b"]" * levels)

    assert decode(nested(NESTING_MAX - 2), SUBJECT)
    assert refusal(nested(NESTING_MAX - 1)) == f"nested more than {NESTING_MAX} levels deep"
    assert "nested" in refusal(b"[" * 500_000)


def test_depth_counts_arrays_and_objects_and_nothing_beside_them() -> None:
    wide = wire(data={**EVENT["data"], "x": [[{"a": [[]]}] for _ in range(1_000)]})
    assert decode(wide, SUBJECT)
    assert "nested" in refusal(b'{"a":[' * 40 + b"]}" * 40)
    assert "not JSON" in refusal(b"[}" * 1_000)
    assert "not JSON" in refusal(b"]" * 1_000 + b"[[")


def test_a_byte_order_mark_and_a_whole_pair_of_surrogates_do_no_harm() -> None:
    data = {**EVENT["data"], "error": "\U0001f600"}
    assert "\\ud83d" in json.dumps(data)
    assert decode(b"\xef\xbb\xbf" + wire(data=data), SUBJECT) == decode(wire(data=data), SUBJECT)


HOSTILE = {
    "deep": b"[" * 1_000_000,
    "nearly too deep": (b"[" * 63 + b"]" * 63) * 8_000,
    "wide": b"[" + b"[]," * 330_000 + b"[]]",
    "one text without an end": b"[" * 65 + b'"' + b'\\"' * 500_000,
    "brackets in a text": b'"' + b"[" * 1_000_000 + b'"',
    "empty texts": b"[" * 65 + b'"",' * 330_000 + b'""' + b"]" * 65,
    "keys that nobody knows": wire(data={**EVENT["data"], **{f"k{number}": number for number in range(50_000)}}),
}


def test_a_hostile_message_costs_no_more_than_a_few_ordinary_ones_of_its_size() -> None:
    """Seconds of processor, as a multiple of what a full batch of ordinary events costs."""

    def seconds(read: Callable[[], object]) -> float:
        def once() -> float:
            began = time.process_time()
            with suppress(PoisonError):
                read()
            return time.process_time() - began

        gc.collect()
        gc.disable()  # what the rest of this process holds is not the message's cost
        try:
            return min(once() for _ in range(7))
        finally:
            gc.enable()

    events = [{**EVENT, "id": str(number), "data": {**EVENT["data"], "input": "x" * 800}} for number in range(1_000)]
    ordinary = json.dumps(events).encode()
    usual = seconds(lambda: decode_batch(ordinary, SUBJECT))
    multiples = {name: seconds(lambda body=body: decode(body, SUBJECT)) / usual for name, body in HOSTILE.items()}  # type: ignore[misc]
    assert not {name: multiple for name, multiple in multiples.items() if multiple > 20}


def test_brackets_in_text_are_not_depth() -> None:
    data = {**EVENT["data"], "input": '[{"' * 100 + "\\"}
    assert decode(wire(data=data), SUBJECT)


def test_size_is_limited_both_ways() -> None:
    too_large = wire(data={**EVENT["data"], "x": "y" * subjects.MESSAGE_BYTES_MAX})
    assert f"at most {subjects.MESSAGE_BYTES_MAX}" in refusal(too_large)
    evidence = {"x": "y" * subjects.MESSAGE_BYTES_MAX}
    merged = example_of(BranchMerged)
    with pytest.raises(PoisonError, match=r"thymos\.branch\.merged\.v1 would be \d+ bytes"):
        merged.model_copy(update={"data": merged.data.model_copy(update={"evidence": evidence})}).to_bytes()


def test_the_message_id_keeps_tenants_agents_and_sources_apart() -> None:
    def message_id(tenant: str = "acme", agent: str = "support", source: str = "shop") -> str:
        envelope: Envelope[Message] = Envelope(
            id="7",
            source=source,
            time=datetime(2026, 1, 1, tzinfo=UTC),
            tenant=tenant,
            agent=agent,
            data=TaskStarted(task_id="t"),
        )
        return envelope.message_id

    assert message_id() == "acme/support/shop/7"
    assert len({message_id(), message_id(tenant="other"), message_id(agent="sales"), message_id(source="web")}) == 4


# --- batches --------------------------------------------------------------------------------------------------------


def test_a_bad_item_of_a_batch_harms_no_other() -> None:
    half = {**EVENT, "x": "\ud800"}
    items = [EVENT, {**EVENT, "id": "8", "data": {}}, "text", {**EVENT, "id": "9"}, half]
    first, second, third, fourth, fifth = decode_batch(json.dumps(items).encode(), SUBJECT)
    assert isinstance(first, Envelope)
    assert first.id == "7"
    assert isinstance(second, PoisonError)
    assert "task_id" in str(second)
    assert isinstance(third, PoisonError)
    assert isinstance(fourth, Envelope)
    assert fourth.id == "9"
    assert isinstance(fifth, PoisonError)


@pytest.mark.parametrize("body", [b"[]", b"{}", wire(), json.dumps([0] * (BATCH_MAX + 1)).encode()])
def test_what_is_no_batch_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(PoisonError, match=f"1 to {BATCH_MAX} CloudEvents"):
        decode_batch(body, SUBJECT)


def test_a_batch_is_not_read_as_a_message() -> None:
    assert "not a CloudEvent" in refusal(json.dumps([EVENT]).encode())
