"""Messages that could not be processed: stream THYMOS_DEAD_LETTERS, `thymos.dead.<service>.<tenant>`."""

from typing import Annotated, ClassVar

from pydantic import Field

from thymos.message import Kind, Message


class DeadLetter(Message):
    """The original bytes (base64), where they were found, why they were given up, by whom, after how many attempts."""

    KIND: ClassVar[Kind] = Kind.DEAD_LETTER
    NAME: ClassVar[str] = "message.dead"
    original: str
    subject: str
    reason: Annotated[str, Field(max_length=4096)]
    handler: str
    attempts: Annotated[int, Field(ge=1)]
