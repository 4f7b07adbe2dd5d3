"""The agents: processes in worktrees (the production worker on a simulated back end), and agents that report by
themselves. Whether an answer is right depends on what the branch of memory holds, and a little on chance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random

from thymos.client import Client
from thymos.errors import ThymosError, UnavailableError
from thymos.memory_client import MemoryClient
from thymos.reporting import Reporter
from thymos.telemetry import AgentHeartbeat, Outcome, TaskFinished
from thymos.worker import Worker, WorkerTask, Workplace
from worktree_scaler.processes import Launch, Sign
from worktree_scaler.reconcile import Adoption, Found, Known, adopt

from .dataset import question
from .faults import AFTER, BEFORE, Faults
from .simulated_bus import Connection, Server
from .virtual_time import EPOCH, Owner, now, running_owner

SEARCHES_MAX = 6
SLIPS = 0.02
TOLD_TWICE = 0.03
"""Of the outcomes, those that are reported again under another id."""
UNKNOWN = "I do not know."


@dataclass
class Machine:
    """What the processes of agents run on; it outlives the scaler. `answers` maps live questions to right answers."""

    server: Server
    faults: Faults
    random: Random
    answers: dict[str, str]
    processes: dict[int, Process] = field(default_factory=dict)
    last_pid: int = 1000
    started: list[tuple[str, str]] = field(default_factory=list)

    def backend(self, scaler_id: str, log_dir: Path, log_bytes_max: int, ended: asyncio.Event) -> Backend:
        """A scaler's view; a `BackendFactory`."""
        del log_dir, log_bytes_max
        return Backend(self, scaler_id, ended)

    def running(self, scaler_id: str, worktree_id: str | None = None) -> list[Process]:
        """The processes of a scaler, in one worktree or in any."""
        return [
            one
            for one in self.processes.values()
            if one.scaler_id == scaler_id and not one.owner.dead and worktree_id in (None, one.found.worktree_id)
        ]

    def skew(self) -> timedelta:
        """How wrong the clock of a new process is."""
        return timedelta(seconds=self.random.choice((0.0, 0.0, -0.4, 0.4, 1.5)))


class Process:
    """An agent process: the production worker."""

    def __init__(self, machine: Machine, launch: Launch, scaler_id: str) -> None:
        machine.last_pid += 1
        self.found = Found(machine.last_pid, (now() - EPOCH).total_seconds(), launch.worktree_id)
        self.scaler_id = scaler_id
        self.exit_code: int | None = None
        self.ended: Callable[[], None] = lambda: None
        self.owner = Owner(f"agent {launch.worktree_id}", machine.skew())
        self.stop = asyncio.Event()
        self._machine = machine
        self._seconds_to_start = 0.1 + machine.faults.seconds(2.0)
        machine.processes[machine.last_pid] = self
        self.owner.start(self._run(launch))

    async def _run(self, launch: Launch) -> None:
        given = launch.environment
        await asyncio.sleep(self._seconds_to_start)
        place = Workplace(
            "", given["THYMOS_TENANT"], given["THYMOS_AGENT"], given["THYMOS_BRANCH"], launch.worktree_id,
            int(given["THYMOS_CAPACITY"]),
        )  # fmt: skip
        client = Client(Connection(self._machine.server, self.owner), place.tenant, place.worktree_id)
        await Worker(client, place, self._answer).run(self.stop)
        self.end(0)

    async def _answer(self, task: WorkerTask) -> str:
        said = await answered(task.memory, str(task.input), self._machine.random)
        await asyncio.sleep(0.02 + 0.1 * self._machine.random.random())
        right = self._machine.answers.get(str(task.input))
        task.record(success=None if right is None else said == right)
        return said

    def end(self, exit_code: int) -> None:
        """The process ends; whoever watches it is told."""
        if self.owner.dead:
            return
        self.exit_code = exit_code
        self.owner.kill()
        self.ended()


async def answered(memory: MemoryClient, text: str, random: Random) -> str:
    """What memory says; patient with a memory that is away for a moment."""
    for _ in range(SEARCHES_MAX):
        try:
            hits = await memory.search(text, limit=3)
            break
        except ThymosError:
            await asyncio.sleep(1.0)
    else:
        raise UnavailableError("memory does not answer")
    if not hits or random.random() < SLIPS:
        return UNKNOWN
    return str(hits[0].fields.get("answer", hits[0].content))


class Backend:
    """See `worktree_scaler.processes.Backend`."""

    def __init__(self, machine: Machine, scaler_id: str, ended: asyncio.Event) -> None:
        self._machine = machine
        self._scaler_id = scaler_id
        self._ended = ended
        self._scaler = running_owner()
        self._running: dict[str, Process] = {}
        self._open = True

    def _told(self) -> None:
        if self._open:
            self._ended.set()

    async def start(self, launch: Launch) -> Found:
        await self._scaler.point(f"{BEFORE} start", self._machine.faults)
        if self._machine.faults.happens("start_fails"):
            raise FileNotFoundError("no such program, for once")
        for left in self._machine.running(self._scaler_id, launch.worktree_id):
            left.end(-9)
        process = Process(self._machine, launch, self._scaler_id)
        self._watch(process)
        await self._scaler.point(f"{AFTER} start", self._machine.faults)
        return process.found

    def _watch(self, process: Process) -> None:
        process.ended = self._told
        self._running[process.found.worktree_id] = process

    def exited(self, worktree_ids: Iterable[str]) -> Mapping[str, int | None]:
        gone: dict[str, int | None] = {}
        for worktree_id in worktree_ids:
            process = self._running.get(worktree_id)
            if process is None or process.owner.dead:
                gone[worktree_id] = None if process is None else process.exit_code
        return gone

    async def signal(self, worktree_id: str, sign: Sign) -> bool:
        await self._scaler.point(f"{BEFORE} signal", self._machine.faults)
        process = self._running.get(worktree_id)
        if process is None or process.owner.dead:
            return False
        if sign is Sign.DRAIN:
            process.stop.set()
        else:
            asyncio.get_running_loop().call_later(0.05, process.end, -9 if sign is Sign.KILL else -15)
        await self._scaler.point(f"{AFTER} signal", self._machine.faults)
        return True

    async def recover(self, known: Sequence[Known]) -> Adoption:
        here = {one.found: one for one in self._machine.running(self._scaler_id)}
        adoption = adopt(known, list(here))
        for surplus in adoption.surplus:
            here[surplus].end(-9)
        for found in adoption.adopted.values():
            self._watch(here[found])
        return adoption

    def trim_logs(self) -> None:
        """There are none."""

    async def close(self) -> None:
        self._open = False


@dataclass
class Reporting:
    """An agent that somebody else runs: it searches its memory, answers, and reports."""

    client: Client
    agent: str
    random: Random
    drifted: Callable[[], bool]
    asked: int = 0

    async def run(self, seconds: float, pause: float) -> None:
        """Answer customers for a time."""
        reporter = Reporter(self._bus)
        sending = asyncio.create_task(reporter.run())
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        beat_at = 0.0
        while loop.time() < until:
            if loop.time() >= beat_at:
                beat = AgentHeartbeat(in_flight=0, capacity=1)
                reporter.report(self.client.envelope(beat, self.agent))
                beat_at = loop.time() + 2.0
            await self._one(reporter)
            await asyncio.sleep(pause * (0.5 + self.random.random()))
        await reporter.flush(600.0)
        sending.cancel()

    async def _one(self, reporter: Reporter) -> None:
        text, right = question(self.random, self.drifted())
        self.asked += 1
        seen: list[tuple[str, Sequence[str]]] = []
        own = MemoryClient(self._connected, self.agent, seen=lambda *read: seen.append(read))
        try:
            outcome = Outcome.SUCCEEDED if await answered(own, text, self.random) == right else Outcome.FAILED
        except ThymosError:
            outcome = Outcome.ERRORED
        done = TaskFinished(
            task_id=f"{self.client.source}-{self.asked}", outcome=outcome, input=text, latency_ms=20.0,
            commit=seen[0][0] if seen else None, recalled_ids=list(seen[0][1]) if seen else [],
        )  # fmt: skip
        reporter.report(self.client.envelope(done, self.agent))
        if self.random.random() < TOLD_TWICE:
            reporter.report(self.client.envelope(done, self.agent))

    async def _bus(self) -> Connection:
        bus = self.client.bus
        assert isinstance(bus, Connection)
        return bus

    async def _connected(self) -> Client:
        return self.client
