"""The log is sealed while it grows: in time, without end only when something happens, in one chain whatever happens."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from thymos import subjects
from thymos.audit import Difference, Report, verify_log
from thymos.audit.chain import NO_SEAL, SEAL_SUBJECT, Seal, Unsealed, chain_hash, read_seal
from thymos.audit.reading import record_of
from thymos.audit.sealer import Sealer, seal_envelope
from thymos.background import running
from thymos.bus import PublishAck, Stored
from thymos.errors import TransientError
from thymos.events import AuditSealed
from thymos.testing import MemoryBus

SOON = timedelta(milliseconds=20)
NEVER = timedelta(hours=1)
BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVENT = "thymos.event.acme.support.branch.created"


async def happened(bus: MemoryBus, *names: str) -> None:
    for name in names:
        await bus.publish(EVENT, json.dumps({"id": name}).encode(), name)


async def seals(bus: MemoryBus, count: int) -> list[AuditSealed]:
    """The first `count` seals of the log, as soon as they are there."""
    found: list[AuditSealed] = []
    async with asyncio.timeout(20), aclosing(bus.follow(subjects.EVENTS, SEAL_SUBJECT, from_sequence=1)) as stored:
        async for message in stored:
            found.append(AuditSealed.model_validate(json.loads(message.body)["data"]))
            if len(found) == count:
                break
    return found


async def verified(bus: MemoryBus) -> Report:
    return await verify_log(bus, recomputations={})


def ranges(found: list[AuditSealed]) -> list[tuple[int, int]]:
    return [(seal.from_sequence, seal.to_sequence) for seal in found]


async def test_events_are_sealed_after_a_while() -> None:
    bus = MemoryBus()
    await happened(bus, "a", "b", "c")
    async with running(Sealer(SOON).run(bus)):
        assert ranges(await seals(bus, 1)) == [(1, 3)]
    assert (await verified(bus)).identical


async def test_every_256_events_are_sealed_at_once() -> None:
    bus = MemoryBus()
    async with running(Sealer(NEVER).run(bus)):
        await happened(bus, *map(str, range(600)))
        assert [to - start + 1 for start, to in ranges(await seals(bus, 2))] == [256, 256]
    assert (await verified(bus)).checked == 512


async def test_a_seal_alone_is_not_sealed() -> None:
    bus = MemoryBus()
    await happened(bus, "a")
    async with running(Sealer(SOON).run(bus)):
        await seals(bus, 1)
        assert (await ask(bus))["to_sequence"] == 1
        await happened(bus, "b")
        assert ranges(await seals(bus, 2)) == [(1, 1), (2, 3)]
        assert await ask(bus) == await ask(bus), "nothing has happened in between"
    assert await bus.last_sequence(subjects.EVENTS) == 4


async def ask(bus: MemoryBus) -> dict[str, object]:
    subject = subjects.request_subject(subjects.DECISION_ENGINE, "_", "_", "seal")
    for _ in range(100):
        if any(pattern.endswith("seal") for pattern, _ in bus._endpoints):
            break
        await asyncio.sleep(0)
    answer = json.loads(await bus.request(subject, b"{}", timedelta(seconds=15)))
    assert answer["ok"], answer
    return dict(answer["data"])


async def test_whoever_asks_gets_a_seal_at_once() -> None:
    bus = MemoryBus()
    await happened(bus, *map(str, range(300)))
    async with running(Sealer(NEVER).run(bus)):
        answer = await ask(bus)
    assert answer["to_sequence"] in (300, 301)
    report = await verified(bus)
    assert (report.last_seal, report.unsealed) == (answer["hash"], 0)
    assert report.checked + report.last_seals == report.events


async def sealed_once(bus: MemoryBus) -> None:
    """A sealer that is started, seals what is there, and is stopped."""
    sealer = Sealer(NEVER)
    async with running(sealer.run(bus)), asyncio.timeout(10):
        await sealer.sealed(bus)


async def test_a_sealer_goes_on_where_the_one_before_stopped() -> None:
    bus = MemoryBus()
    for name in "abcdef":
        await happened(bus, name)
        await sealed_once(bus)
    report = await verified(bus)
    assert report.identical, report.problems
    assert report.seals == 6


@pytest.mark.parametrize("sealers", [2, 5])
async def test_several_sealers_at_once_make_one_chain(sealers: int) -> None:
    bus = MemoryBus()
    async with AsyncExitStack() as stack:
        for _ in range(sealers):
            await stack.enter_async_context(running(Sealer(timedelta(milliseconds=1)).run(bus)))
        for name in range(100):
            await happened(bus, str(name))
            await asyncio.sleep(0.001)
        await ask(bus)
    report = await verified(bus)
    assert report.identical, report.problems
    starts = [start for start, _ in ranges(await seals(bus, report.seals))]
    assert len(starts) == len(set(starts)), "one seal for each start"


async def test_an_old_sealer_that_wakes_up_late_adds_nothing() -> None:
    bus = MemoryBus()
    await happened(bus, "a")
    sleeper = Sealer(NEVER)
    original, held = bus.publish, asyncio.Event()

    async def late(subject: str, body: bytes, message_id: str, headers: dict[str, str] | None = None) -> PublishAck:
        await held.wait()
        return await original(subject, body, f"{message_id}, past the window of duplicates", headers)

    bus.publish = late  # type: ignore[method-assign, assignment]
    async with running(sleeper.run(bus)):
        asking = asyncio.create_task(sleeper.sealed(bus))
        await until(lambda: len(sleeper._tail) > 0)
        bus.publish = original  # type: ignore[method-assign]
        async with running(Sealer(SOON).run(bus)):
            await seals(bus, 1)
        held.set()
        assert (await asyncio.wait_for(asking, 10)).to_sequence == 1
    assert await bus.last_sequence(subjects.EVENTS) == 2


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def away(bus: MemoryBus) -> AsyncIterator[None]:
    bus.stop()
    yield
    bus.start()


async def test_a_bus_that_is_away_is_waited_for() -> None:
    bus = MemoryBus()
    await happened(bus, "a")
    async with running(Sealer(SOON).run(bus)):
        await seals(bus, 1)
        async with away(bus):
            with pytest.raises(TransientError):
                await happened(bus, "b")
        await happened(bus, "b")
        assert ranges(await seals(bus, 2)) == [(1, 1), (2, 3)]
    assert (await verified(bus)).identical


async def test_a_log_that_was_never_sealed_is_caught_up_with() -> None:
    bus = MemoryBus()
    await happened(bus, *map(str, range(10_000)))
    async with running(Sealer(NEVER).run(bus)):
        await ask(bus)
    report = await verified(bus)
    assert report.identical, report.problems
    assert report.seals == 10_000 // 256 + 1
    assert report.unsealed == 0


async def test_something_else_on_the_seals_subject_stops_no_sealer() -> None:
    bus = MemoryBus()
    await happened(bus, "a")
    await sealed_once(bus)
    await bus.publish(SEAL_SUBJECT, b"no seal", "noise")
    await happened(bus, "b")
    await sealed_once(bus)
    assert ranges(all_seals(bus)) == [(1, 1), (2, 4)]


async def test_a_seal_that_claims_the_future_does_not_stop_the_sealing() -> None:
    bus = MemoryBus()
    await happened(bus, "a", "b")
    claimed = chain_hash(10**12, 10**12, NO_SEAL, ["a" * 64])
    forged = seal_envelope(Seal(10**12, 10**12, NO_SEAL, claimed, ("a" * 64,)), BEGAN)
    await bus.publish(SEAL_SUBJECT, forged.to_bytes(), forged.message_id)
    async with running(Sealer(SOON).run(bus)):
        assert ranges(await seals(bus, 2))[1] == (1, 3)
    report = await verified(bus)
    assert report.problems == [
        "changed: the seal seal-1000000000000 (sequence 3, audit.sealed): "
        "it says 1000000000000 to 1000000000000 and is itself event 3"
    ]


# --- seals of others that leave events out ----------------------------------------------------------------------------


async def skips_to_the_last(bus: MemoryBus) -> None:
    """Somebody who may publish adds a seal that is right in itself, over the newest event only."""
    records = [record_of(stored) for stored in log_of(bus).values()]
    known = [seal.hash for record in records if (seal := read_seal(record)) is not None]
    last = records[-1]
    over = [Unsealed(last.sequence, last.hash(), last.stored_at, False)]
    forged = seal_envelope(Seal.over(over, known[-1] if known else NO_SEAL), BEGAN)
    await bus.publish(SEAL_SUBJECT, forged.to_bytes(), f"forged {last.sequence}")


@pytest.mark.parametrize("begun", [True, False], ids=["later", "first of all"])
@pytest.mark.parametrize("seals_of_others", [1, 3])
async def test_a_seal_that_leaves_events_out_is_not_gone_on_from(begun: bool, seals_of_others: int) -> None:
    bus = await a_sealed_log() if begun else MemoryBus()
    oldest = ranges(all_seals(bus))[-1][1] + 1 if begun else 1
    await happened(bus, *"abcdef")
    for _ in range(seals_of_others):
        await skips_to_the_last(bus)
    last = max(log_of(bus))
    await happened(bus, "g")
    await sealed_once(bus)
    assert ranges(all_seals(bus))[-1] == (oldest, last + 1)
    report = await verified(bus)
    assert report.difference_count == 1, report.problems
    assert f"it leaves out events {oldest} to {last - seals_of_others - 1}" in report.problems[0]
    assert (report.unsealed, report.unchecked) == (0, 0)

    harmed = log_of(bus)[oldest + 1]
    log_of(bus)[oldest + 1] = replace(harmed, body=harmed.body + b" ")
    assert (await verified(bus)).differences[0].sequence == oldest + 1


async def test_such_a_seal_is_not_gone_on_from_by_a_sealer_that_runs_either() -> None:
    bus = MemoryBus()
    async with running(Sealer(NEVER).run(bus)):
        await happened(bus, "a")
        await ask(bus)
        await happened(bus, "b", "c", "d")
        await skips_to_the_last(bus)
        await happened(bus, "e")
        assert (await ask(bus))["to_sequence"] == 7
        await happened(bus, "f")
        await ask(bus)
    assert ranges(all_seals(bus)) == [(1, 1), (5, 5), (2, 7), (8, 9)]
    report = await verified(bus)
    assert report.difference_count == 1
    assert "it leaves out events 2 to 4" in report.problems[0]


async def test_it_is_a_difference_also_before_anybody_has_sealed_what_it_leaves_out() -> None:
    bus = await a_sealed_log()
    await happened(bus, "a", "b")
    await skips_to_the_last(bus)
    report = await verified(bus)
    assert report.difference_count == 1
    assert "it leaves out events" in report.problems[0]


async def test_a_gap_in_the_numbering_leaves_nothing_out() -> None:
    bus = MemoryBus()
    await happened(bus, *"abcdef")
    for sequence in (1, 4):
        del log_of(bus)[sequence]
    for name in "gh":
        await sealed_once(bus)
        await happened(bus, name)
        await sealed_once(bus)
    assert ranges(all_seals(bus))[:2] == [(2, 3), (5, 6)]
    report = await verified(bus)
    assert [problem.kind for problem in report.differences] == [Difference.MISSING] * 2, report.problems
    assert report.unchecked == 0


async def test_a_log_that_is_exchanged_under_a_sealer_gets_its_own_chain() -> None:
    bus = MemoryBus()
    sealer = Sealer(NEVER)
    async with running(sealer.run(bus)), asyncio.timeout(10):
        await happened(bus, *"abc")
        await sealer.sealed(bus)
    other = await a_sealed_log()
    async with running(sealer.run(other)), asyncio.timeout(10):
        await happened(other, "new")
        await sealer.sealed(other)
    report = await verified(other)
    assert report.identical, report.problems
    assert report.unsealed == 0


def all_seals(bus: MemoryBus) -> list[AuditSealed]:
    messages = bus._logs[subjects.EVENTS.name].messages.values()
    bodies = [m.body for m in messages if m.subject == SEAL_SUBJECT and m.body != b"no seal"]
    return [AuditSealed.model_validate(json.loads(body)["data"]) for body in bodies]


async def test_the_largest_seal_is_far_below_the_largest_message() -> None:
    bus = MemoryBus()
    await happened(bus, *map(str, range(256)))
    async with running(Sealer(NEVER).run(bus)):
        await seals(bus, 1)
    last = await bus.last(subjects.EVENTS, SEAL_SUBJECT)
    assert last is not None
    assert len(last.body) < 20_000


async def test_everybody_who_seals_the_same_events_says_the_same() -> None:
    bodies = []
    for _ in range(2):
        bus = MemoryBus(clock=a_clock())
        await happened(bus, "a", "b")
        async with running(Sealer(NEVER).run(bus)):
            await ask(bus)
        last = await bus.last(subjects.EVENTS, SEAL_SUBJECT)
        assert last is not None
        bodies.append(last.body)
    assert bodies[0] == bodies[1]


def a_clock() -> Callable[[], datetime]:
    """A clock that is a second later each time."""
    times = (datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=number) for number in itertools.count())
    return lambda: next(times)


# --- what is done to the live log ------------------------------------------------------------------------------------


async def a_sealed_log() -> MemoryBus:
    bus = MemoryBus()
    await happened(bus, *map(str, range(20)))
    await sealed_once(bus)
    await happened(bus, "later")
    await sealed_once(bus)
    return bus


def log_of(bus: MemoryBus) -> dict[int, Stored]:
    return bus._logs[subjects.EVENTS.name].messages


async def test_an_event_that_is_deleted_from_the_live_log_is_missed() -> None:
    bus = await a_sealed_log()
    del log_of(bus)[7]
    report = await verified(bus)
    assert report.problems == ["missing: event 7 of the log"]


async def test_the_beginning_of_the_live_log_is_missed() -> None:
    bus = await a_sealed_log()
    for sequence in (1, 2, 3):
        del log_of(bus)[sequence]
    assert [problem.sequence for problem in (await verified(bus)).differences] == [1, 2, 3]


async def test_the_end_of_the_live_log_is_missed() -> None:
    bus = await a_sealed_log()
    last = max(log_of(bus))
    for sequence in (last - 1, last):
        del log_of(bus)[sequence]
    assert (await verified(bus)).problems == [
        f"missing: event {last - 1} of the log",
        f"missing: event {last} of the log",
    ]


async def test_a_live_log_that_was_emptied_is_missed() -> None:
    bus = await a_sealed_log()
    events = len(log_of(bus))
    log_of(bus).clear()
    report = await verified(bus)
    assert (report.events, report.difference_count) == (0, events)


async def test_the_beginning_is_missed_although_no_seal_is_left() -> None:
    bus = MemoryBus()
    await happened(bus, "a", "b", "c")
    del log_of(bus)[1]
    assert (await verified(bus)).problems == ["missing: event 1 of the log"]


@pytest.mark.parametrize("sequence", [1, 9, 20, 21, 22])
async def test_an_event_that_is_changed_in_the_live_log_is_named(sequence: int) -> None:
    bus = await a_sealed_log()
    stored = log_of(bus)[sequence]
    for harmed in (
        replace(stored, body=stored.body + b" "),
        replace(stored, stored_at=stored.stored_at + timedelta(microseconds=1)),
        replace(stored, headers={**stored.headers, "Nats-Msg-Id": "another"}),
    ):
        log_of(bus)[sequence] = harmed
        report = await verified(bus)
        assert (report.difference_count, report.differences[0].sequence) == (1, sequence), report.problems


async def test_the_newest_seal_answers_for_itself() -> None:
    bus = await a_sealed_log()
    last = max(log_of(bus))
    stored = log_of(bus)[last]
    log_of(bus)[last] = replace(stored, body=stored.body.replace(b'"from_sequence":21', b'"from_sequence":20'))
    report = await verified(bus)
    assert report.differences[0].sequence == last
    assert "audit.sealed" in report.problems[0]


async def test_only_a_part_of_the_live_log_is_verified_when_that_is_asked() -> None:
    bus = await a_sealed_log()
    since = log_of(bus)[10].stored_at
    report = await verify_log(bus, since=since, until=log_of(bus)[15].stored_at, recomputations={})
    assert report.identical, report.problems
    assert report.checked == report.events
    assert 6 <= report.events <= 20
