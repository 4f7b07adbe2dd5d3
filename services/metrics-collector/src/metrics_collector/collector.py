"""Applies telemetry to windows, baselines and the row counter, and says what is to be published.

Nothing here looks at a clock, publishes or commits: the time and the connection are arguments, messages are
returned.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from metrics_collector import store
from metrics_collector.baseline import BASELINE_SAMPLES, FrozenBaseline
from metrics_collector.event_time import to_us
from metrics_collector.fleet import AgentKey, FleetLimits
from metrics_collector.outcome_rows import Counted, outcome_messages
from metrics_collector.samples import Finished, Kind, MemoryUse, Resource, Response
from metrics_collector.schedule import LOAD_CHANGED_US
from metrics_collector.state import State, Work
from metrics_collector.summary import summarise, view
from metrics_collector.window import MAIN, Beat, Timing, WindowKey
from thymos import subjects
from thymos.database import Connection
from thymos.envelope import Envelope
from thymos.events import BaselineFrozen
from thymos.message import Message
from thymos.metrics import AgentMetrics, MetricsChanged
from thymos.telemetry import (
    AgentHeartbeat,
    MemorySampled,
    ResourceSampled,
    ResponseSent,
    TaskFinished,
    TaskStarted,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Emission:
    """A message to be published for an agent."""

    tenant: str
    agent: str
    message: Message


class Collector:
    """All that metrics-collector knows. One thread only; `now_us` is microseconds since 1970."""

    def __init__(self, limits: FleetLimits | None = None, baseline_samples: int = BASELINE_SAMPLES) -> None:
        self._limits = limits or FleetLimits()
        self._baseline_samples = baseline_samples
        self._state = State(self._limits)

    # -- what comes in

    def observe(self, connection: Connection, envelopes: Sequence[Envelope[Message]], now_us: int) -> list[Emission]:
        """Applies a batch of telemetry, in its order, and returns the outcome rows, baselines and snapshots
        due.

        Messages of other kinds are ignored. Rows come first, so that whoever reads in order has the evidence
        before the snapshot that contains it.
        """
        work = self._state.begin(connection, now_us)
        counted: dict[AgentKey, list[Counted]] = {}
        for envelope in envelopes:
            agent = (envelope.tenant, envelope.agent)
            self._state.seen_us[agent] = now_us
            outcome = self._apply(work, envelope)
            if outcome is not None:
                counted.setdefault(agent, []).append(outcome)
        emissions: list[Emission] = []
        for agent, outcomes in counted.items():
            emissions += self._number(work, agent, outcomes)
        self._state.finish(work)
        return emissions + self.due(connection, now_us)

    def mark_good(self, connection: Connection, tenant: str, agent: str, at_us: int, now_us: int) -> bool:
        """Begins a new baseline epoch at `at_us`; False when the current one is as new."""
        work = self._state.begin(connection, now_us)
        restarted = self._state.restart_baseline(work, (tenant, agent), at_us)
        self._state.finish(work)
        return restarted

    def roll_back(self, connection: Connection, tenant: str, agent: str, at_us: int, now_us: int) -> bool:
        """A baseline that is being collected begins anew: what it holds may be of the commits that were undone."""
        work = self._state.begin(connection, now_us)
        restarted = self._state.restart_baseline(work, (tenant, agent), at_us, keep_frozen=True)
        self._state.finish(work)
        return restarted

    def delete_branch(self, connection: Connection, tenant: str, agent: str, branch: str, now_us: int) -> int:
        """Drops the windows of a branch and of the arms that ran on it; returns how many there were."""
        work = self._state.begin(connection, now_us)
        gone = [key for key in self._state.fleet.of_agent(tenant, agent) if key.branch == branch]
        for key in gone:
            self._state.drop(work, key)
        self._state.finish(work)
        return len(gone)

    def sweep(self, connection: Connection, now_us: int) -> int:
        """Lets go of what time has passed by: samples, silent worktrees, tasks never ended, windows long
        unused.

        Windows that change by it are due for a snapshot. Returns how many windows changed.
        """
        work = self._state.begin(connection, now_us)
        changed = [key for key, window in list(self._state.fleet) if self._state.expire(work, key, window)]
        for key in changed:
            self._state.schedule.changed(key, LOAD_CHANGED_US)
        self._state.finish(work)
        return len(changed)

    # -- what goes out

    def due(self, connection: Connection, now_us: int) -> list[Emission]:
        """The snapshots that are due: of windows that changed, at most one per window and 250 ms."""
        self._state.synchronise(connection)
        emissions = [
            Emission(
                key.tenant,
                key.agent,
                MetricsChanged(
                    branch=key.branch,
                    experiment_id=key.experiment_id or None,
                    arm=key.arm or None,
                    metrics=metrics,
                ),
            )
            for key in self._state.schedule.take(now_us)
            if (metrics := self._summarise(key, now_us)) is not None
        ]
        if emissions:
            self._state.advance(connection)
        return emissions

    def metrics(
        self, connection: Connection, tenant: str, agent: str, now_us: int, branch: str | None = None
    ) -> list[AgentMetrics]:
        """The metrics of one branch of an agent, or of all (main first, then by name), as they are at
        `now_us`.

        Empty when nothing was heard of it, or when it was dropped.
        """
        self._state.synchronise(connection)
        keys = [
            key
            for key in self._state.fleet.of_agent(tenant, agent)
            if not key.experiment_id and branch in (None, key.branch)
        ]
        keys.sort(key=lambda key: (not key.is_main, key.branch))
        return [metrics for key in keys if (metrics := self._summarise(key, now_us)) is not None]

    def branches(self, connection: Connection, tenant: str, agent: str) -> list[str]:
        """The tracked branches of an agent, in the order of their names."""
        self._state.synchronise(connection)
        return sorted({key.branch for key in self._state.fleet.of_agent(tenant, agent)})

    def agents(self, connection: Connection, tenant: str) -> dict[str, int]:
        """The tracked agents of a tenant, by name, and when each was last heard of by our own clock."""
        self._state.synchronise(connection)
        return {name: self._state.seen_us.get((tenant, name), 0) for name in self._state.fleet.agents(tenant)}

    def _summarise(self, key: WindowKey, now_us: int) -> AgentMetrics | None:
        window = self._state.fleet.get(key)
        return None if window is None else summarise(view(key, window, self._limits.window, now_us))

    # -- one message

    def _apply(self, work: Work, envelope: Envelope[Message]) -> Counted | None:
        """Applies one message; returns its outcome if it is one that counts."""
        data = envelope.data
        # A CloudEvent without a time decodes to 1970: as far as anyone can tell it happened when it was received.
        at_us = to_us(envelope.time) or work.now_us
        match data:
            case TaskFinished():
                return self._finished(work, envelope, data, at_us)
            case TaskStarted():
                for key in _keys(envelope, data):
                    self._state.start_task(work, key, _task(data), min(at_us, work.now_us))
            case ResponseSent() | ResourceSampled() | MemorySampled():
                kind, sample = _sampled(data, at_us, envelope.message_id)
                self._state.place(work, WindowKey(envelope.tenant, envelope.agent, data.branch), kind, sample)
            case AgentHeartbeat():
                key = WindowKey(envelope.tenant, envelope.agent, data.branch)
                beat = Beat(min(at_us, work.now_us), data.in_flight, data.capacity)
                self._state.beat(work, key, data.worktree_id or envelope.source, beat)
            case _:
                log.debug("%s is no telemetry", data.type_name())
        return None

    def _finished(self, work: Work, envelope: Envelope[Message], data: TaskFinished, at_us: int) -> Counted | None:
        """An answer that awaits its grade, or an outcome; an outcome that was counted before changes nothing."""
        keys = _keys(envelope, data)
        is_answer = _awaits_grade(envelope.source, data)
        if not is_answer:
            scope = (data.experiment_id or "", keys[-1].arm or data.branch)
            if not store.count_once(work.connection, envelope.tenant, envelope.agent, *scope, data.task_id):
                return None
        kind = Kind.ANSWER if is_answer else Kind.OUTCOME
        sample = _finished_sample(data, at_us)
        timings: list[Timing] = []
        for key in keys:
            self._state.end_task(work, key, sample.key)
            timings.append(self._state.place(work, key, kind, sample).timing)
        if is_answer:
            return None
        named = WindowKey(envelope.tenant, envelope.agent, data.branch, data.experiment_id or "", data.arm or "")
        return Counted(named, data, sample, on_time=timings[0] in (Timing.IN_WINDOW, Timing.PAST))

    # -- counting

    def _number(self, work: Work, agent: AgentKey, outcomes: Sequence[Counted]) -> Iterator[Emission]:
        """Numbers the outcomes of one agent, window by window, and offers those of main to its baseline."""
        row = store.last_row(work.connection, agent)
        groups: dict[WindowKey, list[Counted]] = {}
        for outcome in outcomes:
            groups.setdefault(outcome.key, []).append(outcome)
        for key, group in groups.items():
            yield from (Emission(*agent, message) for message in outcome_messages(key, group, row + 1))
            if key.branch == MAIN:
                yield from self._offer(work, agent, group, row + 1)
            row += len(group)
        work.changes.agents[agent] = (row, work.now_us)

    def _offer(self, work: Work, agent: AgentKey, group: Sequence[Counted], first_row: int) -> Iterator[Emission]:
        baseline = self._state.fleet.baseline(*agent)
        for row, counted in enumerate(group, first_row):
            if counted.on_time and baseline.wants(counted.sample):
                frozen = baseline.add(row, counted.sample, WindowKey(*agent, MAIN), self._baseline_samples)
                self._state.baseline_grew(work, agent, row, counted.sample)
                if frozen is not None:
                    yield Emission(*agent, _frozen_event(frozen))


def _keys(envelope: Envelope[Message], data: TaskFinished | TaskStarted) -> list[WindowKey]:
    """The windows that a task concerns: its branch and, in an experiment, its arm."""
    branch = WindowKey(envelope.tenant, envelope.agent, data.branch)
    if not (data.experiment_id and data.arm):
        return [branch]
    return [branch, WindowKey(envelope.tenant, envelope.agent, data.branch, data.experiment_id, data.arm)]


def _awaits_grade(source: str, data: TaskFinished) -> bool:
    """Whether it is an answer only. An experiment's outcome is what its grader says: an arm does not grade itself,
    whatever it calls its answer. Experiments run scenarios, which worktree-scaler grades; there is no live mode, whose
    outcomes would come from the customers' side.
    """
    return data.awaits_grade or (data.experiment_id is not None and source != subjects.WORKTREE_SCALER)


def _task(data: TaskFinished | TaskStarted) -> str:
    """A task's name within a window: the same task may run outside an experiment and in one."""
    return f"{data.experiment_id}/{data.arm or ''}/{data.task_id}" if data.experiment_id else data.task_id


def _finished_sample(data: TaskFinished, at_us: int) -> Finished:
    return Finished(
        at_us=at_us,
        key=_task(data),
        outcome=data.outcome,
        latency_ms=data.latency_ms,
        cost_usd=data.cost_usd,
        input_tokens=data.input_tokens,
        output_tokens=data.output_tokens,
        llm_calls=data.llm_calls,
        llm_errors=data.llm_errors,
        rate_limited=data.rate_limited,
        quality=data.quality,
        business=data.business,
    )


def _sampled(
    data: ResponseSent | ResourceSampled | MemorySampled, at_us: int, key: str
) -> tuple[Kind, Response | Resource | MemoryUse]:
    match data:
        case ResponseSent():
            return Kind.RESPONSE, Response(at_us, key, data.latency_ms, data.ok, data.bytes)
        case ResourceSampled():
            return Kind.RESOURCE, Resource(at_us, key, data.cpu_fraction, data.memory_fraction, data.memory_bytes)
        case MemorySampled():
            return Kind.MEMORY, MemoryUse(
                at_us=at_us,
                key=key,
                memories_stored=data.memories_stored,
                searches=data.searches,
                search_hits=data.search_hits,
                results_returned=data.results_returned,
                search_latency_ms=data.search_latency_ms,
            )


def _frozen_event(frozen: FrozenBaseline) -> BaselineFrozen:
    return BaselineFrozen(
        metrics=frozen.metrics,
        samples=frozen.samples,
        failures=frozen.failures,
        window=frozen.window_seconds,
        first_row=frozen.first_row,
        last_row=frozen.last_row,
    )
