"""What chaos itself does: faults that end as they should, kills in every part, and what is gathered afterwards."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Any, cast

import pytest

from thymos import subjects
from thymos.child_process import Child
from thymos.client import Client
from thymos.data_folder import DataFolder
from thymos.embedded import NatsServer
from thymos.errors import Refusal, RefusalCode
from thymos.events import BranchMerged
from thymos.examples import example_of
from thymos.suite import NATS, Suite
from thymos.testing import MemoryBus
from thymos.unit_of_work import ServiceStore, Transaction

from . import aftermath
from .checks.finding import Finding
from .faults import SERVICES, Action, Done, Fault, Hand, servers_in
from .kills import Aim, Campaign
from .load import PARTS, Told
from .replay import differences
from .run import Result
from .sent import note_what_is_sent, read_acknowledged, read_what_was_sent

PATIENCE_SECONDS = 20.0


@dataclass
class FewServices:
    """As much of a suite as a hand needs."""

    services: dict[str, Child] = field(default_factory=dict)
    server: NatsServer | None = None
    url: str = "nats://127.0.0.1:1"


def hand_of(suite: FewServices, stage: Any = lambda: "support-1 baseline") -> Hand:
    return Hand(cast(Suite, suite), stage, time.monotonic(), lambda _: None)


@asynccontextmanager
async def sleeping_service(folder: Path) -> AsyncIterator[Child]:
    (folder / "sleeps.py").write_text("import signal\nsignal.pause()\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    with DataFolder(folder) as data:
        child = Child("sleeps", "sleeps", environment, folder / "log", data, lambda _: None)
        child.start()
        try:
            yield child
        finally:
            await child.stop()


async def until(holds: Any) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_service_that_is_kept_away_is_started_again_though_the_load_ends_meanwhile(tmp_path: Path) -> None:
    async with sleeping_service(tmp_path) as child:
        await until(lambda: child.pid)
        first = child.pid
        hand = hand_of(FewServices({"sleeps": child}))
        away = asyncio.create_task(hand.do_all([Fault(0.0, Action.AWAY, "sleeps", lasts=600.0)]))
        await until(lambda: hand.done and child.pid is None)

        away.cancel()
        await asyncio.wait({away})

        await until(lambda: child.pid not in (None, first))
        assert hand.done[0].ended is not None


async def test_a_fault_waits_for_its_part_of_the_story() -> None:
    stages = chain(repeat("support-1 baseline", 3), repeat("support-1 drift"))
    hand = hand_of(FewServices(), lambda: next(stages))

    await hand.do_all([Fault(0.0, Action.KILL, NATS, part="drift")])

    assert [done.part for done in hand.done] == ["drift"]


def test_a_nats_server_that_is_left_is_seen(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats") as server:
        assert [process.pid for process in servers_in(tmp_path)] == [server.pid]
        assert servers_in(tmp_path / "other") == []
    assert servers_in(tmp_path) == []


# --- kills in every part --------------------------------------------------------------------------------------------


def campaign(*kills: tuple[str, str]) -> Campaign:
    timeline = [Done(Fault(0.0, Action.KILL, service), 0.0, f"support-1 {part}", 1) for service, part in kills]
    result = Result(1, [Finding("everything", 1)], timeline, {}, list(PARTS), [])
    return Campaign(len(PARTS), [result])


def test_a_campaign_holds_when_each_service_was_killed_in_each_part() -> None:
    everything = [(service, part) for service in SERVICES for part in PARTS]

    assert campaign(*everything).held
    spared = campaign(*everything[1:], everything[-1])
    assert not spared.held
    assert spared.problems[0] == f"{SERVICES[0]} was never killed during baseline"


def test_a_campaign_with_too_few_kills_does_not_hold() -> None:
    assert not Campaign(2).held
    assert not campaign(("decision-engine", "drift")).held


def test_who_was_spared_in_a_part_is_aimed_at_there_until_it_is_hit() -> None:
    aim = Aim(Counter({"decision-engine": 1}), {("decision-engine", "drift")})

    assert aim.wanted("drift") == ["decision-engine"]
    assert aim.wanted("burst") == []
    aim.hit("decision-engine", "baseline")
    assert not aim.over
    aim.hit("decision-engine", "drift")
    assert aim.over


# --- what is gathered -----------------------------------------------------------------------------------------------


async def test_a_log_without_decisions_does_not_count_as_replayed() -> None:
    assert "no decision was computed again" in await differences(MemoryBus())


@pytest.mark.parametrize(
    ("code", "stories", "passes"),
    [
        (RefusalCode.NOT_FOUND, [], True),
        (RefusalCode.NOT_FOUND, ["support-1"], False),
        (RefusalCode.UNAVAILABLE, [], False),
    ],
)
async def test_only_a_memory_that_nobody_began_may_be_missing(
    code: RefusalCode, stories: list[str], passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object) -> None:
        raise Refusal(code, "no")

    monkeypatch.setattr(aftermath, "_memory", refused)
    asking = aftermath.memories(Client(MemoryBus()), ["support-1"], Told(stories=stories))

    if passes:
        assert await asking == {}
    else:
        with pytest.raises(Refusal):
            await asking


async def test_what_a_service_commits_to_its_outbox_is_noted_and_whether_it_was_acknowledged(tmp_path: Path) -> None:
    note_what_is_sent(tmp_path)
    merged = example_of(BranchMerged).data
    store = ServiceStore(tmp_path / "memory-repository.db", subjects.MEMORY_REPOSITORY)

    def say(tx: Transaction) -> None:
        tx.publish(merged, tenant="default", agent="support-1")

    def fail(tx: Transaction) -> None:
        say(tx)
        raise ValueError("taken back")

    await store.tick("first", say)
    await store.relay(MemoryBus())
    await store.tick("second", say)
    with pytest.raises(ValueError, match="taken back"):
        await store.tick("third", fail)
    acknowledged = read_acknowledged(tmp_path)
    await store.close()

    sent = read_what_was_sent(tmp_path, acknowledged)
    assert [(each.service, each.envelope.data, each.acknowledged) for each in sent] == [
        (subjects.MEMORY_REPOSITORY, merged, True),
        (subjects.MEMORY_REPOSITORY, merged, False),
    ]
