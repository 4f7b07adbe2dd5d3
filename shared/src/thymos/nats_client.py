"""nats-py's client, where it would end the reading of all messages, or lose a cancellation."""

import asyncio
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg


class NatsClient(Client):
    """A message with a broken header or a subject that is no text ends neither the reading nor, by coming again, the
    next process: it arrives, and is refused like any other malformed one. Whoever is cancelled while he waits for an
    answer ends."""

    async def request(self, *what: Any, **how: Any) -> Msg:
        """As nats-py asks. In Python 3.11, its `asyncio.wait_for` loses a cancellation that comes with the answer."""
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        answer = await super().request(*what, **how)
        if task and task.cancelling() > before:
            raise asyncio.CancelledError
        return answer

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
