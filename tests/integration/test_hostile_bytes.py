"""Bytes that no client library would send: they end neither the client's reading nor, by coming again, the next."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.deadline import DEADLINE_SECONDS

from thymos import subjects
from thymos.bus import Subscription
from thymos.envelope import decode
from thymos.errors import PoisonError
from thymos.nats_bus import NatsBus
from thymos.testing import NatsServer

TELEMETRY = subjects.consumer(subjects.METRICS_COLLECTOR, subjects.TELEMETRY)
GOOD = "thymos.telemetry.acme.support"
HEADER = b"NATS/1.0\r\nX\r\n\r\n"
"""A header block with a line that is no header."""


async def send(server: NatsServer, raw: bytes) -> None:
    """Raw protocol; returns when the server has taken it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n' + raw + b"PING\r\n")
    while not (await reader.readline()).startswith(b"PONG"):
        pass
    writer.close()
    await writer.wait_closed()


def broken_header() -> bytes:
    return b"HPUB %s %d %d\r\n%sx\r\n" % (GOOD.encode(), len(HEADER), len(HEADER) + 1, HEADER)


def broken_subject() -> bytes:
    return b"PUB thymos.telemetry.acme.caf\xe9 1\r\nx\r\n"


async def next_body(subscription: Subscription) -> tuple[str, bytes]:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            for delivery in await subscription.fetch(1, timedelta(seconds=1)):
                await delivery.ack()
                return delivery.subject, delivery.body


@pytest.mark.parametrize("hostile", [broken_header, broken_subject])
async def test_the_next_message_still_arrives(
    nats: NatsBus, nats_server: NatsServer, hostile: Callable[[], bytes]
) -> None:
    subscription = await nats.subscribe(TELEMETRY)
    await send(nats_server, hostile())
    subject, body = await next_body(subscription)
    with pytest.raises(PoisonError):
        decode(body, subject)
    await nats.publish(GOOD, b"fine", "1")
    assert (await next_body(subscription))[1] == b"fine"


async def test_ids_that_differ_in_what_no_header_holds_are_different(nats: NatsBus) -> None:
    ids = ["1", "1 ", "1\n", "1\r", "1\r\nNats-Rollup: all", "1  Nats-Rollup: all", "1\0"]
    for _ in range(2):
        acks = [await nats.publish(GOOD, b"fine", message_id) for message_id in ids]
    assert [ack.sequence for ack in acks] == [1, 2, 3, 4, 5, 6, 7]


async def test_a_request_on_a_subject_that_is_no_text_stops_nobody(nats: NatsBus, nats_server: NatsServer) -> None:
    async def answer(subject: str, body: bytes) -> bytes:
        return subject.encode() + body

    await nats.serve("echo", {"say": "thymos.request.echo.*.*.say"}, answer)
    await send(nats_server, b"PUB thymos.request.echo.caf\xe9.a.say _INBOX.caf\xe9 1\r\nx\r\n")
    reply = await nats.request("thymos.request.echo.acme.support.say", b"!", timedelta(seconds=10))
    assert reply == b"thymos.request.echo.acme.support.say!"
