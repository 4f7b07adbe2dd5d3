"""Messages that could not be processed: stream THYMOS_DEAD_LETTERS, `thymos.dead.<service>.<tenant>`."""

import base64
from typing import Annotated, ClassVar

from pydantic import Field

from thymos.message import Count, Kind, Message


class DeadLetter(Message):
    """The original bytes (base64), where they were found, why they were given up, by whom, after how many attempts.

    `original_bytes` is the original's size in bytes: more than `original` holds when it was cut, absent when it was
    gone before it could be kept. `stream`, `sequence`, `message_id` (`Nats-Msg-Id`) and `content_type` are those of the
    original; absent where it had none.
    """

    KIND: ClassVar[Kind] = Kind.DEAD_LETTER
    NAME: ClassVar[str] = "message.dead"
    original: str
    subject: str
    reason: Annotated[str, Field(max_length=4096)]
    handler: str
    attempts: Annotated[int, Field(ge=1)]
    original_bytes: Count | None = None
    stream: Annotated[str, Field(max_length=200)] | None = None
    sequence: Count | None = None
    message_id: Annotated[str, Field(max_length=1024)] | None = None
    content_type: Annotated[str, Field(max_length=200)] | None = None

    @property
    def kept(self) -> bytes:
        """The original as far as it was kept. Raises ValueError when it is not base64."""
        return base64.b64decode(self.original, validate=True)

    @property
    def cut(self) -> bool:
        """Whether only the beginning of the original was kept, or nothing."""
        return self.original_bytes is not None and self.original_bytes > len(self.kept)
