"""Who publishes a message: services by their names, `agents` and `people` (whatever speaks for a person)."""

from thymos import subjects
from thymos.commands import Command, CreateBranch, DeleteBranch, RollbackBranch, ScaleWorktree
from thymos.dead_letters import DeadLetter
from thymos.events import CommandRefused, CommitMarkedGood
from thymos.examples import example_of
from thymos.message import Kind, Message
from thymos.telemetry import TaskFinished

AGENTS = "agents"
PEOPLE = "people"
_ALSO: dict[type[Message], tuple[str, ...]] = {
    CommandRefused: subjects.SERVICES,
    DeadLetter: subjects.SERVICES,
    CommitMarkedGood: (subjects.MEMORY_REPOSITORY,),
    CreateBranch: (subjects.DECISION_ENGINE,),
    DeleteBranch: (subjects.DECISION_ENGINE,),
    RollbackBranch: (subjects.DECISION_ENGINE,),
    ScaleWorktree: (subjects.DECISION_ENGINE,),
    TaskFinished: (AGENTS, subjects.WORKTREE_SCALER),
}
"""Who does so besides the source of the example."""


def senders_of(message_class: type[Message]) -> tuple[str, ...]:
    """Who publishes messages of a class, sorted; a person may send any command."""
    source = example_of(message_class).source
    senders = {source} if source in subjects.SERVICES else {AGENTS if message_class.KIND is Kind.TELEMETRY else PEOPLE}
    if issubclass(message_class, Command):
        senders.add(PEOPLE)
    return tuple(sorted(senders.union(_ALSO.get(message_class, ()))))
