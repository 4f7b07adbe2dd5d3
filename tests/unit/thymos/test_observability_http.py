"""The HTTP server for health and metrics: what it answers, and what it puts up with."""

import asyncio
import json
import socket

import pytest

from thymos.errors import ConfigError
from thymos.observability import http
from thymos.observability.http import Answer, serving
from thymos.observability.instruments import Instruments
from thymos.observability.pages import Pages


async def hello() -> Answer:
    return Answer.of_text(200, "hello")


async def broken() -> Answer:
    raise ZeroDivisionError


async def told(port: int, request: bytes) -> bytes:
    """All that the server says to these bytes, until it hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def parts(answer: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *headers = head.decode().split("\r\n")
    return status, dict(line.lower().split(": ", 1) for line in headers), body


async def test_a_get_is_answered_and_a_head_without_the_body() -> None:
    async with serving("127.0.0.1", 0, {"/hello": hello}) as port:
        status, headers, body = parts(await told(port, b"GET /hello?x=1 HTTP/1.1\r\nHost: a\r\n\r\n"))
        assert (status, body, headers["content-length"]) == ("HTTP/1.1 200 OK", b"hello\n", "6")
        assert headers["connection"] == "close"
        status, headers, body = parts(await told(port, b"HEAD /hello HTTP/1.0\r\n\r\n"))
        assert (status, body, headers["content-length"]) == ("HTTP/1.1 200 OK", b"", "6")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /hello HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"GET /nowhere HTTP/1.1\r\n\r\n", 404),
        (b"GET /broken HTTP/1.1\r\n\r\n", 500),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET /hello\r\n\r\n", 400),
        (b"GET /hello HTTP/1.1\r\nX: " + b"x" * http.HEAD_BYTES_MAX + b"\r\n\r\n", 431),
    ],
)
async def test_anything_else_is_refused(request_bytes: bytes, status: int) -> None:
    async with serving("127.0.0.1", 0, {"/hello": hello, "/broken": broken}) as port:
        assert parts(await told(port, request_bytes))[0].split()[1] == str(status)


async def test_who_says_nothing_is_hung_up_on_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.2)
    async with serving("127.0.0.1", 0, {"/hello": hello}) as port:
        silent = asyncio.create_task(told(port, b"GET /hello HTTP/1.1\r\n"))
        assert b"hello" in await told(port, b"GET /hello HTTP/1.1\r\n\r\n")
        assert parts(await silent)[0] == "HTTP/1.1 408 Request Timeout"


async def test_too_many_connections_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECTIONS_MAX", 2)
    async with serving("127.0.0.1", 0, {"/hello": hello}) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        assert b"503" in await told(port, b"")
        for _, writer in held:
            writer.write(b"GET /hello HTTP/1.1\r\n\r\n")
        assert [b"hello" in await reader.read() for reader, _ in held] == [True, True]
        for _, writer in held:
            writer.close()


async def test_a_port_that_is_taken_is_a_mistake_of_the_configuration() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127.0.0.1:{port} cannot be listened on .*observability.port"):
            async with serving("127.0.0.1", port, {}):
                pass


async def test_ready_says_why_not_and_live_only_that_the_process_runs() -> None:
    findings = ["consumer decision-engine is gone"]
    instruments = Instruments("decision-engine")
    async with serving("127.0.0.1", 0, Pages(instruments, lambda: findings).by_path) as port:
        status, _, body = parts(await told(port, b"GET /ready HTTP/1.1\r\n\r\n"))
        assert status == "HTTP/1.1 503 Service Unavailable"
        assert json.loads(body) == {"ready": False, "findings": findings}
        assert parts(await told(port, b"GET /live HTTP/1.1\r\n\r\n"))[0] == "HTTP/1.1 200 OK"
        assert b'thymos_ready{service="decision-engine"} 0.0' in await told(port, b"GET /metrics HTTP/1.1\r\n\r\n")
        findings.clear()
        status, _, body = parts(await told(port, b"GET /ready HTTP/1.1\r\n\r\n"))
        assert (status, json.loads(body)["ready"]) == ("HTTP/1.1 200 OK", True)
        assert b'thymos_ready{service="decision-engine"} 1.0' in await told(port, b"GET /metrics HTTP/1.1\r\n\r\n")
