"""Whether worktrees and processes are those that should be there."""

from collections import Counter, defaultdict

from tests.chaos.aftermath import Aftermath

from thymos.events import (
    WorktreeDrained,
    WorktreeEvent,
    WorktreeFailed,
    WorktreeReady,
    WorktreeScaled,
    WorktreeStarted,
    WorktreeStopped,
)

from .finding import MAIN, Finding, envelopes, events, finding, stories


def worktrees_in_order(a: Aftermath) -> Finding:
    """A worktree is started once, and once more after each failure (of the start, too: a scaler that was killed before
    it started the process finds none); it is ready at most once per start, and ends once. One that has not ended is
    among those that worktree-scaler lists, and the listed ones have not."""
    of: dict[str, list[WorktreeEvent]] = defaultdict(list)
    for event in events(a, WorktreeEvent):
        of[event.worktree_id].append(event)
    listed = {worktree.worktree_id: worktree.phase for worktree in a.worktrees}
    problems = []
    for worktree, told in of.items():
        started, ready, failed, drained, stopped = (
            sum(isinstance(e, kind) for e in told)
            for kind in (WorktreeStarted, WorktreeReady, WorktreeFailed, WorktreeDrained, WorktreeStopped)
        )
        said = f"{worktree}: {', '.join(event.NAME for event in told)}"
        if not 1 <= started <= 1 + failed or ready > started or stopped > 1 or drained > stopped:
            problems.append(said)
        elif bool(stopped) is (worktree in listed):
            problems.append(f"{said}, and it is{'' if worktree in listed else ' not'} listed")
        elif listed.get(worktree) == "ready" and not ready:
            problems.append(f"{said}, and it is listed as ready")
    problems += [f"{worktree} is listed, and was never told of" for worktree in listed if worktree not in of]
    return finding("worktrees start and end once", len(of), problems, 2 * stories(a))


def scaled_in_order(a: Aftermath) -> Finding:
    """Each change of the number of an agent's worktrees begins where the one before it ended."""
    count = dict.fromkeys(a.agents, a.worktrees_min)
    problems = []
    scaled = [(e.agent, e.data) for e in envelopes(a) if isinstance(e.data, WorktreeScaled)]
    for agent, event in scaled:
        if event.from_count != (had := count.get(agent)):
            problems.append(f"{agent} was scaled from {event.from_count} to {event.to_count}, and had {had}")
        count[agent] = event.to_count
    return finding("order per agent: scaling", len(scaled), problems, 2 * stories(a))


def worktrees_are_wanted(a: Aftermath) -> Finding:
    """What is left are ready worktrees on `main`, as many for each agent as there must be at least, one process for
    each. Of memory's checkouts none is left whose agent ended as it should; one that was killed leaves its own behind,
    with nothing in it, until there are a thousand."""
    listed = sorted(worktree.worktree_id for worktree in a.worktrees)
    problems = [
        f"{w.worktree_id} of {w.agent} on {w.branch} is {w.phase}"
        for w in a.worktrees
        if w.branch != MAIN or w.phase != "ready"
    ]
    ready = Counter(w.agent for w in a.worktrees if w.branch == MAIN and w.phase == "ready")
    problems += [
        f"{agent} has {ready[agent]} ready worktrees, and must have {a.worktrees_min} at least"
        for agent in a.agents
        if ready[agent] < a.worktrees_min
    ]
    if a.agent_processes != listed:
        problems.append(f"processes work in {a.agent_processes}, the worktrees are {listed}")
    drained = {event.worktree_id for event in events(a, WorktreeDrained)}
    for agent, memory in a.memory.items():
        left = {each: staged for each, staged in memory.worktrees.items() if each not in listed}
        problems += [f"memory still has {each} of {agent}, which was drained" for each in left if each in drained]
        problems += [f"memory has {n} changes staged in {each} of {agent}" for each, n in left.items() if n]
    return finding("no orphan worktree, no agent without one", len(listed), problems, len(a.agents) * a.worktrees_min)


def nothing_runs_on(a: Aftermath) -> Finding:
    """Nothing is left running."""
    return finding("no orphan process", len(a.left_running), [f"{each} is still running" for each in a.left_running])
