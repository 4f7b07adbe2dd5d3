"""The chain of seals over the event log, as arithmetic: what a seal says, when one is due, what may follow it.

A seal covers consecutive events. Its hash is over the hash of the seal before, the range, and the hash of each event,
so that whoever knows one seal's hash knows the log up to there. The seal is itself an event and is covered by the next.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from thymos import subjects
from thymos.audit.record import LogRecord, digest
from thymos.events import AuditSealed

EVENTS_MAX = 256
"""Events under one seal at most."""
NO_SEAL = "0" * 64
"""What the first seal of all names as the hash before it."""
SEAL_SUBJECT = subjects.event_subject(subjects.AUDIT_TENANT, subjects.AUDIT_AGENT, AuditSealed.NAME)


@dataclass(frozen=True)
class Seal:
    """What a seal says. `hashes` has one entry (SHA-256, hex) for each sequence of the range."""

    from_sequence: int
    to_sequence: int
    previous_hash: str
    hash: str
    hashes: tuple[str, ...]

    @staticmethod
    def over(events: Sequence[Unsealed], previous_hash: str) -> Seal:
        """The seal over these events, which follow each other without a gap."""
        first, last = events[0].sequence, events[-1].sequence
        hashes = tuple(event.hash.hex() for event in events)
        return Seal(first, last, previous_hash, chain_hash(first, last, previous_hash, hashes), hashes)

    @staticmethod
    def of(sealed: AuditSealed) -> Seal:
        """The seal that an event holds."""
        return Seal(sealed.from_sequence, sealed.to_sequence, sealed.previous_hash, sealed.hash, tuple(sealed.hashes))

    def to_event(self) -> AuditSealed:
        """The event that holds this seal."""
        return AuditSealed(
            from_sequence=self.from_sequence,
            to_sequence=self.to_sequence,
            previous_hash=self.previous_hash,
            hash=self.hash,
            hashes=list(self.hashes),
        )

    @property
    def expected_hash(self) -> str:
        """What its hash should be, by what else it says."""
        return chain_hash(self.from_sequence, self.to_sequence, self.previous_hash, self.hashes)

    def problem(self, stored_as: int | None = None) -> str:
        """Why it contradicts itself, in words; empty when it does not. `stored_as`: its own sequence in the log."""
        if stored_as is not None and self.to_sequence >= stored_as:
            return f"it says {self.from_sequence} to {self.to_sequence} and is itself event {stored_as}"
        if len(self.hashes) != self.to_sequence - self.from_sequence + 1:
            return f"it says {self.from_sequence} to {self.to_sequence} and holds {len(self.hashes)} hashes"
        if self.hash != self.expected_hash:
            return "its hash is not that of what it holds"
        return ""


def chain_hash(first: int, last: int, previous_hash: str, hashes: Sequence[str]) -> str:
    """The hash of a seal, hex: over the previous seal's hash, the range, and the hashes of its events in order."""
    fields = (previous_hash, str(first), str(last), *hashes)
    return digest("thymos seal 1", *(field.encode() for field in fields)).hex()


@dataclass(frozen=True)
class Head:
    """Where the chain stands: `sequence` is the newest seal's own (0: there is none), `sealed_to` what it covers."""

    sequence: int = 0
    sealed_to: int = 0
    hash: str = NO_SEAL

    @staticmethod
    def at(sequence: int, seal: Seal) -> Head:
        """The head that a seal makes, which is stored as `sequence`."""
        return Head(sequence, seal.to_sequence, seal.hash)

    def is_continued_by(self, seal: Seal, stored_as: int, oldest: int) -> bool:
        """Whether a seal is the next one of the chain. It has to start at `oldest`, the oldest event that no seal
        covers: one that starts later would keep what it leaves out from ever being sealed."""
        return seal.previous_hash == self.hash and seal.from_sequence == oldest and not seal.problem(stored_as)


def may_begin(seal: Seal, stored_as: int, oldest: int) -> bool:
    """Whether a chain may be followed from this seal on where those before it are not there: `oldest` is the oldest
    event that is there, and none is left out."""
    is_first = seal.from_sequence == 1
    complete = seal.from_sequence <= oldest and (seal.previous_hash == NO_SEAL or not is_first)
    return complete and not seal.problem(stored_as)


@dataclass(frozen=True, slots=True)
class Unsealed:
    """An event that no seal covers yet."""

    sequence: int
    hash: bytes
    stored_at: datetime
    is_seal: bool


class Tail:
    """The events after the last seal. Fed in the order of the log; a fold that changes in place, for the sake of logs
    whose tail is long.

    Args:
        head: where the chain stands; events up to there are passed over.
    """

    def __init__(self, head: Head) -> None:
        self.head = head
        self._events: deque[Unsealed] = deque()
        self._others = 0

    def __len__(self) -> int:
        return len(self._events)

    @property
    def oldest(self) -> int | None:
        """The oldest event that no seal covers; None when there is none."""
        return self._events[0].sequence if self._events else None

    @property
    def worth_sealing(self) -> bool:
        """Whether there is anything but seals: a seal alone is covered when something else has happened."""
        return self._others > 0

    def take(self, record: LogRecord) -> None:
        """The next event of the log. A seal that continues the chain moves its head."""
        is_seal = record.subject == SEAL_SUBJECT
        if record.sequence > self.head.sealed_to:
            self._events.append(Unsealed(record.sequence, record.hash(), record.stored_at, is_seal))
            self._others += not is_seal
        seal = read_seal(record) if is_seal else None
        if seal is not None and self.oldest and self.head.is_continued_by(seal, record.sequence, self.oldest):
            self.sealed(Head.at(record.sequence, seal))

    def sealed(self, head: Head) -> None:
        """The chain has moved on."""
        self.head = head
        while self._events and self._events[0].sequence <= head.sealed_to:
            self._others -= not self._events.popleft().is_seal

    def next_seal(self) -> tuple[Seal, datetime]:
        """The seal over the oldest events that follow each other, and when the last of them was stored.

        Raises:
            IndexError: there is nothing to seal.
        """
        events = [self._events[0]]
        for event in self._events:
            if len(events) == EVENTS_MAX or event.sequence > events[-1].sequence + 1:
                break
            if event.sequence == events[-1].sequence + 1:
                events.append(event)
        return Seal.over(events, self.head.hash), events[-1].stored_at


def read_seal(record: LogRecord) -> Seal | None:
    """The seal in a record; None when it holds none that can be read."""
    try:
        return Seal.of(AuditSealed.model_validate(json.loads(record.body)["data"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
