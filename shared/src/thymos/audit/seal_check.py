"""Whether seals continue one chain, and what they say each event's hash is."""

from __future__ import annotations

from dataclasses import dataclass

from thymos.audit.chain import NO_SEAL, Seal
from thymos.audit.report import Difference, Problem

REMEMBERED_MAX = 8_192
"""Hashes that wait for their events; the oldest are forgotten, which only events far out of their place could miss."""


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
        self._wanted = wanted
        self._wanted_found = False
        self._linkable: tuple[str, ...] = ()
        self._hashes: dict[int, str] = {}

    def take(self, found: FoundSeal, from_sequence: int) -> Problem | None:
        """The next seal; hashes of events before `from_sequence` are not kept. What is wrong with it, if anything."""
        seal = found.seal
        if seal is None:
            return self._broken(found, "it cannot be read")
        if why := seal.problem(found.sequence):
            return self._broken(found, why)
        if self.count and seal.from_sequence <= self.sealed_to:
            return None  # a second one over the same events, which the chain has passed by: an event like any other
        problem = self._link(found, seal)
        self.from_the_start = self.from_the_start or (self.count == 0 and seal.previous_hash == NO_SEAL)
        self.count += 1
        self.head, self.sealed_to, self._linkable = seal.hash, seal.to_sequence, (seal.hash,)
        if found.sequence is not None:
            self.newest, self.newest_covers = seal.hash, seal.to_sequence
        self._wanted_found = self._wanted_found or self._wanted == seal.hash
        self._remember(seal, from_sequence)
        return problem

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

    def _broken(self, found: FoundSeal, why: str) -> Problem:
        """Of what it says nothing is believed; the next seal may continue it by whichever of its hashes is right."""
        self._linkable = ()
        return _wrong(found, why)

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
