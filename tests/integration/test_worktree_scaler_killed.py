"""worktree-scaler is killed (-9): its agents run on, and the next scaler takes them over. No orphan, no
double.
"""

import shutil
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from thymos.events import WorktreeReady, WorktreeStarted, WorktreeStopped
from thymos.nats_bus import NatsBus
from thymos.telemetry import TaskFinished
from thymos.testing import NatsServer

from .worktree_scaler_bench import Bench, ScalerProcess, bench_on


@pytest_asyncio.fixture
async def bench(nats: NatsBus) -> AsyncIterator[Bench]:
    async with bench_on(nats) as bench:
        yield bench


@pytest.fixture
def scaler(tmp_path: Path, nats_server: NatsServer) -> Iterator[ScalerProcess]:
    scaler = ScalerProcess(tmp_path, nats_server.url, min_worktrees=2)
    yield scaler
    scaler.end_all()


def are_ready(count: int) -> Any:
    """Whether so many worktrees, and no others, are listed, each ready and with a process."""

    def holds(data: dict[str, Any]) -> bool:
        phases = [one["phase"] for one in data["worktrees"] if one["pid"]]
        return phases == ["ready"] * count and len(data["worktrees"]) == count

    return holds


def pids(data: dict[str, Any]) -> set[int]:
    """The processes of the listed worktrees that are ready."""
    return {one["pid"] for one in data["worktrees"] if one["pid"] and one["phase"] == "ready"}


def edit(scaler: ScalerProcess, sql: str, *values: object) -> None:
    """Change what the killed scaler had stored: as if it had been killed a moment earlier or later."""
    with sqlite3.connect(scaler.database) as connection:
        connection.execute(sql, values)
    connection.close()


async def test_running_agents_are_taken_over_and_drained_at_the_end(bench: Bench, scaler: ScalerProcess) -> None:
    scaler.start()
    await bench.ask_until("worktrees", are_ready(2))
    before = scaler.agents()
    scaler.kill9()
    await bench.assign({"say": "still here"})
    (answer,) = await bench.wait(TaskFinished)

    scaler.start()
    await bench.ask_until("worktrees", are_ready(2))
    after = scaler.agents()
    scaler.stop()
    await bench.wait(WorktreeStopped, 2)

    assert answer.output == "still here"
    assert after == before
    assert len(bench.all(WorktreeStarted)) == 2
    assert scaler.agents() == {}


async def test_a_process_whose_pid_was_never_noted_is_found_by_its_mark(bench: Bench, scaler: ScalerProcess) -> None:
    scaler.start()
    await bench.ask_until("worktrees", are_ready(2))
    before = scaler.agents()
    scaler.kill9()
    edit(scaler, "UPDATE worktrees SET pid = NULL, created_at = NULL, phase = 'starting'")

    scaler.start()
    await bench.ask_until("worktrees", are_ready(2))

    assert scaler.agents() == before
    await bench.wait(WorktreeStarted, 4)
    started = Counter(event.worktree_id for event in bench.all(WorktreeStarted))
    assert started == dict.fromkeys(before.values(), 2), "who did not come to note it did not come to tell it"


async def test_an_agent_that_died_meanwhile_is_started_again_and_a_surplus_one_is_ended(
    bench: Bench, scaler: ScalerProcess
) -> None:
    scaler.start()
    await bench.ask_until("worktrees", are_ready(2))
    (dead_pid, dead), (surplus_pid, surplus) = scaler.agents().items()
    scaler.kill9()
    psutil.Process(dead_pid).kill()
    edit(scaler, "UPDATE worktrees SET phase = 'stopped', pid = NULL WHERE worktree_id = ?", surplus)

    scaler.start()
    listed = await bench.ask_until("worktrees", are_ready(2))
    now = scaler.agents()

    assert dead in now.values(), "the same worktree, in a new process"
    assert surplus not in now.values()
    assert not {dead_pid, surplus_pid} & set(now)
    assert {one["worktree_id"] for one in listed["worktrees"]} == set(now.values())


async def test_a_copy_of_the_folder_starts_agents_of_its_own_and_leaves_those_of_the_first_alone(
    bench: Bench, scaler: ScalerProcess, tmp_path: Path, nats_server: NatsServer
) -> None:
    scaler.start()
    await bench.ask_until("worktrees", are_ready(2))
    scaler.kill9()
    first = scaler.agents()
    shutil.copytree(scaler.data_dir, tmp_path / "restored" / "data")
    restored = ScalerProcess(tmp_path / "restored", nats_server.url, min_worktrees=2)
    try:
        restored.start()
        await bench.ask_until("worktrees", lambda data: len(pids(data) - set(first)) == 2)

        assert scaler.agents() == first
        assert len(restored.agents()) == 2
    finally:
        restored.end_all()


@pytest.mark.parametrize("events_before_the_kill", [1, 2, 3])
async def test_killed_in_the_middle_of_starting_the_fleet_is_still_complete(
    bench: Bench, scaler: ScalerProcess, events_before_the_kill: int
) -> None:
    scaler.start()
    if events_before_the_kill <= 2:
        await bench.wait(WorktreeStarted, events_before_the_kill)
    else:
        await bench.wait(WorktreeReady)
    scaler.kill9()
    scaler.start()
    listed = await bench.ask_until("worktrees", are_ready(2))

    assert {one["pid"]: one["worktree_id"] for one in listed["worktrees"]} == scaler.agents()
