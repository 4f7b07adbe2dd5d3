"""One stream as a file, and back: the server's own snapshot, with sequences, times, message ids and consumers."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from thymos.errors import ThymosError, TransientError
from thymos.nats_bus import NatsBus

ANSWER_SECONDS = 30.0
CHUNK_BYTES = 128 * 1024
FINISH_SECONDS = 600.0
"""How long the server may take to make a stream of what it was sent: it indexes all of it."""
NO_STREAM = 10059


@dataclass(frozen=True)
class StreamCopy:
    """What a snapshot holds: the stream's settings and state as the server said them, and the file."""

    config: dict[str, Any]
    state: dict[str, Any]
    bytes: int
    sha256: str


async def ask_server(bus: NatsBus, call: str, request: object = None, seconds: float = ANSWER_SECONDS) -> Any:
    """The server's answer to a call of its JetStream API.

    Raises:
        TransientError: it does not answer.
        ThymosError: it refuses; the text is its own.
    """
    body = json.dumps(request).encode() if request is not None else b""
    answer = json.loads(await _request(bus, f"$JS.API.{call}", body, seconds))
    if refused := answer.get("error"):
        raise ServerRefusedError(f"{call}: {refused.get('description')}", int(refused.get("err_code") or 0))
    return answer


class ServerRefusedError(ThymosError):
    """The server refuses a call."""

    def __init__(self, message: str = "", code: int = 0) -> None:
        super().__init__(message)
        self.code = code


async def state_of(bus: NatsBus, stream: str) -> dict[str, Any] | None:
    """The state of a stream; None when there is none."""
    try:
        answer = await ask_server(bus, f"STREAM.INFO.{stream}")
    except ServerRefusedError as error:
        if error.code == NO_STREAM:
            return None
        raise
    return dict(answer["state"])


async def save(bus: NatsBus, stream: str, path: Path, moved: Callable[[int], None]) -> StreamCopy:
    """Write a stream's snapshot to a file; `moved` is told of the bytes as they come.

    Raises:
        TransientError: the server stops sending.
        ThymosError: it refuses, or finds the stream damaged.
        OSError: the file cannot be written.
    """
    async with _inbox(bus) as (inbox, arriving):
        request = {"deliver_subject": inbox, "no_consumers": False, "jsck": True, "chunk_size": CHUNK_BYTES}
        answer = await ask_server(bus, f"STREAM.SNAPSHOT.{stream}", request)
        digest, size = hashlib.sha256(), 0
        with path.open("xb") as file:
            while chunk := await _chunk(bus, stream, arriving):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                moved(len(chunk))
    return StreamCopy(answer["config"], answer["state"], size, digest.hexdigest())


@asynccontextmanager
async def _inbox(bus: NatsBus) -> AsyncIterator[tuple[str, Subscription]]:
    inbox = bus.client.new_inbox()
    core = await bus.client.subscribe(inbox, pending_msgs_limit=-1, pending_bytes_limit=-1)
    try:
        yield inbox, core
    finally:
        with contextlib.suppress(NatsError):
            await core.unsubscribe()


async def _chunk(bus: NatsBus, stream: str, arriving: Subscription) -> bytes:
    """The next part; empty at the end. The server sends on when it is told that a part has arrived."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            message: Msg = await arriving._pending_queue.get()
    except TimeoutError as error:
        raise TransientError(f"{stream}: the server has stopped sending its snapshot; try again") from error
    arriving._pending_queue.task_done()
    arriving._pending_size -= len(message.data)
    status = (message.headers or {}).get("Status", "")
    if status and status != "204":
        words = (message.headers or {}).get("Description", status)
        raise ThymosError(f"{stream}: the server gives up its snapshot: {words}")
    if message.data and message.reply:
        await bus.client.publish(message.reply, b"")
    return message.data


async def load(
    bus: NatsBus, stream: str, config: object, state: object, path: Path, moved: Callable[[int], None]
) -> dict[str, Any]:
    """Make a stream of a snapshot; its state as the server then says it.

    Raises:
        TransientError: the server does not answer.
        ThymosError: it refuses the stream, or what the file holds.
        OSError: the file cannot be read.
    """
    answer = await ask_server(bus, f"STREAM.RESTORE.{stream}", {"config": config, "state": state})
    target = answer["deliver_subject"]
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            _check_sent(stream, await _request(bus, target, chunk, ANSWER_SECONDS))
            moved(len(chunk))
    done = _check_sent(stream, await _request(bus, target, b"", FINISH_SECONDS))
    return dict(done["state"])


def _check_sent(stream: str, answer: bytes) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(answer) if answer else {}
    if refused := said.get("error"):
        raise ThymosError(f"{stream}: the server refuses what the backup holds: {refused.get('description')}")
    return said


async def _request(bus: NatsBus, subject: str, body: bytes, seconds: float) -> bytes:
    try:
        return (await bus.client.request(subject, body, timeout=seconds)).data
    except (TimeoutError, NatsError, OSError) as error:
        raise TransientError(f"JetStream does not answer: {error or type(error).__name__}") from error
