"""The invariants: pure functions of what a run left behind. Each counts what it looked at and names what is broken."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from thymos import subjects
from thymos.events import (
    BranchMerged,
    BranchRolledBack,
    CommitCreated,
    Event,
    ExperimentClosed,
    ExperimentDecided,
    ExperimentRunning,
    ExperimentStarted,
    Verdict,
    WorktreeDrained,
    WorktreeEvent,
    WorktreeFailed,
    WorktreeReady,
    WorktreeStarted,
    WorktreeStopped,
)
from thymos.metrics import MetricsOutcomes
from thymos.suite import NATS
from thymos.telemetry import TaskFinished

from .aftermath import Aftermath, Record, words_of

MAIN = "main"
SHOWN = 5
E = TypeVar("E", bound=Event)
Outcome = tuple[str, str, str, str]
"""Agent, experiment, arm, task."""


@dataclass(frozen=True)
class Finding:
    """One invariant: how much it was checked on, and what breaks it. `checked` is None when it could not be."""

    invariant: str
    checked: int | None
    problems: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        """Whether nothing breaks it."""
        return not self.problems


def check_all(aftermath: Aftermath) -> list[Finding]:
    """Every invariant, in the order of the path of a message."""
    return [check(aftermath) for check in CHECKS]


def acknowledged_once(a: Aftermath) -> Finding:
    """Every message that the load got acknowledged is in the log, once."""
    times = Counter(record.message_id for record in a.telemetry)
    entries = [entry for entry in a.entries if entry.subject.startswith("thymos.telemetry.")]
    problems = [
        f"{e.message_id} is in the log {times[e.message_id]} times" for e in entries if times[e.message_id] != 1
    ]
    return _finding("acknowledged messages are in the log once", len(entries), problems)


def tasks_answered(a: Aftermath) -> Finding:
    """Every task that was acknowledged was answered; its answer names it as the cause."""
    answered = {
        r.envelope.causation_id for r in a.telemetry if r.envelope and isinstance(r.envelope.data, TaskFinished)
    }
    tasks = [entry for entry in a.entries if entry.subject.startswith("thymos.task.")]
    problems = [f"task {t.message_id} was never answered" for t in tasks if t.message_id.split("/")[-1] not in answered]
    return _finding("acknowledged tasks are answered", len(tasks), problems)


def log_is_whole(a: Aftermath) -> Finding:
    """The event log has no gap, no event twice, and holds whatever was seen while the faults went on, at its place."""
    problems = [f"no event at sequence {n}" for n in _gaps([record.sequence for record in a.events])]
    problems += [f"{name} is in the log {n} times" for name, n in _repeated(r.message_id for r in a.events)]
    kept = {record.sequence: record.message_id for record in a.events}
    problems += [
        f"{seen.message_id} was seen at {seen.sequence}, where there is {kept.get(seen.sequence, 'nothing')} now"
        for seen in a.seen
        if kept.get(seen.sequence) != seen.message_id
    ]
    return _finding("the event log is whole", len(a.events), problems)


def outcomes_counted_once(a: Aftermath) -> Finding:
    """Every graded outcome is one row, and every row is a graded outcome."""
    graded = {outcome for outcome, _ in _graded(a.telemetry)}
    rows = [outcome for outcome, _ in _rows(a)]
    problems = [f"{outcome} was counted {n} times" for outcome, n in _repeated(rows)]
    problems += [f"{outcome} was not counted" for outcome in sorted(graded - set(rows))]
    problems += [f"{outcome} was counted, but nobody graded it" for outcome in sorted(set(rows) - graded)]
    return _finding("outcomes are counted once", len(graded), problems)


def rows_in_order(a: Aftermath) -> Finding:
    """The rows of each agent are numbered from 1 without a gap, in the order of the stream that they are read from."""
    problems = []
    by_agent: dict[str, list[int]] = defaultdict(list)
    for outcome, row in _rows(a):
        by_agent[outcome[0]].append(row)
    for agent, numbers in by_agent.items():
        if numbers != list(range(1, len(numbers) + 1)):
            wrong = next(i for i, number in enumerate(numbers, 1) if i != number)
            problems.append(f"{agent}: row {numbers[wrong - 1]} stands where row {wrong} should")
    return _finding("order per agent: rows without a gap", sum(map(len, by_agent.values())), problems)


def counted_in_order(a: Aftermath) -> Finding:
    """Outcomes of one branch or arm are counted in the order in which they were stored. Where metrics-collector, or
    NATS under it, was disturbed, those it had in hand come again later (`ack_wait`): they are late, not wrong, and
    only their number is told (`late_outcomes`)."""
    may_be_late = a.disturbed & {subjects.METRICS_COLLECTOR, NATS}
    problems = [] if may_be_late else late_outcomes(a)
    return _finding("order per agent: outcomes as stored", None if may_be_late else len(_rows(a)), problems)


def late_outcomes(a: Aftermath) -> list[str]:
    """Outcomes that were counted after later ones of the same branch or arm."""
    stored: dict[Outcome, int] = {}
    for outcome, sequence in _graded(a.telemetry):
        stored.setdefault(outcome, sequence)
    newest: dict[tuple[str, str, str], int] = {}
    late = []
    for outcome, _ in _rows(a):
        at, before = stored.get(outcome, 0), newest.get(outcome[:3], 0)
        if at < before:
            late.append(f"{outcome} was stored at {at}, and counted after the one stored at {before}")
        newest[outcome[:3]] = max(at, before)
    return late


def experiments_in_order(a: Aftermath) -> Finding:
    """Each experiment is started, running, decided and closed at most once, in this order."""
    order = (ExperimentStarted, ExperimentRunning, ExperimentDecided, ExperimentClosed)
    steps: dict[str, list[int]] = defaultdict(list)
    for event in _events(a, Event):
        if isinstance(event, order):
            steps[event.experiment_id].append(order.index(type(event)))
    problems = [
        f"experiment {each}: {', '.join(order[step].NAME for step in taken)}"
        for each, taken in steps.items()
        if taken != sorted(set(taken))
    ]
    return _finding("order per agent: experiments", len(steps), problems)


def experiments_closed(a: Aftermath) -> Finding:
    """Whatever names an experiment names one that was closed, once."""
    named = {str(each) for event in _events(a, Event) if (each := getattr(event, "experiment_id", None))}
    closed = Counter(event.experiment_id for event in _events(a, ExperimentClosed))
    problems = [f"experiment {each} was closed {closed[each]} times" for each in sorted(named) if closed[each] != 1]
    return _finding("every experiment is closed", len(named), problems)


def merged_once(a: Aftermath) -> Finding:
    """One merge for each experiment that decided to merge, in the events and in memory's history."""
    merges = _events(a, BranchMerged)
    per_experiment = Counter(event.experiment_id for event in merges)
    wanted = {e.experiment_id for e in _events(a, ExperimentDecided) if e.verdict is Verdict.MERGE}
    problems = [
        f"experiment {each} was merged {per_experiment[each]} times" for each in wanted if per_experiment[each] != 1
    ]
    problems += [f"{each} was merged without a decision" for each in per_experiment if each not in wanted]
    problems += _history(a, "merge", [event.commit for event in merges])
    return _finding("merges happened once", len(merges), problems)


def rolled_back_once(a: Aftermath) -> Finding:
    """One rollback for each bad commit, in the events and in memory's history."""
    rollbacks = _events(a, BranchRolledBack)
    problems = [f"{commit} was rolled back {n} times" for commit, n in _repeated(e.previous_commit for e in rollbacks)]
    problems += _history(a, "rollback", [event.revert_commit for event in rollbacks])
    undone = {event.previous_commit for event in rollbacks}
    if not a.told.missed:
        problems += [f"the bad commit {bad} was not rolled back" for bad in a.told.bad_commits if bad not in undone]
    return _finding("rollbacks happened once", len(rollbacks), problems)


def committed_once(a: Aftermath) -> Finding:
    """Every commit that was acknowledged is in the history of `main` once, and was told of once."""
    log = Counter(commit.commit for memory in a.memory.values() for commit in memory.log)
    told = Counter(event.commit for event in _events(a, CommitCreated))
    problems = [f"{each} is in the history {log[each]} times" for each in a.told.commits if log[each] != 1]
    problems += [f"{each} was told of {told[each]} times" for each in a.told.commits if told[each] != 1]
    problems += [f"{each} was told of {n} times" for each, n in told.items() if n > 1]
    return _finding("commits happened once", len(told), problems)


def only_main_is_left(a: Aftermath) -> Finding:
    """No branch of an experiment outlives it."""
    problems = [f"{agent} still has {b}" for agent, memory in a.memory.items() for b in memory.branches if b != MAIN]
    return _finding("no orphan branch", sum(len(memory.branches) for memory in a.memory.values()), problems)


def worktrees_in_order(a: Aftermath) -> Finding:
    """A worktree is started once, and once more after each failure (of the start, too: a scaler that was killed before
    it started the process finds none); it is ready at most once per start, and ends once."""
    of: dict[str, list[WorktreeEvent]] = defaultdict(list)
    for event in _events(a, WorktreeEvent):
        of[event.worktree_id].append(event)
    problems = []
    for worktree, events in of.items():
        started, ready, failed, stopped = (
            sum(isinstance(e, kind) for e in events)
            for kind in (WorktreeStarted, WorktreeReady, WorktreeFailed, WorktreeStopped)
        )
        if not 1 <= started <= 1 + failed or ready > started or stopped > 1:
            problems.append(f"{worktree}: {', '.join(event.NAME for event in events)}")
    return _finding("worktrees start and end once", len(of), problems)


def worktrees_are_wanted(a: Aftermath) -> Finding:
    """What is left are ready worktrees on `main`, one process for each. Of memory's checkouts none is left whose agent
    ended as it should; one that was killed leaves its own behind, with nothing in it, until there are a thousand."""
    listed = sorted(worktree.worktree_id for worktree in a.worktrees)
    problems = [
        f"{w.worktree_id} of {w.agent} on {w.branch} is {w.phase}"
        for w in a.worktrees
        if w.branch != MAIN or w.phase != "ready"
    ]
    if a.agent_processes != listed:
        problems.append(f"processes work in {a.agent_processes}, the worktrees are {listed}")
    drained = {event.worktree_id for event in _events(a, WorktreeDrained)}
    for agent, memory in a.memory.items():
        left = {each: staged for each, staged in memory.worktrees.items() if each not in listed}
        problems += [f"memory still has {each} of {agent}, which was drained" for each in left if each in drained]
        problems += [f"memory has {n} changes staged in {each} of {agent}" for each, n in left.items() if n]
    return _finding("no orphan worktree", len(listed), problems)


def nothing_runs_on(a: Aftermath) -> Finding:
    """Nothing is left running."""
    return _finding("no orphan process", len(a.left_running), [f"{each} is still running" for each in a.left_running])


def nothing_waits(a: Aftermath) -> Finding:
    """Everything came to rest: no durable behind, no task or command left, no outbox with messages in it."""
    problems = list(a.restless)
    problems += [f"the outbox of {name} holds {held}" for name, held in a.outboxes.items() if held]
    return _finding("nothing is left in queues and outboxes", len(a.outboxes), problems)


def no_dead_letters(a: Aftermath) -> Finding:
    """Nothing was given up."""
    return _finding("no dead letters", len(a.dead), [words_of(letter) for letter in a.dead])


def memory_verifies(a: Aftermath) -> Finding:
    """Every hash in memory's history is what its content says."""
    problems = [f"{agent}: {problem}" for agent, memory in a.memory.items() for problem in memory.problems]
    return _finding("memory verifies", sum(len(memory.log) for memory in a.memory.values()), problems)


def replay_is_identical(a: Aftermath) -> Finding:
    """Every decision, computed anew from its event, is the same; the log's seals fit."""
    return _finding("replay is identical", None if a.replay is None else len(a.events), a.replay or [])


CHECKS: tuple[Callable[[Aftermath], Finding], ...] = (
    acknowledged_once, tasks_answered, log_is_whole, outcomes_counted_once, rows_in_order, counted_in_order,
    experiments_in_order, experiments_closed, merged_once, rolled_back_once, committed_once, only_main_is_left,
    worktrees_in_order, worktrees_are_wanted, nothing_runs_on, nothing_waits, no_dead_letters, memory_verifies,
    replay_is_identical,
)  # fmt: skip


def _finding(invariant: str, checked: int | None, problems: Sequence[str]) -> Finding:
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return Finding(invariant, checked, tuple([*problems[:SHOWN], *more]))


def _events(a: Aftermath, kind: type[E]) -> list[E]:
    return [r.envelope.data for r in a.events if r.envelope and isinstance(r.envelope.data, kind)]


def _graded(telemetry: Sequence[Record]) -> list[tuple[Outcome, int]]:
    """Final outcomes, with the sequences at which they were stored."""
    found = []
    for record in telemetry:
        if record.envelope and isinstance(data := record.envelope.data, TaskFinished) and not data.awaits_grade:
            outcome = (record.envelope.agent, data.experiment_id or "", data.arm or "", data.task_id)
            found.append((outcome, record.sequence))
    return found


def _rows(a: Aftermath) -> list[tuple[Outcome, int]]:
    found = []
    for record in a.metrics:
        if record.envelope and isinstance(data := record.envelope.data, MetricsOutcomes):
            name = (record.envelope.agent, data.experiment_id or "", data.arm or "")
            found += [((*name, row.task_id), row.row) for row in data.rows]
    return found


def _history(a: Aftermath, kind: str, told: Sequence[str]) -> list[str]:
    """Commits of one kind in the history of `main` against those that events told of."""
    kept = [c.commit for memory in a.memory.values() for c in memory.log if c.kind == kind]
    problems = [f"the {kind} {each} was told of {n} times" for each, n in _repeated(told)]
    return problems + [f"the {kind} {each} is only in {_side(each, kept)}" for each in sorted(set(kept) ^ set(told))]


def _side(commit: str, kept: Sequence[str]) -> str:
    return "memory" if commit in kept else "the events"


def _gaps(sequences: Sequence[int]) -> list[int]:
    return sorted(set(range(1, max(sequences, default=0) + 1)) - set(sequences))


H = TypeVar("H", bound=Hashable)


def _repeated(items: Iterable[H]) -> list[tuple[H, int]]:
    return [(item, count) for item, count in Counter(items).items() if count > 1]
