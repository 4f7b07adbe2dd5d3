"""What is wrong with a history, and how far looking for it has come."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from memory_repository.core import fingerprint
from memory_repository.core.limits import check_name, invalid
from thymos.errors import Refusal

PHASES = ("versions", "commits", "ends")
"""In this order: every version's content, every commit against its parents, where refs and lines end."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it was written.

    Attributes:
        commit: the id of the commit that is bad, or that first holds what is bad; None where it concerns none.
        order: commits come after their parents in the order of this; 0 where it concerns no commit. It is counted
            in the whole store: not for who may see but one repository of it.
        what: what is wrong, in words.
    """

    commit: str | None
    order: int
    what: str

    def __str__(self) -> str:
        return self.what if self.commit is None else f"commit {self.commit[:12]}: {self.what}"


@dataclass(frozen=True, slots=True)
class Position:
    """Where checking goes on.

    Attributes:
        phase: one of PHASES.
        after: versions: the memory and the hash of the last one; commits: the id of the last one, and its number in
            the order of commits, sealed (core/sealed_number.py), for it may be dropped before the next part; ends: the
            type and the name of the last one. Nothing that is counted across repositories: whoever checks reads it.
        seen: of a commit without parents whose memories are being counted (`after` is that commit, and no other goes on
            from it): the last of them.
        state: the fingerprint of those.
        counted: how many memories they are, and how many words.
    """

    phase: str = PHASES[0]
    after: tuple[str, ...] = ()
    seen: str = ""
    state: bytes = fingerprint.EMPTY
    counted: tuple[int, int] = (0, 0)

    def encoded(self) -> str:
        """As text, for whoever asks for the next part."""
        state = "" if self.state == fingerprint.EMPTY else base64.b64encode(self.state).decode()
        said = [self.phase, self.after, self.seen, state, self.counted]
        return base64.urlsafe_b64encode(json.dumps(said).encode()).decode()

    @staticmethod
    def decoded(text: str) -> Position:
        """From text. Raises Refusal (invalid)."""
        try:
            phase, after, seen, state, counted = json.loads(base64.urlsafe_b64decode(text.encode()))
            memories, words = map(int, counted)
            found = Position(phase, tuple(after), seen, base64.b64decode(state) or fingerprint.EMPTY, (memories, words))
            if len(after) not in _NAMES[phase] or len(found.state) != fingerprint.STATE_BYTES:
                raise ValueError(text)
            for name in (*after, seen):
                check_name("place", name)
        except (ValueError, TypeError, KeyError, RecursionError, Refusal) as error:
            raise no_place(text) from error
        return found


_NAMES = {"versions": (0, 2), "commits": (0, 1, 2), "ends": (0, 2)}
"""How many names say where a phase goes on; of a commit it once was the id alone."""


def no_place(text: str) -> Refusal:
    """The refusal of a position that is none, or that is gone."""
    return invalid(f"{text!r:.60} is no place to go on from", "give what the part before has said, or begin again")
