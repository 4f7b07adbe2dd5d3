"""Provisioning on a real server: it notices every setting that Thymos depends on, and leaves alone what it does not."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from nats.js import api

from thymos import nats_bus, subjects
from thymos.errors import ThymosError
from thymos.nats_bus import NatsBus, consumer_config
from thymos.provision import bucket_config, provision, stream_config
from thymos.testing import NatsServer

TELEMETRY = stream_config(subjects.TELEMETRY)
EVENTS = stream_config(subjects.EVENTS)
ROUTING = bucket_config(subjects.ROUTING)
COLLECTOR = subjects.consumer(subjects.METRICS_COLLECTOR, subjects.TELEMETRY)
ENGINE = subjects.consumer(subjects.DECISION_ENGINE, subjects.COMMANDS)


@pytest_asyncio.fixture
async def empty(nats_server: NatsServer) -> AsyncIterator[NatsBus]:
    """A connection to a server that nobody has provisioned."""
    bus = await nats_bus.connect(nats_server.url, "test")
    yield bus
    await bus.close()


async def changed(bus: NatsBus, replicas: int = 1, *, dry_run: bool = False) -> dict[str, str]:
    """What provisioning did, or would do, by name; without what it left as it was."""
    changes = await provision(bus, replicas, dry_run=dry_run)
    return {change.name: change.action for change in changes if change.action != "unchanged"}


async def mended(bus: NatsBus, name: str) -> None:
    """A dry run tells of one thing and leaves it; a run updates it; the next one has nothing to do."""
    assert await changed(bus, dry_run=True) == {name: "updated"}
    assert await changed(bus) == {name: "updated"}
    assert await changed(bus) == {}


def as_wanted(config: Any, wanted: Any, settings: Sequence[str]) -> bool:
    """Whether these settings are as wanted; the server knows several ways to say "not set"."""
    unset = (None, 0, -1, False)
    pairs = ((getattr(config, setting), getattr(wanted, setting)) for setting in settings)
    return all(now == then or (now in unset and then in unset) for now, then in pairs)


async def test_the_first_run_creates_everything_and_the_second_changes_nothing(empty: NatsBus) -> None:
    everything = len(subjects.STREAMS) + len(subjects.CONSUMERS) + len(subjects.BUCKETS)
    assert list((await changed(empty)).values()) == ["created"] * everything
    assert await changed(empty) == {}


DRIFTED_STREAMS = [
    {"max_msgs": 3},
    {"max_msg_size": 1_000},
    {"max_msgs_per_subject": 1},
    {"max_consumers": 5},
    {"max_bytes": 1_000_000},
    {"max_age": 300.0, "duplicate_window": 60.0},
    {"no_ack": True},
    {"allow_direct": False},
    {"allow_rollup_hdrs": True},
    {"discard": api.DiscardPolicy.NEW, "discard_new_per_subject": True, "max_msgs_per_subject": 1},
    {"mirror": api.StreamSource(name="ELSEWHERE"), "subjects": None},
    {"sources": [api.StreamSource(name="ELSEWHERE")]},
    {"subject_transform": api.SubjectTransform(src="thymos.telemetry.*.*", dest="x.{{wildcard(1)}}.{{wildcard(2)}}")},
    {"republish": api.RePublish(src="thymos.telemetry.>", dest="copy.>")},
    {"consumer_limits": api.StreamConsumerLimits(max_ack_pending=3_000)},
]


@pytest.mark.parametrize("drift", DRIFTED_STREAMS, ids=lambda drift: ",".join(drift))
async def test_a_stream_that_drifted_is_brought_in_line(empty: NatsBus, drift: dict[str, Any]) -> None:
    jetstream = empty.jetstream
    await jetstream.add_stream(replace(TELEMETRY, **drift))
    assert (await changed(empty, dry_run=True))["THYMOS_TELEMETRY"] == "updated"
    assert (await changed(empty))["THYMOS_TELEMETRY"] == "updated"
    config = (await jetstream.stream_info("THYMOS_TELEMETRY")).config
    simple = [s for s in drift if s != "consumer_limits"]
    assert as_wanted(config, TELEMETRY, simple), config
    assert await changed(empty) == {}


async def test_what_an_operator_may_choose_stays_through_an_update(nats: NatsBus) -> None:
    own: dict[str, Any] = {
        "compression": api.StoreCompression.S2,
        "description": "ours",
        "metadata": {"owner": "operations"},
    }
    await nats.jetstream.update_stream(replace(TELEMETRY, **own))
    assert await changed(nats) == {}, "none of our business"
    await nats.jetstream.update_stream(replace(TELEMETRY, max_msgs=3, **own))
    await mended(nats, "THYMOS_TELEMETRY")
    config = (await nats.jetstream.stream_info("THYMOS_TELEMETRY")).config
    assert (config.compression, config.description, config.max_msgs) == ("s2", "ours", -1)
    assert (config.metadata or {}).get("owner") == "operations"


async def test_a_record_that_could_be_deleted_is_locked(nats: NatsBus) -> None:
    await nats.jetstream.delete_stream("THYMOS_EVENTS")
    await nats.jetstream.add_stream(replace(EVENTS, deny_delete=False, deny_purge=False))
    for consumer in subjects.CONSUMERS:
        if consumer.stream is subjects.EVENTS:
            await nats.ensure_consumer(consumer)
    await mended(nats, "THYMOS_EVENTS")


@pytest.mark.parametrize(
    ("drift", "words"),
    [
        ({"storage": api.StorageType.MEMORY}, "storage is memory instead of file"),
        ({"retention": api.RetentionPolicy.WORK_QUEUE}, "retention is workqueue instead of limits"),
        ({"retention": api.RetentionPolicy.INTEREST}, "retention is interest instead of limits"),
        ({"deny_delete": True}, "deny_delete is True instead of False"),
        ({"deny_purge": True}, "deny_purge is True instead of False"),
        ({"persist_mode": api.PersistMode.ASYNC}, "persist_mode is async instead of not set"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("dry_run", [False, True], ids=["", "dry"])
async def test_a_stream_that_cannot_be_changed_is_named_with_what_to_do(
    empty: NatsBus, drift: dict[str, Any], words: str, dry_run: bool
) -> None:
    await empty.jetstream.add_stream(replace(TELEMETRY, **drift))
    with pytest.raises(ThymosError, match=f"stream THYMOS_TELEMETRY .*{words}.*nats stream rm THYMOS_TELEMETRY"):
        await provision(empty, dry_run=dry_run)


async def test_a_sealed_stream_is_named(nats: NatsBus) -> None:
    await nats.jetstream.update_stream(replace(TELEMETRY, sealed=True))
    with pytest.raises(ThymosError, match=r"stream THYMOS_TELEMETRY .*sealed is True instead of False"):
        await provision(nats)


async def test_a_stream_of_somebody_else_with_our_subjects_is_told_of(empty: NatsBus) -> None:
    await empty.jetstream.add_stream(name="THEIRS", subjects=["thymos.telemetry.>"])
    with pytest.raises(ThymosError, match=r"stream THYMOS_TELEMETRY cannot be created; the server refuses: .*overlap"):
        await provision(empty)


@pytest.mark.parametrize(
    "drift",
    [
        {"headers_only": True},
        {"max_ack_pending": 1},
        {"ack_wait": 1.0},
        {"max_deliver": 3},
        {"backoff": [1.0, 2.0], "max_deliver": 5},
        {"filter_subject": "thymos.telemetry.acme.*"},
        {"filter_subject": None, "filter_subjects": ["thymos.telemetry.acme.*", "thymos.telemetry.other.*"]},
        {"inactive_threshold": 60.0},
    ],
    ids=lambda drift: ",".join(drift),
)
async def test_a_consumer_that_drifted_is_brought_in_line(nats: NatsBus, drift: dict[str, Any]) -> None:
    wanted = consumer_config(COLLECTOR)
    await nats.delete_consumer(COLLECTOR)
    await nats.jetstream.add_consumer("THYMOS_TELEMETRY", replace(wanted, **drift))
    await mended(nats, "THYMOS_TELEMETRY/metrics-collector")
    config = (await nats.jetstream.consumer_info("THYMOS_TELEMETRY", "metrics-collector")).config
    assert as_wanted(config, wanted, list(drift)), config


@pytest.mark.parametrize(
    ("drift", "words"),
    [
        ({"deliver_policy": api.DeliverPolicy.NEW}, "deliver_policy is new instead of all"),
        ({"deliver_subject": "push.here"}, "deliver_subject is push.here instead of not set"),
        ({"ack_policy": api.AckPolicy.NONE}, "ack_policy is none instead of explicit"),
        ({"replay_policy": api.ReplayPolicy.ORIGINAL}, "replay_policy is original instead of instant"),
        ({"mem_storage": True}, "mem_storage is True instead of not set"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
async def test_a_consumer_that_cannot_be_changed_is_named_and_made_anew_once_deleted(
    nats: NatsBus, drift: dict[str, Any], words: str
) -> None:
    await nats.delete_consumer(COLLECTOR)
    await nats.jetstream.add_consumer("THYMOS_TELEMETRY", replace(consumer_config(COLLECTOR), **drift))
    advice = "nats consumer rm THYMOS_TELEMETRY metrics-collector"
    with pytest.raises(ThymosError, match=f"consumer THYMOS_TELEMETRY/metrics-collector .*{words}.*{advice}"):
        await provision(nats)
    await nats.delete_consumer(COLLECTOR)
    assert await changed(nats) == {"THYMOS_TELEMETRY/metrics-collector": "created"}


async def test_a_change_that_the_server_refuses_is_named_with_the_difference(nats: NatsBus) -> None:
    """What we take for changeable another server may not change; here: a filter that overlaps in a work queue."""
    queue = consumer_config(ENGINE)
    await nats.delete_consumer(ENGINE)
    await nats.jetstream.add_consumer("THYMOS_COMMANDS", replace(queue, filter_subject="thymos.command.x.>"))
    await nats.jetstream.add_consumer(
        "THYMOS_COMMANDS", replace(queue, durable_name="another", filter_subject="thymos.command.decision-engine.a.>")
    )
    with pytest.raises(
        ThymosError, match=r"THYMOS_COMMANDS/decision-engine differs: filter_subject is .*\.x\.>.*refuses"
    ):
        await provision(nats)


@pytest.mark.parametrize(
    "drift",
    [
        {"max_msgs_per_subject": 5},
        {"max_age": 60.0, "duplicate_window": 60.0},
        {"max_bytes": 1_000_000},
        {"max_msg_size": 10},
        {"deny_delete": False},
    ],
    ids=["history", "ttl", "size", "value", "deny_delete"],
)
async def test_a_bucket_that_drifted_is_brought_in_line(nats: NatsBus, drift: dict[str, Any]) -> None:
    await nats.jetstream.delete_stream("KV_thymos_routing")
    await nats.jetstream.add_stream(replace(ROUTING, **drift))
    await mended(nats, "thymos_routing")
    assert as_wanted((await nats.jetstream.stream_info("KV_thymos_routing")).config, ROUTING, list(drift))


async def test_a_bucket_in_memory_is_named(nats: NatsBus) -> None:
    await nats.jetstream.delete_stream("KV_thymos_routing")
    await nats.jetstream.add_stream(replace(ROUTING, storage=api.StorageType.MEMORY))
    with pytest.raises(ThymosError, match=r"bucket thymos_routing .*storage is memory instead of file"):
        await provision(nats)


async def test_a_bucket_of_the_client_is_as_it_should_be(nats: NatsBus) -> None:
    """The stream under a bucket is what the NATS client makes of one, and it works as one."""
    await nats.jetstream.delete_stream("KV_thymos_routing")
    await nats.jetstream.create_key_value(
        api.KeyValueConfig(bucket="thymos_routing", history=1, max_bytes=subjects.ROUTING.bytes_max)
    )
    assert await changed(nats) == {}
    await nats.jetstream.delete_stream("KV_thymos_routing")
    assert await changed(nats) == {"thymos_routing": "created"}
    bucket = await nats.jetstream.key_value("thymos_routing")
    await bucket.put("acme", b"1")
    assert (await bucket.get("acme")).value == b"1"


async def test_another_number_of_replicas_is_a_change_of_streams_and_buckets(nats: NatsBus) -> None:
    names = [*(s.name for s in subjects.STREAMS), *(b.name for b in subjects.BUCKETS)]
    assert await changed(nats, 3, dry_run=True) == dict.fromkeys(names, "updated")


@pytest.mark.parametrize("dry_run", [False, True], ids=["", "dry"])
async def test_a_server_that_takes_only_small_messages_is_refused(tmp_path: Path, dry_run: bool) -> None:
    with NatsServer(tmp_path / "small", payload_max=subjects.MIB - 1) as server:
        bus = await nats_bus.connect(server.url, "test")
        with pytest.raises(ThymosError, match="at most 1048575 bytes, Thymos needs 1048576: set `max_payload"):
            await provision(bus, dry_run=dry_run)
        await bus.close()
