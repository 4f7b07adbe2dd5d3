"""What must always hold: some of it is checked whenever a message is stored, the rest at the end."""

from __future__ import annotations

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from decision_engine import agent_state
from decision_engine.agent_state import AgentState
from memory_repository.operations.verify import verify
from memory_repository.storage import store as memory_store
from thymos import commands, events, subjects
from thymos.bus import Stored
from thymos.client import decode_stored
from thymos.commands import Command
from thymos.database import Connection
from thymos.dead_letters import DeadLetter
from thymos.envelope import Envelope
from thymos.errors import PoisonError
from thymos.events import Verdict
from thymos.message import Message
from thymos.metrics import MetricsOutcomes
from thymos.settlement import ORIGINAL_BYTES_MAX
from thymos.telemetry import TaskFinished
from thymos.testing import subject_matches

from .answers import wrongly_answered
from .contents import Contents
from .ledger import Ledger

Agent = tuple[str, str]
Experiment = tuple[str, str, str]
DAMAGE = "a tidy-up"
"""The message of the commit that damages an agent's memory."""
STORY = ("experiment-on-drop: done", DAMAGE, "rollback-on-failure: done")
_ORDER = (events.ExperimentStarted, events.ExperimentRunning, events.ExperimentDecided, events.ExperimentClosed)


class Violation(AssertionError):
    """Something that must always hold does not."""


def require(holds: bool, what: str) -> None:
    """Raises Violation unless it holds."""
    if not holds:
        raise Violation(what)


def _in_order(wanted: Iterable[str], told: Iterable[str]) -> bool:
    rest = iter(told)
    return all(each in rest for each in wanted)


def outcome_key(tenant: str, agent: str, data: TaskFinished) -> tuple[str, ...]:
    """What an outcome is counted once by."""
    return tenant, agent, data.experiment_id or "", data.arm or data.branch, data.task_id


@dataclass
class Monitor:
    """Looks at each message when it is stored. `hostile` holds the bodies of messages that nobody can process."""

    committed: Mapping[str, str] = field(default_factory=dict)
    """Ids of what services committed to their outboxes."""
    hostile: set[bytes] = field(default_factory=set)
    stored_ids: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    rows: Counter[Agent] = field(default_factory=Counter)
    counted: Counter[tuple[str, ...]] = field(default_factory=Counter)
    outcomes: set[tuple[str, ...]] = field(default_factory=set)
    """Outcomes that were reported, final ones."""
    stages: dict[Experiment, int] = field(default_factory=dict)
    verdicts: dict[Experiment, str] = field(default_factory=dict)
    merges: Counter[Experiment] = field(default_factory=Counter)
    orders: Counter[tuple[Experiment, str]] = field(default_factory=Counter)
    """Commands of an experiment, by their type."""
    decided_to_merge: set[Experiment] = field(default_factory=set)
    commits: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    commands: dict[str, Envelope[Message]] = field(default_factory=dict)
    answers: dict[str, list[Envelope[Message]]] = field(default_factory=lambda: defaultdict(list))
    open_experiments: set[Experiment] = field(default_factory=set)
    story: dict[Agent, list[str]] = field(default_factory=lambda: defaultdict(list))
    """What each agent's rules did, and when its memory was damaged."""
    of_memory: dict[Agent, list[events.Event]] = field(default_factory=lambda: defaultdict(list))
    """Commits and merges that were told of."""
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def whole_stories(self) -> int:
        """Agents whose drift the engine found by itself, and whose damage it took back later."""
        return sum(_in_order(STORY, told) for told in self.story.values())

    def stored(self, stream: str, message: Stored) -> None:
        """A message is stored. Raises Violation."""
        identity = message.headers["Nats-Msg-Id"]
        self.stored_ids[stream][identity] += 1
        require(self.stored_ids[stream][identity] == 1, f"{identity} is in {stream} twice")
        for item in decode_stored(message):
            if isinstance(item, Envelope):
                self._seen(item, message)
            else:
                require(message.body in self.hostile, f"{stream} {message.sequence}: {item}")

    def _seen(self, envelope: Envelope[Message], message: Stored) -> None:
        where = subjects.address(message.subject)
        require(envelope.tenant == where.tenant, f"an event of {envelope.tenant} under {message.subject}")
        agent = envelope.tenant, envelope.agent
        if envelope.source in subjects.SERVICES and not isinstance(envelope.data, DeadLetter):
            known = envelope.message_id in self.committed
            require(known, f"{envelope.type} {envelope.message_id} of {envelope.source} is published, not committed")
        match envelope.data:
            case TaskFinished() as done if not done.awaits_grade:
                self.outcomes.add(outcome_key(*agent, done))
            case MetricsOutcomes() as outcomes:
                self._rows(agent, outcomes)
            case commands.Command():
                self.commands[envelope.id] = envelope
                if isinstance(envelope.data, commands.CommitMemory) and envelope.data.message == DAMAGE:
                    self.story[agent].append(DAMAGE)
                self._order(agent, envelope.data)
            case events.Event() as event:
                self.answers[envelope.causation_id or ""].append(envelope)
                self.counts[event.NAME] += 1
                self._event(agent, event)

    def _rows(self, agent: Agent, outcomes: MetricsOutcomes) -> None:
        for row in outcomes.rows:
            self.rows[agent] += 1
            require(row.row == self.rows[agent], f"{agent}: row {row.row} follows {self.rows[agent] - 1}")
            key = (*agent, outcomes.experiment_id or "", outcomes.arm or outcomes.branch, row.task_id)
            self.counted[key] += 1
            require(self.counted[key] == 1, f"outcome {key} is counted twice")
            require(key in self.outcomes, f"outcome {key} is counted and was never reported")

    def _event(self, agent: Agent, event: events.Event) -> None:
        if isinstance(event, _ORDER):
            self._stage((*agent, event.experiment_id), event)
        if isinstance(event, events.CommitCreated | events.BranchMerged):
            self.of_memory[agent].append(event)
        match event:
            case events.CommitCreated():
                self.commits[*agent, event.commit] += 1
                require(self.commits[*agent, event.commit] == 1, f"commit {event.commit} is created twice")
            case events.BranchMerged(experiment_id=str(experiment)):
                key = *agent, experiment
                self.merges[key] += 1
                require(self.merges[key] == 1, f"{key} is merged twice")
                require(key in self.decided_to_merge, f"{key} is merged without a decision")
            case events.DecisionMade():
                self.story[agent].append(f"{event.rule}: {event.verdict}")
                self.counts[f"decision {event.rule}: {event.verdict}"] += 1
                if event.experiment_id is not None and event.verdict == "done":
                    self.open_experiments.add((*agent, event.experiment_id))

    def _order(self, agent: Agent, command: Command) -> None:
        experiment = getattr(command, "experiment_id", None)
        if experiment is None or isinstance(command, commands.AbortExperiment):
            return
        name = command.NAME + (f" {command.branch}" if isinstance(command, commands.DeleteBranch) else "")
        which = (*agent, str(experiment)), name
        self.orders[which] += 1
        require(self.orders[which] == 1, f"{which} is ordered twice")

    def _stage(self, key: Experiment, event: events.Event) -> None:
        stage = next(n for n, kind in enumerate(_ORDER) if isinstance(event, kind))
        before = self.stages.get(key, -1)
        require(before < stage, f"{key}: {event.NAME} after {_ORDER[max(before, 0)].NAME}")
        require(not isinstance(event, events.ExperimentRunning) or before == 0, f"{key} runs before it is started")
        decided = _ORDER.index(events.ExperimentDecided)
        if isinstance(event, events.ExperimentClosed):
            require(before == decided, f"{key} is closed without being decided")
        if isinstance(event, events.ExperimentDecided) and event.verdict in (Verdict.MERGE, Verdict.ROLLBACK):
            require(before == decided - 1, f"{key}: the verdict {event.verdict} without having run")
        self.stages[key] = stage
        self.open_experiments.add(key)
        if isinstance(event, events.ExperimentDecided):
            self.verdicts[key] = event.verdict
            if event.verdict is Verdict.MERGE:
                self.decided_to_merge.add(key)
        if isinstance(event, events.ExperimentClosed):
            self.verdicts[key] = event.verdict
            self.counts[f"closed: {event.verdict}"] += 1
            self.open_experiments.discard(key)


# --- after each commit of a store -----------------------------------------------------------------------------------


def nothing_sent_is_lost(connection: Connection, service: str, waiting: Iterable[str]) -> Iterator[str]:
    """What a service sent and no stream holds yet waits in its outbox.

    Args:
        waiting: message ids that were committed to the outbox and that no stream holds.
    """
    there = {row[0] for row in connection.execute("SELECT message_id FROM outbox")}
    yield from (
        f"{service} decided to send {identity}, which was never published and waits no more"
        for identity in waiting
        if identity not in there
    )


def state_is_stored(connection: Connection, state: AgentState) -> Iterator[str]:
    """The file of decision-engine holds the state that its last step came to."""
    row = connection.execute(
        "SELECT state FROM agents WHERE tenant = ? AND agent = ?", (state.tenant, state.agent)
    ).fetchone()
    if row is None or bytes(row[0]) != agent_state.to_json(state):
        yield f"{state.tenant}/{state.agent}: the stored state is not what the last step came to"


def worktrees_are_bounded(connection: Connection, most: int) -> Iterator[str]:
    """worktree-scaler never wants more worktrees for an agent than it may have; those that it ends may last a while."""
    yield from (
        f"{count} worktrees are wanted for {tenant}/{agent}, {most} may be"
        for tenant, agent, count in connection.execute(
            "SELECT tenant, agent, sum(desired) FROM fleets GROUP BY tenant, agent HAVING sum(desired) > ?", (most,)
        )
    )


def contents_are_right(contents: dict[Agent, Contents], connection: Connection, after: int) -> Iterator[str]:
    """A rollback holds what the restored commit holds; a merge holds all clean changes of both sides.

    Args:
        contents: what is known of each agent's commits; those of a connection that is gone are read anew.
        after: the last row number among the commits that were looked at before.
    """
    for tenant, agent in _repositories(connection):
        known = contents.get((tenant, agent))
        if known is None or known.repo.db is not connection:
            repo = memory_store.find_repository(connection, tenant, agent)
            known = contents[tenant, agent] = Contents(repo, known.checked if known else 0)
        yield from (f"{tenant}/{agent}: {problem}" for problem in known.wrong(after))


# --- at the end -----------------------------------------------------------------------------------------------------


def acknowledged_once(monitor: Monitor, acknowledged: Iterable[tuple[str, str, int]]) -> Iterator[str]:
    """Every acknowledged publish is in its stream exactly once."""
    for stream, identity, sequence in acknowledged:
        if monitor.stored_ids[stream][identity] != 1:
            count = monitor.stored_ids[stream][identity]
            yield f"{identity} was acknowledged as {stream} {sequence}, and is there {count} times"


def outcomes_counted(monitor: Monitor) -> Iterator[str]:
    """Every outcome is counted exactly once, those that were graded instead of the answer."""
    for key in sorted(monitor.outcomes - set(monitor.counted)):
        yield f"outcome {key} was reported and is not counted"


def commands_answered(monitor: Monitor) -> Iterator[str]:
    """Each command is answered exactly once, and by nothing else when it is refused."""
    return wrongly_answered(monitor.commands.values(), monitor.answers)


def everything_sent(ledger: Ledger, monitor: Monitor) -> Iterator[str]:
    """What a service committed to its outbox is in a stream."""
    stored = {identity for ids in monitor.stored_ids.values() for identity in ids}
    yield from (
        f"{service} decided to send {identity}, and it was never published"
        for identity, service in ledger.sent.items()
        if identity not in stored
    )


def everything_handled(ledger: Ledger, monitor: Monitor, history: Mapping[str, Iterable[Stored]]) -> Iterator[str]:
    """Each message is handled exactly once by each service that it is for, in the stream's order where that is
    promised; what nobody can process is handled by none."""
    for consumer in subjects.CONSUMERS:
        order: dict[Agent, list[str]] = defaultdict(list)
        for stored in history[consumer.stream.name]:
            if stored.body in monitor.hostile or not any(subject_matches(f, stored.subject) for f in consumer.filters):
                continue
            for item in decode_stored(stored):
                if not isinstance(item, Envelope):
                    continue
                times = ledger.handled[consumer.service, consumer.stream.name, item.message_id]
                if times != 1:
                    yield f"{consumer.service} handled {item.type} {item.message_id} {times} times"
                order[item.tenant, item.agent].append(item.message_id)
        for agent, wanted in order.items() if consumer.ordered else ():
            if ledger.order.get((consumer.service, consumer.stream.name, *agent)) != wanted:
                yield f"{consumer.service} handled {consumer.stream.name} of {agent} in another order"


def memory_is_whole(connection: Connection, monitor: Monitor) -> Iterator[str]:
    """The history is what it was when it was written, each commit has its event, and no experiment's branch is left."""
    for tenant, agent in _repositories(connection):
        repo = memory_store.find_repository(connection, tenant, agent)
        yield from (f"{tenant}/{agent}: {problem}" for problem in verify(repo).problems)
        stored = {row[0] for row in connection.execute("SELECT commit_id FROM commits WHERE repo_id = ?", (repo.id,))}
        told = {commit for t, a, commit in monitor.commits if (t, a) == (tenant, agent)}
        if stored != told:
            yield f"{tenant}/{agent}: commits without event {stored - told}, events without commit {told - stored}"
        names = connection.execute(
            "SELECT name FROM ref WHERE repo_id = ? AND type = 'branch' AND name LIKE 'experiment-%'", (repo.id,)
        )
        yield from (f"{tenant}/{agent}: the branch {name} is left" for (name,) in names)


def _repositories(connection: Connection) -> list[Agent]:
    return connection.execute("SELECT tenant, agent FROM repository ORDER BY tenant, agent").fetchall()


def merges_without_commit_held_all(contents: Mapping[Agent, Contents], monitor: Monitor) -> Iterator[str]:
    """A merge that made no commit had nothing to bring."""
    for (tenant, agent), known in contents.items():
        wrong = known.wrong_without_commit(monitor.of_memory[tenant, agent])
        yield from (f"{tenant}/{agent}: {problem}" for problem in wrong)


def commits_kept(connection: Connection, notes: Mapping[tuple[str, str, str], bool]) -> Iterator[str]:
    """Each commit that was acknowledged is there once; one whose answer was lost, at most once.

    Args:
        notes: by tenant, agent and message of the commit, whether it was acknowledged.
    """
    for (tenant, agent, message), acknowledged in notes.items():
        (count,) = connection.execute(
            "SELECT count(*) FROM commits JOIN repository USING (repo_id)"
            " WHERE tenant = ? AND agent = ? AND message = ?",
            (tenant, agent, message),
        ).fetchone()
        if count > 1 or (acknowledged and count != 1):
            yield f"{tenant}/{agent}: commit {message!r} is there {count} times (acknowledged: {acknowledged})"


def nothing_left_of_experiments(connection: Connection) -> Iterator[str]:
    """worktree-scaler holds no fleet, reservation or open task of an experiment."""
    for what, question in (
        ("fleet", "SELECT branch FROM fleets WHERE experiment_id IS NOT NULL"),
        ("reservation", "SELECT experiment_id FROM reservations"),
        ("scenario", "SELECT experiment_id FROM runs WHERE finished = 0"),
        (
            "worktree",
            "SELECT worktree_id FROM worktrees WHERE experiment_id IS NOT NULL AND phase != 'stopped'",
        ),
    ):
        yield from (f"a {what} is left: {row[0]}" for row in connection.execute(question))


def boxes_are_consistent(connection: Connection, service: str) -> Iterator[str]:
    """Everything is published, and the file is sound."""
    waiting = connection.execute("SELECT count(*) FROM outbox").fetchone()[0]
    if waiting:
        yield f"{service}: {waiting} messages wait in the outbox"
    found = connection.execute("PRAGMA integrity_check").fetchone()[0]
    if found != "ok":
        yield f"{service}: {found}"


def only_the_hostile_are_dead(monitor: Monitor, letters: Iterable[Stored]) -> Iterator[str]:
    """Dead letters hold exactly the messages that nobody can process, each with a reason."""
    dead, hostile = set(), {body[:ORIGINAL_BYTES_MAX] for body in monitor.hostile}
    for stored in letters:
        (item,) = decode_stored(stored)
        if isinstance(item, PoisonError) or not isinstance(item.data, DeadLetter):
            yield f"a dead letter cannot be read: {stored.body[:200]!r}"
            continue
        body = base64.b64decode(item.data.original)
        dead.add(body)
        if body not in hostile:
            yield f"{item.data.handler} gave up {item.data.subject}: {item.data.reason}: {body[:300]!r}"
        if not item.data.reason:
            yield f"a dead letter on {stored.subject} gives no reason"
    yield from (f"a hostile message is not among the dead letters: {body[:120]!r}" for body in sorted(hostile - dead))


def folded_state_is_stored(connection: Connection, folded: Mapping[Agent, AgentState]) -> Iterator[str]:
    """What decision-engine's committed steps fold to is what its file holds."""
    for (tenant, agent), state in folded.items():
        row = connection.execute("SELECT state FROM agents WHERE tenant = ? AND agent = ?", (tenant, agent)).fetchone()
        if row is None or json.loads(bytes(row[0])) != json.loads(agent_state.to_json(state)):
            yield f"{tenant}/{agent}: the steps fold to another state than the stored one"
