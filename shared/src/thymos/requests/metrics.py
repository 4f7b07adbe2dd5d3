"""Requests of metrics-collector: how agents do."""

from datetime import datetime

from thymos.message import AgentName, BranchName
from thymos.metrics import AgentMetrics
from thymos.requests.base import Answer, Limit, Request


class ReadMetrics(Request):
    """`metrics` of metrics-collector: current metrics of one branch or of all; answered by `MetricsAnswer`."""

    branch: BranchName | None = None


class MetricsAnswer(Answer):
    """Main first, then the other branches in the order of their names; arms of experiments are their branches."""

    metrics: list[AgentMetrics]


class ListAgents(Request):
    """`agents` of metrics-collector: the fleet, in the order of names, after `after`; answered by `AgentsAnswer`.

    It concerns no single agent: the agent's place in the subject is `_`.
    """

    limit: Limit = 100
    after: AgentName | None = None


class AgentSummary(Answer):
    """One agent of the fleet; `main` is its production branch, `last_seen` None since the collector's restart."""

    agent: AgentName
    last_seen: datetime | None = None
    branches: list[BranchName]
    main: AgentMetrics | None = None


class AgentsAnswer(Answer):
    """A page; `next_after` is None on the last one."""

    agents: list[AgentSummary]
    next_after: AgentName | None = None
