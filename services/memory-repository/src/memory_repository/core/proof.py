"""What is wrong with a history, and how far looking for it has come."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from memory_repository.core import fingerprint
from memory_repository.core.limits import invalid

PHASES = ("versions", "commits", "ends")
"""In this order: every version's content, every commit against its parents, where refs and lines end."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it was written.

    Attributes:
        commit: the id of the commit that is bad, or that first holds what is bad; None where it concerns none.
        order: commits come after their parents in the order of this; 0 where it concerns no commit.
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
        after: versions: the memory and the hash of the last one; commits: the number of the last one.
        seen: of a commit without parents whose memories are being counted: the last of them.
        state: the fingerprint of those.
    """

    phase: str = PHASES[0]
    after: tuple[Any, ...] = ()
    seen: str = ""
    state: bytes = fingerprint.EMPTY

    def encoded(self) -> str:
        """As text, for whoever asks for the next part."""
        state = "" if self.state == fingerprint.EMPTY else base64.b64encode(self.state).decode()
        return base64.urlsafe_b64encode(json.dumps([self.phase, self.after, self.seen, state]).encode()).decode()

    @staticmethod
    def decoded(text: str) -> Position:
        """From text. Raises Refusal (invalid)."""
        try:
            phase, after, seen, state = json.loads(base64.urlsafe_b64decode(text.encode()))
            found = Position(phase, tuple(after), str(seen), base64.b64decode(state) or fingerprint.EMPTY)
            kinds = {"versions": [str, str], "commits": [int], "ends": []}[found.phase]
            if (after and [type(each) for each in after] != kinds) or len(found.state) != fingerprint.STATE_BYTES:
                raise ValueError(text)
        except (ValueError, TypeError, KeyError) as error:
            raise invalid(f"{text!r:.60} is no place to go on from", "give what the part before has said") from error
        return found
