"""The demo's load, patient: the same customers, questions and bad commit, for one agent after the other.

Nothing here has a deadline that a fault could reach: what is waited for may take minutes. A part that did not happen
is noted, and the checks fail.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from thymos.client import Client
from thymos.commands import MemoryChange
from thymos.demo.customers import Customers, customers, endlessly
from thymos.demo.dataset import BAD_COMMIT_AUTHOR, BAD_COMMIT_MESSAGE, Dataset, Question, Use
from thymos.demo.story import endless_slice, write_configuration
from thymos.events import (
    BaselineFrozen,
    BranchMerged,
    BranchRolledBack,
    CommitMarkedGood,
    Event,
    ExperimentClosed,
    ExperimentDecided,
    ExperimentRunning,
    VariantsPrepared,
    WorktreeReady,
    WorktreeScaled,
)
from thymos.memory_client import MemoryClient

from .witness import DidNotHappenError, Witness

PATIENCE_SECONDS = 120.0
BURST_QUESTIONS = 200
MAIN = "main"
PARTS = ("baseline", "drift", "experiment", "recovery", "bad commit", "burst")
E = TypeVar("E", bound=Event)


def agent_names(count: int) -> list[str]:
    """The agents of a run."""
    return [f"support-{number}" for number in range(1, count + 1)]


def configuration(folder: Path, dataset: Dataset, agents: list[str], replicas: int) -> Path:
    """The demo's configuration, for these agents, with deadlines that no fault reaches."""
    path = write_configuration(folder, dataset)
    text = path.read_text(encoding="utf-8").replace('experiment_timeout = "60s"', 'experiment_timeout = "5m"')
    head, _, agent = text.partition("[agents.support]")
    tables = [f"[agents.{name}]{agent}\n" for name in agents]
    path.write_text(f"{head}[nats]\nreplicas = {replicas}\n\n{''.join(tables)}", encoding="utf-8")
    return path


@dataclass
class Told:
    """What the load did: the stories it began, by agent, the commits it made and got acknowledged, and what of the
    story did not happen."""

    stage: str = "starting"
    stories: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    bad_commits: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)


class Load:
    """Tells the story of the demo to one agent after the other."""

    def __init__(self, client: Client, witness: Witness, dataset: Dataset, seed: int, told: Told) -> None:
        self._client = client
        self._witness = witness
        self._dataset = dataset
        self._random = random.Random(seed)
        self.told = told

    async def tell(self, agent: str) -> None:
        """All parts in order; one that does not happen ends the story of this agent."""
        parts: list[Callable[[str, Customers], Awaitable[None]]] = [
            self._baseline, self._drift, self._experiment, self._recover, self._damage, self._burst,
        ]  # fmt: skip
        self.told.stories.append(agent)
        async with customers(self._client, agent) as crowd:
            for name, part in zip(PARTS, parts, strict=True):
                self.told.stage = f"{agent} {name}"
                try:
                    await part(agent, crowd)
                except DidNotHappenError as error:
                    self.told.missed.append(f"{name}: {error}")
                    return
                self.told.stages.append(name)

    async def more(self, agent: str) -> None:
        """Customers of an agent whose story is told: they ask a few more questions."""
        self.told.stage = f"{agent} questions"
        async with customers(self._client, agent) as crowd:
            await crowd.ask_all(self._shuffled(Use.AFTERWARDS)[:32])

    def _shuffled(self, use: Use) -> list[Question]:
        questions = list(self._dataset.questions_for(use))
        self._random.shuffle(questions)
        return questions

    async def _commit(self, agent: str, author: str, changes: Sequence[MemoryChange], message: str) -> str:
        async def connected() -> Client:
            return self._client

        memory = MemoryClient(connected, agent, author=author)
        key = f"{agent}-{len(self.told.commits)}-{self._random.randrange(10**9)}"
        done = await memory.commit(list(changes), message, idempotency_key=key)
        self.told.commits.append(done.commit)
        return str(done.commit)

    async def _ask_until(self, crowd: Customers, use: Use, waiting: Coroutine[Any, Any, object]) -> None:
        """Questions until something has happened. Raises DidNotHappenError when it does not."""
        over = asyncio.Event()
        task = asyncio.create_task(waiting)
        task.add_done_callback(lambda _: over.set())
        try:
            await crowd.ask_all(endlessly(self._shuffled(use)), until=over)
            await task
        finally:
            task.cancel()

    # --- the parts -------------------------------------------------------------------------------------------------

    async def _baseline(self, agent: str, crowd: Customers) -> None:
        await self._commit(agent, "knowledge base", self._dataset.first_commit(), "Import the knowledge base")
        await self._happens(WorktreeReady, agent, lambda e: e.branch == MAIN)
        await self._ask_until(crowd, Use.LIVE_PLAIN, self._happens(BaselineFrozen, agent))

    async def _drift(self, agent: str, crowd: Customers) -> None:
        await crowd.ask_all(self._shuffled(Use.LIVE_DRIFTED))
        await self._ask_until(crowd, Use.LIVE_DRIFTED, self._happens(VariantsPrepared, agent))

    async def _experiment(self, agent: str, crowd: Customers) -> None:
        del crowd
        await self._happens(ExperimentRunning, agent)
        await self._happens(ExperimentDecided, agent)

    async def _recover(self, agent: str, crowd: Customers) -> None:
        merged = await self._happens(BranchMerged, agent)
        await crowd.ask_all(self._shuffled(Use.AFTERWARDS))
        await self._happens(CommitMarkedGood, agent, lambda e: e.commit == merged.commit)
        await self._happens(ExperimentClosed, agent)
        await self._ask_until(crowd, Use.AFTERWARDS, self._happens(BaselineFrozen, agent, count=2))

    async def _damage(self, agent: str, crowd: Customers) -> None:
        bad = await self._commit(agent, BAD_COMMIT_AUTHOR, self._dataset.bad_commit, BAD_COMMIT_MESSAGE)
        self.told.bad_commits.append(bad)
        await self._ask_until(crowd, Use.AFTERWARDS, self._happens(BranchRolledBack, agent))

    async def _burst(self, agent: str, crowd: Customers) -> None:
        questions = endless_slice(self._shuffled(Use.LIVE_PLAIN), BURST_QUESTIONS)
        await crowd.ask_all(questions, at_once=BURST_QUESTIONS)
        await self._happens(WorktreeScaled, agent, lambda e: e.branch == MAIN and e.to_count > e.from_count)
        await self._happens(WorktreeScaled, agent, lambda e: e.branch == MAIN and e.to_count < e.from_count)

    async def _happens(
        self, kind: type[E], agent: str, where: Callable[[E], bool] = lambda _: True, count: int = 1
    ) -> E:
        return await self._witness.wait_for(kind, agent, PATIENCE_SECONDS, where, count)
