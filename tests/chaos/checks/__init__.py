"""The invariants: pure functions of what a run left behind. Each counts what it looked at and names what is broken;
one that had less to look at than the stories told must have left is broken, too."""

from collections.abc import Callable

from tests.chaos.aftermath import Aftermath

from . import counting, effects, log, memory, worktrees
from .finding import Finding as Finding
from .finding import finding, stories

Check = Callable[[Aftermath], Finding]


def story_happened(a: Aftermath) -> Finding:
    """Everything that the load waited for happened: what did not is a failure, whatever else holds."""
    problems = [f"did not happen: {missed}" for missed in a.told.missed]
    return finding("the story happened", len(a.told.stages), problems, stories(a))


CHECKS: tuple[Check, ...] = (
    story_happened,
    log.acknowledged_once, log.sent_once, log.nothing_twice, log.tasks_answered, log.commands_answered,
    log.log_is_whole, log.seals_follow,
    counting.outcomes_counted_once, counting.rows_in_order, counting.counted_in_order, effects.measured_once,
    effects.experiments_in_order, effects.experiments_closed, effects.scenarios_finished, effects.decisions_told,
    effects.merged_once, effects.rolled_back_once,
    memory.committed_once, memory.branches_in_order, memory.only_main_is_left, memory.contents_are_right,
    memory.memory_verifies,
    worktrees.worktrees_in_order, worktrees.scaled_in_order, worktrees.worktrees_are_wanted,
    worktrees.nothing_runs_on,
    log.nothing_waits, log.no_dead_letters, log.replay_is_identical,
)  # fmt: skip


def check_all(aftermath: Aftermath) -> list[Finding]:
    """Every invariant, in the order of the path of a message."""
    return [check(aftermath) for check in CHECKS]
