"""Three NATS servers, streams on all of them, and each killed (-9) in turn while the demo's load goes on.

While a server is away work must get on: messages are acknowledged, outcomes are counted, events happen. The first to
go is the one that leads the event stream. Each comes back, and catches up, before the next one goes.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from thymos.embedded import NatsCluster, NatsServer
from thymos.nats_bus import NatsBus
from thymos.subjects import EVENTS, METRICS
from thymos.suite import NATS

from .checks.finding import Finding, finding
from .faults import Action, Fault, Hand, servers_in
from .ledger import until_answered
from .run import Result, Stage, run

SERVERS = 3
SETTLED_SECONDS = 3.0
"""How long all are there before the next is killed."""
MEANWHILE = 60
"""Messages that the load must get acknowledged while a server is away."""
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Absence:
    """One server away: how long, in seconds, and what happened meanwhile."""

    server: int
    led: bool
    seconds: float
    acknowledged: int
    measured: int

    def line(self) -> str:
        """For a person."""
        who = f"server n{self.server}{', which led the event stream,' if self.led else ''}"
        return (
            f"{who} was away for {self.seconds:g} s: {self.acknowledged} messages were acknowledged, "
            f"{self.measured} metrics messages stored"
        )


async def in_turn(data_dir: Path, seed: int, rounds: int, tell: Callable[[str], None]) -> Result:
    """An agent's story, and questions after it, while each server is killed `rounds` times. Raises ThymosError when the
    cluster cannot be started."""
    cluster = NatsCluster(data_dir / "cluster", SERVERS)
    absences: list[Absence] = []

    async def kill(stage: Stage, hand: Hand) -> None:
        try:
            for _ in range(rounds):
                first = await leader(stage.bus)
                for number in (first, *(n for n in range(SERVERS) if n != first)):
                    await asyncio.sleep(SETTLED_SECONDS)
                    absences.append(await _away(cluster, number, stage, hand))
                    tell(absences[-1].line())
        finally:
            stage.over.set()

    async def story(stage: Stage) -> None:
        await stage.load.tell(stage.agents[0])
        while not stage.over.is_set():
            await stage.load.more(stage.agents[0])

    try:
        await asyncio.to_thread(cluster.start)
        result = await run(data_dir, seed, 1, kill, story, tell, cluster.url)
    finally:
        await asyncio.to_thread(cluster.stop)
    result.findings.append(_went_on(absences, rounds))
    left = [f"process {process.pid} is still running" for process in servers_in(data_dir)]
    result.findings.append(finding("no orphan server", SERVERS, left))
    result.notes += [absence.line() for absence in absences]
    return result


async def leader(bus: NatsBus) -> int:
    """Which server leads the event stream."""
    info = await bus.jetstream.stream_info(EVENTS.name)
    return int(str(info.cluster.leader if info.cluster else "n0").removeprefix("n"))


async def _away(cluster: NatsCluster, number: int, stage: Stage, hand: Hand) -> Absence:
    """Kill a server, let work go on without it, and bring it back."""
    led = await leader(stage.bus) == number
    server: NatsServer = cluster.servers[number]
    done = hand.note(Fault(0.0, Action.KILL, f"{NATS} server n{number}"), server.pid)
    measured = await until_answered(partial(stage.bus.last_sequence, METRICS))
    acknowledged, began = len(stage.ledger.entries), time.monotonic()
    server.kill9()
    while time.monotonic() - began < PATIENCE_SECONDS and len(stage.ledger.entries) < acknowledged + MEANWHILE:
        await asyncio.sleep(0.1)
    gone_on = len(stage.ledger.entries) - acknowledged
    measured = await until_answered(partial(stage.bus.last_sequence, METRICS)) - measured
    absence = Absence(number, led, round(time.monotonic() - began, 1), gone_on, measured)
    await asyncio.to_thread(server.start)
    await asyncio.to_thread(cluster.wait_until_current, number)
    done.ended = datetime.now(UTC)
    return absence


def _went_on(absences: list[Absence], rounds: int) -> Finding:
    problems = [absence.line() for absence in absences if absence.acknowledged < MEANWHILE or absence.measured < 1]
    if len(absences) != rounds * SERVERS:
        problems.append(f"{len(absences)} of {rounds * SERVERS} servers were killed")
    return Finding("work goes on with two of three servers", len(absences), tuple(problems))
