"""What happens to worktrees and scenarios. Published by worktree-scaler."""

from typing import ClassVar

from pydantic import JsonValue

from thymos.events.base import Event, Names
from thymos.message import BranchName, Count, Id, Reason


class WorktreeEvent(Event):
    """Base of what happens to one worktree."""

    worktree_id: Id
    branch: BranchName
    backend: str
    experiment_id: Id | None = None
    reason: Reason = ""


class WorktreeStarted(WorktreeEvent):
    """An agent process was started in a worktree."""

    NAME: ClassVar[str] = "worktree.started"


class WorktreeReady(WorktreeEvent):
    """The worktree's agent sent its first heartbeat: it takes tasks."""

    NAME: ClassVar[str] = "worktree.ready"


class WorktreeDrained(WorktreeEvent):
    """The worktree's agent takes no new tasks and has none in hand."""

    NAME: ClassVar[str] = "worktree.drained"


class WorktreeStopped(WorktreeEvent):
    """The worktree's agent process has ended as it should."""

    NAME: ClassVar[str] = "worktree.stopped"


class WorktreeFailed(WorktreeEvent):
    """The worktree's agent process ended by itself or never became ready."""

    NAME: ClassVar[str] = "worktree.failed"
    exit_code: int | None = None
    crash_loop: bool = False
    commit: Id | None = None


class WorktreeScaled(Event):
    """The number of worktrees on a branch was changed."""

    NAME: ClassVar[str] = "worktree.scaled"
    branch: BranchName
    from_count: Count
    to_count: Count
    signal: dict[str, JsonValue]
    reason: Reason
    inputs: dict[str, JsonValue] = {}
    """Everything that the count was decided from, so that it can be computed again."""


class WorktreesReserved(Event):
    """All arms of an experiment have their worktrees."""

    NAME: ClassVar[str] = "worktrees.reserved"
    experiment_id: Id
    branches: Names


class WorktreesReleased(Event):
    """The worktrees of an experiment are stopped and their tasks are gone."""

    NAME: ClassVar[str] = "worktrees.released"
    experiment_id: Id
    branches: Names


class ScenarioStarted(Event):
    """The tasks of an experiment are being handed out."""

    NAME: ClassVar[str] = "scenario.started"
    experiment_id: Id
    tasks: Count


class ScenarioFinished(Event):
    """Every task of an experiment is answered, graded or given up."""

    NAME: ClassVar[str] = "scenario.finished"
    experiment_id: Id
    graded: Count
    unmeasured: Count
    reason: Reason = ""
