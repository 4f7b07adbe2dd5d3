"""What becomes of a delivered message."""

import asyncio
import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from thymos import subjects
from thymos.bus import MESSAGE_ID_HEADER, Delivery
from thymos.dead_letters import DeadLetter
from thymos.envelope import Envelope, decode
from thymos.errors import PoisonError, Refusal, TransientError
from thymos.message import Message
from thymos.settlement import BACKOFF, ORIGINAL_BYTES_MAX, Fate, Settlement, publish_dead_letter, settle, settled
from thymos.telemetry import TaskStarted
from thymos.testing import MemoryBus

CONSUMER = subjects.consumer(subjects.MEMORY_REPOSITORY, subjects.COMMANDS)
SUBJECT = subjects.command_subject(subjects.MEMORY_REPOSITORY, "acme", "support", "branch.create")
LETTERS = subjects.dead_subject(subjects.MEMORY_REPOSITORY, "*")


def invalid() -> ValidationError:
    try:
        TaskStarted.model_validate({})
    except ValidationError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "attempts", "fate"),
    [
        (None, 1, Fate.ACK),
        (None, 8, Fate.ACK),
        (PoisonError("unreadable"), 1, Fate.DEAD),
        (invalid(), 1, Fate.DEAD),
        (TransientError("busy"), 1, Fate.RETRY),
        (TransientError("busy"), 7, Fate.RETRY),
        (TransientError("busy"), 8, Fate.DEAD),
        (TransientError("busy"), 9, Fate.DEAD),
        (ZeroDivisionError("a bug"), 1, Fate.RETRY),
        (ZeroDivisionError("a bug"), 8, Fate.DEAD),
        (Refusal("not_found", "no such branch"), 1, Fate.RETRY),
    ],
)
def test_the_table(error: BaseException | None, attempts: int, fate: Fate) -> None:
    assert settle(error, attempts, deliver_max=8).fate is fate


def test_a_settlement_says_why() -> None:
    assert settle(None, 1, 8) == Settlement(Fate.ACK)
    assert settle(PoisonError("unreadable"), 1, 8).reason == "PoisonError: unreadable"
    assert settle(TransientError("busy"), 8, 8).reason == "given up after 8 attempts: TransientError: busy"


def test_delays_grow_and_hold_an_agent_for_less_than_30_seconds() -> None:
    delays = [settle(TransientError("busy"), attempts, 8).delay for attempts in range(1, 8)]
    assert delays == sorted(delays)
    assert delays[0] > timedelta(0)
    assert sum(delays, timedelta(0)) < timedelta(seconds=30)
    assert settle(TransientError("busy"), 50, 99).delay == BACKOFF[-1]


async def delivery_of(bus: MemoryBus, body: bytes = b"{}", subject: str = SUBJECT) -> Delivery:
    await bus.publish(subject, body, f"id of {body[:20]!r}")
    return (await (await bus.subscribe(CONSUMER)).fetch(1, timedelta(seconds=5)))[0]


async def letters_of(bus: MemoryBus, pattern: str = LETTERS) -> list[Envelope[Message]]:
    found = []
    stored = bus.follow(subjects.DEAD_LETTERS, pattern, from_sequence=1)
    for _ in range(await bus.last_sequence(subjects.DEAD_LETTERS)):
        message = await asyncio.wait_for(anext(stored), 5)
        found.append(decode(message.body, message.subject))
    return found


async def failing(error: Exception) -> None:
    raise error


async def test_a_dead_letter_holds_the_original_the_reason_the_handler_and_the_attempts() -> None:
    bus = MemoryBus()
    delivery = await delivery_of(bus, b"\xff not text")
    await settled(bus, CONSUMER, delivery, lambda: failing(PoisonError("not JSON")))
    (letter,) = await letters_of(bus)
    assert letter.data == DeadLetter(
        original=base64.b64encode(b"\xff not text").decode(),
        subject=SUBJECT,
        reason="PoisonError: not JSON",
        handler=f"{subjects.MEMORY_REPOSITORY}:{subjects.COMMANDS.name}",
        attempts=1,
        original_bytes=10,
        stream=subjects.COMMANDS.name,
        sequence=1,
        message_id=delivery.headers[MESSAGE_ID_HEADER],
    )
    assert (letter.tenant, letter.agent, letter.source) == ("acme", "support", subjects.MEMORY_REPOSITORY)


async def test_a_message_that_is_given_up_twice_leaves_one_letter() -> None:
    """The crash between storing the letter and terminating the original."""
    bus = MemoryBus()
    delivery = await delivery_of(bus)
    for _ in range(2):
        await settled(bus, CONSUMER, delivery, lambda: failing(PoisonError("unreadable")))
    assert await bus.last_sequence(subjects.DEAD_LETTERS) == 1


async def test_a_letter_that_cannot_be_stored_keeps_the_original() -> None:
    bus = MemoryBus()
    delivery = await delivery_of(bus)
    bus.stop()
    with pytest.raises(TransientError):
        await settled(bus, CONSUMER, delivery, lambda: failing(PoisonError("unreadable")))
    bus.start()
    again = await (await bus.subscribe(CONSUMER)).fetch(1, timedelta(seconds=5))
    assert [d.body for d in again] == [b"{}"]


async def test_the_largest_message_with_the_longest_reason_fits_into_a_letter() -> None:
    bus = MemoryBus()
    delivery = await delivery_of(bus, b"x" * subjects.MESSAGE_BYTES_MAX)
    await settled(bus, CONSUMER, delivery, lambda: failing(PoisonError("\N{SNOWMAN}" * 10_000)))
    (letter,) = await letters_of(bus)
    assert isinstance(letter.data, DeadLetter)
    assert len(letter.data.kept) == ORIGINAL_BYTES_MAX
    assert letter.data.cut
    assert letter.data.original_bytes == subjects.MESSAGE_BYTES_MAX
    assert len(letter.data.reason) == 4096


async def test_a_message_on_a_foreign_subject_is_buried_under_an_unknown_tenant() -> None:
    bus = MemoryBus()
    await publish_dead_letter(bus, "memory-repository:x", "foreign", b"?", reason="?", attempts=1, key="1")
    (letter,) = await letters_of(bus)
    assert letter.tenant == "unknown"


async def test_a_bug_is_logged_once_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    bus = MemoryBus(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    delivery = await delivery_of(bus)
    for attempts in (1, 2):
        delivery.attempts = attempts  # type: ignore[misc]
        await settled(bus, replace(CONSUMER, deliver_max=8), delivery, lambda: failing(KeyError("x")))
    assert [bool(record.exc_info) for record in caplog.records] == [True, False]
    assert subjects.MEMORY_REPOSITORY in caplog.text
