"""A client that is cancelled, or closed, while it tries to connect tries no more."""

import asyncio
from typing import Any

import pytest

from thymos.nats_client import NatsClient

NOBODY = "nats://127.0.0.1:1"


@pytest.mark.parametrize("error", [ConnectionRefusedError, TimeoutError])
async def test_a_cancellation_that_comes_with_the_refusal_of_a_connection_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    attempts = 0

    async def refused(*_: Any, **__: Any) -> None:
        nonlocal attempts
        attempts += 1
        trying.cancel()
        raise error

    monkeypatch.setattr(asyncio, "open_connection", refused)
    trying = asyncio.ensure_future(
        NatsClient().connect(NOBODY, max_reconnect_attempts=-1, reconnect_time_wait=0, error_cb=nothing)
    )
    await asyncio.wait([trying], timeout=5)
    assert (trying.cancelled(), attempts) == (True, 1)


async def nothing(_: Exception) -> None:
    """What nats-py tells of each attempt."""
