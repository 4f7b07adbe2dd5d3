"""What a backup asks of each service."""

from typing import Annotated, Literal

from pydantic import Field

from thymos.message import Count, Id
from thymos.requests.base import Answer, Request

HOLD_SECONDS = 30.0
"""How long a service publishes nothing for a backup that is not heard of any more."""
CHUNK_BYTES_MAX = 512 * 1024
"""Of a copy in one answer: base64 and the envelope must fit one message."""


class BackupRequest(Request):
    """`backup`, one step of it, for the backup that `token` names.

    hold     publish nothing more until `release`
    renew    a sign of life; refused when nothing was held any more
    pin      copy the store as it is at this moment; needs the hold
    release  publish again; refused when nothing was held any more
    read     a part of the copy from `offset` bytes on
    end      forget the copy
    """

    step: Literal["hold", "renew", "pin", "release", "read", "end"]
    token: Id
    offset: Count = 0


class CopyPart(Answer):
    """A part of the copy. `total` is its size in bytes, None while it is being made; `sha256` is of the whole."""

    total: Count | None = None
    sha256: str = ""
    data: Annotated[str, Field(description="base64")] = ""
