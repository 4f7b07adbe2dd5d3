"""W3C trace context (https://www.w3.org/TR/trace-context/): where in which trace a message stands.

A `traceparent` is made and carried on whether or not traces are exported, and needs no library. The id of a step
follows from the step before it and from what is done, so that the same work done again is the same step.
"""

import hashlib
import re
from dataclasses import dataclass

SAMPLED = "01"
NOT_SAMPLED = "00"

_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


@dataclass(frozen=True)
class TraceContext:
    """One step of one trace; the ids are lower-case hex of 16 and 8 bytes."""

    trace_id: str
    span_id: str
    sampled: bool = True

    @staticmethod
    def parse(traceparent: str | None) -> "TraceContext | None":
        """What a header says; None when there is none, or it is not of the form that the standard gives."""
        found = _FORM.fullmatch(traceparent or "")
        if found is None or (found[4] and (traceparent or "").startswith("00-")):
            return None
        return TraceContext(found[1], found[2], bool(int(found[3], 16) & 1))

    @staticmethod
    def root(randomness: bytes) -> "TraceContext":
        """The first step of a new trace, from 24 random bytes."""
        digits = randomness.hex()
        if len(randomness) != 24 or not digits[:32].strip("0") or not digits[32:].strip("0"):
            raise ValueError("a trace begins with 24 random bytes, and its ids are not zero")
        return TraceContext(digits[:32], digits[32:])

    def step(self, what: str) -> "TraceContext":
        """The step that does `what` after this one."""
        digest = hashlib.sha256(f"{self.trace_id}{self.span_id}|{what}".encode()).hexdigest()[:16]
        return TraceContext(self.trace_id, digest if digest.strip("0") else "1".rjust(16, "0"), self.sampled)

    def __str__(self) -> str:
        """The header's value."""
        return f"00-{self.trace_id}-{self.span_id}-{SAMPLED if self.sampled else NOT_SAMPLED}"


def step_after(traceparent: str | None, what: str) -> str | None:
    """The `traceparent` of the step that does `what` after the given one; None where there is no trace."""
    context = TraceContext.parse(traceparent)
    return None if context is None else str(context.step(what))


def same_trace(one: str | None, other: str | None) -> bool:
    """Whether two `traceparent` are of one trace."""
    here, there = TraceContext.parse(one), TraceContext.parse(other)
    return here is not None and there is not None and here.trace_id == there.trace_id


def handled_as(traceparent: str | None, consumer: str) -> str | None:
    """The `traceparent` of the step in which a consumer (`<stream>:<durable>`) handles a message."""
    return step_after(traceparent, f"process|{consumer}")
