"""Traffic from the host that goes on while containers die: what was acknowledged is written down, and counted after.

Three kinds: outcomes for metrics-collector (each must be counted once), commits for memory-repository (each must be
there once) and questions for the agents of worktree-scaler (each must be answered).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

from thymos import nats_bus, subjects
from thymos.background import running
from thymos.client import Client
from thymos.errors import Refusal, RefusalCode, TransientError, UnavailableError
from thymos.events import CommitCreated
from thymos.memory_client import MemoryClient
from thymos.message import Message
from thymos.metrics import MetricsOutcomes
from thymos.tasks import TaskAssigned
from thymos.telemetry import Outcome, TaskFinished

AGENT = "load"
DESK = "support"
"""The agent of the example: worktree-scaler runs it."""
PAUSE_SECONDS = 0.05
AGAIN_SECONDS = 0.5
QUESTION = "When will my refund be paid?"


@dataclass
class Books:
    """What was sent and acknowledged, and what came of it."""

    outcomes: set[str] = field(default_factory=set)
    commits: set[str] = field(default_factory=set)
    questions: set[str] = field(default_factory=set)
    counted: Counter[str] = field(default_factory=Counter)
    rows: set[int] = field(default_factory=set)
    committed: Counter[str] = field(default_factory=Counter)
    answered: set[str] = field(default_factory=set)
    retried: int = 0

    def missing(self) -> str:
        """What has not come about yet; empty when all has."""
        waiting = {
            "outcomes not counted": len(self.outcomes - set(self.counted)),
            "commits not made": len(self.commits - set(self.committed)),
            "questions not answered": len(self.questions - self.answered),
        }
        return ", ".join(f"{many} {what}" for what, many in waiting.items() if many)

    def doubled(self) -> str:
        """What came about more than once, or with a gap; empty when nothing did."""
        found = [f"{task} counted {times} times" for task, times in self.counted.items() if times > 1]
        found += [f"commit {id} made {times} times" for id, times in self.committed.items() if times > 1]
        if self.rows != set(range(1, len(self.rows) + 1)):
            found.append("the rows of outcomes have a gap")
        return ", ".join(found[:5])

    def __str__(self) -> str:
        done = (
            ("outcomes counted", set(self.counted), self.outcomes),
            ("commits made", set(self.committed), self.commits),
            ("questions answered", self.answered, self.questions),
        )
        words = [f"{len(came & sent)} of {len(sent)} {what}" for what, came, sent in done]
        return f"{', '.join(words)}; {self.retried} attempts failed and were made again"


class Load:
    """Sends until it is cancelled; every message is tried until it is acknowledged, with the same identity."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.books = Books()

    async def send_outcomes(self) -> None:
        """Outcomes of an agent that reports for itself, for ever."""
        for number in count(1):
            await self._publish(TaskFinished(task_id=f"outcome-{number}", outcome=Outcome.SUCCEEDED), AGENT)
            self.books.outcomes.add(f"outcome-{number}")
            await asyncio.sleep(PAUSE_SECONDS)

    async def send_commits(self) -> None:
        """Changes of that agent's memory, for ever."""
        for number in count(1):
            await self._commit(f"memory-{number}")
            self.books.commits.add(f"memory-{number}")
            await asyncio.sleep(5 * PAUSE_SECONDS)

    async def ask(self) -> None:
        """Questions to the agents in the worktrees, for ever."""
        for number in count(1):
            question = TaskAssigned(task_id=f"question-{number}", branch="main", input=QUESTION, awaits_grade=True)
            await self._publish(question, DESK)
            self.books.questions.add(question.task_id)
            await asyncio.sleep(10 * PAUSE_SECONDS)

    async def _publish(self, message: Message, agent: str) -> None:
        envelope = self._client.envelope(message, agent)
        await self._until_done(lambda: self._client.publish(envelope))

    async def _commit(self, id: str) -> None:
        async def connected() -> Client:
            return self._client

        memory = MemoryClient(connected, AGENT)
        await self._until_done(lambda: memory.put(id, f"The text of {id}.", message=id, idempotency_key=id))

    async def _until_done(self, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await work()
                return
            except Refusal as refusal:
                if refusal.code is not RefusalCode.UNAVAILABLE:
                    raise
            except (TransientError, UnavailableError):
                pass
            self.books.retried += 1
            await asyncio.sleep(AGAIN_SECONDS)

    async def count_outcomes(self) -> None:
        """What metrics-collector counted, for ever."""
        pattern = subjects.metrics_subject(self._client.tenant, AGENT, "*")
        async for envelope in self._client.follow(subjects.METRICS, pattern, from_sequence=1):
            if isinstance(envelope.data, MetricsOutcomes):
                self.books.counted.update(row.task_id for row in envelope.data.rows)
                self.books.rows.update(row.row for row in envelope.data.rows)

    async def count_commits(self) -> None:
        """What memory-repository committed, for ever."""
        async for envelope in self._client.notifications(CommitCreated, agent=AGENT, from_sequence=1):
            if isinstance(envelope.data, CommitCreated):
                self.books.committed[envelope.data.message] += 1

    async def count_answers(self) -> None:
        """What agents answered, for ever."""
        pattern = subjects.telemetry_subject(self._client.tenant, DESK)
        async for envelope in self._client.follow(subjects.TELEMETRY, pattern, from_sequence=1):
            if isinstance(envelope.data, TaskFinished) and envelope.data.awaits_grade:
                self.books.answered.add(envelope.data.task_id)


@asynccontextmanager
async def counting(url: str) -> AsyncIterator[Load]:
    """Count while the block runs; `sending` makes the traffic."""
    bus = await nats_bus.connect(url, "compose-load", wait=timedelta(seconds=10))
    try:
        load = Load(Client(bus, source="compose-load"))
        async with running(load.count_outcomes()), running(load.count_commits()), running(load.count_answers()):
            yield load
    finally:
        await bus.close()


@asynccontextmanager
async def sending(load: Load) -> AsyncIterator[None]:
    """Traffic while the block runs. What is in hand at its end was perhaps sent, and is not in the books."""
    async with running(load.send_outcomes()), running(load.send_commits()), running(load.ask()):
        yield
