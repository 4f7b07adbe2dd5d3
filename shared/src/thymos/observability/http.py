"""A tiny HTTP server for machines that look at a service: `GET` and `HEAD` of a few fixed paths, nothing else.

One request per connection, no body is read. Everything is limited (connections, bytes of the head, seconds), so that
who sends nothing, or too much, holds up nobody.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from thymos.errors import ConfigError

log = logging.getLogger(__name__)

HEAD_BYTES_MAX = 8 * 1024
"""Of the request line and the headers together."""
CONNECTIONS_MAX = 32
"""In hand; one more is answered with 503 and closed."""
REQUEST_SECONDS = 5.0
"""For the request to arrive, and again for the answer to be taken."""
ANSWER_SECONDS = 10.0
"""For the answer to be made."""
JSON_TYPE = "application/json; charset=utf-8"
TEXT_TYPE = "text/plain; charset=utf-8"

_WORDS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True)
class Answer:
    """What a path answers with."""

    status: int
    body: bytes
    content_type: str = TEXT_TYPE

    @staticmethod
    def of_json(status: int, value: object) -> "Answer":
        """A JSON value."""
        return Answer(status, json.dumps(value, ensure_ascii=False).encode() + b"\n", JSON_TYPE)

    @staticmethod
    def of_text(status: int, text: str = "") -> "Answer":
        """A line of text; without one, what the status means."""
        return Answer(status, f"{text or _WORDS[status]}\n".encode())


Page = Callable[[], Awaitable[Answer]]


@asynccontextmanager
async def serving(host: str, port: int, pages: Mapping[str, Page]) -> AsyncIterator[int]:
    """Serve `pages` (path to answer) while the context is open; yields the port, which is a free one if `port` is 0.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    server = _Server(pages)
    try:
        listening = await asyncio.start_server(server.serve, host, port, limit=HEAD_BYTES_MAX)
    except (OSError, OverflowError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"observability: {host}:{port} cannot be listened on ({why}); set observability.port to one that is free, "
            "or to 0 for none"
        ) from error
    try:
        yield int(listening.sockets[0].getsockname()[1])
    finally:
        listening.close()
        await server.end()


class _Server:
    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._in_hand: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection. Never raises: whoever is on the other side decides nothing here."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        self._in_hand.add(task)
        try:
            if len(self._in_hand) > CONNECTIONS_MAX:
                await _send(writer, Answer.of_text(503, "too many connections"), "GET")
                return
            method, answer = await self._answered(reader)
            await _send(writer, answer, method)
        except (OSError, TimeoutError):
            pass  # gone, or not listening
        finally:
            self._in_hand.discard(task)
            writer.close()

    async def _answered(self, reader: asyncio.StreamReader) -> tuple[str, Answer]:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            return "GET", Answer.of_text(408)
        except asyncio.LimitOverrunError:
            return "GET", Answer.of_text(431)
        except asyncio.IncompleteReadError:
            return "GET", Answer.of_text(400)
        parts = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            return "GET", Answer.of_text(400)
        method, path = parts[0], parts[1].split("?", 1)[0]
        page = self._pages.get(path)
        if page is None:
            return method, Answer.of_text(404, "paths: " + " ".join(self._pages))
        if method not in ("GET", "HEAD"):
            return "GET", Answer.of_text(405)
        return method, await _made(page, path)

    async def end(self) -> None:
        """End what is in hand."""
        for task in list(self._in_hand):
            task.cancel()
        await asyncio.gather(*self._in_hand, return_exceptions=True)


async def _made(page: Page, path: str) -> Answer:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await page()
    except TimeoutError:
        return Answer.of_text(503, "the answer took too long")
    except Exception:
        log.exception("%s failed", path)
        return Answer.of_text(500, "see the service's log")


async def _send(writer: asyncio.StreamWriter, answer: Answer, method: str) -> None:
    head = [
        f"HTTP/1.1 {answer.status} {_WORDS[answer.status]}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        *(["Allow: GET, HEAD"] if answer.status == 405 else []),
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    writer.write("\r\n".join(head).encode() + b"\r\n\r\n")
    if method != "HEAD":
        writer.write(answer.body)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(REQUEST_SECONDS):
            await writer.drain()
