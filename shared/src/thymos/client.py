"""A connected client: publish, ask, follow. What the SDK, the worker and the command line share."""

import asyncio
import json
import os
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel

from thymos import subjects
from thymos.bus import CONTENT_TYPE_HEADER, Bus, PublishAck, Stored
from thymos.envelope import BATCH_CONTENT_TYPE, CONTENT_TYPE, Envelope, decode, decode_batch
from thymos.errors import NoAnswerError, PoisonError, Refusal, RefusalCode, TransientError, UnavailableError
from thymos.events import Event
from thymos.message import Message
from thymos.names import check_agent, check_tenant
from thymos.observability.tracing import export_published, new_step
from thymos.subjects import Stream

DEFAULT_URL = "nats://127.0.0.1:4222"
DEFAULT_TENANT = "default"
REQUEST_TIMEOUT = timedelta(seconds=10)
PUBLISH_ATTEMPTS = 7
"""Together they outlast the five seconds or so in which a cluster elects a new leader for a stream."""
A = TypeVar("A", bound=BaseModel)


def url_from_environment() -> str:
    """THYMOS_NATS_URL, else the local default."""
    return os.environ.get("THYMOS_NATS_URL") or DEFAULT_URL


def tenant_from_environment() -> str:
    """THYMOS_TENANT, else `default`."""
    return os.environ.get("THYMOS_TENANT") or DEFAULT_TENANT


def new_envelope(message: Message, *, tenant: str, agent: str, source: str, id: str | None = None) -> Envelope[Message]:
    """A message with its metadata, happening now: a step of the caller's trace if it has one, else the first of a new
    one. Raises ValueError when tenant or agent is no name."""
    step, before = new_step(f"publish|{message.NAME}")
    envelope: Envelope[Message] = Envelope(
        id=id or str(uuid.uuid4()),
        source=source,
        time=datetime.now(UTC),
        tenant=check_tenant(tenant),
        agent=check_agent(agent),
        data=message,
        traceparent=str(step),
    )
    export_published(envelope, before)
    return envelope


def decode_stored(stored: Stored) -> list[Envelope[Message] | PoisonError]:
    """The messages in one stored message: one, or a telemetry batch; an error in place of one that cannot be read."""
    try:
        if stored.headers.get(CONTENT_TYPE_HEADER) == BATCH_CONTENT_TYPE:
            return decode_batch(stored.body, stored.subject)
        return [decode(stored.body, stored.subject)]
    except PoisonError as error:
        return [error]


@dataclass(frozen=True)
class Client:
    """One tenant's view of the suite. `source` names who publishes."""

    bus: Bus
    tenant: str = DEFAULT_TENANT
    source: str = "client"

    def envelope(self, message: Message, agent: str, *, id: str | None = None) -> Envelope[Message]:
        """A message of this client's, with its metadata; a random id unless given."""
        return new_envelope(message, tenant=self.tenant, agent=agent, source=self.source, id=id)

    async def publish(self, envelope: Envelope[Message]) -> PublishAck:
        """Store a message; tried `PUBLISH_ATTEMPTS` times with the same id.

        Raises:
            UnavailableError: it could not be stored.
        """
        for attempt in range(PUBLISH_ATTEMPTS):
            try:
                return await self.bus.publish(
                    envelope.subject,
                    envelope.to_bytes(),
                    envelope.message_id,
                    {CONTENT_TYPE_HEADER: CONTENT_TYPE},
                )
            except TransientError as error:
                if attempt + 1 == PUBLISH_ATTEMPTS:
                    raise UnavailableError(str(error)) from error
                await asyncio.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")

    async def ask(
        self, service: str, agent: str, verb: str, request: BaseModel, timeout: timedelta = REQUEST_TIMEOUT
    ) -> Any:
        """`data` of the answer, as JSON.

        Raises:
            Refusal: the service says no, with code, message and hint.
            UnavailableError: nobody answers.
            NoAnswerError: not in time; what was asked may still be done.
        """
        subject = subjects.request_subject(service, self.tenant, agent, verb)
        body = request.model_dump_json(exclude_none=True).encode()
        if len(body) > subjects.MESSAGE_BYTES_MAX:
            raise Refusal(
                RefusalCode.TOO_LARGE,
                f"the request is {len(body)} bytes; a message holds at most {subjects.MESSAGE_BYTES_MAX}",
                "send it in parts",
            )
        try:
            answer = json.loads(await self.bus.request(subject, body, timeout))
        except NoAnswerError as silence:
            from thymos.requests import WriteRequest

            done = "; what was asked may still be done" if isinstance(request, WriteRequest) else ""
            raise NoAnswerError(f"{service} does not answer (`thymos doctor` says more){done}") from silence
        if answer.get("ok"):
            return answer.get("data")
        error = answer.get("error") or {}
        raise Refusal(
            error.get("code", RefusalCode.UNAVAILABLE), error.get("message", "no reason given"), error.get("hint", "")
        )

    async def ask_as(self, answer: type[A], service: str, agent: str, verb: str, request: BaseModel) -> A:
        """Like `ask`, with the answer as a typed value."""
        return answer.model_validate(await self.ask(service, agent, verb, request))

    async def notifications(
        self,
        *kinds: type[Event],
        agent: str | None = None,
        since: datetime | None = None,
        from_sequence: int | None = None,
    ) -> AsyncGenerator[Envelope[Message], None]:
        """Events as they happen (from `since` on, if given), of these classes or of all, in order."""
        pattern = subjects.event_subject(self.tenant, agent or "*", kinds[0].NAME if len(kinds) == 1 else ">")
        async with aclosing(self.follow(subjects.EVENTS, pattern, since, from_sequence)) as envelopes:
            async for envelope in envelopes:
                if not kinds or isinstance(envelope.data, kinds):
                    yield envelope

    async def follow(
        self, stream: Stream, pattern: str, since: datetime | None = None, from_sequence: int | None = None
    ) -> AsyncGenerator[Envelope[Message], None]:
        """The messages of a stream. Ones this version cannot read are passed over: they are not ours to judge."""
        async with aclosing(self.bus.follow(stream, pattern, since, from_sequence)) as messages:
            async for stored in messages:
                for item in decode_stored(stored):
                    if isinstance(item, Envelope):
                        yield item

    async def command(self, message: Message, agent: str, timeout: timedelta = REQUEST_TIMEOUT) -> Envelope[Message]:
        """Send a command and wait for the first event that it causes (which may be `command.refused`).

        Raises:
            UnavailableError: no event answered in time.
        """
        envelope = self.envelope(message, agent)
        start = await self.bus.last_sequence(subjects.EVENTS) + 1
        await self.publish(envelope)
        try:
            async with (
                asyncio.timeout(timeout.total_seconds()),
                aclosing(self.notifications(agent=agent, from_sequence=start)) as answers,
            ):
                async for event in answers:
                    if event.causation_id == envelope.id:
                        return event
        except TimeoutError as error:
            raise UnavailableError(
                f"{message.type_name()} was sent but not answered within {timeout.total_seconds():g} s; it waits on "
                "the bus: is the service running? (`thymos doctor`)"
            ) from error
        raise UnavailableError("the event stream ended")
