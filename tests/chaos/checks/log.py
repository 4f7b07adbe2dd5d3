"""Whether the streams hold what was acknowledged, once, and whether everything came to rest."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

from tests.chaos.aftermath import Aftermath, Record, words_of
from tests.simulation.answers import wrongly_answered

from thymos import subjects
from thymos.commands import Command
from thymos.envelope import Envelope
from thymos.events import AuditSealed
from thymos.message import Kind, Message
from thymos.telemetry import TaskFinished

from .finding import Finding, envelopes, events, finding, repeated, stories

KEPT = (Kind.TELEMETRY, Kind.EVENT, Kind.METRICS)
"""What streams hold for longer than a run; commands and tasks are gone once they are done."""


def acknowledged_once(a: Aftermath) -> Finding:
    """Every message that the load got acknowledged is in the log, once."""
    times = Counter(record.message_id for record in a.telemetry)
    entries = [entry for entry in a.entries if entry.subject.startswith("thymos.telemetry.")]
    problems = [
        f"{e.message_id} is in the log {times[e.message_id]} times" for e in entries if times[e.message_id] != 1
    ]
    return finding("acknowledged messages are in the log once", len(entries), problems, stories(a))


def sent_once(a: Aftermath) -> Finding:
    """Every event, metric and outcome that a service sent is in the log once, as it was sent; and the log holds none
    that was not. What a service sends leaves its outbox when it is acknowledged; `nothing_waits` says that it did."""
    kept: dict[str, list[Record]] = defaultdict(list)
    for record in (*a.telemetry, *a.events, *a.metrics):
        if record.envelope and record.envelope.source in subjects.SERVICES:
            kept[record.message_id].append(record)
    sent = {each.message_id: each for each in a.sent if each.envelope.data.KIND in KEPT}
    problems = []
    for name, each in sent.items():
        found = kept.get(name, [])
        if not each.acknowledged and not found:
            continue  # sent when everything was over, as worktrees were drained
        if len(found) != 1:
            problems.append(f"{each.envelope.type} {name} was sent by {each.service}, and is there {len(found)} times")
        elif found[0].envelope != each.envelope:
            problems.append(f"{each.envelope.type} {name} is not as {each.service} sent it")
    problems += [f"{name} is in the log, and no service sent it" for name in kept if name not in sent]
    return finding("what services sent is in the log once", len(sent), problems, stories(a))


def nothing_twice(a: Aftermath) -> Finding:
    """No service told of the same twice for one cause, under two ids."""
    said = [
        (e.source, e.agent, e.causation_id, e.type, e.data.model_dump_json())
        for e in envelopes(a)
        if e.causation_id is not None
    ]
    problems = [f"{kind} of {agent} was told {n} times for {cause}" for (_, agent, cause, kind, _), n in repeated(said)]
    return finding("nothing is told twice for one cause", len(said), problems, stories(a))


def commands_answered(a: Aftermath) -> Finding:
    """Every command that a service sent was answered, once."""
    asked = [each.envelope for each in a.sent if isinstance(each.envelope.data, Command) and each.acknowledged]
    answers: dict[str, list[Envelope[Message]]] = defaultdict(list)
    for envelope in envelopes(a):
        answers[envelope.causation_id or ""].append(envelope)
    return finding("every command is answered once", len(asked), list(wrongly_answered(asked, answers)), stories(a))


def tasks_answered(a: Aftermath) -> Finding:
    """Every task that was acknowledged was answered; its answer names it as the cause."""
    answered = {
        r.envelope.causation_id for r in a.telemetry if r.envelope and isinstance(r.envelope.data, TaskFinished)
    }
    tasks = [entry for entry in a.entries if entry.subject.startswith("thymos.task.")]
    problems = [f"task {t.message_id} was never answered" for t in tasks if t.message_id.split("/")[-1] not in answered]
    return finding("acknowledged tasks are answered", len(tasks), problems, stories(a))


def log_is_whole(a: Aftermath) -> Finding:
    """The event log has no gap, no event twice, and holds whatever was seen while the faults went on, at its place."""
    problems = [f"no event at sequence {n}" for n in _gaps([record.sequence for record in a.events])]
    problems += [f"{name} is in the log {n} times" for name, n in repeated(r.message_id for r in a.events)]
    kept = {record.sequence: record.message_id for record in a.events}
    problems += [
        f"{seen.message_id} was seen at {seen.sequence}, where there is {kept.get(seen.sequence, 'nothing')} now"
        for seen in a.seen
        if kept.get(seen.sequence) != seen.message_id
    ]
    return finding("the event log is whole", len(a.events), problems, stories(a))


def seals_follow(a: Aftermath) -> Finding:
    """The first seal begins with the log, and each other one where the one before it ended, which it names."""
    seals = events(a, AuditSealed)
    problems = [f"the first seal is from {seal.from_sequence} on" for seal in seals[:1] if seal.from_sequence != 1]
    problems += [
        f"the seal from {seal.from_sequence} on does not follow the one up to {before.to_sequence}"
        for before, seal in pairwise(seals)
        if seal.from_sequence != before.to_sequence + 1 or seal.previous_hash != before.hash
    ]
    return finding("seals follow each other", len(seals), problems, 1)


def nothing_waits(a: Aftermath) -> Finding:
    """Everything came to rest: no durable behind, no task or command left, no outbox with messages in it."""
    problems = list(a.restless)
    problems += [f"the outbox of {name} holds {held}" for name, held in a.outboxes.items() if held]
    return finding("nothing is left in queues and outboxes", len(a.outboxes), problems, len(subjects.SERVICES))


def no_dead_letters(a: Aftermath) -> Finding:
    """Nothing was given up."""
    return finding("no dead letters", len(a.dead), [words_of(letter) for letter in a.dead])


def replay_is_identical(a: Aftermath) -> Finding:
    """Every decision, computed anew from its event, is the same; the log's seals fit."""
    problems = ["the log was not replayed"] if a.replay is None else a.replay
    return finding("replay is identical", len(a.events), problems, stories(a))


def _gaps(sequences: Sequence[int]) -> list[int]:
    return sorted(set(range(1, max(sequences, default=0) + 1)) - set(sequences))
