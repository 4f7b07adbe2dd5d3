"""decision-engine as a real process on a real NATS server; the test plays the other three services."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.deadline import DEADLINE_SECONDS

from thymos import commands, events, subjects
from thymos.envelope import Envelope, decode
from thymos.events import Verdict
from thymos.message import Message
from thymos.metrics import AgentMetrics, MetricsOutcomes, OutcomeRow
from thymos.nats_bus import NatsBus
from thymos.telemetry import Outcome
from thymos.testing import NatsServer

TENANT, AGENT = "default", "support"
CONFIG = """
[supervisor.versioning.evidence]
budget = "each"
[supervisor.versioning.experiments]
learning_outcomes = 0
[agents.support]
command = ["true"]
scenario = "scenario.jsonl"
"""
M = TypeVar("M", bound=Message)
Letters = {"1": Outcome.SUCCEEDED, "0": Outcome.FAILED, "e": Outcome.ERRORED}
_numbers = itertools.count(1)


class EngineProcess:
    """`python -m decision_engine` with a data directory that outlives it."""

    def __init__(self, nats_url: str, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "thymos.toml").write_text(CONFIG)
        tasks = [{"task_id": f"task-{n}", "input": f"question {n}", "expect": "secret"} for n in range(40)]
        (directory / "scenario.jsonl").write_text("\n".join(json.dumps(task) for task in tasks))
        self._environment = {
            **os.environ,
            "THYMOS_NATS_URL": nats_url,
            "THYMOS_DATA_DIR": str(directory),
            "THYMOS_CONFIG": str(directory / "thymos.toml"),
        }
        self._log = directory / "decision-engine.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "decision_engine"], env=self._environment, stdout=log, stderr=log
            )

    def end(self, number: signal.Signals) -> int:
        """Sends the signal, waits for the end, and returns the exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        status = self._process.wait(timeout=DEADLINE_SECONDS)
        self._process = None
        return status

    def kill_and_restart(self) -> None:
        self.end(signal.SIGKILL)
        self.start()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        return self._log.read_text()


@pytest.fixture
def engine(nats_server: NatsServer, tmp_path: Path) -> Iterator[EngineProcess]:
    process = EngineProcess(nats_server.url, tmp_path / "engine")
    yield process
    if process.running:
        process.end(signal.SIGKILL)


class OtherServices:
    """What memory-repository, worktree-scaler and metrics-collector would do, done by the test."""

    def __init__(self, bus: NatsBus) -> None:
        self.bus = bus
        self.rows = 0

    async def publish(self, data: Message, agent: str = AGENT, times: int = 1) -> Envelope[Any]:
        envelope = Envelope[Any](
            id=f"e{next(_numbers)}", source="others", time=datetime.now(UTC), tenant=TENANT, agent=agent, data=data
        )
        for copy in range(times):
            # Another message id, so that the stream keeps the copy: the service has to notice it by itself.
            message_id = envelope.message_id + ("" if copy == 0 else f"-copy-{copy}")
            await self.bus.publish(envelope.subject, envelope.to_bytes(), message_id)
        return envelope

    async def outcomes(self, letters: str, commit: str | None = None, times: int = 1) -> None:
        """Outcomes on main."""
        rows = [self.row(letter, f"live-{self.rows}", commit) for letter in letters]
        await self.publish(MetricsOutcomes(branch="main", rows=rows), times=times)

    async def arm(self, run: commands.RunScenario, name: str, letters: str, times: int = 1) -> None:
        """Outcomes of an arm on the first tasks, in assignment order."""
        branch = next(arm.branch for arm in run.arms if arm.name == name)
        rows = [self.row(letter, task, None) for letter, task in zip(letters, run.task_ids, strict=False)]
        outcomes = MetricsOutcomes(branch=branch, experiment_id=run.experiment_id, arm=name, rows=rows)
        await self.publish(outcomes, times=times)

    def row(self, letter: str, task: str, commit: str | None) -> OutcomeRow:
        self.rows += 1
        now = datetime.now(UTC)
        return OutcomeRow(
            row=self.rows, task_id=task, outcome=Letters[letter], commit=commit, latency_ms=5.0, finished_at=now
        )

    async def commit(self, commit: str, parents: list[str]) -> None:
        created = events.CommitCreated(
            branch="main", commit=commit, parents=parents, author="ada", message="m", state_id=f"state {commit}"
        )
        await self.publish(created)

    async def works_well(self) -> None:
        await self.commit("c0", [])
        baseline = events.BaselineFrozen(metrics=AgentMetrics(), samples=300, failures=15, window=60.0)
        await self.publish(baseline)
        await happened(self.bus, events.BaselineFrozen)

    async def command(self, service: str, kind: type[M]) -> M:
        """The next command of one class to a service; others before it are taken off the queue."""
        subscription = await self.bus.subscribe(subjects.consumer(service, subjects.COMMANDS))
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while True:
                    for delivery in await subscription.fetch(1, timedelta(seconds=1)):
                        envelope = decode(delivery.body, delivery.subject)
                        await delivery.ack()
                        if isinstance(envelope.data, kind):
                            return envelope.data
        finally:
            await subscription.close()

    async def memory(self, kind: type[M]) -> M:
        return await self.command(subjects.MEMORY_REPOSITORY, kind)

    async def scaler(self, kind: type[M]) -> M:
        return await self.command(subjects.WORKTREE_SCALER, kind)

    async def fail_until_variants_are_asked_for(self) -> commands.PrepareVariants:
        """Wrong answers on main, as many as it takes: metrics and events have no order among each other."""
        asking = asyncio.create_task(self.memory(commands.PrepareVariants))
        while not asking.done():
            await self.outcomes("0" * 10, times=2)
            await asyncio.wait({asking}, timeout=1.0)
        return await asking

    async def prepare(self, asked: commands.PrepareVariants) -> None:
        for name in ("control", "better"):
            branch = asked.branch_prefix + name
            await self.publish(events.BranchCreated(branch=branch, from_commit="c0"))
        better = events.VariantChange(
            name="better", description="d", branch=f"{asked.branch_prefix}better", commit="v1", changes=2
        )
        prepared = events.VariantsPrepared(
            experiment_id=asked.experiment_id,
            base_commit="c0",
            control_branch=asked.control_branch,
            variants=[better],
            generator="learn-from-success",
        )
        await self.publish(prepared, times=2)

    async def become_ready(self, reserved: commands.ReserveWorktrees) -> None:
        for arm in reserved.arms:
            ready = events.WorktreeReady(worktree_id=f"w-{arm.name}", branch=arm.branch, backend="process")
            await self.publish(ready)

    async def carry_out(self, merge: commands.MergeBranch) -> None:
        merged = events.BranchMerged(
            source=merge.source,
            target="main",
            commit="merge",
            previous_commit="c0",
            strategy=merge.strategy,
            experiment_id=merge.experiment_id,
        )
        await self.publish(merged)

    async def clean_up(self, experiment_id: str) -> None:
        await self.publish(events.WorktreesReleased(experiment_id=experiment_id, branches=[]))
        for _ in range(2):
            deleted = await self.memory(commands.DeleteBranch)
            await self.publish(events.BranchDeleted(branch=deleted.branch, from_commit="c0"))


@pytest.fixture
def others(nats: NatsBus) -> OtherServices:
    return OtherServices(nats)


async def messages(bus: NatsBus, kind: type[M]) -> AsyncGenerator[Envelope[M], None]:
    """Every event of one class, from the beginning and then live."""
    async with aclosing(bus.follow(subjects.EVENTS, ">", from_sequence=1)) as stored:
        async for message in stored:
            envelope = decode(message.body, message.subject)
            if isinstance(envelope.data, kind):
                yield envelope  # type: ignore[misc]  # narrowed by the line above


async def happened(bus: NatsBus, kind: type[M], count: int = 1) -> list[M]:
    """The first so many events of one class, as soon as they are there."""
    found: list[M] = []
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(messages(bus, kind)) as stream:
        async for envelope in stream:
            found.append(envelope.data)
            if len(found) >= count:
                return found
    raise AssertionError("unreachable: the stream does not end")


async def request(bus: NatsBus, verb: str, body: dict[str, Any] | None = None, agent: str = AGENT) -> dict[str, Any]:
    subject = subjects.request_subject(subjects.DECISION_ENGINE, TENANT, agent, verb)
    answer = await bus.request(subject, json.dumps(body or {}).encode(), timedelta(seconds=DEADLINE_SECONDS))
    return dict(json.loads(answer))


async def running_experiment(others: OtherServices) -> commands.RunScenario:
    """From a drop to an experiment whose arms run."""
    await others.works_well()
    await others.prepare(await others.fail_until_variants_are_asked_for())
    await others.become_ready(await others.scaler(commands.ReserveWorktrees))
    return await others.scaler(commands.RunScenario)


@pytest.mark.parametrize("killed", [False, True], ids=["undisturbed", "killed while it decides"])
async def test_from_a_drop_to_a_merge_and_nothing_is_left(
    nats: NatsBus, engine: EngineProcess, others: OtherServices, killed: bool
) -> None:
    engine.start()
    await others.works_well()
    asked = await others.fail_until_variants_are_asked_for()
    await others.prepare(asked)
    reserved = await others.scaler(commands.ReserveWorktrees)
    await others.become_ready(reserved)
    run = await others.scaler(commands.RunScenario)
    await others.arm(run, "control", "0" * 20, times=2)
    await others.arm(run, "better", "1" * 20, times=2)
    if killed:  # somewhere between the first outcome and the merge
        engine.kill_and_restart()
    merge = await others.memory(commands.MergeBranch)
    await others.carry_out(merge)
    released = await others.scaler(commands.ReleaseWorktrees)
    await others.clean_up(released.experiment_id)
    (closed,) = await happened(nats, events.ExperimentClosed)

    assert (closed.verdict, closed.winner, closed.improvement) == (Verdict.MERGE, "better", 1.0)
    assert merge.source == f"experiment-{closed.experiment_id}-better"
    assert closed.arms[0].wins == 20
    (decided,) = await happened(nats, events.ExperimentDecided)
    assert decided.arms[0].e_exact.count("/") == 1
    shown = await request(nats, "experiment", {"experiment_id": closed.experiment_id})
    assert (shown["data"]["phase"], shown["data"]["verdict"]) == ("Closed", "merge")
    stats = (await request(nats, "stats", agent=subjects.WHOLE_SERVICE))["data"]
    assert (stats["branches_created"], stats["branches_merged"], stats["ab_tests_run"]) == (2, 1, 1)
    assert (stats["experiment_success_rate"], stats["avg_improvement"]) == (1.0, 1.0)


async def test_a_bad_commit_is_rolled_back_and_the_decision_says_why(
    nats: NatsBus, engine: EngineProcess, others: OtherServices
) -> None:
    engine.start()
    await others.works_well()
    await others.commit("bad", ["c0"])
    await others.outcomes("0" * 10, "bad")

    rollback = await others.memory(commands.RollbackBranch)

    assert (rollback.branch, rollback.target_commit) == ("main", "c0")
    (made,) = await happened(nats, events.DecisionMade)
    assert (made.rule, made.verdict) == ("rollback-on-failure", "done")
    listed = (await request(nats, "decisions"))["data"]["decisions"]
    assert listed[0]["decision_id"] == made.decision_id
    assert rollback.reason in made.reason


async def test_what_happens_while_the_engine_is_away_is_decided_when_it_is_back(
    engine: EngineProcess, others: OtherServices
) -> None:
    await others.works_well()
    await others.commit("bad", ["c0"])
    await others.outcomes("0" * 10, "bad")
    engine.start()

    assert (await others.memory(commands.RollbackBranch)).target_commit == "c0"


async def test_harm_ends_an_experiment_without_a_merge(
    nats: NatsBus, engine: EngineProcess, others: OtherServices
) -> None:
    engine.start()
    run = await running_experiment(others)
    await others.arm(run, "control", "1" * 20)
    await others.arm(run, "better", "0" * 20)
    await others.scaler(commands.ReleaseWorktrees)
    await others.clean_up(run.experiment_id)

    (closed,) = await happened(nats, events.ExperimentClosed)
    assert closed.verdict is Verdict.ROLLBACK
    assert closed.winner is None


async def test_an_abort_takes_everything_away(nats: NatsBus, engine: EngineProcess, others: OtherServices) -> None:
    engine.start()
    run = await running_experiment(others)
    await others.publish(commands.AbortExperiment(experiment_id=run.experiment_id, by="ada", reason="enough"))
    await others.scaler(commands.ReleaseWorktrees)
    await others.clean_up(run.experiment_id)

    (closed,) = await happened(nats, events.ExperimentClosed)
    assert closed.verdict is Verdict.ABORTED
    assert "ada" in closed.reason


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (commands.AbortExperiment(experiment_id="unknown"), "not_found"),
        (commands.ApproveDecision(decision_id="unknown", by="ada"), "not_found"),
    ],
)
async def test_a_command_about_nothing_is_refused_and_says_so(
    nats: NatsBus, engine: EngineProcess, others: OtherServices, command: commands.Command, code: str
) -> None:
    engine.start()
    sent = await others.publish(command)

    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(messages(nats, events.CommandRefused)) as refusals:
        async for refused in refusals:
            assert (refused.data.code, refused.causation_id) == (code, sent.id)
            break


async def test_an_agent_without_a_scenario_is_told_so(
    nats: NatsBus, engine: EngineProcess, others: OtherServices
) -> None:
    engine.start()
    await others.publish(commands.StartExperiment(by="ada"), agent="another")

    (refused,) = await happened(nats, events.CommandRefused)
    assert "scenario" in refused.reason


async def test_a_person_starts_an_experiment_and_is_answered_with_its_id(
    nats: NatsBus, engine: EngineProcess, others: OtherServices
) -> None:
    engine.start()
    sent = await others.publish(commands.StartExperiment(by="ada", generators=["cautious"]), times=2)
    prepare = await others.memory(commands.PrepareVariants)

    (made,) = await happened(nats, events.DecisionMade)
    assert made.experiment_id == prepare.experiment_id
    assert prepare.generators == ["cautious"]
    listed = (await request(nats, "experiments"))["data"]["experiments"]
    assert [known["phase"] for known in listed] == ["Preparing"], "asked for twice, opened once"
    assert sent.id


async def test_the_engine_stops_cleanly_when_asked(nats: NatsBus, engine: EngineProcess, others: OtherServices) -> None:
    engine.start()
    await others.publish(commands.AbortExperiment(experiment_id="unknown"))
    await happened(nats, events.CommandRefused)

    assert engine.end(signal.SIGTERM) == 0
    assert "Traceback" not in engine.log()
