"""Routes from the bus to the collector, and from the collector to the outbox."""

from collections.abc import Sequence

from metrics_collector.collector import Collector, Emission
from metrics_collector.event_time import from_us, to_us
from metrics_collector.window import MAIN
from thymos.envelope import Envelope, happened_at
from thymos.errors import Refusal, RefusalCode
from thymos.events import BranchDeleted, BranchRolledBack, CommitMarkedGood
from thymos.message import Message
from thymos.metrics import MetricsOutcomes
from thymos.observability.tracing import LINKS_MAX
from thymos.requests import AgentsAnswer, AgentSummary, ListAgents, MetricsAnswer, ReadMetrics
from thymos.telemetry import TaskFinished
from thymos.unit_of_work import Transaction


class Handlers:
    """What the service does with each message, request and tick; each call is one transaction."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def telemetry(self, envelopes: Sequence[Envelope[Message]], tx: Transaction) -> None:
        """A batch of telemetry: outcome rows, baselines and the snapshots that are due go out."""
        _publish(tx, self._collector.observe(tx.connection, envelopes, to_us(tx.now)), envelopes)

    def event(self, envelope: Envelope[Message], tx: Transaction) -> None:
        """`commit.marked_good` and a rollback may restart the baseline; `branch.deleted` ends the branch's windows."""
        tenant, agent = envelope.tenant, envelope.agent
        at_us = to_us(happened_at(envelope, tx.now))  # an epoch that began in the future would take no sample
        match envelope.data:
            case CommitMarkedGood(branch=branch, restart_baseline=True) if branch == MAIN:
                self._collector.mark_good(tx.connection, tenant, agent, at_us, to_us(tx.now))
            case BranchRolledBack(branch=branch) if branch == MAIN:
                self._collector.roll_back(tx.connection, tenant, agent, at_us, to_us(tx.now))
            case BranchDeleted(branch=branch):
                self._collector.delete_branch(tx.connection, tenant, agent, branch, to_us(tx.now))

    def snapshots(self, tx: Transaction) -> None:
        """Tick: the snapshots that came due since the last batch."""
        _publish(tx, self._collector.due(tx.connection, to_us(tx.now)))

    def sweep(self, tx: Transaction) -> None:
        """Tick: what time has passed by goes."""
        self._collector.sweep(tx.connection, to_us(tx.now))

    def metrics(self, request: ReadMetrics, tx: Transaction) -> MetricsAnswer:
        """`metrics`: Refusal `not_found` when nothing was heard of the agent or the branch."""
        found = self._collector.metrics(tx.connection, tx.tenant, tx.agent, to_us(tx.now), request.branch)
        if not found:
            what = f"agent {tx.agent!r}" + (f" on branch {request.branch!r}" if request.branch else "")
            raise Refusal(RefusalCode.NOT_FOUND, f"nothing was heard of {what}", "see `thymos agents`")
        return MetricsAnswer(metrics=found)

    def agents(self, request: ListAgents, tx: Transaction) -> AgentsAnswer:
        """`agents`: a page of the tenant's fleet."""
        seen_us = self._collector.agents(tx.connection, tx.tenant)
        names = [name for name in seen_us if request.after is None or name > request.after]
        page = [self._summary(tx, name, seen_us[name]) for name in names[: request.limit]]
        return AgentsAnswer(agents=page, next_after=page[-1].agent if len(names) > len(page) else None)

    def _summary(self, tx: Transaction, agent: str, seen_us: int) -> AgentSummary:
        branches = self._collector.branches(tx.connection, tx.tenant, agent)
        main = self._collector.metrics(tx.connection, tx.tenant, agent, to_us(tx.now), MAIN)
        return AgentSummary(
            agent=agent,
            last_seen=from_us(seen_us) if seen_us else None,
            branches=branches,
            main=main[0] if main else None,
        )


def _publish(tx: Transaction, emissions: Sequence[Emission], causes: Sequence[Envelope[Message]] = ()) -> None:
    """Outcomes go on in the trace of the newest task among them, and point at those of the others."""
    traces = {
        (each.tenant, each.agent, each.data.task_id): each.traceparent
        for each in causes
        if isinstance(each.data, TaskFinished) and each.traceparent
    }
    for emission in emissions:
        whose, message = (emission.tenant, emission.agent), emission.message
        rows = message.rows if isinstance(message, MetricsOutcomes) else ()
        moved = [trace for row in rows if (trace := traces.get((*whose, row.task_id)))]
        newest, others = (moved[-1], tuple(moved[-1 - LINKS_MAX : -1])) if moved else (None, ())
        tx.publish(message, tenant=whose[0], agent=whose[1], traceparent=newest, links=others)
