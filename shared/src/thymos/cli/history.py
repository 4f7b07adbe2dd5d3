"""What a stream holds already, from its beginning to now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

from thymos.client import Client
from thymos.envelope import Envelope, decode
from thymos.errors import PoisonError, UnavailableError
from thymos.subjects import Stream

QUIET_SECONDS = 15.0
"""Longer than this between two stored messages, and the bus is away."""


async def past(client: Client, stream: Stream, pattern: str) -> AsyncGenerator[Envelope[Any], None]:
    """The messages on `pattern` that are stored by now, in order; ones that cannot be read are passed over.

    Raises:
        UnavailableError: the bus is away.
    """
    newest = await client.bus.last(stream, pattern)
    if newest is None:
        return
    async with aclosing(client.bus.follow(stream, pattern, from_sequence=1)) as messages:
        while True:
            try:
                message = await asyncio.wait_for(anext(messages), QUIET_SECONDS)
            except TimeoutError as error:
                raise UnavailableError(f"{stream.name} cannot be read to its end; try again") from error
            with suppress(PoisonError):
                yield decode(message.body, message.subject)
            if message.sequence >= newest.sequence:
                return
