"""What a stream holds already, from its beginning to now."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Any

from thymos.client import Client
from thymos.envelope import Envelope, decode
from thymos.errors import PoisonError, UnavailableError
from thymos.subjects import Stream

ANSWER_WAIT = timedelta(seconds=5)
QUIET_SECONDS = 15.0
"""Longer than this between two stored messages, and the bus is away."""


async def past(client: Client, stream: Stream, pattern: str) -> AsyncGenerator[Envelope[Any], None]:
    """The messages on `pattern` that are stored by now, in order; ones that cannot be read are passed over.

    Raises:
        UnavailableError: the bus is away.
    """
    last = await _last_sequence(client, stream, pattern)
    if last == 0:
        return
    async with aclosing(client.bus.follow(stream, pattern, from_sequence=1)) as messages:
        while True:
            try:
                message = await asyncio.wait_for(anext(messages), QUIET_SECONDS)
            except TimeoutError as error:
                raise UnavailableError(f"{stream.name} cannot be read to its end; try again") from error
            with suppress(PoisonError):
                yield decode(message.body, message.subject)
            if message.sequence >= last:
                return


async def _last_sequence(client: Client, stream: Stream, pattern: str) -> int:
    """The sequence of the newest message on `pattern`; 0 when there is none."""
    request = json.dumps({"last_by_subj": pattern}).encode()
    answer = json.loads(await client.bus.request(f"$JS.API.STREAM.MSG.GET.{stream.name}", request, ANSWER_WAIT))
    if error := answer.get("error"):
        if error.get("err_code") == 10037:  # no message found
            return 0
        raise UnavailableError(f"{stream.name}: {error.get('description')}; `thymos doctor` says how to mend it")
    return int(answer["message"]["seq"])
