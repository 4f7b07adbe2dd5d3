"""Whether consumers get on with what waits for them, from two looks at each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BACKLOG_MAX = 10_000
"""Messages behind, from which on it is said."""


@dataclass(frozen=True)
class Look:
    """What the server says of a durable at one moment; `acknowledged` is up to which sequence everything is."""

    pending: int
    ack_pending: int
    redelivered: int
    asking: int
    acknowledged: int

    @staticmethod
    def of(info: dict[str, Any]) -> Look:
        """From the server's answer to CONSUMER.INFO. Raises KeyError when it is none."""
        return Look(
            info["num_pending"],
            info["num_ack_pending"],
            info["num_redelivered"],
            info["num_waiting"],
            info["ack_floor"]["stream_seq"],
        )

    @property
    def lag(self) -> int:
        """All that is not done."""
        return self.pending + self.ack_pending


def standstill(before: Look, after: Look) -> str:
    """Why a durable does not get on, in words; empty while it does, or has nothing to do."""
    idle = not before.lag or not after.lag
    if idle or after.acknowledged != before.acknowledged or after.pending < before.pending:
        return ""
    if after.redelivered:
        return f"is stuck: {after.redelivered} of its messages come again and again, {after.lag} wait"
    if after.ack_pending:
        return f"is stuck: {after.ack_pending} messages are in hand and none is done, {after.lag} wait"
    why = "they are not handed out" if after.asking else "nobody asks for them"
    return f"is stuck: {after.lag} messages wait and {why}"
