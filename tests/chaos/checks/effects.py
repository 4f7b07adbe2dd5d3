"""Whether every decision had its effect once: experiments, merges, rollbacks."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from tests.chaos.aftermath import Aftermath

from thymos.events import (
    BaselineFrozen,
    BranchMerged,
    BranchRolledBack,
    CommitMarkedGood,
    DecisionMade,
    Event,
    ExperimentClosed,
    ExperimentDecided,
    ExperimentProgress,
    ExperimentRunning,
    ExperimentStarted,
    ScenarioFinished,
    ScenarioStarted,
    VariantsPrepared,
    Verdict,
    WorktreeReady,
)

from .finding import Finding, envelopes, events, finding, repeated, stories

Step = ExperimentStarted | ExperimentProgress
STEPS = (ExperimentStarted, ExperimentRunning, ExperimentDecided, ExperimentClosed)


def experiments_in_order(a: Aftermath) -> Finding:
    """Each experiment is started, running, decided and closed at most once, in this order, and none of it is left out:
    only an experiment that errs or is aborted may end before it runs."""
    steps: dict[str, list[Step]] = defaultdict(list)
    for envelope in envelopes(a):
        event = envelope.data
        if isinstance(event, ExperimentStarted | ExperimentProgress):
            steps[event.experiment_id].append(event)
    problems = [
        f"experiment {each}: {', '.join(event.NAME for event in taken)}"
        for each, taken in steps.items()
        if not _in_order([STEPS.index(type(event)) for event in taken], taken)
    ]
    return finding("order per agent: experiments", len(steps), problems, stories(a))


def _in_order(numbers: Sequence[int], taken: Sequence[Step]) -> bool:
    if list(numbers) != sorted(set(numbers)):
        return False
    measured = any(isinstance(e, ExperimentDecided) and e.verdict in (Verdict.MERGE, Verdict.ROLLBACK) for e in taken)
    if measured and not {0, 1} <= set(numbers):
        return False
    if 1 in numbers and 0 not in numbers:
        return False
    return 3 not in numbers or 2 in numbers


def experiments_closed(a: Aftermath) -> Finding:
    """Whatever names an experiment names one that was closed, once."""
    named = {str(each) for event in events(a, Event) if (each := getattr(event, "experiment_id", None))}
    closed = Counter(event.experiment_id for event in events(a, ExperimentClosed))
    problems = [f"experiment {each} was closed {closed[each]} times" for each in sorted(named) if closed[each] != 1]
    return finding("every experiment is closed", len(named), problems, stories(a))


def scenarios_finished(a: Aftermath) -> Finding:
    """The tasks of each experiment that ran were handed out once, when an agent was ready on each of its branches, and
    ended once."""
    ran = Counter(event.experiment_id for event in events(a, ExperimentRunning))
    begun = Counter(event.experiment_id for event in events(a, ScenarioStarted))
    ended = Counter(event.experiment_id for event in events(a, ScenarioFinished))
    problems = [
        f"the scenario of {each} was started {begun[each]} times and finished {ended[each]} times"
        for each in sorted({*ran, *begun, *ended})
        if begun[each] != 1 or ended[each] != 1
    ]
    ready = {event.branch for event in events(a, WorktreeReady)}
    problems += [
        f"experiment {event.experiment_id} ran, and nobody was ready on {branch}"
        for event in events(a, VariantsPrepared)
        for branch in (event.control_branch, *(variant.branch for variant in event.variants))
        if ran[event.experiment_id] and branch not in ready
    ]
    return finding("scenarios are run once", len(begun), problems, stories(a))


def decisions_told(a: Aftermath) -> Finding:
    """Each decision is told of once, and whatever was done on a decision names one that was told of."""
    made = events(a, DecisionMade)
    problems = [f"decision {each} was told of {n} times" for each, n in repeated(e.decision_id for e in made)]
    known = {e.decision_id for e in made} | {e.experiment_id for e in made if e.experiment_id}
    for envelope in envelopes(a):
        event = envelope.data
        if isinstance(event, ExperimentStarted) and event.decision_id not in known:
            problems.append(f"experiment {event.experiment_id} was started by {event.decision_id}, never told of")
        if isinstance(event, BranchMerged) and event.experiment_id not in known:
            problems.append(f"experiment {event.experiment_id} was merged, and no decision about it was told of")
        if isinstance(event, BranchRolledBack) and envelope.correlation_id not in known:
            problems.append(f"{event.revert_commit} rolled back for {envelope.correlation_id}, never told of")
    return finding("decisions are told of once", len(made), problems, 3 * stories(a))


def merged_once(a: Aftermath) -> Finding:
    """One merge for each experiment that decided to merge, in the events and in memory's history."""
    merges = events(a, BranchMerged)
    per_experiment = Counter(event.experiment_id for event in merges)
    wanted = {e.experiment_id for e in events(a, ExperimentDecided) if e.verdict is Verdict.MERGE}
    problems = [
        f"experiment {each} was merged {per_experiment[each]} times" for each in wanted if per_experiment[each] != 1
    ]
    problems += [f"{each} was merged without a decision" for each in per_experiment if each not in wanted]
    problems += _history(a, "merge", [event.commit for event in merges])
    return finding("merges happened once", len(merges), problems, stories(a))


def rolled_back_once(a: Aftermath) -> Finding:
    """One rollback for each bad commit, in the events and in memory's history."""
    rollbacks = events(a, BranchRolledBack)
    problems = [f"{commit} was rolled back {n} times" for commit, n in repeated(e.previous_commit for e in rollbacks)]
    problems += _history(a, "rollback", [event.revert_commit for event in rollbacks])
    undone = {event.previous_commit for event in rollbacks}
    problems += [f"the bad commit {bad} was not rolled back" for bad in a.told.bad_commits if bad not in undone]
    return finding("rollbacks happened once", len(rollbacks), problems, stories(a))


def measured_once(a: Aftermath) -> Finding:
    """A commit is marked good once, and a baseline is frozen once over the same outcomes."""
    good = [(e.agent, e.data.commit) for e in envelopes(a) if isinstance(e.data, CommitMarkedGood)]
    frozen = [(e.agent, e.data.first_row, e.data.last_row) for e in envelopes(a) if isinstance(e.data, BaselineFrozen)]
    problems = [f"{commit} of {agent} was marked good {n} times" for (agent, commit), n in repeated(good)]
    problems += [f"rows {a}-{b} of {agent} were frozen {n} times" for (agent, a, b), n in repeated(frozen)]
    return finding("baselines and good commits are told of once", len(good) + len(frozen), problems, stories(a))


def _history(a: Aftermath, kind: str, told: Sequence[str]) -> list[str]:
    """Commits of one kind in the history of `main` against those that events told of."""
    kept = [c.commit for memory in a.memory.values() for c in memory.log if c.kind == kind]
    problems = [f"the {kind} {each} was told of {n} times" for each, n in repeated(told)]
    return problems + [f"the {kind} {each} is only in {_side(each, kept)}" for each in sorted(set(kept) ^ set(told))]


def _side(commit: str, kept: Sequence[str]) -> str:
    return "memory" if commit in kept else "the events"
