"""One message of a stream by its sequence: read it, or forget it."""

import base64
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from thymos.bus import CONTENT_TYPE_HEADER, MESSAGE_ID_HEADER, Bus
from thymos.errors import TransientError, UnavailableError

ANSWER_WAIT = timedelta(seconds=5)
_NOT_THERE = {10037, 10043}
"""The server's codes for "no message found" and "message not found"."""


@dataclass(frozen=True)
class StoredMessage:
    """A message as the stream holds it, with what its headers say."""

    subject: str
    body: bytes
    message_id: str | None
    content_type: str | None


async def message_at(bus: Bus, stream: str, sequence: int) -> StoredMessage | None:
    """The message, or None when it is gone. Raises TransientError."""
    answer = await _asked(bus, f"MSG.GET.{stream}", sequence)
    if answer is None:
        return None
    message = answer["message"]
    headers = _headers(base64.b64decode(message.get("hdrs") or ""))
    return StoredMessage(
        str(message["subject"]),
        base64.b64decode(message.get("data") or ""),
        headers.get(MESSAGE_ID_HEADER.lower()),
        headers.get(CONTENT_TYPE_HEADER.lower()),
    )


async def forget(bus: Bus, stream: str, sequence: int) -> bool:
    """Delete a message; whether it was still there. Raises TransientError, also for a stream that is kept for ever."""
    return await _asked(bus, f"MSG.DELETE.{stream}", sequence) is not None


async def _asked(bus: Bus, call: str, sequence: int) -> dict[str, Any] | None:
    try:
        body = json.dumps({"seq": sequence}).encode()
        answer: dict[str, Any] = json.loads(await bus.request(f"$JS.API.STREAM.{call}", body, ANSWER_WAIT))
    except UnavailableError as error:
        raise TransientError(str(error)) from error
    if refused := answer.get("error"):
        if refused.get("err_code") in _NOT_THERE or refused.get("code") == 404:
            return None
        raise TransientError(f"{call}: {refused.get('description')}")
    return answer


def _headers(block: bytes) -> dict[str, str]:
    lines = block.decode(errors="replace").split("\r\n")[1:]
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name.strip().lower(): value.strip() for name, value in pairs}
