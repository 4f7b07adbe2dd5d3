"""Telemetry that never raises into the agent, never blocks it, and survives a lost connection.

Events wait in a bounded queue; one background task sends them in batches (`application/cloudevents-batch+json`).
When the queue is full the newest are dropped. Whatever is lost is counted.
"""

import asyncio
import json
import logging
import uuid
from collections import deque
from collections.abc import Awaitable, Callable

from thymos import subjects
from thymos.bus import CONTENT_TYPE_HEADER, Bus
from thymos.envelope import BATCH_CONTENT_TYPE, CONTENT_TYPE, Envelope
from thymos.errors import PoisonError, TransientError, UnavailableError
from thymos.message import Message

log = logging.getLogger(__name__)

QUEUE_MAX = 10_000
BATCH_EVENTS_MAX = 200
BATCH_BYTES_MAX = 512 * 1024
EVENT_BYTES_MAX = subjects.MESSAGE_BYTES_MAX
RETRY_SECONDS = 0.25
RETRY_SECONDS_MAX = 5.0
FLUSH_SECONDS = 5.0

Batch = list[tuple[Envelope[Message], bytes]]


class Reporter:
    """The queue and its sender. `connected` gives the bus once there is one."""

    def __init__(self, connected: Callable[[], Awaitable[Bus]]) -> None:
        self._connected = connected
        self._queue: deque[tuple[Envelope[Message], bytes]] = deque()
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._closed = False
        self.dropped = 0
        """Events that are lost: the queue was full, they could not be sent at all, or not before the end."""

    def report(self, envelope: Envelope[Message]) -> None:
        """Queue an event. Never raises, never waits."""
        try:
            body = envelope.to_bytes()
        except Exception as error:  # noqa: BLE001  (telemetry must not get in the agent's way)
            self.drop(f"{type(error).__name__}: {error}")
            return
        if self._closed:
            self.drop("the connection is closed")
            return
        if len(self._queue) >= QUEUE_MAX:
            self.drop(f"{QUEUE_MAX} events wait already")
            return
        self._queue.append((envelope, body))
        self._empty.clear()
        self._filled.set()

    def drop(self, why: str, count: int = 1) -> None:
        """Count events as lost. Said in the log each time that the number doubles."""
        before, self.dropped = self.dropped, self.dropped + count
        if before.bit_length() != self.dropped.bit_length():
            log.warning("telemetry: %d events dropped so far (%s)", self.dropped, why)

    async def run(self) -> None:
        """Send for ever."""
        bus = await self._bus()
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._queue:
                await self._send(bus, self._next_batch())

    async def _bus(self) -> Bus:
        delay = RETRY_SECONDS
        while True:
            try:
                return await self._connected()
            except Exception as error:  # noqa: BLE001  (the queue is kept for a connection that comes later)
                if delay == RETRY_SECONDS:
                    log.warning("telemetry: not connected, tried again: %s", error)
            await asyncio.sleep(delay)
            delay = min(2 * delay, RETRY_SECONDS_MAX)

    def _next_batch(self) -> Batch:
        """The oldest events that share a subject and fit one message."""
        subject = self._queue[0][0].subject
        batch: Batch = []
        size = 2
        for envelope, body in self._queue:
            size += len(body) + 1
            if envelope.subject != subject or len(batch) == BATCH_EVENTS_MAX or (batch and size > BATCH_BYTES_MAX):
                break
            batch.append((envelope, body))
        return batch

    async def _send(self, bus: Bus, batch: Batch) -> None:
        """Send the oldest events of the queue and take them out of it; in halves when the server refuses the whole."""
        subject = batch[0][0].subject
        message_id, body, content_type = _message(batch)
        while True:
            try:
                await bus.publish(subject, body, message_id, {CONTENT_TYPE_HEADER: content_type})
                break
            except (TransientError, UnavailableError):
                await asyncio.sleep(RETRY_SECONDS)
            except PoisonError as error:
                if len(batch) > 1:
                    middle = len(batch) // 2
                    await self._send(bus, batch[:middle])
                    await self._send(bus, batch[middle:])
                    return
                self.drop(f"{error}")
                break
            except Exception as error:  # noqa: BLE001  (the next batch may fare better; the sender must live on)
                self.drop(f"{type(error).__name__}: {error}", len(batch))
                break
        for _ in batch:
            self._queue.popleft()
        if not self._queue:
            self._empty.set()

    async def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until all is sent, at most `seconds`. False when some was not."""
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """The sender has ended: what still waits is lost, and so is what comes."""
        self._closed = True
        if self._queue:
            self.dropped += len(self._queue)
            log.warning("telemetry: %d events could not be sent before the end and are lost", len(self._queue))
            self._queue.clear()
            self._empty.set()


def _message(batch: Batch) -> tuple[str, bytes, str]:
    """The id, body and content type of the message that carries a batch."""
    first = batch[0][0]
    if len(batch) == 1:
        return first.message_id, batch[0][1], CONTENT_TYPE
    body = b"[" + b",".join(text for _, text in batch) + b"]"
    ids = json.dumps([envelope.id for envelope, _ in batch])
    message_id = f"{first.tenant}/{first.agent}/{first.source}/{uuid.uuid5(uuid.NAMESPACE_URL, ids)}"
    return message_id, body, BATCH_CONTENT_TYPE
