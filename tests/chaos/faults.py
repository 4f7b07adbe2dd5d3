"""Faults: which, when and to whom follows from a seed; and the hand that does them to a running suite."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import psutil

from thymos.suite import MODULES, NATS, Suite

from .load import PARTS

AGENT = "agent"
SERVICES = tuple(MODULES)
TARGETS = (*SERVICES, NATS, AGENT)
EVERY_SECONDS = 2.5
"""The mean time between two faults."""
LASTS_SECONDS = (0.3, 4.0)
LOOK_SECONDS = 0.02
GONE_SECONDS = 30.0
"""How long a process may take to end."""
MARK, URL = "THYMOS_WORKTREE", "THYMOS_NATS_URL"


class Action(StrEnum):
    """What is done to a process: killed (-9), told to end (SIGTERM), paused for a while, kept away for a while."""

    KILL = "kill -9"
    STOP = "stop"
    PAUSE = "pause"
    AWAY = "away"


@dataclass(frozen=True)
class Fault:
    """One fault, `at` seconds after the load began, or after it came to a `part` of the story; `lasts` is for a pause
    or an absence, in seconds. `pick` says which of the agent processes there are at that moment."""

    at: float
    action: Action
    target: str
    lasts: float = 0.0
    pick: int = 0
    part: str = ""


@dataclass
class Done:
    """A fault that was done: when it really was, to which process, during which part of the load, and when it was
    over."""

    fault: Fault
    at: float
    stage: str
    pid: int | None
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: datetime | None = None

    @property
    def part(self) -> str:
        """The part of the story."""
        return self.stage.split(" ", 1)[-1]

    @property
    def hit(self) -> bool:
        """Whether there was a process to do it to."""
        return self.pid is not None

    @property
    def process(self) -> str:
        """The process it was done to, in words."""
        return f"pid {self.pid}" if self.hit else "was not running"

    def line(self) -> str:
        """For a person."""
        lasting = f" for {self.fault.lasts:.1f} s" if self.fault.lasts else ""
        return (
            f"{self.at:6.1f} s  {self.fault.action.value}{lasting} {self.fault.target} ({self.process}): {self.stage}"
        )


def plan(seed: int, seconds: float, targets: Sequence[str] = TARGETS) -> list[Fault]:
    """Faults at random moments of the time given: every target, and every action, has its turn before any repeats."""
    chance = random.Random(seed)
    faults: list[Fault] = []
    waiting: list[tuple[str, Action]] = []
    at = chance.expovariate(1 / EVERY_SECONDS)
    while at < seconds:
        if not waiting:
            waiting = [(target, action) for target in targets for action in Action if _is_possible(target, action)]
            chance.shuffle(waiting)
        target, action = waiting.pop()
        lasts = chance.uniform(*LASTS_SECONDS) if action in (Action.PAUSE, Action.AWAY) else 0.0
        faults.append(Fault(round(at, 2), action, target, round(lasts, 2), chance.randrange(1_000)))
        at += chance.expovariate(1 / EVERY_SECONDS)
    return faults


def _is_possible(target: str, action: Action) -> bool:
    """An agent's process is kept away by nobody: who starts it again is worktree-scaler."""
    return not (target == AGENT and action is Action.AWAY)


class Hand:
    """Does faults to a running suite. `stage` tells what the load is doing."""

    def __init__(self, suite: Suite, stage: Callable[[], str], began: float, tell: Callable[[str], None]) -> None:
        self._suite = suite
        self._stage = stage
        self._began = began
        self._tell = tell
        self._paused: set[int] = set()
        self._parts: dict[str, float] = {}
        self.done: list[Done] = []

    async def do_all(self, faults: Sequence[Fault]) -> None:
        """Each at its moment, though others may last still; returns when the last is over."""
        try:
            async with asyncio.TaskGroup() as group:
                for fault in faults:
                    await self._moment(fault)
                    group.create_task(self.do(fault))
        finally:
            self.release()

    async def _moment(self, fault: Fault) -> None:
        """Wait until it is time for a fault."""
        began = self._began
        if fault.part:
            while not _reached(fault.part, self._stage()):
                await asyncio.sleep(LOOK_SECONDS)
            began = self._parts.setdefault(fault.part, time.monotonic())
        await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))

    async def do(self, fault: Fault) -> None:
        """One fault, from now until it is over. None when there is no such process at this moment: that is said,
        too."""
        pid = self._pid(fault)
        done = self.note(fault, pid)
        try:
            await self._do(fault, pid)
        finally:
            done.ended = datetime.now(UTC)

    async def _do(self, fault: Fault, pid: int | None) -> None:
        if fault.action is Action.AWAY:
            await self._keep_away(fault)
        elif pid is None:
            return
        elif fault.action is Action.PAUSE:
            await self._pause(pid, fault.lasts)
        else:
            self.forget_deaths()
            _signal(pid, signal.SIGKILL if fault.action is Action.KILL else signal.SIGTERM)
            await _gone(pid)

    def note(self, fault: Fault, pid: int | None) -> Done:
        """Write down a fault that is done now; whoever does it says when it is over."""
        done = Done(fault, round(time.monotonic() - self._began, 1), self._stage(), pid)
        self.done.append(done)
        self._tell(done.line())
        return done

    def release(self) -> None:
        """Let everything that is paused go on."""
        for pid in tuple(self._paused):
            _signal(pid, signal.SIGCONT)
            self._paused.discard(pid)

    def _pid(self, fault: Fault) -> int | None:
        if fault.target == AGENT:
            agents = agent_pids(self._suite.url)
            return agents[fault.pick % len(agents)] if agents else None
        if fault.target == NATS:
            server = self._suite.server
            return server.pid if server is not None and server.running else None
        return self._suite.services[fault.target].pid

    async def _pause(self, pid: int, seconds: float) -> None:
        self._paused.add(pid)
        _signal(pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        _signal(pid, signal.SIGCONT)
        self._paused.discard(pid)

    async def _keep_away(self, fault: Fault) -> None:
        """NATS is started again by its watch at once, so that it is killed until the time is over."""
        if fault.target == NATS:
            end = time.monotonic() + fault.lasts
            while time.monotonic() < end:
                if (pid := self._pid(fault)) is not None:
                    _signal(pid, signal.SIGKILL)
                await asyncio.sleep(0.1)
            return
        child = self._suite.services[fault.target]
        stopping = asyncio.create_task(child.stop())
        try:
            await asyncio.shield(stopping)
            await asyncio.sleep(fault.lasts)
        finally:
            await stopping  # two processes must not work on one file
            child.start()

    def forget_deaths(self) -> None:
        """Let each service be started again at once: the backoff of what dies again and again is not tested."""
        for child in self._suite.services.values():
            child.deaths = 0


def agent_pids(url: str) -> list[int]:
    """The agent processes that work for the suite at `url`, in the order of their worktrees."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environment = process.environ()
            if MARK in environment and environment.get(URL) == url and process.status() != psutil.STATUS_ZOMBIE:
                found.append((environment[MARK], process.pid))
    return [pid for _, pid in sorted(found)]


def workers_of(url: str) -> list[psutil.Process]:
    """All processes that were told of the server at `url`: services and agents."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(URL) == url and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def servers_in(folder: Path) -> list[psutil.Process]:
    """NATS servers that keep what they store below a folder: their configuration lies there."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            words = process.cmdline()
            if "-c" in words[:-1] and folder.absolute() in Path(words[words.index("-c") + 1]).parents:
                found.append(process)
    return found


def _reached(part: str, stage: str) -> bool:
    """Whether the story is at a part, or past it. `stage` is the agent and what the load is doing for it."""
    now = stage.split(" ", 1)[-1]
    return now in PARTS and PARTS.index(now) >= PARTS.index(part)


async def _gone(pid: int) -> None:
    """Wait until a process is gone, which may do its work meanwhile. Not for ever: whether all end is seen later."""
    end = time.monotonic() + GONE_SECONDS
    while time.monotonic() < end and _is_there(pid):
        await asyncio.sleep(LOOK_SECONDS)


def _is_there(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
