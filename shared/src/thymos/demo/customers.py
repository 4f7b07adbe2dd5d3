"""The demo's customers: they ask, they look at the answer, and they say whether it helped.

Questions go to the agent's task queue; answers come back as telemetry that awaits a grade; the customers' grade is
the outcome that Thymos counts.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from thymos import subjects
from thymos.background import running
from thymos.client import Client
from thymos.demo.dataset import Question
from thymos.tasks import TaskAssigned
from thymos.telemetry import Outcome, TaskFinished

PATIENCE = timedelta(seconds=30)
"""How long a customer waits for an answer before it counts as timed out."""
AT_ONCE = 3
"""Customers who wait at the same time in ordinary traffic."""

Progress = Callable[["Tally"], None]


@dataclass
class Tally:
    """How the questions of one stage went."""

    asked: int = 0
    answered: int = 0
    helped: int = 0
    by_commit: dict[str, list[bool]] = field(default_factory=dict)

    @property
    def success_rate(self) -> float | None:
        """Share of answers that helped; None without answers."""
        return round(self.helped / self.answered, 4) if self.answered else None

    def note(self, helped: bool, commit: str | None) -> None:
        """Count one answer."""
        self.answered += 1
        self.helped += helped
        self.by_commit.setdefault(commit or "", []).append(helped)


class Customers:
    """Ask questions and grade the answers. Made by `customers(client, agent)`."""

    def __init__(self, client: Client, agent: str) -> None:
        self._client = client
        self._agent = agent
        self._waiting: dict[str, asyncio.Future[TaskFinished]] = {}

    async def ask_all(
        self,
        questions: Iterable[Question],
        *,
        at_once: int = AT_ONCE,
        until: asyncio.Event | None = None,
        progress: Progress | None = None,
    ) -> Tally:
        """Ask in this order, `at_once` customers waiting at a time; stop asking when `until` is set."""
        tally = Tally()
        free = asyncio.Semaphore(at_once)
        async with asyncio.TaskGroup() as group:
            for question in questions:
                await free.acquire()
                if until is not None and until.is_set():
                    break
                tally.asked += 1
                group.create_task(self._ask_one(question, tally, free, progress))
        return tally

    async def _ask_one(
        self, question: Question, tally: Tally, free: asyncio.Semaphore, progress: Progress | None
    ) -> None:
        try:
            answer = await self._ask(question)
            helped = answer.outcome is Outcome.SUCCEEDED and question.is_answered_by(answer.output)
            outcome = answer.outcome
            if outcome in (Outcome.SUCCEEDED, Outcome.FAILED):
                outcome = Outcome.SUCCEEDED if helped else Outcome.FAILED
            graded = answer.model_copy(update={"outcome": outcome, "awaits_grade": False})
            await self._client.publish(self._client.envelope(graded, self._agent))
            tally.note(helped, answer.commit)
            if progress is not None:
                progress(tally)
        finally:
            free.release()

    async def _ask(self, question: Question) -> TaskFinished:
        """One question with an identity of its own (the same question may be asked again), and its answer."""
        task = TaskAssigned(
            task_id=f"{question.task_id}-{uuid.uuid4().hex[:8]}",
            branch="main",
            input=question.input,
            deadline=datetime.now(UTC) + PATIENCE,
            awaits_grade=True,
        )
        answered: asyncio.Future[TaskFinished] = asyncio.get_running_loop().create_future()
        self._waiting[task.task_id] = answered
        try:
            await self._client.publish(self._client.envelope(task, self._agent))
            return await asyncio.wait_for(answered, PATIENCE.total_seconds())
        except TimeoutError:
            return TaskFinished(task_id=task.task_id, outcome=Outcome.TIMED_OUT, input=question.input)
        finally:
            del self._waiting[task.task_id]

    async def listen(self, from_sequence: int) -> None:
        """Hear the answers, for ever."""
        subject = subjects.telemetry_subject(self._client.tenant, self._agent)
        async for envelope in self._client.follow(subjects.TELEMETRY, subject, from_sequence=from_sequence):
            said = envelope.data
            if isinstance(said, TaskFinished) and said.awaits_grade:
                waiting = self._waiting.get(said.task_id)
                if waiting is not None and not waiting.done():
                    waiting.set_result(said)


@asynccontextmanager
async def customers(client: Client, agent: str) -> AsyncIterator[Customers]:
    """Customers who listen while the block runs."""
    crowd = Customers(client, agent)
    async with running(crowd.listen(await client.bus.last_sequence(subjects.TELEMETRY) + 1)):
        yield crowd


def endlessly(questions: Sequence[Question]) -> Iterable[Question]:
    """The same questions over and over: other customers ask them again."""
    while True:
        yield from questions
