"""Work for agent processes: stream THYMOS_TASKS, `thymos.task.<tenant>.<agent>.<branch>`."""

from typing import ClassVar

from pydantic import AwareDatetime, JsonValue

from thymos.message import BranchName, Id, Kind, Message


class TaskAssigned(Message):
    """One task for whoever works on the branch; answered by `task.finished` with the same `task_id`.

    With `awaits_grade` the agent's answer is graded by somebody else. A task past its `deadline` is not begun.
    """

    KIND: ClassVar[Kind] = Kind.TASK
    NAME: ClassVar[str] = "task.assigned"
    task_id: Id
    branch: BranchName
    input: JsonValue = None
    key: Id | None = None
    experiment_id: Id | None = None
    arm: BranchName | None = None
    deadline: AwareDatetime | None = None
    awaits_grade: bool = False
