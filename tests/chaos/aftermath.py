"""What a run left behind, gathered once everything is quiet: streams, memory, worktrees, files and processes."""

import asyncio
import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from tests.simulation.contents import Contents

from memory_repository.operations.verify import verify
from memory_repository.settings import FILE_NAME
from memory_repository.storage.store import find_repository
from thymos import requests, subjects
from thymos.bus import MESSAGE_ID_HEADER, Stored
from thymos.client import Client, decode_stored
from thymos.database import open_sqlite
from thymos.envelope import Envelope
from thymos.errors import Refusal, RefusalCode, UnavailableError
from thymos.events import BranchMerged, CommitCreated, Event, ExperimentClosed
from thymos.memory_client import MemoryClient
from thymos.message import Message
from thymos.nats_bus import NatsBus
from thymos.subjects import CONSUMERS, DEAD_LETTERS, EVENTS, METRICS, TELEMETRY, Consumer

from .faults import servers_in, workers_of
from .ledger import Entry
from .load import MAIN, Told
from .sent import Sent, read_acknowledged, read_what_was_sent
from .witness import Seen, Witness, read_all

QUIET_SECONDS = 180.0
"""How long everything may take to come to rest once the faults are over."""
STILL_SECONDS = 2.0
RESTED_SECONDS = 1.0
LOOK_SECONDS = 0.25
LOG_MAX = 1_000
WORK_QUEUES = (subjects.COMMANDS, subjects.TASKS)
TENANT = "default"


@dataclass(frozen=True)
class Record:
    """One message of a stream: where it stands, its id, and what it says (None where it cannot be read)."""

    sequence: int
    message_id: str
    subject: str
    envelope: Envelope[Message] | None
    stored_at: datetime


@dataclass(frozen=True)
class Disturbance:
    """Somebody was killed, stopped, paused or kept away: from when until when."""

    target: str
    began: datetime
    ended: datetime


@dataclass
class AgentMemory:
    """One agent's memory: its branches, the commits of `main` (newest first), its open worktrees, what is wrong."""

    branches: list[str]
    log: list[requests.Commit]
    worktrees: dict[str, int]
    """How much is staged in each that is open."""
    commits: list[str] = field(default_factory=list)
    """All that its file holds, on whatever branch."""
    problems: tuple[str, ...] = ()
    """What `verify` finds."""
    wrong_contents: tuple[str, ...] = ()
    """Merges and rollbacks that do not hold what they must."""
    contents_checked: int = 0


@dataclass
class Aftermath:
    """Everything that the checks look at."""

    agents: Sequence[str]
    entries: list[Entry]
    seen: list[Seen]
    told: Told
    worktrees_min: int = 1
    """How many worktrees each agent has at least, on `main`."""
    disturbances: list[Disturbance] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    """What services put into their outboxes."""
    acknowledged: set[str] = field(default_factory=set)
    """What had left them when the streams were read, by message id."""
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


async def quiet(bus: NatsBus, witness: Witness, agents: Sequence[str], worktrees_min: int) -> list[str]:
    """Wait until nothing is on its way any more, and every agent is there; what was still moving at the end of the
    patience, in words."""
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
        moving += [*await _held(bus), *_open_experiments(witness), *await _unready(bus, agents, worktrees_min)]
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


async def _unready(bus: NatsBus, agents: Sequence[str], worktrees_min: int) -> list[str]:
    """Worktrees that are starting, restarting or ending, and agents that have too few, or more than are left when
    nothing is to do: scaling down begins late, and would go on while all is looked at."""
    try:
        worktrees = await _worktrees(Client(bus, source="chaos"))
    except UnavailableError as error:
        return [str(error)]
    ready = Counter(each.agent for each in worktrees if each.branch == MAIN and each.phase == "ready")
    moving = [f"{each.worktree_id} of {each.agent} is {each.phase}" for each in worktrees if each.phase != "ready"]
    return moving + [f"{agent} has {ready[agent]} worktrees" for agent in agents if ready[agent] != worktrees_min]


async def _worktrees(client: Client) -> list[requests.AgentWorktree]:
    answer = await client.ask_as(
        requests.AgentWorktreesAnswer,
        subjects.WORKTREE_SCALER,
        subjects.WHOLE_SERVICE,
        "worktrees",
        requests.ListAgentWorktrees(),
    )
    return answer.worktrees


def _open_experiments(witness: Witness) -> list[str]:
    closed = {e.experiment_id for e in witness.all(ExperimentClosed)}
    named = {getattr(seen.envelope.data, "experiment_id", None) for seen in witness.seen}
    return [f"experiment {each} is not closed" for each in sorted(filter(None, named - closed))]


async def gather(bus: NatsBus, aftermath: Aftermath, data_dir: Path, url: str) -> None:
    """What has to be asked while the suite runs."""
    aftermath.acknowledged = await asyncio.to_thread(read_acknowledged, data_dir)
    aftermath.seen = list(aftermath.seen)  # what is seen from now on need not be in what is read now
    aftermath.telemetry = _records(await read_all(bus, TELEMETRY))
    aftermath.events = _records(await read_all(bus, EVENTS))
    aftermath.metrics = _records(await read_all(bus, METRICS))
    aftermath.dead = _records(await read_all(bus, DEAD_LETTERS))
    client = Client(bus, source="chaos")
    aftermath.worktrees = await _worktrees(client)
    aftermath.agent_processes = await asyncio.to_thread(_agent_processes, url)
    aftermath.memory = await memories(client, aftermath.agents, aftermath.told)


async def memories(client: Client, agents: Sequence[str], told: Told) -> dict[str, AgentMemory]:
    """Each agent's memory; only of one whose story was not begun there may be none."""
    found = {}
    for agent in agents:
        try:
            found[agent] = await _memory(client, agent)
        except Refusal as refusal:
            if refusal.code is not RefusalCode.NOT_FOUND or agent in told.stories:
                raise
    return found


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
    aftermath.sent = read_what_was_sent(data_dir, aftermath.acknowledged)
    with contextlib.closing(open_sqlite(data_dir / FILE_NAME)) as connection:
        for agent, memory in aftermath.memory.items():
            repo = find_repository(connection, TENANT, agent)
            rows = connection.execute("SELECT commit_id FROM commits WHERE repo_id = ? ORDER BY commit_no", (repo.id,))
            memory.commits = [commit for (commit,) in rows]
            memory.problems = tuple(map(str, verify(repo).problems))
            contents = Contents(repo)
            told = _of_memory(aftermath, agent)
            memory.wrong_contents = (*contents.wrong(), *contents.wrong_without_commit(told))
            memory.contents_checked = contents.checked
    left = [*workers_of(url), *servers_in(data_dir / "nats")]  # a cluster still runs, and is looked at when it does not
    aftermath.left_running = [_described(process) for process in left]


def _of_memory(aftermath: Aftermath, agent: str) -> list[Event]:
    said = (r.envelope for r in aftermath.events if r.envelope and r.envelope.agent == agent)
    return [e.data for e in said if isinstance(e.data, CommitCreated | BranchMerged)]


def _records(messages: Sequence[Stored]) -> list[Record]:
    found: list[Record] = []
    for stored in messages:
        for item in decode_stored(stored):
            envelope = item if isinstance(item, Envelope) else None
            message_id = stored.headers.get(MESSAGE_ID_HEADER, "")
            found.append(Record(stored.sequence, message_id, stored.subject, envelope, stored.stored_at))
    return found


def _agent_processes(url: str) -> list[str]:
    """The worktrees that a process works in, one per process; a process's own children are part of it."""
    marked = {p.pid: p for p in workers_of(url) if _environment(p).get("THYMOS_WORKTREE")}
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
