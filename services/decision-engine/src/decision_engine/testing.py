"""Given / when / then for the pure core: a `Story` is one agent whose services are played by the test.

    story = Story()
    story.memory_begins().baseline(failures=15, samples=300)
    story.main("0" * 40)                                   # forty wrong answers on main
    experiment = story.experiment()
    assert story.sent(PrepareVariants)

Every input goes through the core twice, and the state through JSON in between: whatever a test tells, it also shows
that a replay gives the same, that nothing is lost in storage, and that every decision follows from its own event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from decision_engine import agent_state, engine
from decision_engine.agent_state import AgentState
from decision_engine.engine import Input, Output
from decision_engine.experiment import Experiment
from decision_engine.policy import Policy
from decision_engine.recompute import RECOMPUTATIONS
from decision_engine.rules import builtin_rules
from thymos import commands, events
from thymos.config import Versioning
from thymos.events import ExperimentTask
from thymos.input_digest import input_digest
from thymos.message import Message
from thymos.metrics import AgentMetrics, MetricsOutcomes, OutcomeRow
from thymos.telemetry import Outcome

M = TypeVar("M", bound=Message)
BEGIN = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
OUTCOMES = {
    "1": Outcome.SUCCEEDED,
    "0": Outcome.FAILED,
    "e": Outcome.ERRORED,
    "t": Outcome.TIMED_OUT,
    "c": Outcome.CANCELLED,
}
"""How outcomes are written in tests: one letter each."""


def scenario(tasks: int) -> tuple[ExperimentTask, ...]:
    """So many different tasks."""
    return tuple(ExperimentTask(task_id=f"task-{n}", digest=input_digest(f"question {n}")) for n in range(tasks))


def policy(tasks: int = 128, **versioning: Any) -> Policy:
    """The built-in rules over settings that are the defaults but for `budget = "each"` and what is given."""
    configured = Versioning.model_validate({"evidence": {"budget": "each"}, **versioning})
    return Policy(configured, configured.rules or builtin_rules(configured), scenario(tasks))


def recomputed(message: Message) -> Message | None:
    """What today's core makes of a published message's own inputs; a message that is no decision is itself."""
    again = RECOMPUTATIONS.get(type(message))
    return message if again is None else again(type(message).model_validate_json(message.model_dump_json()))


class Story:
    """One agent's story: what happens to it, and what decision-engine sends out."""

    def __init__(self, configured: Policy | None = None) -> None:
        self.policy = configured or policy()
        self.state = AgentState("default", "support")
        self.now = BEGIN
        self.outputs: list[Output] = []
        self.closed: dict[str, Experiment] = {}
        self._inputs = 0
        self._rows = 0

    # --- when ---------------------------------------------------------------------------------------------------

    def happens(self, message: Message | None, correlation_id: str | None = None) -> Story:
        """One input: a message, or None for a tick."""
        self._inputs += 1
        given = Input(f"input-{self._inputs}", message, correlation_id)
        result = engine.step(self.state, given, self.now, self.policy)
        stored = agent_state.from_json(agent_state.to_json(self.state))
        assert engine.step(stored, given, self.now, self.policy) == result, "a replay must give the same"
        for output in result.outputs:
            assert recomputed(output.message) == output.message, "a decision must follow from what its event holds"
        self.state = result.state
        self.outputs += result.outputs
        self.closed |= {known.id: known for known in result.changed if not known.is_open}
        return self

    def passes(self, **time: float) -> Story:
        """Time passes (keywords of timedelta), then the service ticks."""
        self.now += timedelta(**time)
        return self.happens(None)

    def memory_begins(self) -> Story:
        """The first commit of main, `c0`, which is declared good."""
        self.commits("c0", parents=[])
        return self.happens(events.CommitMarkedGood(branch="main", commit="c0", samples=0))

    def commits(self, commit: str, parents: Sequence[str] = ("parent",)) -> Story:
        """A commit on main whose state is its own."""
        return self.happens(
            events.CommitCreated(
                branch="main",
                commit=commit,
                parents=list(parents),
                author="somebody",
                message="a change",
                state_id=f"state of {commit}",
            )
        )

    def baseline(self, failures: int, samples: int) -> Story:
        """The collector froze a baseline."""
        return self.happens(
            events.BaselineFrozen(metrics=AgentMetrics(), samples=samples, failures=failures, window=60.0)
        )

    def main(self, outcomes: str, commit: str | None = None, latency_ms: float = 20.0) -> Story:
        """Outcomes on main, one message each; `commit` is what their tasks were begun on (None: not said)."""
        for letter in outcomes:
            row = self._row(letter, f"live-{self._rows}", latency_ms, commit)
            self.happens(MetricsOutcomes(branch="main", rows=[row]))
        return self

    def arm(self, arm: str, outcomes: Mapping[str, str]) -> Story:
        """Outcomes of one arm by task id, in one message."""
        experiment = self.experiment()
        rows = [self._row(letter, task, 20.0, None) for task, letter in outcomes.items()]
        branch = experiment.branch_of(arm) or "unknown"
        return self.happens(MetricsOutcomes(branch=branch, experiment_id=experiment.id, arm=arm, rows=rows))

    def pairs(self, challenger: str, control: str, first: int = 0, name: str = "learn-from-success") -> Story:
        """Outcomes of a challenger and of the control on the next tasks in assignment order, pair by pair."""
        for place, (mine, yours) in enumerate(zip(challenger, control, strict=True), start=first):
            if not self.state.experiments:
                return self
            task = self.tasks()[place]
            self.arm("control", {task: yours})
            if self.state.experiments:
                self.arm(name, {task: mine})
        return self

    def _row(self, letter: str, task: str, latency_ms: float, commit: str | None) -> OutcomeRow:
        self._rows += 1
        return OutcomeRow(
            row=self._rows,
            task_id=task,
            outcome=OUTCOMES[letter],
            commit=commit,
            latency_ms=latency_ms,
            finished_at=self.now,
        )

    # --- the other services answer ---------------------------------------------------------------------------------

    def drops(self) -> Story:
        """Main works well on `c0`, then fails until an experiment is opened."""
        self.memory_begins().baseline(failures=15, samples=300)
        while not self.state.experiments:
            self.main("0")
        return self

    def learns(self) -> Story:
        """More outcomes come in, until the variants are asked for."""
        while not self.sent(commands.PrepareVariants):
            self.main("01")
        return self

    def prepares(self, *names: str) -> Story:
        """memory-repository answers `variants.prepare` with these variants."""
        asked = self.sent(commands.PrepareVariants)[-1]
        branches = [asked.control_branch, *(asked.branch_prefix + name for name in names)]
        for branch in branches:
            self.happens(events.BranchCreated(branch=branch, from_commit="c0", experiment_id=asked.experiment_id))
        variants = [
            events.VariantChange(name=name, description="a change", branch=branch, commit=f"v-{name}", changes=3)
            for name, branch in zip(names, branches[1:], strict=True)
        ]
        return self.happens(
            events.VariantsPrepared(
                experiment_id=asked.experiment_id,
                base_commit="c0",
                control_branch=asked.control_branch,
                variants=variants,
                generator="learn-from-success",
            )
        )

    def becomes_ready(self) -> Story:
        """Every arm's agent sends its first heartbeat."""
        for arm in self.sent(commands.ReserveWorktrees)[-1].arms:
            self.happens(events.WorktreeStarted(worktree_id=f"w-{arm.name}", branch=arm.branch, backend="process"))
            self.happens(events.WorktreeReady(worktree_id=f"w-{arm.name}", branch=arm.branch, backend="process"))
        return self

    def runs(self, *names: str) -> Story:
        """From the beginning to a running experiment with these variants."""
        return self.drops().learns().prepares(*(names or ("learn-from-success",))).becomes_ready()

    def merges(self) -> Story:
        """memory-repository carries out the merge that was asked for."""
        asked = self.sent(commands.MergeBranch)[-1]
        self.commits("merge", parents=["c0", "v"])
        return self.happens(
            events.BranchMerged(
                source=asked.source,
                target="main",
                commit="merge",
                previous_commit="c0",
                strategy=asked.strategy,
                experiment_id=asked.experiment_id,
            )
        )

    def cleans_up(self) -> Story:
        """worktree-scaler releases, memory-repository deletes what it is asked to."""
        for released in self.sent(commands.ReleaseWorktrees):
            self.happens(events.WorktreesReleased(experiment_id=released.experiment_id, branches=[]))
        for deleted in self.sent(commands.DeleteBranch):
            self.happens(events.BranchDeleted(branch=deleted.branch, from_commit="c0"))
        return self

    def rolls_back(self, revert: str) -> Story:
        """memory-repository carries out the rollback that was asked for."""
        asked = self.sent(commands.RollbackBranch)[-1]
        self.commits(revert, parents=["parent"])
        return self.happens(
            events.BranchRolledBack(
                branch="main",
                restored_commit=asked.target_commit,
                revert_commit=revert,
                state_id=f"state of {asked.target_commit}",
            )
        )

    def refuses(self, command: type[Message], code: str = "refused") -> Story:
        """The latest such command is refused."""
        output = next(output for output in reversed(self.outputs) if isinstance(output.message, command))
        refused = events.CommandRefused(command=command.type_name(), code=code, reason="it cannot be")
        return self.happens(refused, output.correlation_id)

    # --- then -------------------------------------------------------------------------------------------------------

    def sent(self, kind: type[M]) -> list[M]:
        """Everything of one class that was sent out so far, in order."""
        return [output.message for output in self.outputs if isinstance(output.message, kind)]

    def experiment(self) -> Experiment:
        """The only open experiment."""
        (experiment,) = self.state.experiments.values()
        return experiment

    def tasks(self) -> list[str]:
        """Task ids in the running experiment's order."""
        plan = self.experiment().plan
        return [task.task_id for task in plan.tasks] if plan else []

    def decisions(self, rule: str | None = None) -> list[events.DecisionMade]:
        """The decisions that were published, of one rule if it is named."""
        return [made for made in self.sent(events.DecisionMade) if rule is None or made.rule == rule]
