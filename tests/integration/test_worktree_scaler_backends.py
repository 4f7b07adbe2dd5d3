"""The back end that runs agents as processes: what it promises, on real ones; and the right to run them."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from tests.deadline import DEADLINE_SECONDS

from worktree_scaler.lifecycle import Phase
from worktree_scaler.ownership import Ownership
from worktree_scaler.processes import Launch, ProcessBackend, Sign, marked_processes
from worktree_scaler.reconcile import Found, Known

WAITS = "import time\nprint('here', flush=True)\ntime.sleep(600)"
IGNORES = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('here', flush=True)\ntime.sleep(600)"
)
HAS_CHILD = (
    "import subprocess, sys, time\n"
    f"subprocess.Popen([sys.executable, '-c', {WAITS!r}], start_new_session=True)\ntime.sleep(600)"
)
SPEAKS = "print('x' * 5000, flush=True)"


class Yard:
    """A back end, its programs and its logs."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.ended = asyncio.Event()
        self.mark = str(tmp_path)
        self.backend = self.again()

    def again(self) -> ProcessBackend:
        return ProcessBackend(self.mark, self.tmp_path / "logs", 1_000, self.ended)

    def launch(self, program: str = WAITS, worktree_id: str = "w1") -> Launch:
        return Launch(worktree_id, (sys.executable, "-c", program), self.tmp_path, dict(os.environ))

    async def start(self, program: str = WAITS, worktree_id: str = "w1") -> Found:
        """Start a program and wait until it has said something: a process is not to be looked at while it becomes
        itself (right after exec its environment still reads as empty).
        """
        self.backend.log_path(worktree_id).unlink(missing_ok=True)
        found = await self.backend.start(self.launch(program, worktree_id))
        await self.until_it_speaks(worktree_id)
        return found

    async def until_gone(self, worktree_id: str = "w1") -> int | None:
        """Wait until a worktree's process has ended; its exit code."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while worktree_id not in (gone := self.backend.exited([worktree_id])):
                await asyncio.sleep(0.01)
        return gone[worktree_id]

    async def until_it_speaks(self, worktree_id: str = "w1") -> None:
        log = self.backend.log_path(worktree_id)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not log.read_text():
                await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    yard = Yard(tmp_path)
    yield yard
    for process in marked_processes(yard.mark):
        psutil.Process(process.pid).kill()
    await yard.until_gone()
    await yard.backend.close()


async def test_an_unknown_worktree_is_gone_and_cannot_be_told_anything(yard: Yard) -> None:
    assert yard.backend.exited(["unknown"]) == {"unknown": None}
    for sign in Sign:
        assert not await yard.backend.signal("unknown", sign)


async def test_recovering_from_nothing_finds_nothing(yard: Yard) -> None:
    adoption = await yard.backend.recover([Known("w1", Phase.READY, 1, 1.0)])

    assert (adoption.adopted, adoption.surplus) == ({}, ())


# --- processes ----------------------------------------------------------------------------------------------


async def test_a_started_process_runs_marked_until_it_is_told_to_end(yard: Yard) -> None:
    found = await yard.start()

    assert marked_processes(yard.mark) == [found]
    assert yard.backend.exited(["w1"]) == {}
    assert os.getsid(found.pid) == found.pid, "in a session of its own: a terminal's Ctrl-C does not reach it"
    assert await yard.backend.signal("w1", Sign.DRAIN)
    assert await yard.until_gone() == -15
    assert yard.ended.is_set()


async def test_a_process_that_ignores_being_terminated_is_killed(yard: Yard) -> None:
    await yard.start(IGNORES)
    await yard.backend.signal("w1", Sign.STOP)
    assert yard.backend.exited(["w1"]) == {}
    await yard.backend.signal("w1", Sign.KILL)

    assert await yard.until_gone() == -9


async def test_children_end_with_their_process(yard: Yard) -> None:
    found = await yard.start(HAS_CHILD)
    (child,) = psutil.Process(found.pid).children()
    os.kill(found.pid, 9)
    await yard.until_gone()
    psutil.wait_procs([child], timeout=DEADLINE_SECONDS)

    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


async def test_starting_again_leaves_only_one_process_in_a_worktree(yard: Yard) -> None:
    """A scaler that had lost sight of the first one starts a second: the first is ended before."""
    marks = {"THYMOS_WORKTREE": "w1", "THYMOS_SCALER": yard.mark}
    first = await asyncio.create_subprocess_exec(sys.executable, "-c", WAITS, env={**os.environ, **marks})
    second = await yard.start()

    assert await first.wait() == -9
    assert marked_processes(yard.mark) == [second]


@pytest.mark.parametrize("noted", [True, False])
async def test_a_new_back_end_takes_over_what_runs(yard: Yard, noted: bool) -> None:
    found = await yard.start()
    stray = await yard.start(worktree_id="nobody's")
    heir = yard.again()
    known: Sequence[Known] = [
        Known("w1", Phase.STARTING, found.pid if noted else None, found.created_at if noted else None)
    ]
    adoption = await heir.recover(known)

    assert (adoption.adopted, adoption.surplus) == ({"w1": found}, (stray,))
    assert heir.exited(["w1"]) == {}
    assert await heir.signal("w1", Sign.DRAIN)
    await yard.until_gone("w1")
    assert heir.exited(["w1"]) == {"w1": None}


async def test_a_log_that_grows_too_large_is_moved_aside(yard: Yard) -> None:
    await yard.start(SPEAKS)
    assert await yard.until_gone() == 0
    yard.backend.trim_logs()
    log = yard.backend.log_path("w1")

    assert log.stat().st_size == 0
    assert log.with_suffix(".log.1").stat().st_size == 1_000


# --- one scaler per folder ----------------------------------------------------------------------------------


async def test_a_second_scaler_waits_until_the_first_is_gone(tmp_path: Path) -> None:
    first, second = Ownership(tmp_path / "lock"), Ownership(tmp_path / "lock")
    assert first.try_acquire()
    assert not second.try_acquire()
    waiting = asyncio.create_task(second.acquire())
    first.release()

    await asyncio.wait_for(waiting, DEADLINE_SECONDS)
    assert not first.try_acquire()
    second.release()
