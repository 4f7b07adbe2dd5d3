"""Streams that take no more because they are full: those that refuse what is new rather than drop what is old."""

from collections.abc import Iterable

from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from thymos.subjects import MIB, Stream

ROOM_BYTES_MIN = 2 * MIB
"""With less room than this a stream counts as full: more than the largest message with what the server adds to it."""


def finding(stream: Stream, used_bytes: int, limit_bytes: int) -> str:
    """That a stream is full, and what to do; empty while it is not. `limit_bytes` below 1 is no limit."""
    if stream.discard_old or limit_bytes < 1 or limit_bytes - used_bytes >= ROOM_BYTES_MIN:
        return ""
    # The event log is kept for ever; a work queue empties itself once its readers work.
    mend = "raise its limit: `nats stream edit --max-bytes`" if stream.for_ever else "see why its readers are behind"
    return f"the stream {stream.name} is full ({used_bytes:,} of {limit_bytes:,} bytes) and takes nothing: {mend}"


async def full(jetstream: JetStreamContext, streams: Iterable[Stream]) -> list[str]:
    """The finding of each stream that is full. One that cannot be looked at is somebody else's finding."""
    found = []
    for stream in streams:
        if stream.discard_old:
            continue
        try:
            info = await jetstream.stream_info(stream.name)
        except (TimeoutError, NatsError, OSError):
            continue
        found.append(finding(stream, info.state.bytes, info.config.max_bytes or 0))
    return [words for words in found if words]
