"""Messages and ticks to steps of the core, and their results to the store and the outbox; nothing is decided here."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from decision_engine import engine, store
from decision_engine.agent_state import AgentState
from decision_engine.engine import Input, Result
from decision_engine.record import decision_record, experiment_record
from decision_engine.settings import Settings
from decision_engine.store import AgentStates
from decision_engine.verdict import ExperimentVerdict
from thymos import commands, events
from thymos.envelope import Envelope, happened_at
from thymos.errors import PoisonError, Refusal
from thymos.events import DecisionMade
from thymos.message import Message
from thymos.metrics import MetricsChanged, MetricsOutcomes
from thymos.unit_of_work import Transaction

log = logging.getLogger(__name__)

TICK = timedelta(milliseconds=500)
BEHIND = timedelta(seconds=5)
"""A message older than this means that the service is catching up; deadlines wait until that is over."""
BEHIND_MAX = timedelta(seconds=60)
"""The longest that they wait in one go: messages may be old because a producer's clock is slow, and stay so."""
AFTER_FAILURE = timedelta(minutes=1)
"""An agent whose deadlines could not be handled is tried again after this."""
AGENTS_BEHIND_MAX = 10_000

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
class Pause:
    """Deadlines wait until `until`, which old messages put off, but not beyond `BEHIND_MAX` after `since`."""

    since: datetime
    until: datetime

    @staticmethod
    def begun(now: datetime) -> Pause:
        """A pause that begins now."""
        return Pause(now, now + BEHIND)

    def is_over(self, now: datetime) -> bool:
        """Whether deadlines may be judged by the clock."""
        return now >= min(self.until, self.since + BEHIND_MAX)


@dataclass
class CatchingUp:
    """Until when the service takes itself to be behind: with all agents after its start, later with each by itself, so
    that one producer's slow clock stops no other's deadlines, and its own agent's for a bounded time only."""

    start: Pause | None = None
    agents: dict[tuple[str, str], Pause] = field(default_factory=dict)

    def begin(self, now: datetime) -> Pause:
        """The pause after the service's start, which is when this is called first."""
        self.start = self.start or Pause.begun(now)
        return self.start

    def saw(self, agent: tuple[str, str], happened_at: datetime, now: datetime) -> None:
        """A message of a (tenant, agent) was handled."""
        start = self.begin(now)
        if now - happened_at <= BEHIND:
            return
        if not start.is_over(now):
            self.start = replace(start, until=now + BEHIND)
        known = self.agents.get(agent)
        went_on = known is not None and now < known.until
        self.agents[agent] = replace(known, until=now + BEHIND) if known and went_on else Pause.begun(now)
        if len(self.agents) > AGENTS_BEHIND_MAX:
            self.agents = {name: pause for name, pause in self.agents.items() if now < pause.until}

    def is_over(self, agent: tuple[str, str], now: datetime) -> bool:
        """Whether the deadlines of a (tenant, agent) may be judged by the clock."""
        known = self.agents.get(agent)
        return self.begin(now).is_over(now) and (known is None or known.is_over(now))


def _nobody(times: int) -> None:
    """Is told, and does nothing."""


@dataclass(frozen=True)
class Handlers:
    """The service's handlers, around its settings and its agents' states. `looked` is told how often evidence was
    looked at."""

    settings: Settings
    states: AgentStates = field(default_factory=AgentStates)
    catching_up: CatchingUp = field(default_factory=CatchingUp)
    looked: Callable[[int], None] = _nobody

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
        self.catching_up.begin(tx.now)
        for tenant, agent in store.due(tx.connection, tx.now):
            if self.catching_up.is_over((tenant, agent), tx.now):
                self._on_deadline(tx, tenant, agent)

    def _on_deadline(self, tx: Transaction, tenant: str, agent: str) -> None:
        """One agent's deadlines; if they fail, the other agents' do not wait for them."""
        try:
            with tx.part():
                self._run(tx, tenant, agent, Input(f"tick|{tx.now.isoformat()}"), tx.now)
        except sqlite3.Error:
            raise  # it is the file's fault, not the agent's
        except Exception:  # whatever it is, it is this agent's alone
            log.exception("agent %s of tenant %s: its deadlines could not be handled", agent, tenant)
            store.postpone(tx.connection, tenant, agent, tx.now + AFTER_FAILURE)

    def _step(self, envelope: Envelope[Message], tx: Transaction) -> None:
        given = Input(envelope.id, envelope.data, envelope.correlation_id)
        happened = happened_at(envelope, tx.now)
        self.catching_up.saw((envelope.tenant, envelope.agent), happened, tx.now)
        self._run(tx, envelope.tenant, envelope.agent, given, happened)

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
        self.looked(sum(each.look is not None and each.look is not _look(state, each.id) for each in result.changed))
        self._keep(tx, tenant, agent, result)

    @staticmethod
    def _keep(tx: Transaction, tenant: str, agent: str, result: Result) -> None:
        for experiment in result.changed:
            store.keep_experiment(tx.connection, experiment_record(tenant, agent, experiment))
        for output in result.outputs:
            sent = tx.publish(output.message, tenant=tenant, agent=agent, correlation_id=output.correlation_id)
            if isinstance(output.message, DecisionMade):
                store.keep_decision(tx.connection, tenant, decision_record(agent, sent.time, output.message))


def _look(state: AgentState, experiment_id: str) -> ExperimentVerdict | None:
    known = state.experiments.get(experiment_id)
    return None if known is None else known.look
