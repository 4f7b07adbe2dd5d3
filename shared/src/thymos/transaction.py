"""One transaction of a service: what caused it, its tables, the time, and what it publishes."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from thymos import stories
from thymos.database import Connection
from thymos.envelope import Envelope, subject_of
from thymos.message import Message
from thymos.store_watch import Sent
from thymos.trace_context import handled_as, step_after

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://thymos.invalid/outbox")


@dataclass(frozen=True)
class Cause:
    """What a transaction answers to: ids of what it publishes follow from it."""

    key: str
    tenant: str
    agent: str
    message_id: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None

    @staticmethod
    def of(consumer: str, envelope: Envelope[Message]) -> "Cause":
        """The cause that a message is."""
        return Cause(
            f"{consumer}|{envelope.message_id}",
            envelope.tenant,
            envelope.agent,
            envelope.id,
            envelope.correlation_id or envelope.id,
            handled_as(envelope.traceparent, consumer),
        )


class Transaction:
    """What a handler may touch: its tables, the time, and the outbox."""

    def __init__(self, connection: Connection, now: datetime, source: str, cause: Cause) -> None:
        self.connection = connection
        self.now = now
        self.source = source
        self.cause = cause
        self.sent: list[Sent] = []
        self.later: list[Callable[[Connection], None]] = []
        self._published = 0

    @property
    def tenant(self) -> str:
        """The tenant of the message or request being handled."""
        return self.cause.tenant

    @property
    def agent(self) -> str:
        """The agent of the message or request being handled."""
        return self.cause.agent

    def new_id(self) -> str:
        """An id that follows from the cause: the same when the work is done again."""
        self._published += 1
        return str(uuid.uuid5(NAMESPACE, f"{self.source}|{self.cause.key}|{self._published}"))

    def publish(
        self,
        message: Message,
        *,
        tenant: str | None = None,
        agent: str | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        time: datetime | None = None,
        traceparent: str | None = None,
        links: tuple[str, ...] = (),
    ) -> Envelope[Message]:
        """Put a message into the outbox; whose it is and what caused it come from the cause unless given.

        `traceparent` is that of the one message of a batch that it answers to, and `links` those of others that had
        their part in it.

        Raises:
            PoisonError: the message would be too large.
            ValueError: neither the cause nor the caller says whose it is.
        """
        identity = self.new_id()
        whose = (tenant or self.cause.tenant, agent or self.cause.agent)
        if not all(whose):
            raise ValueError(f"{message.type_name()}: whose is it? a tick or a batch has no agent of its own")
        place = self._placed(message, whose, correlation_id, traceparent)
        envelope: Envelope[Message] = Envelope(
            id=identity,
            source=self.source,
            time=time or self.now,
            tenant=whose[0],
            agent=whose[1],
            data=message,
            correlation_id=correlation_id or self.cause.correlation_id or identity,
            causation_id=causation_id or self.cause.message_id,
            traceparent=step_after(place.traceparent, f"publish|{identity}"),
        )
        subject = subject_of(message, envelope.tenant, envelope.agent)
        self.connection.execute(
            "INSERT INTO outbox(stream, subject, message_id, body) VALUES (?, ?, ?, ?)",
            (message.KIND, subject, envelope.message_id, envelope.to_bytes()),
        )
        self.sent.append(Sent(envelope, place.traceparent, (*place.links, *links)))
        return envelope

    def afterwards(self, work: Callable[[Connection], None]) -> None:
        """Do this with the connection once the transaction is committed, outside of any."""
        self.later.append(work)

    @contextlib.contextmanager
    def part(self) -> Iterator[None]:
        """A part of the transaction that is taken back alone when it raises."""
        before = len(self.sent)
        self.connection.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            del self.sent[before:]
            if self.connection.in_transaction:  # else SQLite has taken back the whole of it, and says why
                self.connection.execute("ROLLBACK TO part")
                self.connection.execute("RELEASE part")
            raise
        self.connection.execute("RELEASE part")

    def _placed(
        self, message: Message, whose: tuple[str, str], correlation_id: str | None, traceparent: str | None
    ) -> stories.Place:
        """Where in which trace a message stands: in its story's, which begins here if it is new."""
        cause = self.cause.traceparent
        if traceparent is not None:
            cause = handled_as(traceparent, self.cause.key.partition("|")[0])
        story = stories.story_of(message, *whose, correlation_id)
        place = stories.placed(self.connection, story, cause)
        stories.note(self.connection, story, place.traceparent)
        return place
