"""What a NATS server says of a message that it has stored, exactly: when, and with what headers."""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from thymos.bus import Stored

ACK_PARTS_OLD = 9
"""Parts of a delivery's reply subject from servers that put no domain and account there."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def stored_at(reply: str) -> datetime:
    """When the message of a delivery with this reply subject was stored: to the microsecond below, and the same for
    whoever asks, as nothing made of floats is."""
    parts = reply.split(".")
    nanoseconds = int(parts[7] if len(parts) == ACK_PARTS_OLD else parts[9])
    return _EPOCH + timedelta(microseconds=nanoseconds // 1_000)


def stored_message(message: Mapping[str, Any]) -> Stored:
    """A message as the server's own interface tells it: body and headers in base64, nine digits of a second."""
    block = base64.b64decode(message.get("hdrs", "")).decode(errors="backslashreplace")
    lines = (line.split(":", 1) for line in block.split("\r\n")[1:] if ":" in line)
    return Stored(
        message["subject"],
        base64.b64decode(message.get("data", "")),
        int(message["seq"]),
        datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", message["time"])),
        {name: value.strip() for name, value in lines},
    )
