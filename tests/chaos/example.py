"""A small aftermath in which everything holds: one agent, its story in few messages. Tests break it, one thing at a
time."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from thymos import commands as c
from thymos import events as e
from thymos import requests, subjects
from thymos.envelope import Envelope
from thymos.examples import example_of
from thymos.message import Kind, Message
from thymos.metrics import MetricsOutcomes, OutcomeRow
from thymos.telemetry import Outcome, TaskFinished

from .aftermath import Aftermath, AgentMemory, Disturbance, Record
from .ledger import Entry
from .load import PARTS, Told
from .sent import Sent
from .witness import Seen

AGENT = "support-1"
EXPERIMENT, CONTROL, VARIANT = "e1", "experiment-e1-control", "experiment-e1-learn"
BEGAN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
M = TypeVar("M", bound=Message)
ENGINE, MEMORY, SCALER = subjects.DECISION_ENGINE, subjects.MEMORY_REPOSITORY, subjects.WORKTREE_SCALER
COLLECTOR = subjects.METRICS_COLLECTOR


def example(kind: type[M], **facts: Any) -> M:
    """The published example of a message, with some facts of its own."""
    data = example_of(kind).data
    assert isinstance(data, kind)
    return data.model_copy(update=facts)


@dataclass
class Story:
    """Writes down what is said: into the log, and among what services sent."""

    telemetry: list[Record] = field(default_factory=list)
    events: list[Record] = field(default_factory=list)
    metrics: list[Record] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    said: int = 0

    def say(self, source: str, data: Message, cause: str | None = None, about: str | None = None) -> str:
        """A service says something; returns the id of the message."""
        self.said += 1
        identity = f"m{self.said}"
        envelope: Envelope[Message] = Envelope(
            id=identity, source=source, time=self.now, tenant="default", agent=AGENT, data=data,
            correlation_id=about, causation_id=cause,
        )  # fmt: skip
        if source in subjects.SERVICES:
            self.sent.append(Sent(source, envelope.message_id, envelope))
        log = {Kind.TELEMETRY: self.telemetry, Kind.EVENT: self.events, Kind.METRICS: self.metrics}.get(data.KIND)
        if log is not None:
            log.append(Record(len(log) + 1, envelope.message_id, envelope.subject, envelope, self.now))
        return identity

    @property
    def now(self) -> datetime:
        """Each message comes a second after the one before."""
        return BEGAN + timedelta(seconds=self.said)

    def ask(self, order: Message, about: str | None = EXPERIMENT, cause: str = "metrics") -> str:
        """decision-engine orders something."""
        return self.say(ENGINE, order, cause, about)

    def commit(self, branch: str, commit: str, state: str, cause: str | None = None, *parents: str) -> None:
        """A commit is told of."""
        created = example(e.CommitCreated, branch=branch, commit=commit, parents=list(parents), state_id=state)
        self.say(MEMORY, created, cause)

    def worktree(self, kind: type[e.WorktreeEvent], name: str, branch: str) -> None:
        """Something happens to a worktree."""
        experiment = None if branch == "main" else EXPERIMENT
        self.say(SCALER, example(kind, worktree_id=name, branch=branch, experiment_id=experiment))


def whole_aftermath(further: Iterable[Message] = ()) -> Aftermath:
    """All of it, and what decision-engine says `further` at the end. Every call makes a new one."""
    story, entries = Story(), [Entry("thymos.task.default.support-1.main", "default/support-1/customers/t1", b"", 1)]
    for name in ("w0", "w1"):
        story.worktree(e.WorktreeStarted, name, "main")
        story.worktree(e.WorktreeReady, name, "main")
    story.commit("main", "c0", "s0")
    story.say(MEMORY, example(e.CommitMarkedGood, commit="c0"))
    story.commit("main", "c1", "s1", None, "c0")
    _outcomes(story, entries)
    story.say(COLLECTOR, example(e.BaselineFrozen, first_row=1, last_row=1))
    _experiment(story)
    _rollback(story)
    _scaling(story)
    for data in further:
        story.say(ENGINE, data, f"cause of {data.NAME}")
    return _looked_at(story, entries)


def _outcomes(story: Story, entries: list[Entry]) -> None:
    """Two outcomes, the second one of an experiment's arm."""
    answer = example(TaskFinished, task_id="t1", awaits_grade=True, outcome=Outcome.SUCCEEDED)
    story.say("worker", answer, "t1")
    for row, arm in enumerate((None, "control", "control"), start=1):
        where = {"experiment_id": EXPERIMENT if arm else None, "arm": arm}
        branch = CONTROL if arm else "main"
        done = example(TaskFinished, task_id=f"t{row}", outcome=Outcome.SUCCEEDED, **where)
        story.say("customers", done)
        record = story.telemetry[-1]
        entries.append(Entry(record.subject, record.message_id, b"", record.sequence))
        rows = [_row_of(row, done)]
        story.say(COLLECTOR, example(MetricsOutcomes, branch=branch, rows=rows, **where))


def _row_of(row: int, done: TaskFinished) -> OutcomeRow:
    return example(MetricsOutcomes).rows[0].model_copy(update={"row": row, "task_id": done.task_id})


def _experiment(story: Story) -> None:
    drop = example(e.DecisionMade, decision_id="d1", rule="experiment-on-drop", experiment_id=None)
    story.say(ENGINE, drop, "metrics", "metrics")
    snapshot = story.ask(example(c.CreateSnapshot, experiment_id=EXPERIMENT))
    story.say(MEMORY, example(e.SnapshotCreated, commit="c1", experiment_id=EXPERIMENT), snapshot)
    prepare = story.ask(example(c.PrepareVariants, experiment_id=EXPERIMENT))
    for branch in (CONTROL, VARIANT):
        created = example(e.BranchCreated, branch=branch, from_commit="c1", experiment_id=EXPERIMENT)
        story.say(MEMORY, created, prepare)
    story.commit(VARIANT, "v1", "s2", prepare, "c1")
    variant = example(e.VariantsPrepared).variants[0].model_copy(update={"branch": VARIANT, "commit": "v1"})
    prepared = example(e.VariantsPrepared, experiment_id=EXPERIMENT, control_branch=CONTROL, variants=[variant])
    story.say(MEMORY, prepared, prepare)
    story.say(ENGINE, example(e.ExperimentStarted, experiment_id=EXPERIMENT, decision_id="d1"), "prepared", EXPERIMENT)
    reserve = story.ask(example(c.ReserveWorktrees, experiment_id=EXPERIMENT))
    story.say(SCALER, example(e.WorktreesReserved, experiment_id=EXPERIMENT), reserve)
    for name, branch in (("w2", CONTROL), ("w3", VARIANT)):
        story.worktree(e.WorktreeStarted, name, branch)
        story.worktree(e.WorktreeReady, name, branch)
    story.worktree(e.WorktreeFailed, "w3", VARIANT)
    story.worktree(e.WorktreeStarted, "w3", VARIANT)
    story.say(ENGINE, example(e.ExperimentRunning, experiment_id=EXPERIMENT), "ready", EXPERIMENT)
    run = story.ask(example(c.RunScenario, experiment_id=EXPERIMENT))
    story.say(SCALER, example(e.ScenarioStarted, experiment_id=EXPERIMENT), run)
    _seal(story, 1)
    _merge(story)


def _merge(story: Story) -> None:
    merge_it = example(e.DecisionMade, decision_id="d2", rule="merge-on-success", experiment_id=EXPERIMENT)
    story.say(ENGINE, merge_it, "outcomes", "outcomes")
    story.say(ENGINE, example(e.ExperimentDecided, experiment_id=EXPERIMENT), "outcomes", EXPERIMENT)
    merge = story.ask(example(c.MergeBranch, source=VARIANT, experiment_id=EXPERIMENT))
    story.commit("main", "c2", "s2", merge, "c1", "v1")
    merged = example(e.BranchMerged, source=VARIANT, commit="c2", previous_commit="c1", experiment_id=EXPERIMENT)
    story.say(MEMORY, merged, merge)
    release = story.ask(example(c.ReleaseWorktrees, experiment_id=EXPERIMENT))
    story.say(SCALER, example(e.ScenarioFinished, experiment_id=EXPERIMENT), release)
    for name, branch in (("w2", CONTROL), ("w3", VARIANT)):
        story.worktree(e.WorktreeDrained, name, branch)
        story.worktree(e.WorktreeStopped, name, branch)
    story.say(SCALER, example(e.WorktreesReleased, experiment_id=EXPERIMENT), release)
    for branch in (CONTROL, VARIANT):
        delete = story.ask(example(c.DeleteBranch, branch=branch, experiment_id=EXPERIMENT))
        story.say(MEMORY, example(e.BranchDeleted, branch=branch, experiment_id=EXPERIMENT), delete)
    story.say(ENGINE, example(e.ExperimentClosed, experiment_id=EXPERIMENT), "deleted", EXPERIMENT)
    story.say(MEMORY, example(e.CommitMarkedGood, commit="c2"), "outcomes")


def _rollback(story: Story) -> None:
    story.commit("main", "c3", "s3", None, "c2")
    bad = example(e.DecisionMade, decision_id="d3", rule="rollback-on-failure", experiment_id=None)
    story.say(ENGINE, bad, "failures", "failures")
    rollback = story.ask(example(c.RollbackBranch, target_commit="c2"), about="d3")
    story.commit("main", "c4", "s2", rollback, "c3")
    rolled_back = example(
        e.BranchRolledBack, restored_commit="c2", revert_commit="c4", previous_commit="c3", state_id="s2"
    )
    story.say(MEMORY, rolled_back, rollback, "d3")
    refused = story.ask(example(c.DeleteBranch, branch="gone"))
    story.say(MEMORY, example(e.CommandRefused), refused)


def _scaling(story: Story) -> None:
    story.say(SCALER, example(e.WorktreeScaled, from_count=1, to_count=3))
    story.say(SCALER, example(e.WorktreeScaled, from_count=3, to_count=1))
    _seal(story, 2)


def _seal(story: Story, number: int) -> None:
    """Seals over ten events each."""
    story.say(ENGINE, example(
        e.AuditSealed, from_sequence=10 * number - 9, to_sequence=10 * number, previous_hash=f"h{number - 1}",
        hash=f"h{number}",
    ))  # fmt: skip


def _looked_at(story: Story, entries: list[Entry]) -> Aftermath:
    kinds = ("initial", "commit", "merge", "commit", "rollback")
    log = [_commit(number, kind) for number, kind in enumerate(kinds)]
    memory = AgentMemory(["main"], log[::-1], {}, commits=["c0", "c1", "v1", "c2", "c3", "c4"], contents_checked=2)
    worktrees = [_worktree("w0"), _worktree("w1")]
    return Aftermath(
        [AGENT], entries,
        [Seen(r.sequence, r.message_id, r.envelope) for r in story.events if r.envelope],
        Told(stories=[AGENT], commits=["c1", "c3"], bad_commits=["c3"], stages=list(PARTS)),
        disturbances=[Disturbance(COLLECTOR, BEGAN, BEGAN + timedelta(seconds=1))],
        sent=story.sent, telemetry=story.telemetry, events=story.events, metrics=story.metrics,
        memory={AGENT: memory}, worktrees=worktrees, agent_processes=["w0", "w1"],
        outboxes=dict.fromkeys(subjects.SERVICES, 0), replay=[],
    )  # fmt: skip


def _commit(number: int, kind: str) -> requests.Commit:
    return requests.Commit(
        commit=f"c{number}", parents=[], author="x", message="", time=BEGAN, kind=kind, state_id=f"s{number}"
    )


def _worktree(name: str) -> requests.AgentWorktree:
    return requests.AgentWorktree(
        worktree_id=name, agent=AGENT, branch="main", backend="process", phase="ready", since=BEGAN, in_flight=0,
        capacity=4, crashes=0,
    )  # fmt: skip
