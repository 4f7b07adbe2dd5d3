"""nats-py's client, where it would end the reading of all messages, or lose a cancellation."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg

T = TypeVar("T")
CLOSE_SECONDS = 2.0
"""How long a connection that is being closed waits for its attempts to connect to end."""


class NatsClient(Client):
    """A message with a broken header or a subject that is no text ends neither the reading nor, by coming again, the
    next process: it arrives, and is refused like any other malformed one. Whoever is cancelled while he waits for an
    answer, or for a connection, ends."""

    async def request(self, *what: Any, **how: Any) -> Msg:
        """As nats-py asks."""
        return await _unless_cancelled(super().request(*what, **how))

    async def close(self) -> None:
        """As nats-py closes; afterwards nothing tries to connect anew."""
        await super().close()
        connecting = self._reconnection_task
        if connecting is not None and not connecting.done():
            connecting.cancel()
            await asyncio.wait([connecting], timeout=CLOSE_SECONDS)

    async def _connect_to_server(self, *what: Any) -> None:
        await _unless_cancelled(super()._connect_to_server(*what))

    async def _process_connect_init(self) -> None:
        await _unless_cancelled(super()._process_connect_init())

    async def _process_headers(self, headers: Any) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (IndexError, ValueError):
            return {}

    def _build_message(self, sid: int, subject: Any, reply: Any, data: Any, headers: Any) -> Msg:
        return self.msg_class(
            subject=bytes(subject).decode(errors="backslashreplace"),
            reply=bytes(reply).decode(errors="backslashreplace"),
            data=data,
            headers=headers,
            _client=self,
            _sid=sid,
        )


async def _unless_cancelled(work: Awaitable[T]) -> T:
    """What comes of it. In Python 3.11 the `asyncio.wait_for` in it loses a cancellation that comes together with the
    result, or with the error that the caller would go on after."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        return await work
    finally:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError
