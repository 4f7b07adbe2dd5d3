"""The dead letters that wait: found by tenant, service, age and id; forgotten when they are done with."""

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from thymos import subjects
from thymos.background import cancelled
from thymos.bus import Stored
from thymos.client import Client
from thymos.dead_letters import DeadLetter
from thymos.envelope import Envelope, decode
from thymos.errors import PoisonError, Refusal, RefusalCode, UnavailableError
from thymos.message import Message
from thymos.stored_message import forget

LOOK_SECONDS = 3.0
LOOKS_MAX = 5
"""How often a letter that does not come is looked for before the bus is said to be away."""
SHORT_ID = 12
ID_LENGTH_MIN = 4
UNREADABLE = "unreadable"
"""What gave up, in a letter that is none."""
REASON_MAX = 1_000


@dataclass(frozen=True)
class KeptLetter:
    """A dead letter and where it lies: its sequence among the dead letters, and when it was put there."""

    sequence: int
    stored_at: datetime
    envelope: Envelope[DeadLetter]

    @property
    def letter(self) -> DeadLetter:
        """What it says."""
        return self.envelope.data

    @property
    def id(self) -> str:
        """Its id; the beginning of it names it as well."""
        return self.envelope.id

    @property
    def service(self) -> str:
        """Who gave the message up."""
        return self.letter.handler.split(":", 1)[0]


async def kept(
    client: Client, service: str | None = None, since: datetime | None = None, until: datetime | None = None
) -> AsyncGenerator[KeptLetter, None]:
    """The tenant's dead letters that wait now, oldest first: those stored from `since` on and before `until`.

    Raises:
        UnavailableError: the bus is away.
    """
    pattern = subjects.dead_subject(service or "*", client.tenant)
    last = await client.bus.last(subjects.DEAD_LETTERS, pattern)
    if last is None:
        return
    async with aclosing(client.bus.follow(subjects.DEAD_LETTERS, pattern, from_sequence=1)) as messages:
        while True:
            message = await _next(client, messages, pattern, last.sequence)
            if message is None or message.sequence > last.sequence:
                return
            found = _read(message)
            if not (since and found.stored_at < since) and not (until and found.stored_at >= until):
                yield found
            if message.sequence >= last.sequence:
                return


async def _next(client: Client, messages: AsyncGenerator[Stored, None], pattern: str, last: int) -> Stored | None:
    """The next letter; None when those that were left have been dropped meanwhile."""
    reading = asyncio.ensure_future(anext(messages))
    try:
        for _ in range(LOOKS_MAX):
            done, _ = await asyncio.wait({reading}, timeout=LOOK_SECONDS)
            if done:
                return reading.result()
            newest = await client.bus.last(subjects.DEAD_LETTERS, pattern)
            if newest is None or newest.sequence != last:
                return None
    finally:
        await cancelled(reading)
    raise UnavailableError(f"{subjects.DEAD_LETTERS.name} cannot be read to its end; try again")


def _read(message: Stored) -> KeptLetter:
    """A letter as it is stored. What somebody put there that is none is shown as one about itself, which cannot be
    tried again: it can be seen, and dropped."""
    try:
        envelope = decode(message.body, message.subject)
        if not isinstance(envelope.data, DeadLetter):
            raise PoisonError(f"{envelope.type} is no dead letter")
        envelope.data.kept  # noqa: B018  (raises when it is not base64)
    except (PoisonError, ValueError) as error:
        envelope = _unreadable(message, f"this letter cannot be read: {error}"[:REASON_MAX])
    return KeptLetter(message.sequence, message.stored_at, cast(Envelope[DeadLetter], envelope))


def _unreadable(message: Stored, reason: str) -> Envelope[Message]:
    _, _, service, tenant = message.subject.split(".")
    letter = DeadLetter(
        original=base64.b64encode(message.body).decode(),
        subject=message.subject,
        reason=reason,
        handler=f"{service}:{UNREADABLE}",
        attempts=1,
        original_bytes=len(message.body),
        stream=subjects.DEAD_LETTERS.name,
        sequence=message.sequence,
    )
    return Envelope(
        id=f"{UNREADABLE}-{message.sequence}",
        source=service,
        time=message.stored_at.astimezone(UTC),
        tenant=tenant,
        agent=subjects.WHOLE_SERVICE,
        data=letter,
    )


async def named(client: Client, letter_id: str) -> list[KeptLetter]:
    """The one letter whose id is this or begins with it: each copy of it, oldest first. There are several when the
    message was given up again later than the stream knows ids.

    Raises:
        Refusal: `not_found`: there is none; `conflict`: several.
    """
    found = []
    if len(letter_id) >= ID_LENGTH_MIN:
        async with aclosing(kept(client)) as letters:
            found = [letter async for letter in letters if letter.id.startswith(letter_id)]
    if not found:
        words = f"no dead letter of tenant {client.tenant} begins with {letter_id!r}"
        raise Refusal(RefusalCode.NOT_FOUND, words, "`thymos dead list` shows those that wait")
    several = len({letter.id for letter in found})
    if several > 1:
        raise Refusal(RefusalCode.CONFLICT, f"{several} dead letters begin with {letter_id!r}", "write more of it")
    return found


async def dropped(client: Client, letter: KeptLetter) -> bool:
    """Forget a letter; False when somebody else has. Raises TransientError."""
    return await forget(client.bus, subjects.DEAD_LETTERS.name, letter.sequence)
