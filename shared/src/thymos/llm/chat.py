"""A model behind the chat completions of OpenAI's API, which most servers of models speak.

`http.client` on a thread, and no more: no redirects (a key goes to the server that was named and to no other), no
proxies, no streaming. Time, size and attempts are bounded together: when the time is over the connection is shut,
whatever it was waiting for. The key is in the header of the request and nowhere else: in no log and in no error.
"""

import asyncio
import contextlib
import http.client
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from thymos.llm import ModelError
from thymos.llm.prompt import ANSWER_BYTES_MAX, PROMPT_BYTES_MAX, Prompt

log = logging.getLogger(__name__)

ATTEMPTS = 3
PAUSE_SECONDS = 0.5
"""Before the second attempt; twice as long before each further one."""
RESPONSE_BYTES_MAX = 4 * ANSWER_BYTES_MAX
"""Of the whole response: the answer in it is escaped, and has company."""
AGAIN = frozenset({408, 409, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""
WORDS_MAX = 200
"""Characters of what the server says of its refusal that an error repeats."""


@dataclass(frozen=True)
class ChatModel:
    """A model that is asked over HTTP.

    Attributes:
        url: where the API begins, such as `https://models.example/v1`; `/chat/completions` is added.
        name: which model of that server.
        key: sent as a bearer token; empty for none.
        timeout: for all attempts together.
        tokens_max: the longest answer, in tokens.
    """

    url: str
    name: str
    key: str = field(default="", repr=False)
    timeout: timedelta = timedelta(seconds=60)
    tokens_max: int = 4096

    async def complete(self, prompt: Prompt, schema: Mapping[str, Any]) -> str:
        """See `thymos.llm.Model`."""
        if prompt.size > PROMPT_BYTES_MAX:
            raise ModelError(f"the prompt is {prompt.size:,} bytes; the limit is {PROMPT_BYTES_MAX:,}")
        call = _Call(self, prompt, schema, time.monotonic() + self.timeout.total_seconds())
        try:
            return await asyncio.to_thread(call.answer)
        finally:
            call.end()  # when this was cancelled, so that the thread does not go on


class _Call:
    """One question: attempts until one is answered, or the time is over. Runs on a thread; `end` comes from others."""

    def __init__(self, model: ChatModel, prompt: Prompt, schema: Mapping[str, Any], deadline: float) -> None:
        self._model = model
        self._prompt = prompt
        self._schema: Mapping[str, Any] | None = schema
        self._deadline = deadline
        self._ended = threading.Event()
        self._connection: http.client.HTTPConnection | None = None

    def answer(self) -> str:
        """The text that the model answers. Raises ModelError."""
        problem = "no time"
        attempt = 0
        while attempt < ATTEMPTS:
            try:
                status, body = self._once()
            except (OSError, http.client.HTTPException) as error:
                problem = self._words(error)
            else:
                if status == 200:
                    return _text_of(body)
                problem = f"it answered {status}: {self._said(body)}"
                if status == 400 and self._schema is not None:
                    # Some servers do not know structured answers; the answer is validated in any case.
                    self._schema = None
                    continue
                if status not in AGAIN:
                    break
            attempt += 1
            if self._left() <= 0 or self._ended.wait(min(PAUSE_SECONDS * 2 ** (attempt - 1), max(0.0, self._left()))):
                break
        raise ModelError(f"the model {self._model.name} gave no answer: {problem}")

    def end(self) -> None:
        """Give up; what waits for the server is told so."""
        self._ended.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _once(self) -> tuple[int, bytes]:
        with self._connected() as connection:
            headers = {"Content-Type": "application/json", "Accept": "application/json", "Connection": "close"}
            if self._model.key:
                headers["Authorization"] = f"Bearer {self._model.key}"
            path = urlsplit(self._model.url).path.rstrip("/") + "/chat/completions"
            connection.request("POST", path, json.dumps(self._request()).encode(), headers)
            response = connection.getresponse()
            body = response.read(RESPONSE_BYTES_MAX + 1)
            if self._ended.is_set():
                raise TimeoutError  # what was read before the connection was shut is not all
            if len(body) > RESPONSE_BYTES_MAX:
                raise ModelError(f"the response is longer than {RESPONSE_BYTES_MAX:,} bytes")
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
            return response.status, body

    @contextlib.contextmanager
    def _connected(self) -> Iterator[http.client.HTTPConnection]:
        left = self._left()
        if left <= 0 or self._ended.is_set():
            raise TimeoutError
        parts = urlsplit(self._model.url)
        host = parts.hostname or ""
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, parts.port, timeout=left, context=context
            )
        else:
            connection = http.client.HTTPConnection(host, parts.port, timeout=left)
        # A timeout of the socket is for each read alone: a server that drips would hold the thread for ever.
        watch = threading.Timer(left, self.end)
        watch.daemon = True
        self._connection = connection
        try:
            watch.start()
            connection.connect()
            yield connection
        finally:
            watch.cancel()
            self._connection = None
            connection.close()

    def _request(self) -> dict[str, Any]:
        messages = [
            {"role": "system", "content": self._prompt.system},
            {"role": "user", "content": self._prompt.user},
        ]
        request: dict[str, Any] = {
            "model": self._model.name,
            "messages": messages,
            "temperature": 0,
            "max_tokens": self._model.tokens_max,
            "stream": False,
        }
        if self._schema is not None:
            named = {"name": "answer", "schema": dict(self._schema)}
            request["response_format"] = {"type": "json_schema", "json_schema": named}
        return request

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _said(self, body: bytes) -> str:
        """What the server says of its refusal, on one line; it may repeat the key, and we do not."""
        try:
            message = json.loads(body)["error"]["message"]
        except (ValueError, KeyError, TypeError, RecursionError):
            message = body[: WORDS_MAX * 4].decode(errors="replace")
        text = "".join(c if c.isprintable() else " " for c in str(message))
        if self._model.key:
            text = text.replace(self._model.key, "…")
        return text[:WORDS_MAX].strip() or "nothing more"

    def _words(self, error: Exception) -> str:
        if self._left() <= 0 or isinstance(error, TimeoutError):
            return f"not within {self._model.timeout.total_seconds():g} s"
        if isinstance(error, http.client.HTTPException):
            return f"the server does not speak HTTP as expected ({type(error).__name__})"
        return f"{error.strerror or error}" if isinstance(error, OSError) else f"{error}"


def _text_of(body: bytes) -> str:
    """The text of the first choice. Raises ModelError when the response is not one, or was cut off."""
    try:
        choice = json.loads(body)["choices"][0]
        text, finish = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"the response is no chat completion ({type(error).__name__})") from error
    if finish == "length":
        raise ModelError("the answer was cut off at the most tokens (llm.max_tokens)")
    if not isinstance(text, str):
        raise ModelError("the model refuses to answer" if choice["message"].get("refusal") else "the answer is no text")
    if len(text) > ANSWER_BYTES_MAX:
        raise ModelError(f"the answer is {len(text):,} characters; the limit is {ANSWER_BYTES_MAX:,}")
    return text
