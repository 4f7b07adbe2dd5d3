"""What happened while the story was told: the events in order, in words, and a way to wait for the next."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from thymos.client import Client
from thymos.demo.branch_graph import branch_graph
from thymos.envelope import Envelope
from thymos.errors import ThymosError
from thymos.events import (
    BaselineFrozen,
    BranchMerged,
    BranchRolledBack,
    CommitMarkedGood,
    DecisionMade,
    Event,
    ExperimentDecided,
    ExperimentStarted,
    VariantsPrepared,
    WorktreeFailed,
    WorktreeReady,
    WorktreeScaled,
    WorktreeStopped,
)
from thymos.message import Message
from thymos.requests import ExperimentRecord

STAGE_SECONDS = 60.0
E_ = TypeVar("E_", bound=Event)


class StageFailedError(ThymosError):
    """A stage of the story did not happen."""


class Screen(Protocol):
    """Where the story is shown."""

    def stage(self, number: int, title: str) -> None:
        """A stage begins."""

    def progress(self, text: str) -> None:
        """What is going on right now; replaces what was shown before."""

    def fact(self, text: str) -> None:
        """Something happened that is worth keeping on screen."""

    def graph(self, lines: list[str]) -> None:
        """The branches as they are now."""


@dataclass
class Chronicle:
    """Every event of the run, in order, and a way to wait for the next one of a kind."""

    events: list[Envelope[Message]] = field(default_factory=list)
    grown: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def record(self, client: Client, screen: Screen) -> None:
        """Follow the event stream, for ever."""
        async for envelope in client.notifications(from_sequence=1):
            self.events.append(envelope)
            if (line := headline(envelope.data)) is not None:
                screen.fact(line)
            screen.graph(branch_graph(e.data for e in self.events))
            async with self.grown:
                self.grown.notify_all()

    def all(self, kind: type[E_]) -> list[E_]:
        """The events of a kind so far."""
        return [e.data for e in self.events if isinstance(e.data, kind)]

    async def wait_for(
        self, kind: type[E_], where: Callable[[E_], bool] = lambda _: True, seconds: float = STAGE_SECONDS
    ) -> E_:
        """The first event of a kind that fits, past or to come. Raises StageFailedError when none comes in time."""
        try:
            async with asyncio.timeout(seconds), self.grown:
                while True:
                    for event in self.all(kind):
                        if where(event):
                            return event
                    await self.grown.wait()
        except TimeoutError as error:
            raise StageFailedError(f"no {kind.NAME} within {seconds:g} s") from error


HEADLINES: dict[type[Message], Callable[[Any], str]] = {
    BaselineFrozen: lambda e: f"baseline frozen: {e.failures} of {e.samples} answers did not help",
    DecisionMade: lambda e: f"decision by rule {e.rule}: {e.reason}",
    VariantsPrepared: lambda e: (
        f"variants prepared from {e.outcomes_used} outcomes: {', '.join(v.name for v in e.variants)}"
    ),
    ExperimentStarted: lambda e: f"experiment {e.experiment_id}: {len(e.arms)} arms, {len(e.tasks)} held-out tasks",
    ExperimentDecided: lambda e: f"experiment decided, {e.verdict}: {e.reason}",
    BranchMerged: lambda e: f"merged {e.source} into {e.target} as {e.commit[:10]}",
    BranchRolledBack: lambda e: f"rolled back {e.branch} to {e.restored_commit[:10]}: {e.reason}",
    CommitMarkedGood: lambda e: (
        f"commit {e.commit[:10]} has proven itself over {e.samples} answers"
        if e.samples
        else f"commit {e.commit[:10]} is declared good"
    ),
    WorktreeScaled: lambda e: f"worktrees on {e.branch}: {e.from_count} to {e.to_count} ({e.reason})",
    WorktreeFailed: lambda e: f"worktree {e.worktree_id} failed: {e.reason}",
}
"""One line for a person, for the events that carry the story."""


def headline(event: Message) -> str | None:
    """The line of an event; None for those that are not worth one."""
    words = HEADLINES.get(type(event))
    return words(event) if words else None


def peak_worktrees(events: Sequence[Envelope[Message]]) -> int:
    """The largest number of worktrees on `main` that were ready at one time."""
    ready: set[str] = set()
    peak = 0
    for event in (e.data for e in events):
        match event:
            case WorktreeReady(branch="main"):
                ready.add(event.worktree_id)
            case WorktreeStopped() | WorktreeFailed():
                ready.discard(event.worktree_id)
        peak = max(peak, len(ready))
    return peak


def arms_line(experiment: ExperimentRecord) -> str:
    """Where the evidence stands, in one line."""
    parts = [
        f"{arm.arm} {arm.wins}:{arm.losses}, E {arm.e_value:.3g} of {arm.threshold:.3g}" for arm in experiment.arms
    ]
    return "   ".join(parts) or "waiting for the first pairs"
