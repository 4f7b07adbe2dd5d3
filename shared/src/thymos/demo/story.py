"""The demo's story, told by the suite itself: real processes, a real bus, real memory.

Nothing here decides anything. The story asks questions, commits once as a careless colleague would, sends a burst,
and waits for what Thymos does about it. A stage whose event does not come in time has failed, and says so.
"""

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from thymos import requests, subjects
from thymos.audit import Report, verify_log
from thymos.background import running
from thymos.client import Client
from thymos.demo.chronicle import E_, STAGE_SECONDS, Chronicle, Screen, StageFailedError, arms_line, peak_worktrees
from thymos.demo.customers import Customers, Tally, customers, endlessly
from thymos.demo.dataset import BAD_COMMIT_AUTHOR, BAD_COMMIT_MESSAGE, Dataset, Use
from thymos.errors import ThymosError
from thymos.events import (
    BaselineFrozen,
    BranchMerged,
    BranchRolledBack,
    CommitMarkedGood,
    DecisionMade,
    ExperimentClosed,
    ExperimentDecided,
    ExperimentRunning,
    VariantsPrepared,
    Verdict,
    WorktreeReady,
    WorktreeScaled,
    WorktreeStarted,
    WorktreeStopped,
)
from thymos.memory_client import MemoryClient

AGENT = "support"
BURST_QUESTIONS = 400
RESTORED_QUESTIONS = 64
DAMAGED_QUESTIONS_MAX = 300


@dataclass
class Summary:
    """What the story came to; `to_json` has the names of the catalogue."""

    seed: int
    rates: dict[str, float | None] = field(default_factory=dict)
    restored_commit: str | None = None
    failures: list[str] = field(default_factory=list)
    chronicle: Chronicle = field(default_factory=Chronicle)
    figures: requests.VersioningMetrics | None = None
    replay: Report | None = None
    elapsed_seconds: float = 0.0

    @property
    def succeeded(self) -> bool:
        """Whether every stage happened."""
        return not self.failures

    def to_json(self) -> dict[str, Any]:
        """The object that `thymos demo --json` prints."""
        stages = ("baseline", "drifted", "recovered", "damaged", "restored")
        decided = [d for d in self.chronicle.all(ExperimentDecided) if d.winner]
        return {
            "success_rate": {stage: self.rates.get(stage) for stage in stages},
            "winner": decided[0].winner if decided else None,
            "restored_commit": self.restored_commit,
            "worktrees_peak": peak_worktrees(self.chronicle.events),
            **(self.figures.model_dump(mode="json") if self.figures else {}),
            "worktrees_created": len(self.chronicle.all(WorktreeStarted)),
            "replay_identical": self.replay.identical if self.replay else None,
            "events_replayed": self.replay.events if self.replay else None,
            "decisions_recomputed": self.replay.decisions if self.replay else None,
            "seed": self.seed,
            "elapsed_seconds": round(self.elapsed_seconds, 1),
            "failures": self.failures,
        }


def write_configuration(folder: Path, dataset: Dataset) -> Path:
    """The demo's `thymos.toml` and scenario file in `folder`; returns the configuration's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scenario.jsonl").write_text(dataset.scenario_lines(), encoding="utf-8")
    text = (resources.files("thymos.demo") / "thymos.toml").read_text(encoding="utf-8")
    path = folder / "thymos.toml"
    path.write_text(text.replace('"{python}"', _toml_text(sys.executable)), encoding="utf-8")
    return path


def _toml_text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Story:
    """Tell the story on a running suite."""

    def __init__(self, client: Client, dataset: Dataset, seed: int, screen: Screen) -> None:
        self._client = client
        self._dataset = dataset
        self._random = random.Random(seed)
        self._screen = screen
        self.summary = Summary(seed)

    @property
    def _chronicle(self) -> Chronicle:
        return self.summary.chronicle

    async def tell(self) -> Summary:
        """All stages in order; the first that fails ends the story, and the summary says which."""
        began = time.monotonic()
        stages: list[tuple[str, Callable[[Customers], Awaitable[None]]]] = [
            ("it answers well; a baseline is frozen", self._baseline),
            ("the wording of the questions drifts: success drops", self._drift),
            ("variants of its memory are prepared on branches", self._prepare),
            ("control and variants answer the same held-out questions", self._experiment),
            ("the winner is merged; success recovers", self._recover),
            ("a bad commit to main is rolled back", self._damage),
            ("a burst of questions: worktrees scale up, drain, scale down", self._burst),
            ("the event log is replayed: every decision comes out identical", self._replay),
        ]
        async with (
            running(self._chronicle.record(self._client, self._screen)),
            customers(self._client, AGENT) as crowd,
        ):
            for number, (title, stage) in enumerate(stages, start=1):
                self._screen.stage(number, title)
                await self._run(number, stage, crowd)
                if self.summary.failures:
                    break
            await self._read_figures()
        self.summary.elapsed_seconds = time.monotonic() - began
        return self.summary

    async def _run(self, number: int, stage: Callable[[Customers], Awaitable[None]], crowd: Customers) -> None:
        try:
            async with asyncio.timeout(2 * STAGE_SECONDS):
                await stage(crowd)
        except (ThymosError, TimeoutError) as error:
            self.summary.failures.append(f"stage {number}: {error or 'took too long'}")

    def _shuffled(self, use: Use) -> list[Any]:
        questions = list(self._dataset.questions_for(use))
        self._random.shuffle(questions)
        return questions

    def _show(self, what: str) -> Callable[[Tally], None]:
        def progress(tally: Tally) -> None:
            self._screen.progress(f"{what}: {tally.helped} of {tally.answered} answers helped")

        return progress

    def _memory(self, author: str) -> MemoryClient:
        async def connected() -> Client:
            return self._client

        return MemoryClient(connected, AGENT, author=author)

    # --- the stages ------------------------------------------------------------------------------------------------

    async def _baseline(self, crowd: Customers) -> None:
        await self._memory("knowledge base").commit(list(self._dataset.first_commit()), "Import the knowledge base")
        await self._chronicle.wait_for(WorktreeReady, lambda e: e.branch == "main")
        frozen = asyncio.Event()
        waiting = asyncio.create_task(self._set_when(frozen, BaselineFrozen))
        questions = endlessly(self._shuffled(Use.LIVE_PLAIN))
        tally = await crowd.ask_all(questions, until=frozen, progress=self._show("asking in plain words"))
        await waiting
        self.summary.rates["baseline"] = tally.success_rate

    async def _set_when(self, happened: asyncio.Event, kind: type[E_]) -> None:
        try:
            await self._chronicle.wait_for(kind)
        finally:
            happened.set()

    async def _drift(self, crowd: Customers) -> None:
        questions = self._shuffled(Use.LIVE_DRIFTED)
        tally = await crowd.ask_all(questions, progress=self._show("asking in their own words"))
        self.summary.rates["drifted"] = tally.success_rate
        await self._chronicle.wait_for(DecisionMade, lambda d: "CreateBranch" in str(d.actions))

    async def _prepare(self, crowd: Customers) -> None:
        """Customers go on asking meanwhile, as they would."""
        prepared = asyncio.Event()
        waiting = asyncio.create_task(self._set_when(prepared, VariantsPrepared))
        await crowd.ask_all(
            endlessly(self._shuffled(Use.LIVE_DRIFTED)), until=prepared, progress=self._show("asking again")
        )
        await waiting

    async def _experiment(self, crowd: Customers) -> None:
        del crowd
        begun = await self._chronicle.wait_for(ExperimentRunning)
        async with running(self._follow_experiment(begun.experiment_id)):
            decided = await self._chronicle.wait_for(ExperimentDecided)
        if decided.verdict is not Verdict.MERGE:
            raise StageFailedError(f"the experiment ended {decided.verdict}: {decided.reason}")

    async def _follow_experiment(self, experiment_id: str) -> None:
        request = requests.ReadExperiment(experiment_id=experiment_id)
        while True:
            with suppress(ThymosError):
                experiment = await self._client.ask_as(
                    requests.ExperimentRecord, subjects.DECISION_ENGINE, AGENT, "experiment", request
                )
                self._screen.progress(arms_line(experiment))
            await asyncio.sleep(0.3)

    async def _recover(self, crowd: Customers) -> None:
        merged = await self._chronicle.wait_for(BranchMerged)
        questions = self._shuffled(Use.AFTERWARDS)
        tally = await crowd.ask_all(questions, progress=self._show("asking what nobody learned from"))
        self.summary.rates["recovered"] = tally.success_rate
        await self._chronicle.wait_for(CommitMarkedGood, lambda e: e.commit == merged.commit)
        await self._chronicle.wait_for(ExperimentClosed)
        frozen = asyncio.Event()
        waiting = asyncio.create_task(self._set_when_more(frozen, BaselineFrozen, 2))
        await crowd.ask_all(endlessly(questions), until=frozen, progress=self._show("until a new baseline is frozen"))
        await waiting

    async def _set_when_more(self, happened: asyncio.Event, kind: type[E_], count: int) -> None:
        try:
            await self._chronicle.wait_for(kind, lambda _: len(self._chronicle.all(kind)) >= count)
        finally:
            happened.set()

    async def _damage(self, crowd: Customers) -> None:
        bad = await self._memory(BAD_COMMIT_AUTHOR).commit(list(self._dataset.bad_commit), BAD_COMMIT_MESSAGE)
        self._screen.fact(f"{BAD_COMMIT_AUTHOR} commits {bad.commit[:10]} to main: {BAD_COMMIT_MESSAGE}")
        restored = asyncio.Event()
        waiting = asyncio.create_task(self._set_when(restored, BranchRolledBack))
        questions = list(endless_slice(self._shuffled(Use.AFTERWARDS), DAMAGED_QUESTIONS_MAX))
        damaged = await crowd.ask_all(questions, until=restored, progress=self._show("asking after the bad commit"))
        await waiting
        self.summary.rates["damaged"] = rate_of(damaged, bad.commit)
        back = await self._chronicle.wait_for(BranchRolledBack)
        self.summary.restored_commit = back.restored_commit
        again = await crowd.ask_all(
            self._shuffled(Use.AFTERWARDS)[:RESTORED_QUESTIONS], progress=self._show("asking after the rollback")
        )
        self.summary.rates["restored"] = again.success_rate

    async def _burst(self, crowd: Customers) -> None:
        questions = list(endless_slice(self._shuffled(Use.LIVE_PLAIN), BURST_QUESTIONS))
        await crowd.ask_all(questions, at_once=BURST_QUESTIONS, progress=self._show("a burst"))
        up = await self._chronicle.wait_for(WorktreeScaled, lambda e: e.branch == "main" and e.to_count > e.from_count)
        self._screen.progress("the burst is over; worktrees drain")
        await self._chronicle.wait_for(WorktreeScaled, lambda e: e.branch == "main" and e.to_count < up.to_count)
        await self._chronicle.wait_for(WorktreeStopped, lambda e: e.branch == "main")

    async def _replay(self, crowd: Customers) -> None:
        """The whole run again, from its log alone: each event against the seals, each decision from its inputs."""
        del crowd
        async with asyncio.timeout(STAGE_SECONDS):
            while True:
                sealed = await self._client.ask_as(
                    requests.LogSealed, subjects.DECISION_ENGINE, subjects.WHOLE_SERVICE, "seal", requests.SealLog()
                )
                report = await verify_log(self._client.bus, seal=sealed.hash)
                if not report.unsealed or not report.identical:
                    break
                self._screen.progress("the last worktrees drain; their events are waited for")
        self.summary.replay = report
        self._screen.fact(
            f"{report.events} events, {report.checked} under {report.seals} seals; "
            f"{report.decisions} decisions computed again: "
            f"{'identical' if report.identical else f'{report.difference_count} differ'}"
        )
        for note in report.notes:
            self._screen.fact(note)
        if not report.identical:
            raise StageFailedError(report.problems[0])

    async def _read_figures(self) -> None:
        service, whole = subjects.DECISION_ENGINE, subjects.WHOLE_SERVICE
        try:
            self.summary.figures = await self._client.ask_as(
                requests.VersioningMetrics, service, whole, "stats", requests.ReadStats()
            )
        except ThymosError as error:
            self.summary.failures.append(f"no figures: {error}")


def endless_slice(questions: Sequence[Any], count: int) -> list[Any]:
    """The first `count` of the same questions over and over."""
    return [questions[index % len(questions)] for index in range(count)]


def rate_of(tally: Tally, commit: str) -> float | None:
    """The success rate of the answers given on one commit."""
    helped = tally.by_commit.get(commit, [])
    return round(sum(helped) / len(helped), 4) if helped else None
