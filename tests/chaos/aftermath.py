"""What a run left behind, gathered once everything is quiet: streams, memory, worktrees, files and processes."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from memory_repository.library import MemoryRepository
from memory_repository.settings import FILE_NAME
from thymos import requests, subjects
from thymos.bus import MESSAGE_ID_HEADER, Stored
from thymos.client import Client, decode_stored
from thymos.envelope import Envelope
from thymos.errors import Refusal
from thymos.events import ExperimentClosed
from thymos.memory_client import MemoryClient
from thymos.message import Message
from thymos.nats_bus import NatsBus
from thymos.subjects import CONSUMERS, DEAD_LETTERS, EVENTS, METRICS, TELEMETRY, Consumer

from .faults import processes_of
from .ledger import Entry
from .load import Told
from .witness import Seen, Witness, read_all

QUIET_SECONDS = 180.0
"""How long everything may take to come to rest once the faults are over."""
STILL_SECONDS = 2.0
RESTED_SECONDS = 1.0
LOOK_SECONDS = 0.25
LOG_MAX = 1_000
WORK_QUEUES = (subjects.COMMANDS, subjects.TASKS)


@dataclass(frozen=True)
class Record:
    """One message of a stream: where it stands, its id, and what it says (None where it cannot be read)."""

    sequence: int
    message_id: str
    subject: str
    envelope: Envelope[Message] | None


@dataclass
class AgentMemory:
    """One agent's memory: its branches, the commits of `main` (newest first), its open worktrees, what is wrong."""

    branches: list[str]
    log: list[requests.Commit]
    worktrees: dict[str, int]
    """How much is staged in each that is open."""
    problems: tuple[str, ...] = ()


@dataclass
class Aftermath:
    """Everything that the checks look at."""

    agents: Sequence[str]
    entries: list[Entry]
    seen: list[Seen]
    told: Told
    disturbed: set[str] = field(default_factory=set)
    """What faults were done to."""
    telemetry: list[Record] = field(default_factory=list)
    events: list[Record] = field(default_factory=list)
    metrics: list[Record] = field(default_factory=list)
    dead: list[Record] = field(default_factory=list)
    memory: dict[str, AgentMemory] = field(default_factory=dict)
    worktrees: list[requests.AgentWorktree] = field(default_factory=list)
    agent_processes: list[str] = field(default_factory=list)
    restless: list[str] = field(default_factory=list)
    outboxes: dict[str, int] = field(default_factory=dict)
    left_running: list[str] = field(default_factory=list)
    replay: list[str] | None = None
    """Differences that the replay found; None when it was not run."""


async def quiet(bus: NatsBus, witness: Witness) -> list[str]:
    """Wait until nothing is on its way any more; what was still moving at the end of the patience, in words."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + QUIET_SECONDS
    since, position = loop.time(), -1
    rested: dict[str, float] = {}
    while True:
        now = loop.time()
        behind = await _behind(bus)
        rested |= {consumer.durable + consumer.stream.name: now for consumer in CONSUMERS if consumer not in behind}
        # Heartbeats never end, and now and then one is just on its way: each durable must come to rest again and again.
        moving = [
            f"{consumer.durable} on {consumer.stream.name}: {lag} behind"
            for consumer, lag in behind.items()
            if now - rested.get(consumer.durable + consumer.stream.name, 0.0) > RESTED_SECONDS
        ]
        moving += [*await _held(bus), *_open_experiments(witness)]
        now_at = await bus.last_sequence(EVENTS)
        if moving or now_at != position:
            since, position = now, now_at
        elif now - since > STILL_SECONDS:
            return []
        if now > deadline:
            return moving or ["events keep coming"]
        await asyncio.sleep(LOOK_SECONDS)


async def _behind(bus: NatsBus) -> dict[Consumer, int]:
    """Durables with something to do, or in hand, and how much."""
    depths = {consumer: await bus.depth(consumer) for consumer in CONSUMERS}
    return {consumer: depth.lag if depth else -1 for consumer, depth in depths.items() if depth is None or depth.lag}


async def _held(bus: NatsBus) -> list[str]:
    """Work that is not done. Not the messages in the stream: a server that was killed between noting an acknowledgement
    and deleting the message may keep that message, though no consumer will be given it again (observed)."""
    consumers = [info for stream in WORK_QUEUES for info in await bus.jetstream.consumers_info(stream.name)]
    waiting = {f"{c.name} on {c.stream_name}": (c.num_pending or 0) + (c.num_ack_pending or 0) for c in consumers}
    return [f"{name}: {count} are not done" for name, count in waiting.items() if count]


def _open_experiments(witness: Witness) -> list[str]:
    closed = {e.experiment_id for e in witness.all(ExperimentClosed)}
    named = {getattr(seen.envelope.data, "experiment_id", None) for seen in witness.seen}
    return [f"experiment {each} is not closed" for each in sorted(filter(None, named - closed))]


async def gather(bus: NatsBus, aftermath: Aftermath, url: str) -> None:
    """What has to be asked while the suite runs."""
    aftermath.seen = list(aftermath.seen)  # what is seen from now on need not be in what is read now
    aftermath.telemetry = _records(await read_all(bus, TELEMETRY))
    aftermath.events = _records(await read_all(bus, EVENTS))
    aftermath.metrics = _records(await read_all(bus, METRICS))
    aftermath.dead = _records(await read_all(bus, DEAD_LETTERS))
    client = Client(bus, source="chaos")
    answer = await client.ask_as(
        requests.AgentWorktreesAnswer,
        subjects.WORKTREE_SCALER,
        subjects.WHOLE_SERVICE,
        "worktrees",
        requests.ListAgentWorktrees(),
    )
    aftermath.worktrees = answer.worktrees
    aftermath.agent_processes = await asyncio.to_thread(_agent_processes, url)
    for agent in aftermath.agents:
        with contextlib.suppress(Refusal):  # nobody has written into it
            aftermath.memory[agent] = await _memory(client, agent)


async def _memory(client: Client, agent: str) -> AgentMemory:
    async def connected() -> Client:
        return client

    memory = MemoryClient(connected, agent)
    worktrees = await client.ask_as(
        requests.WorktreesAnswer, subjects.MEMORY_REPOSITORY, agent, "worktrees", requests.ListWorktrees()
    )
    return AgentMemory(
        [branch.branch for branch in await memory.branches()],
        await memory.log(LOG_MAX),
        {worktree.worktree_id: worktree.staged for worktree in worktrees.worktrees},
    )


def gather_afterwards(aftermath: Aftermath, data_dir: Path, url: str) -> None:
    """What is looked at once the suite is down: files and processes."""
    for name in subjects.SERVICES:
        path = data_dir / f"{name}.db"
        with contextlib.closing(sqlite3.connect(path)) as connection:
            aftermath.outboxes[name] = int(connection.execute("SELECT count(*) FROM outbox").fetchone()[0])
    for agent, memory in aftermath.memory.items():
        with MemoryRepository.open(f"sqlite:///{data_dir / FILE_NAME}", agent=agent) as repository:
            memory.problems = tuple(map(str, repository.verify().problems))
    aftermath.left_running = [_described(process) for process in processes_of(url)]


def _records(messages: Sequence[Stored]) -> list[Record]:
    found: list[Record] = []
    for stored in messages:
        for item in decode_stored(stored):
            envelope = item if isinstance(item, Envelope) else None
            found.append(Record(stored.sequence, stored.headers.get(MESSAGE_ID_HEADER, ""), stored.subject, envelope))
    return found


def _agent_processes(url: str) -> list[str]:
    """The worktrees that a process works in, one per process; a process's own children are part of it."""
    marked = {p.pid: p for p in processes_of(url) if _environment(p).get("THYMOS_WORKTREE")}
    return sorted(_environment(p)["THYMOS_WORKTREE"] for p in marked.values() if p.ppid() not in marked)


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return dict(process.environ())
    except psutil.Error:
        return {}


def _described(process: psutil.Process) -> str:
    try:
        return f"process {process.pid}: {' '.join(process.cmdline())[:120]}"
    except psutil.Error:
        return f"process {process.pid}"


def words_of(dead: Record) -> str:
    """A dead letter in one line."""
    data: Any = dead.envelope.data if dead.envelope else None
    return f"{getattr(data, 'handler', '?')}: {getattr(data, 'reason', '?')}" if data else json.dumps(dead.subject)
