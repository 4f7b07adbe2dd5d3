"""What every event is."""

from typing import Annotated, ClassVar

from pydantic import Field, JsonValue

from thymos.message import BranchName, Kind, Message

Evidence = dict[str, JsonValue]
"""Numbers behind a decision; exact ones as "n/d" strings."""
Names = Annotated[list[BranchName], Field(max_length=64)]


class Event(Message):
    """Base of everything on THYMOS_EVENTS."""

    KIND: ClassVar[Kind] = Kind.EVENT
