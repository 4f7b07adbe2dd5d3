"""Whether seals continue one chain, and what they say each event's hash is."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from thymos.audit.chain import NO_SEAL, Seal
from thymos.audit.report import Difference, Problem

REMEMBERED_MAX = 8_192
"""Hashes that wait for their events; the oldest are forgotten, which only events far out of their place could miss."""
AHEAD_MAX = 64
"""Seals that are looked at for one that covers the event which is due, before the chain is followed without one."""


@dataclass(frozen=True)
class FoundSeal:
    """A seal and where it stands: its own event, or nothing of that when only an exported file holds it."""

    seal: Seal | None
    sequence: int | None = None
    event_id: str | None = None

    @property
    def name(self) -> str:
        """What to call it."""
        if self.sequence is None:
            return "the seal at the end of the file"
        return f"the seal {self.event_id} (sequence {self.sequence}, audit.sealed)"


class SealCheck:
    """A fold over seals, in the order of the log. `sealed_to` is the last event that they cover.

    A seal that starts after the event which is due leaves that one out. It is passed over when another one covers it
    and goes on from there; when none does, the chain is followed as it is.

    Args:
        wanted: a hash that was kept elsewhere, and that one of the seals should have.
    """

    def __init__(self, wanted: str | None = None) -> None:
        self.sealed_to = 0
        self.count = 0
        self.unlinked: Problem | None = None
        """The first seal whose link to the one before it could not be followed, because something lies between."""
        self.from_the_start = False
        """Whether the first seal names none before it."""
        self.newest: str | None = None
        self.newest_covers = 0
        self.exhausted = False
        self.head = NO_SEAL
        self.closing_broken = False
        """Whether a seal that only the file holds is not what it was."""
        self._wanted = wanted
        self._wanted_found = False
        self._linkable: tuple[str, ...] = ()
        self._hashes: dict[int, str] = {}
        self._ahead: deque[tuple[FoundSeal, Seal]] = deque()
        self._passed: set[str] = set()

    def take(self, found: FoundSeal) -> Problem | None:
        """The next seal; `follow` puts it to use. What is wrong with it in itself, if anything."""
        seal = found.seal
        why = "it cannot be read" if seal is None else seal.problem(found.sequence)
        if seal is not None and not why:
            self._ahead.append((found, seal))
            return None
        self._linkable = ()  # of what it says nothing is believed; the next one may continue any of its hashes
        self.closing_broken = self.closing_broken or found.sequence is None
        return _wrong(found, why)

    def follow(self, due: int, from_sequence: int) -> Iterator[Problem]:
        """Go on until event `due` is covered, as far as seals were taken; what is wrong with them.

        Args:
            due: the oldest event that needs a seal.
            from_sequence: hashes of events before it are not kept.
        """
        while self._ahead and self.sealed_to < due:
            if self._is_behind(self._ahead[0][1]):
                yield from self._left_behind(*self._ahead.popleft())
                continue
            place = next((n for n, (_, seal) in enumerate(self._ahead) if self._covers(seal, due)), None)
            if place is None and not self.exhausted and len(self._ahead) < AHEAD_MAX:
                return
            yield from self._pass_over(place if place is not None else 1)
            found, seal = self._ahead[place or 0]
            del self._ahead[place or 0]
            yield from self._accept(found, seal, from_sequence)

    def _is_behind(self, seal: Seal) -> bool:
        return self.count > 0 and seal.from_sequence <= self.sealed_to

    def _covers(self, seal: Seal, due: int) -> bool:
        return seal.from_sequence <= due and not self._is_behind(seal)

    def _pass_over(self, number: int) -> Iterator[Problem]:
        """So many of those ahead leave out an event that is there. They may be right where a seal before them is lost
        or stands elsewhere, but not those that continue the chain as far as it goes."""
        for found, seal in itertools.islice(self._ahead, number):
            if seal.previous_hash == self.head and seal.hash not in self._passed:
                first, last = self.sealed_to + 1, seal.from_sequence - 1
                events = f"event {first}" if first == last else f"events {first} to {last}"
                yield _wrong(found, f"it leaves out {events}")
            self._passed.add(seal.hash)

    def _left_behind(self, found: FoundSeal, seal: Seal) -> Iterator[Problem]:
        """A seal over events that the chain has passed by. A second one is an event like any other; not so one that was
        passed over, unless it continues such a one."""
        if seal.hash in self._passed and seal.previous_hash not in self._passed:
            yield _wrong(found, "it does not continue the seal before it")

    def _accept(self, found: FoundSeal, seal: Seal, from_sequence: int) -> Iterator[Problem]:
        if problem := self._link(found, seal):
            yield problem
        self.from_the_start = self.from_the_start or (self.count == 0 and seal.previous_hash == NO_SEAL)
        self.count += 1
        self.head, self.sealed_to, self._linkable = seal.hash, seal.to_sequence, (seal.hash,)
        if found.sequence is not None:
            self.newest, self.newest_covers = seal.hash, seal.to_sequence
        self._wanted_found = self._wanted_found or self._wanted == seal.hash
        self._remember(seal, from_sequence)

    def _link(self, found: FoundSeal, seal: Seal) -> Problem | None:
        if seal.from_sequence == 1 and seal.previous_hash != NO_SEAL:
            return _wrong(found, "it is the first and names one before it")
        if not self._linkable or seal.previous_hash in self._linkable:
            return None
        problem = _wrong(found, "it does not continue the seal before it")
        if seal.from_sequence == self.sealed_to + 1:
            return problem
        self.unlinked = self.unlinked or problem
        return None

    def _remember(self, seal: Seal, from_sequence: int) -> None:
        for sequence, text in enumerate(seal.hashes, start=seal.from_sequence):
            if sequence >= from_sequence:
                self._hashes[sequence] = text
        while len(self._hashes) > REMEMBERED_MAX:
            del self._hashes[next(iter(self._hashes))]

    def expected(self, sequence: int) -> str | None:
        """The hash that the event should have, by its seal; None when no seal says."""
        return self._hashes.get(sequence)

    def wanted_missing(self) -> Problem | None:
        """The hash that was kept elsewhere is none of theirs."""
        if self._wanted is None or self._wanted_found:
            return None
        words = f"no seal has the hash {self._wanted}, which was kept elsewhere: the log is not the one it was taken of"
        return Problem(Difference.SEAL, words)


def _wrong(found: FoundSeal, why: str) -> Problem:
    words = f"changed: {found.name}: {why}"
    return Problem(Difference.SEAL, words, found.sequence, found.event_id, "audit.sealed")
