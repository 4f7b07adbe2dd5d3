"""The port between Thymos and its message bus: what every adapter promises, and nothing about how.

`thymos.nats_bus.NatsBus` keeps the promise on NATS JetStream, `thymos.testing.MemoryBus` in memory; both pass
`tests/contract/test_bus_conformance.py`:

- a published message is stored once per message id within the stream's duplicate window, and then acknowledged
- a delivery that is neither acknowledged nor settled comes again after the consumer's `ack_wait`; one that is
  settled with `retry(delay)` comes again after the delay; a terminated one never does
- an ordered consumer has one message in flight, so that nothing overtakes it
- durables remember what was acknowledged across restarts of the client and of the server; a server that is killed
  may forget the last acknowledgements (observed), never a message: a consumer keeps an inbox
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from thymos.errors import TransientError
from thymos.subjects import Consumer, Stream

MESSAGE_ID_HEADER = "Nats-Msg-Id"
CONTENT_TYPE_HEADER = "content-type"
EXPECTED_LAST_HEADER = "Nats-Expected-Last-Subject-Sequence"
"""A message that carries it is stored only if the last one on its subject has that sequence (0: there is none)."""

RequestHandler = Callable[[str, bytes], Awaitable[bytes]]
"""Answers one request: (subject, body) to body. It never raises: errors are part of the answer."""


class ConsumerMissingError(TransientError):
    """The durable consumer does not exist; `thymos provision` creates it."""


@dataclass(frozen=True)
class PublishAck:
    """Where a message was stored; `duplicate` when its id had been seen before (then `sequence` is the first one's)."""

    sequence: int
    duplicate: bool


@dataclass(frozen=True)
class Stored:
    """A message as the stream holds it."""

    subject: str
    body: bytes
    sequence: int
    stored_at: datetime
    headers: Mapping[str, str] = field(default_factory=dict)


class Delivery(Protocol):
    """A message handed to a consumer, to be settled exactly once."""

    @property
    def subject(self) -> str:
        """The subject it was published on."""

    @property
    def body(self) -> bytes:
        """Its bytes."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers."""

    @property
    def attempts(self) -> int:
        """How often it has been delivered, this time included."""

    @property
    def sequence(self) -> int:
        """Its sequence in the stream."""

    async def ack(self, confirm: bool = True) -> None:
        """Done. With `confirm` it returns when the server has noted this and every acknowledgement sent before it
        on the connection. Raises TransientError when that is not known."""

    async def retry(self, delay: timedelta) -> None:
        """Deliver it again after `delay`."""

    async def terminate(self) -> None:
        """Never deliver it again."""

    async def in_progress(self) -> None:
        """Still at it: restart `ack_wait`."""


class Subscription(Protocol):
    """A pull subscription to a durable."""

    async def fetch(self, count_max: int, timeout: timedelta) -> Sequence[Delivery]:
        """Up to `count_max` messages: those at hand, or the first to come within `timeout`, or none.

        Raises:
            ConsumerMissingError: the durable is gone.
            TransientError: the bus cannot be reached.
        """

    async def close(self) -> None:
        """Stop pulling."""


@dataclass(frozen=True)
class QueueDepth:
    """What waits in a work queue: not yet delivered, and delivered but not acknowledged."""

    pending: int
    ack_pending: int

    @property
    def lag(self) -> int:
        """All that is not done."""
        return self.pending + self.ack_pending


class Bus(Protocol):
    """What services and clients need of the message bus."""

    async def publish(
        self, subject: str, body: bytes, message_id: str, headers: Mapping[str, str] | None = None
    ) -> PublishAck:
        """Store a message.

        Raises:
            PoisonError: it is larger than the server takes, headers included.
            TransientError: it is not known to be stored; or another one is the last on its subject than the header
                `EXPECTED_LAST_HEADER` says.
        """

    async def subscribe(self, consumer: Consumer) -> Subscription:
        """Pull from a durable that exists. Raises ConsumerMissingError, TransientError."""

    async def request(self, subject: str, body: bytes, timeout: timedelta) -> bytes:
        """Ask and wait for the answer. Raises UnavailableError when nobody listens, NoAnswerError when no answer comes
        in time."""

    async def serve(self, service: str, endpoints: Mapping[str, str], handler: RequestHandler) -> None:
        """Answer requests: `endpoints` maps a name to a subject pattern."""

    def follow(
        self, stream: Stream, subject: str, since: datetime | None = None, from_sequence: int | None = None
    ) -> AsyncGenerator[Stored, None]:
        """Stored messages in order: from `since`, from a sequence, or new ones only; then live, until closed. Raises
        UnavailableError when it cannot begin; once begun it waits for a bus that is away."""

    async def last_sequence(self, stream: Stream) -> int:
        """The sequence of the newest message in a stream; 0 when it is empty."""

    async def last(self, stream: Stream, subject: str) -> Stored | None:
        """The newest message on a subject, or pattern of subjects; None when there is none. Raises UnavailableError."""

    async def missing(self, consumers: Sequence[Consumer]) -> Sequence[str]:
        """What does not exist of these consumers and their streams, in words; nothing when all is well."""

    async def ensure_consumer(self, consumer: Consumer) -> None:
        """Create a durable, or bring its settings in line."""

    async def delete_consumer(self, consumer: Consumer) -> None:
        """Delete a durable; no error when there is none."""

    async def depth(self, consumer: Consumer) -> QueueDepth | None:
        """What waits for a durable; None when it does not exist. Raises TransientError."""

    async def purge(self, stream: Stream, subject: str) -> int:
        """Forget the messages on a subject; returns how many. Raises TransientError, also for a stream that is kept
        for ever."""

    async def close(self) -> None:
        """Flush and disconnect."""
