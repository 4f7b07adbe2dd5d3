"""One run: a suite, its load, the faults, the silence afterwards, and the checks."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from thymos import config, nats_bus
from thymos.background import running
from thymos.client import Client
from thymos.demo.dataset import load_dataset
from thymos.nats_bus import NatsBus
from thymos.suite import Suite

from .aftermath import Aftermath, Disturbance, gather, gather_afterwards, quiet
from .checks import Finding, check_all
from .checks.counting import late_outcomes
from .faults import Done, Hand
from .ledger import Ledger, LedgerBus
from .load import Load, Told, agent_names, configuration
from .replay import differences
from .sent import note_what_is_sent
from .witness import Witness

Faults = Callable[["Stage", Hand], Awaitable[None]]
"""What goes wrong during a run; returns when it is over, or is cancelled when the load is."""


@dataclass
class Stage:
    """A running suite with its load."""

    suite: Suite
    bus: NatsBus
    load: Load
    agents: list[str]
    began: float
    ledger: Ledger
    witness: Witness
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by faults that the load goes on for."""

    @property
    def part(self) -> str:
        """The part of the story that the load is in."""
        return self.load.told.stage.split(" ", 1)[-1]

    def has_lasted(self, seconds: float) -> bool:
        """Whether the load has gone on for so long."""
        return time.monotonic() - self.began >= seconds


@dataclass
class Result:
    """What a run did and what it came to."""

    seed: int
    findings: list[Finding]
    timeline: list[Done]
    counts: dict[str, int]
    stages: list[str]
    missed: list[str]
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def broken(self) -> list[Finding]:
        """The invariants that do not hold; that the story happened is one of them."""
        return [finding for finding in self.findings if not finding.held]


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[NatsBus]:
    bus = await nats_bus.connect(url, "chaos")
    try:
        yield bus
    finally:
        await bus.close()


@asynccontextmanager
async def _keeping(ledger: Ledger, url: str) -> AsyncIterator[LedgerBus]:
    async with _connected(url) as bus:
        keeping = LedgerBus(bus.client, url, ledger)
        try:
            yield keeping
        finally:
            await keeping.close()


async def run(
    data_dir: Path,
    seed: int,
    agents: int,
    faults: Faults,
    until: Callable[["Stage"], Awaitable[None]],
    tell: Callable[[str], None],
    cluster_url: str | None = None,
) -> Result:
    """Run `until` (the load) and `faults` side by side on a suite in `data_dir`; then look at everything. With
    `cluster_url` the streams lie on three servers that run there already.

    Raises ThymosError when the suite cannot be started.
    """
    names = agent_names(agents)
    dataset, ledger, witness, told = load_dataset(), Ledger(), Witness(), Told()
    aftermath = Aftermath(names, ledger.entries, witness.seen, told)
    config_path = configuration(data_dir, dataset, names, replicas=3 if cluster_url else 1)
    versioning = config.load(config_path, {}).supervisor.versioning
    aftermath.worktrees_min = versioning.worktree_scaling.min_worktrees
    note_what_is_sent(data_dir)
    began = time.monotonic()
    async with Suite(data_dir, cluster_url, config_path=config_path, tell=lambda _: None) as suite:
        await suite.ready()
        url = suite.url
        async with (
            _connected(url) as bus,
            _connected(url) as watching,
            _keeping(ledger, url) as publishing,
            running(witness.watch(watching)),
        ):
            client = Client(publishing, source="customers")
            load = Load(client, witness, dataset, seed, told)
            stage = Stage(suite, bus, load, names, time.monotonic(), ledger, witness)
            hand = Hand(suite, lambda: told.stage, stage.began, tell)
            await _side_by_side(until(stage), faults(stage, hand), hand)
            tell("the faults are over; waiting until everything is quiet")
            told.stage = "quiet"
            hand.forget_deaths()
            await suite.ready()
            aftermath.restless = await quiet(bus, witness, names, aftermath.worktrees_min)
            await gather(bus, aftermath, suite.data_dir, url)
            aftermath.replay = await differences(bus)
    gather_afterwards(aftermath, suite.data_dir, url)
    aftermath.disturbances = [
        Disturbance(done.fault.target, done.began, done.ended or done.began) for done in hand.done if done.hit
    ]
    return Result(
        seed, check_all(aftermath), hand.done, _counts(aftermath, ledger), told.stages, told.missed,
        round(time.monotonic() - began, 1),
    )  # fmt: skip


async def _side_by_side(load: Awaitable[None], faults: Awaitable[None], hand: Hand) -> None:
    """Both to the load's end; faults that last longer are ended with it."""
    failing = asyncio.ensure_future(faults)
    try:
        await load
    finally:
        failing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await failing
        hand.release()


def _counts(aftermath: Aftermath, ledger: Ledger) -> dict[str, int]:
    ids = [record.message_id for record in (*aftermath.telemetry, *aftermath.events, *aftermath.metrics)]
    kept = {record.message_id for record in aftermath.telemetry}
    lost = [e for e in ledger.entries if e.subject.startswith("thymos.telemetry.") and e.message_id not in kept]
    return {
        "messages acknowledged to the load": len(ledger.entries),
        "attempts that failed and were made again": ledger.retried,
        "attempts that the server knew already": ledger.duplicates,
        "telemetry": len(aftermath.telemetry),
        "events": len(aftermath.events),
        "metrics messages": len(aftermath.metrics),
        "doubled in the log": len(ids) - len(set(ids)),
        "lost": len(lost),
        "outcomes counted late (redelivered)": len(late_outcomes(aftermath)),
        "experiments": len(_named(aftermath, "experiment.closed")),
        "merges": len(_named(aftermath, "branch.merged")),
        "rollbacks": len(_named(aftermath, "branch.rolled_back")),
    }


def _named(aftermath: Aftermath, name: str) -> Sequence[object]:
    return [r for r in aftermath.events if r.envelope is not None and name == r.envelope.data.NAME]
