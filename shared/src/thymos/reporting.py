"""Telemetry that never raises into the agent, never blocks it, and survives a lost connection.

Events wait in a bounded queue; one background task sends them in batches (`application/cloudevents-batch+json`).
When the queue is full the newest are dropped and counted.
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
from thymos.errors import PoisonError, ThymosError, TransientError
from thymos.message import Message

log = logging.getLogger(__name__)

QUEUE_MAX = 10_000
BATCH_EVENTS_MAX = 200
BATCH_BYTES_MAX = 512 * 1024
EVENT_BYTES_MAX = subjects.MESSAGE_BYTES_MAX
RETRY_SECONDS = 0.25
FLUSH_SECONDS = 5.0


class Reporter:
    """The queue and its sender. `connected` gives the bus once there is one."""

    def __init__(self, connected: Callable[[], Awaitable[Bus]]) -> None:
        self._connected = connected
        self._queue: deque[tuple[Envelope[Message], bytes]] = deque()
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self.dropped = 0
        """Events that were lost because the queue was full, or an event could not be sent at all."""

    def report(self, envelope: Envelope[Message]) -> None:
        """Queue an event. Never raises, never waits."""
        try:
            body = envelope.to_bytes()
        except (PoisonError, ValueError) as error:
            self._drop(f"{error}")
            return
        if len(self._queue) >= QUEUE_MAX:
            self._drop(f"{QUEUE_MAX} events wait already")
            return
        self._queue.append((envelope, body))
        self._empty.clear()
        self._filled.set()

    def _drop(self, why: str) -> None:
        self.dropped += 1
        if self.dropped & (self.dropped - 1) == 0:
            log.warning("telemetry: %d events dropped so far (%s)", self.dropped, why)

    async def run(self) -> None:
        """Send for ever."""
        bus = await self._connected()
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._queue:
                batch = self._next_batch()
                await self._send(bus, batch)
                for _ in batch:
                    self._queue.popleft()
            self._empty.set()

    def _next_batch(self) -> list[tuple[Envelope[Message], bytes]]:
        """The oldest events that share a subject and fit one message."""
        subject = self._queue[0][0].subject
        batch: list[tuple[Envelope[Message], bytes]] = []
        size = 2
        for envelope, body in self._queue:
            size += len(body) + 1
            if envelope.subject != subject or len(batch) == BATCH_EVENTS_MAX or (batch and size > BATCH_BYTES_MAX):
                break
            batch.append((envelope, body))
        return batch

    async def _send(self, bus: Bus, batch: list[tuple[Envelope[Message], bytes]]) -> None:
        first = batch[0][0]
        if len(batch) == 1:
            body, message_id, content_type = batch[0][1], first.message_id, CONTENT_TYPE
        else:
            body = b"[" + b",".join(text for _, text in batch) + b"]"
            ids = json.dumps([envelope.id for envelope, _ in batch])
            message_id = f"{first.tenant}/{first.agent}/{first.source}/{uuid.uuid5(uuid.NAMESPACE_URL, ids)}"
            content_type = BATCH_CONTENT_TYPE
        while True:
            try:
                await bus.publish(first.subject, body, message_id, {CONTENT_TYPE_HEADER: content_type})
                return
            except TransientError:
                await asyncio.sleep(RETRY_SECONDS)
            except ThymosError as error:
                self._drop(f"{error}")
                return

    async def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until all is sent, at most `seconds`. False when some was not."""
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except TimeoutError:
            return False
        return True
