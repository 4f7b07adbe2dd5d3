"""A bus that keeps a ledger of what the server acknowledged, and tries again until it does."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TypeVar

from nats.aio.client import Client

from thymos.bus import PublishAck
from thymos.errors import TransientError, UnavailableError
from thymos.nats_bus import NatsBus
from thymos.subjects import Stream

PATIENCE_SECONDS = 120.0
"""How long one message, or one request, is tried: longer than any fault lasts."""
PAUSE_SECONDS = 0.2
T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """One message that the server acknowledged."""

    subject: str
    message_id: str
    body: bytes
    sequence: int


@dataclass
class Ledger:
    """What was acknowledged, in the order of the acknowledgements; and how often it took another attempt."""

    entries: list[Entry] = field(default_factory=list)
    retried: int = 0
    duplicates: int = 0
    """Attempts that the server knew already: the acknowledgement before was lost on its way."""


class LedgerBus(NatsBus):
    """The real bus, patient, and with a ledger."""

    def __init__(self, client: Client, url: str, ledger: Ledger) -> None:
        super().__init__(client, url)
        self.ledger = ledger

    async def publish(
        self, subject: str, body: bytes, message_id: str, headers: Mapping[str, str] | None = None
    ) -> PublishAck:
        """Publish until it is acknowledged, with the same id. Raises TransientError after `PATIENCE_SECONDS`."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + PATIENCE_SECONDS
        while True:
            try:
                ack = await super().publish(subject, body, message_id, headers)
            except TransientError:
                if clock() > deadline:
                    raise
                self.ledger.retried += 1
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            self.ledger.entries.append(Entry(subject, message_id, body, ack.sequence))
            self.ledger.duplicates += ack.duplicate
            return ack

    async def request(self, subject: str, body: bytes, timeout: timedelta) -> bytes:
        """Ask until somebody answers: what is asked here is read-only, or carries an idempotency key."""
        return await until_answered(partial(super().request, subject, body, timeout))

    async def last_sequence(self, stream: Stream) -> int:
        """The sequence of the newest message; waits for a server that is away."""
        return await until_answered(partial(super().last_sequence, stream))


async def until_answered(asking: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer. Raises UnavailableError after `PATIENCE_SECONDS`."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + PATIENCE_SECONDS
    while True:
        try:
            return await asking()
        except UnavailableError:
            if clock() > deadline:
                raise
            await asyncio.sleep(PAUSE_SECONDS)
