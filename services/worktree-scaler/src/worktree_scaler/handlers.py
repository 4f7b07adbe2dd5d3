"""What the service does with each message: commands, telemetry, events, requests. Each runs in one
transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from thymos import subjects
from thymos.commands import ReleaseWorktrees, ReserveWorktrees, RunScenario, ScaleWorktree
from thymos.envelope import Envelope, happened_at
from thymos.errors import ConfigError, PoisonError, Refusal, RefusalCode
from thymos.events import BranchDeleted, ExperimentClosed, ExperimentTask, WorktreeReady, WorktreesReleased
from thymos.message import Message
from thymos.requests import (
    AgentFleet,
    AgentWorktree,
    AgentWorktreesAnswer,
    FleetsAnswer,
    ListAgentWorktrees,
    ListFleets,
    ReadScenario,
    ScenarioAnswer,
)
from thymos.scenario import ScenarioTask, read_scenario
from thymos.service import Endpoint, Route
from thymos.telemetry import AgentHeartbeat, TaskFinished, TaskStarted
from thymos.unit_of_work import Transaction
from worktree_scaler import external, reservations, scenario_runs, store
from worktree_scaler.lifecycle import Phase, Trigger, following
from worktree_scaler.scaling import Override
from worktree_scaler.settings import MAIN, AgentSettings, ScalerSettings
from worktree_scaler.store import Branch, WorktreeRow


class Handlers:
    """The service's handlers. `notify` asks the supervision for a look."""

    def __init__(self, settings: ScalerSettings, notify: Callable[[], None]) -> None:
        self._settings = settings
        self._notify = notify

    def routes(self) -> Sequence[Route]:
        """Which handler gets what."""
        me = subjects.WORKTREE_SCALER
        return (
            Route(subjects.consumer(me, subjects.COMMANDS), handle=self.on_command),
            Route(subjects.consumer(me, subjects.EVENTS), handle=self.on_event),
            Route(subjects.consumer(me, subjects.TELEMETRY), handle_batch=self.on_telemetry),
        )

    def endpoints(self) -> Sequence[Endpoint]:
        """What the service answers."""
        return (
            Endpoint("worktrees", ListAgentWorktrees, self.list_worktrees),
            Endpoint("agents", ListFleets, self.list_agents),
            Endpoint("scenario", ReadScenario, self.describe_scenario),
        )

    # --- commands -------------------------------------------------------------------------------------------

    def on_command(self, envelope: Envelope[Message], tx: Transaction) -> None:
        """Carry a command out, or refuse it with the reason."""
        match envelope.data:
            case ReserveWorktrees() as command:
                self._agent_with_command(tx)
                reservations.grant(command, self._settings.policy, tx)
            case ReleaseWorktrees() as command:
                whose = (tx.tenant, tx.agent, command.experiment_id)
                if not reservations.release(*whose, tx, command.reason or "released", envelope.id):
                    nothing = WorktreesReleased(experiment_id=command.experiment_id, branches=[])
                    tx.publish(nothing, tenant=tx.tenant, agent=tx.agent)
            case ScaleWorktree() as command:
                self._scale(command, tx)
            case RunScenario() as command:
                agent = self._agent_with_command(tx)
                reservations.check_arms(command, tx)
                tasks = self._scenario(agent.scenario, tx.agent)
                scenario_runs.begin(command, tasks, agent.grader, tx)
            case _:
                raise PoisonError(f"{envelope.type} is no command of worktree-scaler")
        self._notify()

    def _agent_with_command(self, tx: Transaction) -> AgentSettings:
        agent = self._settings.agents.get(tx.agent) if tx.tenant == self._settings.tenant else None
        if agent is None or not agent.command:
            raise Refusal(
                RefusalCode.NOT_FOUND,
                f"agent {tx.agent} of tenant {tx.tenant} has no command here",
                f"set [agents.{tx.agent}] command in thymos.toml",
            )
        return agent

    def _scale(self, command: ScaleWorktree, tx: Transaction) -> None:
        self._agent_with_command(tx)
        policy, branch = self._settings.policy, Branch(tx.tenant, tx.agent, command.branch)
        if command.branch != MAIN:
            raise Refusal(RefusalCode.REFUSED, f"only {MAIN} is scaled; {command.branch} belongs to an experiment")
        if not policy.min_worktrees <= command.count <= policy.max_worktrees:
            raise Refusal(
                RefusalCode.REFUSED,
                f"{command.count} is outside {policy.min_worktrees}..{policy.max_worktrees}",
                "change min_worktrees or max_worktrees",
            )
        until = tx.now + timedelta(seconds=command.for_seconds)
        store.set_override(tx.connection, branch, Override(command.count, until, command.reason))

    @staticmethod
    def _scenario(path: Path | None, agent: str) -> Mapping[str, ScenarioTask]:
        if path is None:
            raise Refusal(RefusalCode.NOT_FOUND, f"agent {agent} has no scenario", f"set [agents.{agent}] scenario")
        try:
            return read_scenario(path)
        except ConfigError as error:
            raise Refusal(RefusalCode.INVALID, str(error).splitlines()[0], "`thymos config check` tells all") from error

    # --- events ---------------------------------------------------------------------------------------------

    def on_event(self, envelope: Envelope[Message], tx: Transaction) -> None:
        """What ends elsewhere ends here: a deleted branch's fleet, a closed experiment's worktrees."""
        match envelope.data:
            case BranchDeleted(branch=branch):
                store.release_fleet(tx.connection, Branch(envelope.tenant, envelope.agent, branch))
            case ExperimentClosed(experiment_id=experiment_id):
                whose = (envelope.tenant, envelope.agent, experiment_id)
                reservations.release(*whose, tx, "its experiment is closed", envelope.id)
        self._notify()

    # --- telemetry ------------------------------------------------------------------------------------------

    def on_telemetry(self, envelopes: Sequence[Envelope[Message]], tx: Transaction) -> None:
        """Heartbeats, tasks begun, and answers to grade; then whatever there is room for is handed out."""
        answered: set[int] = set()
        for envelope in envelopes:
            match envelope.data:
                case AgentHeartbeat() as beat:
                    self._on_heartbeat(envelope, beat, tx)
                case TaskStarted() as started:
                    scenario_runs.on_started(envelope, started, tx)
                case TaskFinished() as answer if envelope.source != subjects.WORKTREE_SCALER:
                    _note_commit(envelope, answer, tx)
                    run_id = scenario_runs.on_answer(envelope, answer, tx)
                    answered.update([] if run_id is None else [run_id])
        for run_id in sorted(answered):
            scenario_runs.hand_out(run_id, tx)

    def _on_heartbeat(self, envelope: Envelope[Message], beat: AgentHeartbeat, tx: Transaction) -> None:
        row = external.registered(envelope, beat, tx)
        at = happened_at(envelope, tx.now)
        if row is None or row.phase not in (Phase.STARTING, Phase.READY, Phase.DRAINING):
            return
        if at < row.phase_at and row.phase is Phase.STARTING:
            return  # of the process before this one
        store.set_heartbeat(tx.connection, row.worktree_id, at, beat.in_flight, beat.capacity)
        if row.phase is Phase.STARTING:
            ready = following(row.phase, Trigger.HEARTBEAT)
            store.set_phase(tx.connection, row.worktree_id, ready, tx.now, row.reason, row.crashes)
            _tell_ready(row, tx)
            self._notify()

    # --- requests -------------------------------------------------------------------------------------------

    def list_worktrees(self, request: ListAgentWorktrees, tx: Transaction) -> AgentWorktreesAnswer:
        """The worktrees of the agent (of all the tenant's agents, when asked for none), by agent and
        branch.
        """
        del request
        rows = store.live_worktrees(tx.connection, tx.tenant, _named(tx.agent))
        return AgentWorktreesAnswer(worktrees=[_described(row) for row in rows])

    def list_agents(self, request: ListFleets, tx: Transaction) -> FleetsAnswer:
        """The tenant's agents, configured or heard of: worktrees by phase, tasks in hand, capacity."""
        del request
        rows = store.live_worktrees(tx.connection, tx.tenant, _named(tx.agent))
        names = {row.branch.agent for row in rows}
        if tx.tenant == self._settings.tenant:
            names |= {name for name in self._settings.agents if _named(tx.agent) in (None, name)}
        return FleetsAnswer(agents=[self._summary(name, rows) for name in sorted(names)])

    def _summary(self, agent: str, rows: Sequence[WorktreeRow]) -> AgentFleet:
        own = [row for row in rows if row.branch.agent == agent]
        phases = [row.phase for row in own]
        return AgentFleet(
            agent=agent,
            backend=store.PROCESS if self._has_command(agent) else store.EXTERNAL,
            worktrees={phase.value: phases.count(phase) for phase in Phase if phase in phases},
            branches=sorted({row.branch.branch for row in own}),
            in_flight=sum(row.in_flight for row in own),
            capacity=sum(row.capacity for row in own),
        )

    def _has_command(self, agent: str) -> bool:
        return agent in self._settings.agents and bool(self._settings.agents[agent].command)

    def describe_scenario(self, request: ReadScenario, tx: Transaction) -> ScenarioAnswer:
        """The tasks of the agent's scenario, in the file's order: id and digest, never what is expected."""
        del request
        agent = self._settings.agents.get(tx.agent)
        tasks = self._scenario(agent.scenario if agent else None, tx.agent)
        return ScenarioAnswer(
            tasks=[ExperimentTask(task_id=task.task_id, digest=task.digest) for task in tasks.values()]
        )


def _named(agent: str) -> str | None:
    return None if agent == subjects.WHOLE_SERVICE else agent


def _note_commit(envelope: Envelope[Message], answer: TaskFinished, tx: Transaction) -> None:
    if answer.commit is not None:
        worktree_id = answer.worktree_id or envelope.source
        store.set_commit(tx.connection, worktree_id, (envelope.tenant, envelope.agent), answer.commit)


def _tell_ready(row: WorktreeRow, tx: Transaction) -> None:
    tx.publish(
        WorktreeReady(
            worktree_id=row.worktree_id,
            branch=row.branch.branch,
            backend=row.backend,
            experiment_id=row.experiment_id,
            reason="first heartbeat",
        ),
        tenant=row.branch.tenant,
        agent=row.branch.agent,
    )


def _described(row: WorktreeRow) -> AgentWorktree:
    return AgentWorktree(
        worktree_id=row.worktree_id,
        agent=row.branch.agent,
        branch=row.branch.branch,
        backend=row.backend,
        phase=row.phase.value,
        since=row.phase_at,
        in_flight=row.in_flight,
        capacity=row.capacity,
        crashes=row.crashes,
        experiment_id=row.experiment_id,
        pid=row.pid,
        reason=row.reason,
    )
