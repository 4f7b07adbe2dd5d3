"""Messages and ticks to steps of the core, and their results to the store and the outbox; nothing is decided here."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from decision_engine import engine, store
from decision_engine.engine import Input, Result
from decision_engine.record import decision_record, experiment_record
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
BEHIND = timedelta(seconds=5)
"""A message older than this means that the service is catching up; deadlines wait until that is over."""

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


@dataclass
class CatchingUp:
    """Until when the service takes itself to be behind: after its start, and after each old message."""

    until: datetime | None = None

    def saw(self, happened_at: datetime, now: datetime) -> None:
        """A message was handled."""
        if self.until is None or now - happened_at > BEHIND:
            self.until = now + BEHIND

    def is_over(self, now: datetime) -> bool:
        """Whether deadlines may be judged by the clock."""
        if self.until is None:
            self.until = now + BEHIND
        return now >= self.until


@dataclass(frozen=True)
class Handlers:
    """The service's handlers, around its settings and its agents' states."""

    settings: Settings
    states: AgentStates = field(default_factory=AgentStates)
    catching_up: CatchingUp = field(default_factory=CatchingUp)

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
        """Deadlines that have passed; what is still on the bus comes first, it may be what they wait for."""
        if not self.catching_up.is_over(tx.now):
            return
        for tenant, agent in store.due(tx.connection, tx.now):
            self._run(tx, tenant, agent, Input(f"tick|{tx.now.isoformat()}"), tx.now)

    def _step(self, envelope: Envelope[Message], tx: Transaction) -> None:
        given = Input(envelope.id, envelope.data, envelope.correlation_id)
        self.catching_up.saw(envelope.time, tx.now)
        self._run(tx, envelope.tenant, envelope.agent, given, envelope.time)

    def _run(self, tx: Transaction, tenant: str, agent: str, given: Input, happened_at: datetime) -> None:
        policy = self.settings.policy_of(agent)
        state = self.states.load(tx.connection, tenant, agent)
        now = engine.time_of(state, happened_at, tx.now)
        if isinstance(given.message, commands.DecisionCommand):
            refused = engine.why_refused(state, given.message, now, policy)
            if refused is not None:
                raise Refusal(*refused)
        result = engine.step(state, given, now, policy)
        self.states.save(tx.connection, result.state, engine.wake_at(result.state, policy))
        self._keep(tx, tenant, agent, result)

    @staticmethod
    def _keep(tx: Transaction, tenant: str, agent: str, result: Result) -> None:
        for experiment in result.changed:
            store.keep_experiment(tx.connection, experiment_record(tenant, agent, experiment))
        for output in result.outputs:
            sent = tx.publish(output.message, tenant=tenant, agent=agent, correlation_id=output.correlation_id)
            if isinstance(output.message, DecisionMade):
                store.keep_decision(tx.connection, tenant, decision_record(agent, sent.time, output.message))
