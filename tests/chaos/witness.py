"""Somebody who watches the event stream while the faults happen: what was seen must still be there at the end."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from thymos import subjects
from thymos.bus import MESSAGE_ID_HEADER, Bus, Stored
from thymos.client import decode_stored
from thymos.envelope import Envelope
from thymos.events import Event
from thymos.message import Message
from thymos.subjects import Stream

E = TypeVar("E", bound=Event)
READ_SECONDS = 60.0


class DidNotHappenError(Exception):
    """Something that the load waits for did not happen in time."""


@dataclass(frozen=True)
class Seen:
    """One stored event: where it stands, and what it says."""

    sequence: int
    message_id: str
    envelope: Envelope[Message]


class Witness:
    """Every event of a run as it was seen, in order, and a way to wait for the next one of a kind."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._grown = asyncio.Condition()

    async def watch(self, bus: Bus) -> None:
        """Follow the events of all tenants, for ever."""
        pattern = subjects.event_subject("*", "*", ">")
        async with aclosing(bus.follow(subjects.EVENTS, pattern, from_sequence=1)) as messages:
            async for stored in messages:
                self.seen.extend(_seen(stored))
                async with self._grown:
                    self._grown.notify_all()

    def all(self, kind: type[E], agent: str | None = None) -> list[E]:
        """The events of a kind so far."""
        envelopes = (s.envelope for s in self.seen)
        return [e.data for e in envelopes if isinstance(e.data, kind) and agent in (None, e.agent)]

    async def wait_for(
        self, kind: type[E], agent: str, seconds: float, where: Callable[[E], bool] = lambda _: True, count: int = 1
    ) -> E:
        """The `count`th event of a kind that fits, past or to come. Raises DidNotHappenError when it does not come."""
        try:
            async with asyncio.timeout(seconds), self._grown:
                while True:
                    fitting = [event for event in self.all(kind, agent) if where(event)]
                    if len(fitting) >= count:
                        return fitting[count - 1]
                    await self._grown.wait()
        except TimeoutError as error:
            raise DidNotHappenError(f"{agent}: no {kind.NAME} ({count}) within {seconds:g} s") from error


def _seen(stored: Stored) -> list[Seen]:
    message_id = stored.headers.get(MESSAGE_ID_HEADER, "")
    return [Seen(stored.sequence, message_id, item) for item in decode_stored(stored) if isinstance(item, Envelope)]


async def read_all(bus: Bus, stream: Stream) -> list[Stored]:
    """What a stream holds now. Raises TimeoutError when it cannot be read within `READ_SECONDS`."""
    last = await bus.last_sequence(stream)
    found: list[Stored] = []
    if last == 0:
        return found
    async with asyncio.timeout(READ_SECONDS), aclosing(bus.follow(stream, ">", from_sequence=1)) as messages:
        async for stored in messages:
            found.append(stored)
            if stored.sequence >= last:
                break
    return found
