"""Seals the event log: follows it and publishes `audit.sealed` over every 256 events, or after ten seconds.

The chain's state is the log itself. At each start the seals are read and the log is followed from the last of their
chain; a seal is stored only if nothing came on its subject since, and everything in it follows from the events it
covers. So a kill at any moment, a restart, and two sealers at once make one chain: whoever is second begins again.
Whoever may publish may put seals there, too: one that does not start at the oldest unsealed event is passed over.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from contextlib import aclosing
from datetime import datetime, timedelta

from thymos import subjects
from thymos.audit.chain import EVENTS_MAX, SEAL_SUBJECT, Head, Seal, Tail, may_begin, read_seal
from thymos.audit.reading import EVERY_EVENT, past, record_of
from thymos.audit.record import LogRecord
from thymos.background import running
from thymos.bus import CONTENT_TYPE_HEADER, EXPECTED_LAST_HEADER, Bus
from thymos.envelope import CONTENT_TYPE, Envelope
from thymos.errors import PoisonError, Refusal, RefusalCode, ThymosError, TransientError, UnavailableError
from thymos.message import Message
from thymos.requests import LogSealed

log = logging.getLogger(__name__)

SOURCE = "audit"
VERB = "seal"
"""The request that a sealer answers, as one of decision-engine's (`thymos.requests.SealLog`)."""
EVERY = timedelta(seconds=10)
"""The longest that an event waits for its seal, unless the bus is away."""
READ_AHEAD_MAX = 2 * EVENTS_MAX
AGAIN_SECONDS = 0.5
ASKED_SECONDS = 9.0
"""The longest that somebody who asks for a seal waits for it."""


class Sealer:
    """Seals the log while `run` runs. `every` is the longest that an event waits for its seal."""

    def __init__(self, every: timedelta = EVERY) -> None:
        self._every = every.total_seconds()
        self._changed = asyncio.Condition()
        self._wake = asyncio.Event()
        self._wanted = 0
        self._read_to = 0
        self._tail = Tail(Head())
        self._newest = 0  # on the subject of seals, whoever put it there
        self._said = ""

    async def run(self, bus: Bus) -> None:
        """Seal for ever, and answer requests `seal`. Whatever the bus does is waited for."""
        endpoints = {VERB: subjects.request_subject(subjects.DECISION_ENGINE, "*", "*", VERB)}
        answers = _Answers(self, bus)
        await bus.serve(f"{subjects.DECISION_ENGINE}-audit", endpoints, answers.answer)
        while True:
            try:
                await self._seal_on(bus)
            except (TransientError, UnavailableError) as error:
                self._say(str(error))
                await asyncio.sleep(AGAIN_SECONDS)

    async def sealed(self, bus: Bus) -> LogSealed:
        """Seal what is in the log by now, at once; where the chain then stands. Seals themselves are left over.

        Raises:
            UnavailableError: the bus is away.
        """
        wanted = await bus.last_sequence(subjects.EVENTS)
        self._wanted = max(self._wanted, wanted)
        self._wake.set()
        async with self._changed:
            await self._changed.wait_for(lambda: self._read_to >= wanted and not self._due_at_once())
        head = self._tail.head
        return LogSealed(sequence=head.sequence, to_sequence=head.sealed_to, hash=head.hash)

    # --- the loop ------------------------------------------------------------------------------------------------

    async def _seal_on(self, bus: Bus) -> None:
        """From the newest seal on. Raises TransientError or UnavailableError when it must begin again there."""
        head, self._newest = await newest_head(bus, self._tail.head)
        self._tail, self._read_to = Tail(head), head.sealed_to
        ahead: asyncio.Queue[LogRecord] = asyncio.Queue(READ_AHEAD_MAX)
        async with running(self._read(bus, head, ahead)) as reading:
            since = time.monotonic()
            while not reading.done():
                if not self._tail.worth_sealing:
                    since = time.monotonic()
                self._take(ahead)
                if self._due_at_once() or (self._tail.worth_sealing and time.monotonic() >= since + self._every):
                    await self._publish(bus)
                    since = time.monotonic()
                async with self._changed:
                    self._changed.notify_all()
                if ahead.empty() and not self._due_at_once():
                    await self._sleep(since + self._every - time.monotonic() if self._tail.worth_sealing else None)
            reading.result()

    async def _read(self, bus: Bus, head: Head, ahead: asyncio.Queue[LogRecord]) -> None:
        try:
            messages = bus.follow(subjects.EVENTS, EVERY_EVENT, from_sequence=head.sealed_to + 1)
            async with aclosing(messages):
                async for stored in messages:
                    await ahead.put(record_of(stored))
                    self._wake.set()
        finally:
            self._wake.set()

    def _take(self, ahead: asyncio.Queue[LogRecord]) -> None:
        while not ahead.empty() and len(self._tail) < READ_AHEAD_MAX:
            record = ahead.get_nowait()
            self._tail.take(record)
            self._read_to = record.sequence
            if record.subject == SEAL_SUBJECT:
                self._newest = max(self._newest, record.sequence)

    def _due_at_once(self) -> bool:
        asked = self._read_to >= self._wanted > self._tail.head.sealed_to
        return self._tail.worth_sealing and (len(self._tail) >= EVENTS_MAX or asked)

    async def _sleep(self, seconds: float | None) -> None:
        """Until there is something to read or somebody asks, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def _publish(self, bus: Bus) -> None:
        seal, last_stored_at = self._tail.next_seal()
        message = seal_envelope(seal, last_stored_at)
        headers = {CONTENT_TYPE_HEADER: CONTENT_TYPE, EXPECTED_LAST_HEADER: str(self._newest)}
        try:
            ack = await bus.publish(message.subject, message.to_bytes(), message.message_id, headers)
        except PoisonError as error:
            raise TransientError(f"the server refuses a seal: {error}") from error
        if ack.duplicate:
            raise TransientError(f"events from {seal.from_sequence} on are sealed already")
        self._tail.sealed(Head.at(ack.sequence, seal))
        self._newest = ack.sequence
        self._say("")

    def _say(self, problem: str) -> None:
        """Log a problem once, not at every try."""
        if problem and problem != self._said:
            log.warning("audit: %s", problem)
        self._said = problem


def seal_envelope(seal: Seal, last_stored_at: datetime) -> Envelope[Message]:
    """The seal as a message. Everything in it follows from the events it covers (its time is that of the last one), so
    that any two sealers say the same about the same events."""
    identity = f"seal-{seal.from_sequence}"
    return Envelope(
        id=identity,
        source=SOURCE,
        time=last_stored_at,
        tenant=subjects.AUDIT_TENANT,
        agent=subjects.AUDIT_AGENT,
        data=seal.to_event(),
        correlation_id=identity,
    )


async def newest_head(bus: Bus, known: Head | None = None) -> tuple[Head, int]:
    """Where the chain stands, by the log, and the newest sequence on the subject of seals (0: there is none).

    All seals are read, because one alone proves nothing: those that it names may leave events out. `known` is where
    the chain stood before; if that is still there, only what came after it is read.

    Raises:
        UnavailableError: the bus is away.
    """
    newest = await bus.last(subjects.EVENTS, SEAL_SUBJECT)
    if newest is None:
        return Head(), 0
    head = known if known is not None and await _is_there(bus, known, newest.sequence) else Head()
    if head.sequence == newest.sequence:
        return head, newest.sequence
    oldest = None
    records = past(bus, SEAL_SUBJECT, to_sequence=newest.sequence, from_sequence=head.sequence + 1)
    async with aclosing(records):
        async for record in records:
            if (seal := read_seal(record)) is None:
                continue  # somebody else wrote there
            if seal.from_sequence > head.sealed_to + 1 and oldest is None:  # only where the numbering has a gap
                oldest = await _oldest_after(bus, head.sealed_to, record.sequence)
            if _goes_on(head, seal, record.sequence, oldest or head.sealed_to + 1):
                head, oldest = Head.at(record.sequence, seal), None
    return head, newest.sequence


def _goes_on(head: Head, seal: Seal, stored_as: int, oldest: int) -> bool:
    follows = head.is_continued_by(seal, stored_as, oldest)
    return follows or (head.sequence == 0 and may_begin(seal, stored_as, oldest))


async def _is_there(bus: Bus, head: Head, newest: int) -> bool:
    """Whether the log still holds this seal, and was not exchanged for another."""
    if not 0 < head.sequence <= newest:
        return False
    records = past(bus, SEAL_SUBJECT, to_sequence=newest, from_sequence=head.sequence)
    async with aclosing(records):
        record = await anext(records)
    seal = read_seal(record)
    return record.sequence == head.sequence and seal is not None and seal.hash == head.hash


async def _oldest_after(bus: Bus, sequence: int, stored_at_latest: int) -> int:
    """The oldest event after `sequence`; there is one at `stored_at_latest`."""
    records = past(bus, to_sequence=stored_at_latest, from_sequence=sequence + 1)
    async with aclosing(records):
        return (await anext(records)).sequence


class _Answers:
    """Answers `seal`: at once, without a transaction, because the answer is a seal and not a row."""

    def __init__(self, sealer: Sealer, bus: Bus) -> None:
        self._sealer = sealer
        self._bus = bus

    async def answer(self, subject: str, body: bytes) -> bytes:
        """See `thymos.bus.RequestHandler`."""
        del subject, body
        try:
            async with asyncio.timeout(ASKED_SECONDS):
                head = await self._sealer.sealed(self._bus)
        except TimeoutError:
            return _no(Refusal(RefusalCode.UNAVAILABLE, "the log could not be sealed in time", "try again"))
        except ThymosError as error:
            return _no(Refusal(RefusalCode.UNAVAILABLE, str(error), "try again"))
        return json.dumps({"ok": True, "data": head.model_dump(mode="json")}).encode()


def _no(refusal: Refusal) -> bytes:
    error = {"code": refusal.code.value, "message": refusal.message, "hint": refusal.hint}
    return json.dumps({"ok": False, "error": error}).encode()
