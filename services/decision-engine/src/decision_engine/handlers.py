"""Messages and ticks to steps of the core, and their results to the store and the outbox; nothing is decided here."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from decision_engine import engine, store
from decision_engine.engine import Input, Result
from decision_engine.record import experiment_record
from decision_engine.settings import Settings
from decision_engine.store import AgentStates
from thymos import commands, events
from thymos.envelope import Envelope
from thymos.errors import PoisonError, Refusal
from thymos.events import DecisionMade
from thymos.message import Message
from thymos.metrics import MetricsChanged, MetricsOutcomes
from thymos.unit_of_work import Transaction

TICK = timedelta(milliseconds=500)

HEARD = (
    MetricsChanged,
    MetricsOutcomes,
    events.BranchCreated,
    events.BranchDeleted,
    events.BranchMerged,
    events.BranchRolledBack,
    events.CommitCreated,
    events.CommitMarkedGood,
    events.VariantsPrepared,
    events.MergeConflicted,
    events.WorktreeStarted,
    events.WorktreeReady,
    events.WorktreeStopped,
    events.WorktreeFailed,
    events.WorktreesReleased,
    events.ScenarioFinished,
    events.BaselineFrozen,
    events.CommandRefused,
)
"""What changes something here; other events, our own among them, pass by."""


@dataclass(frozen=True)
class Handlers:
    """The service's handlers, around its settings and its agents' states."""

    settings: Settings
    states: AgentStates = field(default_factory=AgentStates)

    def on_fact(self, envelope: Envelope[Message], tx: Transaction) -> None:
        """A metric or an event."""
        if isinstance(envelope.data, HEARD):
            self._step(envelope, tx)

    def on_command(self, envelope: Envelope[Message], tx: Transaction) -> None:
        """A command. Raises Refusal, which answers it."""
        if not isinstance(envelope.data, commands.DecisionCommand):
            raise PoisonError(f"{envelope.type} is no command of decision-engine")
        self._step(envelope, tx)

    def on_tick(self, tx: Transaction) -> None:
        """Deadlines that have passed."""
        for tenant, agent in store.due(tx.connection, tx.now):
            self._run(tx, tenant, agent, Input(f"tick|{tx.now.isoformat()}"))

    def _step(self, envelope: Envelope[Message], tx: Transaction) -> None:
        given = Input(envelope.id, envelope.data, envelope.correlation_id)
        self._run(tx, envelope.tenant, envelope.agent, given)

    def _run(self, tx: Transaction, tenant: str, agent: str, given: Input) -> None:
        policy = self.settings.policy_of(agent)
        state = self.states.load(tx.connection, tenant, agent)
        if isinstance(given.message, commands.DecisionCommand):
            refused = engine.why_refused(state, given.message, tx.now, policy)
            if refused is not None:
                raise Refusal(*refused)
        result = engine.step(state, given, tx.now, policy)
        self.states.save(tx.connection, result.state, engine.wake_at(result.state, policy))
        self._keep(tx, tenant, agent, result)

    @staticmethod
    def _keep(tx: Transaction, tenant: str, agent: str, result: Result) -> None:
        for experiment in result.changed:
            record = experiment_record(tenant, agent, experiment)
            store.keep_experiment(tx.connection, tenant, agent, experiment.id, record)
        for output in result.outputs:
            sent = tx.publish(output.message, tenant=tenant, agent=agent, correlation_id=output.correlation_id)
            if isinstance(output.message, DecisionMade):
                record = {"time": sent.time.isoformat(), **output.message.model_dump(mode="json")}
                store.keep_decision(tx.connection, tenant, agent, {"agent": agent, **record})
