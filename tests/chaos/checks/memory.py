"""Whether memory holds what was told of it, and what it must."""

from collections import Counter

from tests.chaos.aftermath import Aftermath

from thymos.events import BranchCreated, BranchDeleted, BranchRolledBack, CommitCreated, VariantsPrepared

from .finding import MAIN, Finding, envelopes, events, finding, stories


def committed_once(a: Aftermath) -> Finding:
    """Every commit that was acknowledged is in the history of `main` once; and memory holds, on whatever branch, the
    commits that were told of, each told of once."""
    log = Counter(commit.commit for memory in a.memory.values() for commit in memory.log)
    told = Counter((e.agent, e.data.commit) for e in envelopes(a) if isinstance(e.data, CommitCreated))
    kept = Counter((agent, commit) for agent, memory in a.memory.items() for commit in memory.commits)
    problems = [f"{each} is in the history {log[each]} times" for each in a.told.commits if log[each] != 1]
    problems += [f"{commit} of {agent} was told of {n} times" for (agent, commit), n in told.items() if n > 1]
    problems += [f"{commit} of {agent} was never told of" for agent, commit in kept.keys() - told.keys()]
    problems += [f"{commit} of {agent} was told of, and is not there" for agent, commit in told.keys() - kept.keys()]
    return finding("commits happened once", len(told), problems, 3 * stories(a))


def branches_in_order(a: Aftermath) -> Finding:
    """The branches of an experiment are told of when they begin and when they end, once."""
    begun, ended = (
        Counter((e.agent, e.data.branch) for e in envelopes(a) if isinstance(e.data, kind))
        for kind in (BranchCreated, BranchDeleted)
    )
    prepared = [(e.agent, e.data) for e in envelopes(a) if isinstance(e.data, VariantsPrepared)]
    known = {(agent, event.control_branch) for agent, event in prepared}
    known |= {(agent, variant.branch) for agent, event in prepared for variant in event.variants}
    problems = [
        f"{branch} of {agent} was created {begun[agent, branch]} times and deleted {ended[agent, branch]} times"
        for agent, branch in sorted({*begun, *ended, *known})
        if begun[agent, branch] != 1 or ended[agent, branch] != 1
    ]
    return finding("branches begin and end once", len(begun), problems, 2 * stories(a))


def only_main_is_left(a: Aftermath) -> Finding:
    """No branch of an experiment outlives it."""
    problems = [f"{agent} still has {b}" for agent, memory in a.memory.items() for b in memory.branches if b != MAIN]
    count = sum(len(memory.branches) for memory in a.memory.values())
    return finding("no orphan branch", count, problems, stories(a))


def memory_verifies(a: Aftermath) -> Finding:
    """Every hash in memory's history is what its content says."""
    problems = [f"{agent}: {problem}" for agent, memory in a.memory.items() for problem in memory.problems]
    count = sum(len(memory.log) for memory in a.memory.values())
    return finding("memory verifies", count, problems, stories(a))


def contents_are_right(a: Aftermath) -> Finding:
    """A rollback holds what the restored commit holds, a merge what its sides come to: every memory read, and computed
    anew; and as the events say (`state_id` is equal where the same memories are)."""
    problems = [f"{agent}: {problem}" for agent, memory in a.memory.items() for problem in memory.wrong_contents]
    states = {event.commit: event.state_id for event in events(a, CommitCreated)}
    problems += [
        f"{e.revert_commit} is told to hold something else than {e.restored_commit}"
        for e in events(a, BranchRolledBack)
        if e.state_id != states.get(e.restored_commit)
    ]
    count = sum(memory.contents_checked for memory in a.memory.values())
    return finding("merges and rollbacks hold what they must", count, problems, 2 * stories(a))
