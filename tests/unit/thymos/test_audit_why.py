"""Why something was done: from an id to the rule, the numbers, and the outcomes that moved the metric."""

from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest

from thymos import events, subjects
from thymos.audit.investigation import Answer, investigate
from thymos.audit.reading import past
from thymos.envelope import Envelope
from thymos.errors import Refusal
from thymos.message import Message
from thymos.metrics import MetricsOutcomes, OutcomeRow
from thymos.telemetry import Outcome, TaskFinished
from thymos.testing import MemoryBus

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DECISION, EXPERIMENT = "d0d0d0d0d0d0", "e0e0e0e0e0e0"
GOOD, BAD, REVERT, MERGED = "a" * 64, "b" * 64, "c" * 64, "f" * 64


class Log:
    """A bus whose clock stands where its messages say."""

    def __init__(self) -> None:
        self.now = START
        self.bus = MemoryBus(clock=lambda: self.now)
        self.count = 0

    async def add(self, data: Message, *, cause: str | None = None, correlation: str | None = None) -> str:
        """Something happens, a second after what happened before; its id."""
        self.now += timedelta(seconds=1)
        self.count += 1
        envelope = Envelope[Message](
            id=f"{self.count:08x}-0000-4000-8000-000000000000", source="test", time=self.now,
            tenant="acme", agent="support", data=data, causation_id=cause, correlation_id=correlation,
        )  # fmt: skip
        await self.bus.publish(envelope.subject, envelope.to_bytes(), envelope.message_id)
        return envelope.id

    async def outcomes(self, first_row: int, *letters: str, commit: str) -> str:
        """Tasks end as the letters say (1 succeeded, 0 failed), and are counted; the id of the metrics' message."""
        rows = []
        for row, letter in enumerate(letters, start=first_row):
            outcome = Outcome.SUCCEEDED if letter == "1" else Outcome.FAILED
            await self.add(TaskFinished(task_id=f"task-{row}", outcome=outcome, commit=commit, awaits_grade=True))
            await self.add(TaskFinished(task_id=f"task-{row}", outcome=outcome, commit=commit))
            rows.append(
                OutcomeRow(row=row, task_id=f"task-{row}", outcome=outcome, commit=commit, finished_at=self.now)
            )
        return await self.add(MetricsOutcomes(branch="main", rows=rows))

    async def why(self, text: str) -> Answer:
        return await investigate(text, lambda: aclosing(past(self.bus)), self.bus)


@pytest.fixture
async def rolled_back() -> Log:
    """A bad commit whose outcomes lead to a rollback."""
    log = Log()
    commit = events.CommitCreated(branch="main", commit=BAD, parents=[GOOD], author="a colleague", message="clean up")
    await log.add(commit)
    cause = await log.outcomes(612, "0", "1", "0", commit=BAD)
    found = {"first_row": 612, "last_row": 614, "outcomes": 3, "failures": 2, "suspects": [BAD]}
    found["readings"] = {"watch": {"e_value": "691/2", "threshold": "80/1", "crossed": True}}
    await log.add(
        events.DecisionMade(
            decision_id=DECISION, rule="rollback-on-failure", verdict="act", mode="act", reason="2 of 3 failed",
            inputs={"found": found, "condition": {"type": "FailureCriteriaMet"}, "action": {"type": "Rollback"}},
            actions=[{"type": "Rollback", "words": "roll main back"}],
            not_done=[events.NotDone(action="MergeBranch", why="nothing to merge")],
        ),
        cause=cause, correlation=cause,
    )  # fmt: skip
    await log.add(
        events.BranchRolledBack(branch="main", restored_commit=GOOD, revert_commit=REVERT, previous_commit=BAD),
        cause="command-1", correlation=DECISION,
    )  # fmt: skip
    return log


@pytest.mark.parametrize("text", [DECISION, DECISION[:6], REVERT, REVERT[:10]])
async def test_a_rollback_is_traced_to_the_tasks_that_failed(rolled_back: Log, text: str) -> None:
    answer = await rolled_back.why(text)
    assert "when FailureCriteriaMet, then Rollback" in answer.sections["rule"][0]
    assert "watch: evidence 345.5 (threshold 80, crossed)" in answer.sections["evidence"]
    assert answer.sections["done"] == ["Rollback: roll main back", "not done: MergeBranch: nothing to merge"]
    told = [line.split(" (")[0][10:] for line in answer.chain]
    assert told[0].startswith("commit.created 00000001")
    assert told[1:3] == ["task task-612 failed on commit bbbbbbbbbbbb", "task task-614 failed on commit bbbbbbbbbbbb"]
    assert told[3].startswith("outcomes 612 to 614: 2 of 3 were no success, counted with metrics.outcomes")
    assert told[4].startswith("decision.made")
    assert told[5].startswith("command branch.rollback -> branch.rolled_back")
    assert answer.notes == []


async def test_the_commit_that_was_restored_says_so(rolled_back: Log) -> None:
    answer = await rolled_back.why(GOOD)
    assert answer.notes[-1] == f"a rollback restored it: `thymos why {DECISION}`"


async def test_telemetry_that_is_no_longer_kept_is_told(rolled_back: Log) -> None:
    await rolled_back.bus.purge(subjects.TELEMETRY, subjects.telemetry_subject("acme", "support"))
    answer = await rolled_back.why(DECISION)
    assert "its report has aged out" in answer.chain[1]
    assert answer.notes == ["3 of its tasks' reports are not in THYMOS_TELEMETRY any more, which keeps two days"]
    await rolled_back.bus.purge(subjects.METRICS, subjects.metrics_subject("acme", "support", "*"))
    answer = await rolled_back.why(DECISION)
    assert "are not in THYMOS_METRICS any more" in answer.notes[0]


async def test_a_file_has_no_telemetry_and_says_so(rolled_back: Log) -> None:
    answer = await investigate(DECISION, lambda: aclosing(past(rolled_back.bus)), None)
    assert answer.notes[0].startswith("a file holds no metrics and no telemetry")
    assert any("decision.made" in line for line in answer.chain)


async def test_an_experiment_is_told_from_the_decision_that_opened_it_to_the_merge() -> None:
    log = Log()
    cause = await log.outcomes(1, "1", "0", "0", commit=GOOD)
    drop = events.DecisionMade(
        decision_id=DECISION, rule="experiment-on-drop", verdict="act", mode="act", reason="dropped",
        inputs={"found": {"outcomes_since_it_began": 2, "detector": {"samples": 3, "failures": 2}}},
    )  # fmt: skip
    await log.add(drop, cause=cause)
    arms = [events.Arm(name="control", branch="c", control=True), events.Arm(name="bold", branch="b")]
    await log.add(
        events.ExperimentStarted(
            experiment_id=EXPERIMENT, arms=arms, mode="scenario", alpha="1/20", budget="each", challengers=1,
            min_pairs=20, deadline=START, seed=1, tasks=[], base_commit=GOOD, decision_id=DECISION,
        ),
        correlation=EXPERIMENT,
    )  # fmt: skip
    report = events.ArmReport(
        arm="bold", verdict=events.Verdict.MERGE, pairs=23, wins=9, losses=0, ties=14, e_value=102.3,
        e_exact="1023/10", threshold=60,
    )  # fmt: skip
    decided = events.ExperimentDecided(
        experiment_id=EXPERIMENT, phase="Merging", verdict=events.Verdict.MERGE, arms=[report], reason="better"
    )
    await log.add(decided, correlation=EXPERIMENT)
    merged = events.BranchMerged(
        source="b", target="main", commit=MERGED, previous_commit=GOOD, strategy="AutoMerge", experiment_id=EXPERIMENT
    )
    event = await log.add(merged, cause="command-2", correlation=EXPERIMENT)
    for text in (EXPERIMENT, MERGED, event):
        answer = await log.why(text)
        told = "\n".join(answer.chain)
        order = ["task task-2 failed", "outcomes 2 to 3", "decision.made", "experiment.started", "branch.merged"]
        places = [told.index(words) for words in order]
        assert places == sorted(places), told
        assert any("drop detector: 2 failures in 3 outcomes" in line for line in answer.sections["evidence"])
    decided_evidence = (await log.why(EXPERIMENT)).sections["evidence"]
    assert "bold: 23 pairs, 9 wins, 0 losses, 14 ties, E 102.3 (threshold 60): merge" in decided_evidence


async def test_a_scaling_is_told_with_its_signal_and_what_it_led_to() -> None:
    log = Log()
    scaled = events.WorktreeScaled(branch="main", from_count=1, to_count=2, signal={"pending": 40}, reason="lag 40")
    event = await log.add(scaled)
    await log.add(events.WorktreeStarted(worktree_id="w1", branch="other", backend="process"))
    await log.add(events.WorktreeStarted(worktree_id="w2", branch="main", backend="process"))
    await log.add(scaled)
    await log.add(events.WorktreeStopped(worktree_id="w2", branch="main", backend="process"))
    answer = await log.why(event[:8])
    assert answer.sections["evidence"] == ["signal: pending 40"]
    assert [line.split()[1] for line in answer.chain] == ["worktree.scaled", "worktree.started"]


async def test_an_id_that_is_unknown_short_or_of_several_is_refused(rolled_back: Log) -> None:
    with pytest.raises(Refusal, match="nothing in the event log has the id 'nothing'") as refusal:
        await rolled_back.why("nothing")
    assert refusal.value.code == "not_found"
    with pytest.raises(Refusal, match="too short"):
        await rolled_back.why("b")
    with pytest.raises(Refusal, match="give more of it"):
        await rolled_back.why("000000")


async def test_what_no_decision_led_to_says_who_did_it(rolled_back: Log) -> None:
    answer = await rolled_back.why(BAD)
    assert "a colleague" in answer.sections["what"][0]
