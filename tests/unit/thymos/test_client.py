"""The client lets go of what it followed at once, and says what it does not know of a request without an answer."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime, timedelta

import pytest
from pydantic import BaseModel

from thymos import subjects
from thymos.bus import Stored
from thymos.client import Client
from thymos.commands import DeleteBranch
from thymos.envelope import decode
from thymos.errors import NoAnswerError
from thymos.events import BranchDeleted
from thymos.requests import NewTag, ReadLog
from thymos.subjects import Stream
from thymos.testing import MemoryBus

DELETED = BranchDeleted(branch="tryout", from_commit="c1")


class CountingBus(MemoryBus):
    """A bus that knows how many follow it."""

    followers = 0

    async def follow(
        self, stream: Stream, subject: str, since: datetime | None = None, from_sequence: int | None = None
    ) -> AsyncGenerator[Stored, None]:
        self.followers += 1
        try:
            async with aclosing(super().follow(stream, subject, since, from_sequence)) as messages:
                async for stored in messages:
                    yield stored
        finally:
            self.followers -= 1


async def test_whoever_has_seen_enough_follows_no_longer() -> None:
    client = Client(bus := CountingBus())
    await client.publish(client.envelope(DELETED, "support"))

    async with aclosing(client.notifications(BranchDeleted, from_sequence=1)) as notes:
        assert (await anext(notes)).data == DELETED
        assert bus.followers == 1

    assert bus.followers == 0


async def test_a_command_that_was_answered_follows_no_longer() -> None:
    client = Client(bus := CountingBus())
    asking = asyncio.create_task(client.command(DeleteBranch(branch="tryout"), "support"))
    async with aclosing(bus.follow(subjects.COMMANDS, ">", from_sequence=1)) as commands:
        stored = await anext(commands)
    asked = decode(stored.body, stored.subject)

    await client.publish(client.envelope(DELETED, "support").model_copy(update={"causation_id": asked.id}))

    assert (await asking).data == DELETED
    assert bus.followers == 0


@pytest.mark.parametrize(("request_", "open_"), [(ReadLog(), False), (NewTag(tag="v1"), True)])
async def test_a_write_that_is_not_answered_in_time_may_still_be_done(request_: BaseModel, open_: bool) -> None:
    async def slow(_: str, __: bytes) -> bytes:
        await asyncio.sleep(60)
        return b""

    bus = MemoryBus()
    await bus.serve("memory-repository", {"all": "thymos.request.memory-repository.>"}, slow)
    with pytest.raises(NoAnswerError) as raised:
        await Client(bus).ask("memory-repository", "support", "any", request_, timedelta(milliseconds=10))
    said = str(raised.value)
    assert said.startswith("memory-repository does not answer (`thymos doctor` says more)")
    assert said.endswith("what was asked may still be done") is open_
    assert "thymos.request" not in said
