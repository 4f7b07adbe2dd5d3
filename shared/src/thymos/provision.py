"""Creates streams, consumers and buckets, and brings existing ones in line. Idempotent; run before services start.

`thymos provision` runs it by hand; `thymos up` and compose run it for you. Services never declare anything: a
service that declared streams would overwrite its neighbours' limits at every start.

Only the settings that Thymos depends on are compared and changed. An operator's own choices (compression, placement,
a description) stay, and so does what the server adds by itself.
"""

from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from nats.errors import Error as NatsError
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from thymos.errors import ThymosError, TransientError
from thymos.nats_bus import NatsBus, consumer_config
from thymos.subjects import BUCKETS, CONSUMERS, MIB, STREAMS, Bucket, Consumer, Stream

PAYLOAD_BYTES_MIN = MIB
"""The server's `max_payload` must be at least this: Thymos promises its clients messages of that size."""


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
        ThymosError: the server takes too small messages only, refuses something, or has something that differs in a
            way that cannot be changed in place; the text names it, the difference, and what to do.
    """
    check_payload(bus)
    jetstream = bus.jetstream
    try:
        streams = [
            await _stream(jetstream, "stream", stream.name, stream_config(stream, replicas), dry_run)
            for stream in STREAMS
        ]
        consumers = [await _consumer(jetstream, consumer, dry_run) for consumer in CONSUMERS]
        buckets = [
            await _stream(jetstream, "bucket", bucket.name, bucket_config(bucket, replicas), dry_run)
            for bucket in BUCKETS
        ]
    except ServiceUnavailableError as error:
        words = error.description or "is JetStream on?"
        raise TransientError(f"JetStream is not available at {bus.url}: {words}") from error
    except APIError as error:
        raise ThymosError(f"the server refuses: {error.description}") from error
    except (TimeoutError, NatsError, OSError) as error:
        raise TransientError(f"JetStream does not answer at {bus.url}: {error or type(error).__name__}") from error
    return [*streams, *consumers, *buckets]


def check_payload(bus: NatsBus) -> None:
    """Raises ThymosError when the server's `max_payload` is under `PAYLOAD_BYTES_MIN`."""
    if bus.client.max_payload < PAYLOAD_BYTES_MIN:
        raise ThymosError(
            f"the server at {bus.url} takes messages of at most {bus.client.max_payload} bytes, Thymos needs "
            f"{PAYLOAD_BYTES_MIN}: set `max_payload: {PAYLOAD_BYTES_MIN}` in its configuration and reload it"
        )


# --- what is wanted -------------------------------------------------------------------------------------------------


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


def bucket_config(bucket: Bucket, replicas: int = 1) -> api.StreamConfig:
    """The settings of the stream under a bucket: as NATS clients create it, so that they read it as a bucket."""
    return api.StreamConfig(
        name=f"KV_{bucket.name}",
        subjects=[f"$KV.{bucket.name}.>"],
        retention=api.RetentionPolicy.LIMITS,
        max_age=0,
        max_bytes=bucket.bytes_max,
        max_msgs_per_subject=bucket.history,
        discard=api.DiscardPolicy.NEW,
        storage=api.StorageType.FILE,
        duplicate_window=120,
        num_replicas=replicas,
        deny_delete=True,
        allow_rollup_hdrs=True,
        allow_msg_ttl=True,
        allow_direct=False,
    )


# --- what differs ---------------------------------------------------------------------------------------------------

_STREAM_FIELDS = (
    "subjects", "retention", "storage", "max_age", "max_bytes", "max_msgs", "max_msg_size", "max_msgs_per_subject",
    "max_consumers", "discard", "discard_new_per_subject", "duplicate_window", "num_replicas", "no_ack", "sealed",
    "deny_delete", "deny_purge", "allow_direct", "allow_rollup_hdrs", "mirror", "mirror_direct", "sources",
    "subject_transform", "republish", "consumer_limits", "allow_msg_counter", "persist_mode",
)  # fmt: skip
_STREAM_FIXED = {"retention", "storage", "sealed", "allow_msg_counter", "persist_mode"}
_CANNOT_BE_TAKEN_BACK = {"deny_delete", "deny_purge"}
"""The server lets one set these, and never unset them."""
_CONSUMER_FIELDS = (
    "filter_subject", "filter_subjects", "ack_policy", "ack_wait", "max_deliver", "max_ack_pending", "deliver_policy",
    "deliver_subject", "deliver_group", "flow_control", "idle_heartbeat", "headers_only", "replay_policy", "backoff",
    "rate_limit_bps", "inactive_threshold", "mem_storage",
)  # fmt: skip
_CONSUMER_FIXED = {"deliver_policy", "deliver_subject", "ack_policy", "replay_policy", "mem_storage"}


@dataclass(frozen=True)
class _Difference:
    """One setting that is not as it should be."""

    setting: str
    is_now: Any
    wanted: Any

    def __str__(self) -> str:
        return f"{self.setting} is {_shown(self.is_now)} instead of {_shown(self.wanted)}"

    def is_fixed(self, fixed: set[str]) -> bool:
        """Whether it cannot be mended in place."""
        return self.setting in fixed or (self.setting in _CANNOT_BE_TAKEN_BACK and bool(self.is_now))


def _differences(current: Any, wanted: Any, settings: Sequence[str]) -> list[_Difference]:
    pairs = ((name, getattr(current, name), getattr(wanted, name)) for name in settings)
    return [_Difference(name, now, then) for name, now, then in pairs if _comparable(now) != _comparable(then)]


def _comparable(value: Any) -> Any:
    """The same for every way to say "not set": the server fills in some of them, and leaves others out."""
    if isinstance(value, api.Base):
        value = {key: part for key, part in value.as_dict().items() if _comparable(part) is not None}
    if value in (None, 0, -1, False, "", [], {}):
        return None
    return sorted(value, key=repr) if isinstance(value, list) else value


def _shown(value: Any) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "not set"
    if isinstance(value, api.Base):
        value = value.as_dict()
    return "not set" if value in (None, -1, "") else str(value)


# --- bringing it in line --------------------------------------------------------------------------------------------


async def _stream(jetstream: JetStreamContext, what: str, name: str, wanted: api.StreamConfig, dry_run: bool) -> Change:
    """A stream, or the one under a bucket."""
    thing = f"{what} {name}"
    try:
        current = (await jetstream.stream_info(str(wanted.name))).config
    except NotFoundError:
        if not dry_run:
            await _asked(f"{thing} cannot be created", "", jetstream.add_stream(wanted))
        return Change(what, name, "created")
    differing = _differences(current, wanted, _STREAM_FIELDS)
    if not differing:
        return Change(what, name, "unchanged")
    remedy = (
        f"name another server, or copy away what you need of it and delete it (`nats stream rm {wanted.name}`): "
        "`thymos provision` makes it anew, empty"
    )
    _check_changeable(thing, differing, _STREAM_FIXED, remedy)
    if not dry_run:
        mended = current.evolve(**{d.setting: d.wanted for d in differing})
        await _asked(f"{thing} differs: {_listed(differing)}", remedy, jetstream.update_stream(mended))
    return Change(what, name, "updated")


async def _consumer(jetstream: JetStreamContext, consumer: Consumer, dry_run: bool) -> Change:
    wanted = consumer_config(consumer)
    stream, name = consumer.stream.name, f"{consumer.stream.name}/{consumer.durable}"
    thing = f"consumer {name}"
    try:
        current = (await jetstream.consumer_info(stream, consumer.durable)).config
    except NotFoundError:
        if not dry_run:
            await _asked(f"{thing} cannot be created", "", jetstream.add_consumer(stream, wanted))
        return Change("consumer", name, "created")
    differing = _differences(current, wanted, _CONSUMER_FIELDS)
    if not differing:
        return Change("consumer", name, "unchanged")
    remedy = (
        f"delete that consumer (`nats consumer rm {stream} {consumer.durable}`): `thymos provision` makes it anew; it "
        "delivers from the beginning, and the services recognise by their inboxes what they have had"
    )
    _check_changeable(thing, differing, _CONSUMER_FIXED, remedy)
    if not dry_run:
        # Without a name: with one, the client puts the filter into the subject of the request.
        mended = current.evolve(name=None, **{d.setting: d.wanted for d in differing})
        await _asked(f"{thing} differs: {_listed(differing)}", remedy, jetstream.add_consumer(stream, mended))
    return Change("consumer", name, "updated")


def _check_changeable(thing: str, differing: Sequence[_Difference], fixed: set[str], remedy: str) -> None:
    if stuck := [difference for difference in differing if difference.is_fixed(fixed)]:
        raise ThymosError(f"{thing} cannot be changed in place: {_listed(stuck)}; {remedy}")


async def _asked(problem: str, remedy: str, asking: Awaitable[object]) -> None:
    """Ask the server for a change; its refusal names the thing and the difference."""
    try:
        await asking
    except ServiceUnavailableError:
        raise
    except APIError as error:
        words = "; ".join(filter(None, (f"{problem}; the server refuses: {error.description}", remedy)))
        raise ThymosError(words) from error


def _listed(differing: Iterable[_Difference]) -> str:
    return ", ".join(map(str, differing))
