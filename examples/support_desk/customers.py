"""Customers of the support desk, from outside: they ask, grade the answers, and change their wording.

    docker compose up --detach
    python examples/support_desk/customers.py

Nothing here branches, tests or merges: Thymos does, because the grades tell it to. It ends when a better memory is
merged and the questions are answered again; it fails (exit code 1) when that does not come about within five minutes.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import aclosing

import thymos
from thymos.background import running
from thymos.demo.customers import Customers, customers, endlessly
from thymos.demo.dataset import Question, Use, load_dataset
from thymos.events import (
    BaselineFrozen,
    BranchMerged,
    Event,
    ExperimentClosed,
    ExperimentDecided,
    ExperimentStarted,
    Verdict,
)
from thymos.message import Message

AGENT = "support"
MINUTES = 5
KINDS: tuple[type[Event], ...] = (BaselineFrozen, ExperimentStarted, ExperimentDecided, BranchMerged, ExperimentClosed)


class News:
    """What Thymos says that it did, by kind, as it happens."""

    def __init__(self, bus: thymos.Connection) -> None:
        self._bus = bus
        self.happened: dict[type[Message], asyncio.Event] = {kind: asyncio.Event() for kind in KINDS}
        self.verdict: Verdict | None = None

    async def follow(self) -> None:
        """Print it, for ever."""
        async with aclosing(self._bus.notifications(*KINDS, agent=AGENT)) as notes:
            async for note in notes:
                print(f"  {note.type.removeprefix('thymos.').removesuffix('.v1')}: {note.reason or note.id}")
                if isinstance(note.event, ExperimentDecided):
                    self.verdict = note.event.verdict
                self.happened[type(note.event)].set()


async def ask(
    crowd: Customers, wording: str, questions: Sequence[Question], until: asyncio.Event | None = None
) -> None:
    """Each question once, or over and over until something has happened."""
    tally = await crowd.ask_all(endlessly(questions) if until else questions, until=until)
    print(f"{wording}: {tally.helped} of {tally.answered} answers helped")


async def main() -> None:
    """The story."""
    desk = load_dataset()
    shuffled = {use: random.Random(1).sample(desk.questions_for(use), len(desk.questions_for(use))) for use in Use}
    async with thymos.connect() as bus:
        news = News(bus)
        happened = news.happened
        async with running(news.follow()), customers(await bus.client(), AGENT) as crowd:
            memory = bus.agent(AGENT).memory
            if await memory.search("refund", limit=1):
                raise SystemExit("this desk has learned already; `docker compose down --volumes` forgets everything")
            await memory.commit(list(desk.first_commit()), "Import the knowledge base")

            await ask(crowd, "in the company's words", shuffled[Use.LIVE_PLAIN], until=happened[BaselineFrozen])
            await ask(crowd, "in their own words", shuffled[Use.LIVE_DRIFTED])
            await ask(crowd, "the same again", shuffled[Use.LIVE_DRIFTED], until=happened[ExperimentStarted])
            await happened[ExperimentDecided].wait()
            if news.verdict is not Verdict.MERGE:
                raise SystemExit(f"nothing was merged: the experiment ended {news.verdict}")
            await happened[BranchMerged].wait()
            await ask(crowd, "questions nobody learned from", shuffled[Use.AFTERWARDS])
            await happened[ExperimentClosed].wait()


if __name__ == "__main__":
    try:
        asyncio.run(asyncio.wait_for(main(), MINUTES * 60))
    except TimeoutError:
        raise SystemExit(f"nothing was merged within {MINUTES} minutes: `thymos doctor` says what is wrong") from None
