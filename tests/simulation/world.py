"""One run: a seed becomes services, agents, people and faults; what must always hold is checked on the way."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import tempfile
import traceback
from collections import Counter, deque
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import IO, Any

from decision_engine.agent_state import AgentState
from thymos import subjects
from thymos.audit import verify_log
from thymos.bus import Stored
from thymos.client import Client
from thymos.database import Connection as Database

from . import invariants, virtual_time
from .agents import Machine, Reporting
from .contents import Contents
from .dataset import write_scenario
from .experiment_states import watched_moves
from .faults import Faults, Rates, points_of
from .invariants import Monitor, Violation, require
from .ledger import Ledger
from .people import Customers, Operator, Stranger
from .recorder import Steps
from .services import WORKTREES_MAX, Suite
from .simulated_bus import Connection, Server
from .virtual_time import Owner

TENANTS = ("default", "acme")
AGENTS = ("support", "billing")
HOME = "default"
"""The tenant whose agents worktree-scaler starts."""
QUIET_SECONDS_MAX = 900.0
"""Virtual seconds within which everything is settled once faults have stopped."""
LAST_LINES = 30


@dataclass(frozen=True)
class Scale:
    """How long a run is, in virtual seconds, and how much goes on in it."""

    traffic_seconds: float = 95.0
    drift_at: float = 45.0
    damage_at: float = 75.0
    pause: float = 0.28
    crash_every: float = 2.0
    trouble_every: float = 8.0
    faults: bool = True
    tenants: tuple[str, ...] = TENANTS
    agents: tuple[str, ...] = AGENTS
    notes: int = 4
    """Small commits to each agent's memory."""
    rates: Rates | None = None
    """Of the faults that have a chance per occasion; drawn from the seed unless given."""


@dataclass
class Report:
    """What a run came to. `problem` is None when everything held; `trace` names the whole course of it."""

    seed: int
    trace: str
    problem: str | None
    counts: Counter[str]
    virtual_seconds: float
    last_lines: tuple[str, ...] = ()
    steps: Steps = field(default_factory=Steps)


class World:
    """One run; see the module."""

    def __init__(self, seed: int, folder: Path, scale: Scale, steps: Steps, trace: IO[str] | None) -> None:
        self.scale = scale
        self.random = Random(seed)
        self._hash = hashlib.sha256()
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.steps = steps
        self._trace = trace
        self.seconds = 0.0
        self.ledger = Ledger()
        self.monitor = Monitor(self.ledger.sent)
        drawn = Rates.drawn(self.random)
        self.faults = Faults(Random(self.random.random()), scale.rates or drawn)
        self.problems: list[str] = []
        self.contents: dict[invariants.Agent, Contents] = {}
        self._commits_seen = 0
        self.server = Server(self.faults, self._stored, self.note)
        self.answers: dict[str, str] = {}
        write_scenario(folder / "scenario.jsonl", self.random)
        self.machine = Machine(self.server, self.faults, Random(self.random.random()), self.answers)
        self.suite = Suite(folder, self.server, self.faults, self.machine, self._committed, self.ledger)
        self._drift_at: dict[tuple[str, str], float] = {}
        self._operators: list[Operator] = []
        self._failed = asyncio.Event()

    # --- what is noted ----------------------------------------------------------------------------------------------

    def note(self, line: str) -> None:
        """A line of the trace."""
        line = f"{asyncio.get_running_loop().time():.6f} {line}"
        self._hash.update(line.encode())
        self.last_lines.append(line)
        if self._trace is not None:
            self._trace.write(line + "\n")

    def _stored(self, stream: str, message: Stored) -> None:
        self.note(hashlib.sha256(message.body).hexdigest()[:12])
        try:
            self.ledger.stored(message.headers["Nats-Msg-Id"])
            self.monitor.stored(stream, message)
        except Violation as violation:
            self.problems.append(f"{violation}")
            self._failed.set()

    def _committed(self, service: str, kind: str, well: bool) -> None:
        self.note(f"{service} {kind} {'well' if well else 'failed'}")
        self.ledger.settle(well)
        reached = self.steps.settle(well) if service == subjects.DECISION_ENGINE else []
        found = [*self.ledger.problems, *self.steps.problems]
        if well and kind != "other":
            found += self._wrong_in(self.suite.threads[service].connection, service, reached)
        if found:
            self.problems += found
            self._failed.set()

    def _wrong_in(self, connection: Database, service: str, reached: Iterable[AgentState]) -> Iterator[str]:
        """What does not hold in a service's file after a commit."""
        yield from invariants.nothing_sent_is_lost(connection, service, self.ledger.waiting[service])
        for state in reached:
            yield from invariants.state_is_stored(connection, state)
        if service == subjects.MEMORY_REPOSITORY:
            yield from invariants.contents_are_right(self.contents, connection, self._commits_seen)
            self._commits_seen = connection.execute("SELECT coalesce(max(commit_no), 0) FROM commits").fetchone()[0]
        if service == subjects.WORKTREE_SCALER:
            yield from invariants.worktrees_are_bounded(connection, WORKTREES_MAX)

    # --- the run ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """All of it. Raises Violation."""
        for name in subjects.SERVICES:
            if self.scale.faults:
                self.suite.skews[name] = timedelta(seconds=self.random.choice((0.0, 0.0, -0.8, 0.8, 3.0, -3.0)))
            self.suite.start(name)
        self.faults.on = self.scale.faults
        life = asyncio.create_task(self._life())
        trouble = asyncio.create_task(self._trouble()) if self.scale.faults else None
        failed = asyncio.create_task(self._failed.wait())
        watched = {life, failed} if trouble is None else {life, failed, trouble}
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        failed.cancel()
        if trouble is not None:
            if trouble.done():
                await trouble  # it never ends by itself: say why it did
            trouble.cancel()
        if not life.done():
            life.cancel()
            raise Violation(self.problems[0])
        await life
        self._heal()
        await self._settle()
        self._check_end()
        await self._verify_log()

    async def _life(self) -> None:
        """Traffic, drift, a bad commit, commands, hostile messages."""
        seconds, pause = self.scale.traffic_seconds, self.scale.pause
        async with asyncio.TaskGroup() as group:
            for tenant in self.scale.tenants:
                operator = Operator(self._client(tenant, "operator"), self._rng(), self.monitor)
                self._operators.append(operator)
                for agent in self.scale.agents:
                    self._drift_at[tenant, agent] = self.scale.drift_at + 8 * self.random.random()
                    group.create_task(self._agents_life(operator, tenant, agent, seconds, pause))

    async def _agents_life(self, operator: Operator, tenant: str, agent: str, seconds: float, pause: float) -> None:
        drifted = self._drifted(tenant, agent)
        await operator.seed_memory(agent)
        await asyncio.sleep(1.0 + self.random.random())
        busy = agent == AGENTS[0]
        live: Coroutine[Any, Any, None]
        if tenant == HOME:
            customers = Customers(self._client(tenant, f"customers-{agent}"), agent, self._rng(), drifted, self.answers)
            live = customers.run(seconds, pause if busy else 2 * pause)
        else:
            reporting = Reporting(self._client(tenant, f"{agent}-1"), agent, self._rng(), drifted)
            live = reporting.run(seconds, 2 * pause)
        async with asyncio.TaskGroup() as group:
            group.create_task(live)
            if busy:
                group.create_task(self._damage(operator, agent))
            group.create_task(operator.commit_notes(agent, self.scale.notes, seconds / 6))
            group.create_task(operator.meddle(agent, seconds))
            group.create_task(Stranger(self._client(tenant, "stranger"), self._rng(), self.monitor).run(agent, 8.0))

    async def _damage(self, operator: Operator, agent: str) -> None:
        await asyncio.sleep(self.scale.damage_at + 8 * self.random.random())
        await operator.break_main(agent)

    def _drifted(self, tenant: str, agent: str) -> Any:
        loop = asyncio.get_running_loop()
        return lambda: loop.time() >= self._drift_at[tenant, agent]

    def _rng(self) -> Random:
        return Random(self.random.random())

    def _client(self, tenant: str, source: str) -> Client:
        skew = timedelta(seconds=self.random.choice((0.0, 0.0, 0.5, -0.5, 2.0))) if self.scale.faults else timedelta(0)
        owner = Owner(f"{source} of {tenant}", skew)
        return Client(Connection(self.server, owner), tenant, source)

    # --- trouble ----------------------------------------------------------------------------------------------------

    async def _trouble(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._crashes())
            group.create_task(self._crashes())
            group.create_task(self._outages())

    async def _crashes(self) -> None:
        while True:
            await asyncio.sleep(2 * self.scale.crash_every * self.random.random())
            name = self.random.choice(subjects.SERVICES)
            point = self.random.choice(points_of(name))
            if self.suite.owners[name].dead or name in self.faults.armed:
                continue
            self.faults.arm(name, point, self.random.randrange(2, 6) if point == "relay half way" else 1)
            self.note(f"arm {name} {point}")
            for _ in range(40):
                await asyncio.sleep(0.1)
                if self.suite.owners[name].dead:
                    break
            self.faults.armed.pop(name, None)
            if self.suite.owners[name].dead:
                self.note(f"crashed {name} {point}")
                await asyncio.sleep(self.random.choice((0.1, 0.5, 2.0, 8.0)) * (0.5 + self.random.random()))
                self.suite.start(name)

    async def _outages(self) -> None:
        happenings = (self._pause, self._bus_away, self._full_disk, self._kill_agent, self._forget, self._set_clock)
        while True:
            await asyncio.sleep(2 * self.scale.trouble_every * self.random.random())
            await self.random.choice(happenings)()

    async def _pause(self) -> None:
        name = self.random.choice(subjects.SERVICES)
        owner, seconds = self.suite.owners[name], self.random.choice((1.0, 6.0, 20.0))
        if owner.dead:
            return
        self._count(f"pause of {name}")
        owner.resumed.clear()
        await asyncio.sleep(seconds)
        owner.resumed.set()

    async def _bus_away(self) -> None:
        self._count("bus away")
        self.server.stop()
        await asyncio.sleep(self.random.choice((0.5, 3.0, 12.0)))
        if self.random.random() < 0.5:
            self.server.forget_acknowledgements()
        self.server.start()

    async def _forget(self) -> None:
        """A server that is killed and back at once: what is in flight comes again, the last acknowledgements too."""
        self._count("bus killed")
        self.server.forget_acknowledgements()
        self.server.start()

    async def _full_disk(self) -> None:
        name = self.random.choice(subjects.SERVICES)
        if self.suite.owners[name].dead:
            return
        self._count(f"full disk of {name}")
        self.suite.threads[name].fill_disk(self.random.randrange(3))
        await asyncio.sleep(self.random.choice((2.0, 10.0, 40.0)))
        self._free_disks()

    async def _set_clock(self) -> None:
        """A clock that is set, forwards or back."""
        name = self.random.choice(subjects.SERVICES)
        self._count("clock steps")
        self.suite.skews[name] = timedelta(seconds=self.random.uniform(-3.0, 3.0))
        self.suite.owners[name].set_clock(self.suite.skews[name])

    def _free_disks(self) -> None:
        for name, thread in self.suite.threads.items():
            if not self.suite.owners[name].dead:
                thread.free_disk()

    async def _kill_agent(self) -> None:
        alive = [one for one in self.machine.processes.values() if not one.owner.dead]
        if alive:
            self._count("agent killed")
            self.random.choice(alive).end(-9)

    def _count(self, what: str) -> None:
        self.faults.counts[what] += 1
        self.note(what)

    def _heal(self) -> None:
        """From here on nothing goes wrong any more."""
        self.note("healed")
        self.faults.on = False
        self.faults.armed.clear()
        self.server.start()
        self._free_disks()
        for name, owner in list(self.suite.owners.items()):
            owner.resumed.set()
            if owner.dead:
                self.suite.start(name)

    # --- the end ----------------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Wait until nothing is left to do, a bounded virtual time."""
        loop, asked = asyncio.get_running_loop(), set[str]()
        until, quiet = loop.time() + QUIET_SECONDS_MAX, 0
        while quiet < 3:
            await asyncio.sleep(5.0)
            for operator in self._operators:
                await operator.approve(asked)
            quiet = quiet + 1 if not list(self._unfinished()) else 0
            if self.problems:
                raise Violation(self.problems[0])
            if loop.time() > until:
                raise Violation("not settled: " + "; ".join(self._unfinished()))

    def _unfinished(self) -> Iterator[str]:
        yield from (f"experiment {key} is open" for key in sorted(self.monitor.open_experiments))
        for consumer in subjects.CONSUMERS:
            durable = self.server._durables[consumer.stream.name, consumer.durable]
            if (
                durable.in_flight
                or durable.again_at
                or durable.next_sequence <= self.server._logs[consumer.stream.name].last
            ):
                yield f"{consumer.durable} has more to read of {consumer.stream.name}"
        for name, thread in self.suite.threads.items():
            yield from invariants.boxes_are_consistent(thread.connection, name)
        yield from invariants.nothing_left_of_experiments(self.suite.threads[subjects.WORKTREE_SCALER].connection)

    def _check_end(self) -> None:
        threads, monitor = self.suite.threads, self.monitor
        memory = threads[subjects.MEMORY_REPOSITORY].connection
        notes = {key: known for operator in self._operators for key, known in operator.notes.items()}
        letters = self.server.history[subjects.DEAD_LETTERS.name]
        self.problems += [
            *(f"a service ended: {failure!r}" for failure in self.suite.failures),
            *invariants.acknowledged_once(monitor, self.server.acknowledged),
            *invariants.outcomes_counted(monitor),
            *invariants.commands_answered(monitor),
            *invariants.memory_is_whole(memory, monitor),
            *invariants.merges_without_commit_held_all(self.contents, monitor),
            *invariants.commits_kept(memory, notes),
            *invariants.only_the_hostile_are_dead(monitor, letters),
            *invariants.folded_state_is_stored(threads[subjects.DECISION_ENGINE].connection, self.steps.folded()),
            *invariants.everything_handled(self.ledger, self.monitor, self.server.history),
            *invariants.everything_sent(self.ledger, self.monitor),
            *self._agents_left(),
        ]
        if self.problems:
            raise Violation("\n".join(self.problems[:10]))

    async def _verify_log(self) -> None:
        """Every decision is computed again, and the seals hold."""
        report = await verify_log(self.server)
        self.monitor.counts["decisions computed again"] += report.decisions
        self.monitor.counts["seals that hold"] += report.seals
        for words, count in report.not_recomputed.items():
            self.monitor.counts[f"not computed again: {words}"] += count
        require(report.identical, "\n".join(report.problems[:10]))
        require(report.checked > 0 and report.decisions > 0, "no event is sealed, or no decision computed again")

    def _agents_left(self) -> Iterator[str]:
        known = {
            row[0]
            for row in self.suite.threads[subjects.WORKTREE_SCALER].connection.execute(
                "SELECT worktree_id FROM worktrees WHERE phase IN ('starting', 'ready')"
            )
        }
        for process in self.machine.processes.values():
            if not process.owner.dead and process.found.worktree_id not in known:
                yield f"process {process.found} is left"

    def end(self) -> None:
        """Stop everything."""
        self.seconds = asyncio.get_running_loop().time()
        for owner in [*self.suite.owners.values(), *(process.owner for process in self.machine.processes.values())]:
            owner.kill()

    def trace(self) -> str:
        """One name for everything that happened, in its order."""
        return self._hash.hexdigest()[:16]

    def counts(self) -> Counter[str]:
        """What was exercised."""
        stored = {f"stored in {name}": len(all_of) for name, all_of in self.server.history.items()}
        return Counter(
            {
                **self.monitor.counts,
                **self.faults.counts,
                **stored,
                "outcomes": len(self.monitor.counted),
                "ids minted again": self.ledger.again,
                "merges and rollbacks computed again": sum(known.checked for known in self.contents.values()),
                "whole stories": self.monitor.whole_stories,
            }
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The services say in their logs what the faults do to them; nobody reads that."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def simulate(seed: int, scale: Scale | None = None, trace: IO[str] | None = None) -> Report:
    """Run one seed to its end; its whole course is written to `trace`, where given."""
    steps = Steps()
    worlds: list[World] = []

    async def main() -> str | None:
        world = World(seed, Path(folder), scale or Scale(), steps, trace)
        worlds.append(world)
        try:
            with world.ledger.minting():
                await world.run()
        except Violation as violation:
            return f"{violation}"
        except Exception:  # noqa: BLE001  (whatever ends a run belongs to its seed)
            return traceback.format_exc()
        finally:
            world.end()
        return None

    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        _quiet(),
        virtual_time.only_the_seed(Random(f"entropy {seed}")),
        steps.recording(),
        watched_moves(steps.problems),
    ):
        try:
            problem = virtual_time.run(main)
        except virtual_time.DeadlockError as error:
            problem = f"{error}"
    (world,) = worlds
    return Report(seed, world.trace(), problem, world.counts(), world.seconds, tuple(world.last_lines), steps)
