"""Which event answers which command, once: the simulation and chaos look for it among what was stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from thymos import commands, events
from thymos.envelope import Envelope
from thymos.message import Message

ANSWERS: Mapping[type[commands.Command], tuple[type[events.Event], ...]] = {
    commands.CreateBranch: (events.BranchCreated,),
    commands.MergeBranch: (events.BranchMerged, events.MergeConflicted),
    commands.RollbackBranch: (events.BranchRolledBack,),
    commands.DeleteBranch: (events.BranchDeleted,),
    commands.CreateSnapshot: (events.SnapshotCreated,),
    commands.PrepareVariants: (events.VariantsPrepared,),
    commands.CommitMemory: (events.CommitCreated,),
    commands.ReserveWorktrees: (events.WorktreesReserved,),
    commands.ReleaseWorktrees: (events.WorktreesReleased,),
    commands.RunScenario: (events.ScenarioStarted,),
    commands.StartExperiment: (events.DecisionMade,),
    commands.ApproveDecision: (events.ApprovalGiven,),
}
"""What a command that is not refused is answered by, once; it may have companions, such as the commit of a merge.

Not here: `worktree.scale`, which changes nothing but a wish (`worktree.scaled` follows later, and only where the number
of worktrees changes), and `experiment.abort`, after which the experiment's own end is the answer.
"""


def wrongly_answered(
    asked: Iterable[Envelope[Message]], answers: Mapping[str, Sequence[Envelope[Message]]]
) -> Iterator[str]:
    """Commands that are not answered exactly once, or by more than a refusal when they are refused.

    Args:
        asked: the commands.
        answers: all events, by the id of their cause.
    """
    for command in asked:
        found = answers.get(command.id, [])
        refused = [a for a in found if isinstance(a.data, events.CommandRefused)]
        if refused:
            if len(found) > 1:
                yield f"{command.type} {command.id} is refused and answered: {[a.type for a in found]}"
            continue
        expected = next((a for known, a in ANSWERS.items() if type(command.data) is known), None)
        if expected is None:
            continue
        fitting = [a for a in found if isinstance(a.data, expected) and not _companion(command.data, a.data)]
        if len(fitting) != 1:
            types = [a.type for a in found]
            yield f"{command.type} {command.id} of {command.source} has {len(fitting)} answers: {types}"


def _companion(command: Message, answer: Message) -> bool:
    """The first commit of a new repository comes along with the commit that was asked for; a decision that an
    experiment's start leads to at once is not the start."""
    if isinstance(command, commands.CommitMemory) and isinstance(answer, events.CommitCreated):
        return not answer.parents
    return isinstance(answer, events.DecisionMade) and answer.rule != "person"
