"""Requests of worktree-scaler: agent processes in worktrees, and the tasks that they are tested with.

With `_` as the agent's place in the subject, `worktrees` and `agents` concern all agents of the tenant.
"""

from datetime import datetime

from thymos.events import ExperimentTask
from thymos.message import AgentName, BranchName, Count, Id
from thymos.requests.base import Answer, Nothing


class ListAgentWorktrees(Nothing):
    """`worktrees` of worktree-scaler: those that have not ended; answered by `AgentWorktreesAnswer`."""


class ListFleets(Nothing):
    """`agents` of worktree-scaler: who works in how many worktrees; answered by `FleetsAnswer`."""


class ReadScenario(Nothing):
    """`scenario` of worktree-scaler: the tasks of the agent's experiments; answered by `ScenarioAnswer`."""


class AgentWorktree(Answer):
    """One worktree and its agent's process.

    `phase` is starting, ready, draining, stopping, waiting (crashed, to be started again), failed or stopped, and has
    been `since`. `in_flight` of at most `capacity` tasks are in hand. `backend` is `process`, or `external` for an
    agent that somebody else has started; such a one has no `pid`.
    """

    worktree_id: Id
    agent: AgentName
    branch: BranchName
    backend: str
    phase: str
    since: datetime
    in_flight: Count
    capacity: Count
    crashes: Count
    experiment_id: Id | None = None
    pid: int | None = None
    reason: str = ""


class AgentWorktreesAnswer(Answer):
    """In the order of agents and branches."""

    worktrees: list[AgentWorktree]


class AgentFleet(Answer):
    """One agent's worktrees: how many in each phase, and on which branches; `in_flight` of at most `capacity` tasks are
    in hand.
    """

    agent: AgentName
    backend: str
    worktrees: dict[str, Count]
    branches: list[BranchName]
    in_flight: Count
    capacity: Count


class FleetsAnswer(Answer):
    """Every agent that is configured or was heard of, in the order of names."""

    agents: list[AgentFleet]


class ScenarioAnswer(Answer):
    """The tasks in the file's order, never what is expected."""

    tasks: list[ExperimentTask]
