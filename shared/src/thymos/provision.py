"""Creates streams, consumers and buckets, and brings existing ones in line. Idempotent; run before services start.

`thymos provision` runs it by hand; `thymos up` and compose run it for you. Services never declare anything: a
service that declared streams would overwrite its neighbours' limits at every start.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nats.errors import Error as NatsError
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, BucketNotFoundError, NotFoundError

from thymos.errors import ThymosError, TransientError
from thymos.nats_bus import NatsBus, consumer_config
from thymos.subjects import BUCKETS, CONSUMERS, STREAMS, Bucket, Consumer, Stream


@dataclass(frozen=True)
class Change:
    """What provisioning did to one thing: `created`, `updated` or `unchanged`."""

    what: str
    name: str
    action: str


async def provision(bus: NatsBus, replicas: int = 1, *, dry_run: bool = False) -> Sequence[Change]:
    """Create and reconcile everything. `replicas` is 1 for one server, 3 for a cluster. A dry run only says what
    would be done.

    Raises:
        TransientError: the server does not answer, or has no JetStream.
        ThymosError: an existing stream differs in a way that cannot be changed in place; the text says how.
    """
    try:
        jetstream = bus.jetstream
        streams = [await _stream(jetstream, stream, replicas, dry_run) for stream in STREAMS]
        consumers = [await _consumer(jetstream, consumer, dry_run) for consumer in CONSUMERS]
        buckets = [await _bucket(jetstream, bucket, replicas, dry_run) for bucket in BUCKETS]
    except (TimeoutError, NatsError, OSError) as error:
        if isinstance(error, APIError):
            raise ThymosError(f"the server refuses: {error.description}") from error
        raise TransientError(f"JetStream does not answer at {bus.url}: {error or type(error).__name__}") from error
    return [*streams, *consumers, *buckets]


def stream_config(stream: Stream, replicas: int = 1) -> api.StreamConfig:
    """A stream's settings on the server."""
    return api.StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects),
        retention=api.RetentionPolicy(stream.retention.value),
        max_age=stream.age_max.total_seconds() if stream.age_max else 0,
        max_bytes=stream.bytes_max,
        discard=api.DiscardPolicy.OLD if stream.discard_old else api.DiscardPolicy.NEW,
        storage=api.StorageType.FILE,
        duplicate_window=stream.duplicate_window.total_seconds(),
        num_replicas=replicas,
        deny_delete=stream.for_ever,
        deny_purge=stream.for_ever,
        allow_direct=True,
    )


_STREAM_FIELDS = (
    "subjects", "retention", "max_age", "max_bytes", "discard", "duplicate_window", "num_replicas",
    "deny_delete", "deny_purge", "allow_direct",
)  # fmt: skip
_CONSUMER_FIELDS = ("filter_subject", "filter_subjects", "ack_policy", "ack_wait", "max_deliver", "max_ack_pending")
_FIXED = {"retention", "deny_delete", "deny_purge"}


async def _stream(jetstream: JetStreamContext, stream: Stream, replicas: int, dry_run: bool) -> Change:
    wanted = stream_config(stream, replicas)
    try:
        current = (await jetstream.stream_info(stream.name)).config
    except NotFoundError:
        if not dry_run:
            await jetstream.add_stream(wanted)
        return Change("stream", stream.name, "created")
    differing = _differing(current, wanted, _STREAM_FIELDS)
    if not differing:
        return Change("stream", stream.name, "unchanged")
    if fixed := sorted(_FIXED.intersection(differing)):
        raise ThymosError(
            f"stream {stream.name} exists with another {', '.join(fixed)}, which cannot be changed in place: it is not "
            "a stream of Thymos; name another server, or copy its messages away and delete it"
        )
    if not dry_run:
        await jetstream.update_stream(wanted)
    return Change("stream", stream.name, "updated")


async def _consumer(jetstream: JetStreamContext, consumer: Consumer, dry_run: bool) -> Change:
    wanted = consumer_config(consumer)
    name = f"{consumer.stream.name}/{consumer.durable}"
    try:
        current = (await jetstream.consumer_info(consumer.stream.name, consumer.durable)).config
    except NotFoundError:
        if not dry_run:
            await jetstream.add_consumer(consumer.stream.name, wanted)
        return Change("consumer", name, "created")
    if not _differing(current, wanted, _CONSUMER_FIELDS):
        return Change("consumer", name, "unchanged")
    if not dry_run:
        await jetstream.add_consumer(consumer.stream.name, wanted)
    return Change("consumer", name, "updated")


async def _bucket(jetstream: JetStreamContext, bucket: Bucket, replicas: int, dry_run: bool) -> Change:
    try:
        await jetstream.key_value(bucket.name)
    except (BucketNotFoundError, NotFoundError):
        if not dry_run:
            await jetstream.create_key_value(
                api.KeyValueConfig(
                    bucket=bucket.name, history=bucket.history, max_bytes=bucket.bytes_max, replicas=replicas
                )
            )
        return Change("bucket", bucket.name, "created")
    return Change("bucket", bucket.name, "unchanged")


def _differing(current: Any, wanted: Any, names: Sequence[str]) -> list[str]:
    return [n for n in names if _comparable(getattr(current, n)) != _comparable(getattr(wanted, n))]


def _comparable(value: Any) -> Any:
    if value in (None, 0, False, []):
        return None
    return sorted(value) if isinstance(value, list) else value
