"""Every check of an aftermath can fail: one thing is broken in one in which everything holds, and it is noticed."""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import fields, replace
from datetime import timedelta
from functools import cache

import pytest

from thymos import subjects
from thymos.envelope import Envelope
from thymos.events import Event
from thymos.message import REGISTRY, Message

from .aftermath import Aftermath, Disturbance, Record
from .checks import check_all
from .checks.counting import LATE_FOR, LATE_MAX
from .example import AGENT, BEGAN, EXPERIMENT, example, whole_aftermath
from .load import Told
from .witness import Seen

KINDS = {kind.NAME: kind for kind in REGISTRY.values() if issubclass(kind, Event)}
COPY = "copy"


def broken(a: Aftermath) -> set[str]:
    return {finding.invariant for finding in check_all(a) if not finding.held}


def with_every_kind() -> Aftermath:
    """The story, and events of the kinds that do not happen in it."""
    made = _with_every_kind()
    return replace(made, **{each.name: copy(getattr(made, each.name)) for each in fields(made)})


@cache
def _with_every_kind() -> Aftermath:
    said = {type(record.envelope.data) for record in whole_aftermath().events if record.envelope}
    further = [example(kind) for kind in KINDS.values() if kind not in said]
    named = [data for data in further if getattr(data, "experiment_id", None)]
    rest = [data for data in further if data not in named]
    return whole_aftermath([*rest, *(data.model_copy(update={"experiment_id": EXPERIMENT}) for data in named)])


def test_everything_holds_in_the_example() -> None:
    assert broken(whole_aftermath()) == set()
    assert broken(with_every_kind()) == set()


def test_a_run_in_which_nothing_happened_is_broken() -> None:
    a = Aftermath([AGENT], [], [], Told(missed=["baseline: no baseline.frozen"]))

    assert {"the story happened", "merges happened once", "outcomes are counted once"} <= broken(a)
    a.told.missed.clear()
    assert {"the story happened", "merges happened once", "outcomes are counted once"} <= broken(a)


def test_less_than_the_stories_told_must_have_left_is_broken() -> None:
    a = whole_aftermath()
    a.told.stories.append("support-2")

    assert {"merges happened once", "rollbacks happened once", "order per agent: experiments"} <= broken(a)


def test_what_was_missed_is_broken_and_excuses_nothing() -> None:
    a = whole_aftermath()
    a.told.missed.append("burst: support-1: no worktree.scaled")
    a.told.bad_commits.append("another bad commit")

    assert broken(a) == {"the story happened", "rollbacks happened once"}


# --- for every kind of event ----------------------------------------------------------------------------------------


def renumbered(a: Aftermath, log: list[Record]) -> Aftermath:
    """The log as it would be had the other events never been stored, or nobody seen them."""
    a.events = [replace(record, sequence=number) for number, record in enumerate(log, start=1)]
    a.seen = [Seen(record.sequence, record.message_id, record.envelope) for record in a.events if record.envelope]
    return a


def places(kind: type[Event]) -> list[int]:
    return [n for n, record in enumerate(with_every_kind().events) if type(record.envelope.data) is kind]  # type: ignore[union-attr]


def lost(a: Aftermath, place: int) -> Aftermath:
    """An acknowledged event is gone, before anybody saw it, and another one has its number."""
    return renumbered(a, [*a.events[:place], *a.events[place + 1 :]])


def copied(a: Aftermath, place: int) -> Aftermath:
    """An event is there a second time, under an id that nobody sent."""
    return renumbered(a, [*a.events[: place + 1], again(a.events[place]), *a.events[place + 1 :]])


def again(record: Record) -> Record:
    assert record.envelope is not None
    envelope = record.envelope.model_copy(update={"id": COPY, "time": record.envelope.time + timedelta(seconds=1)})
    return replace(record, message_id=envelope.message_id, envelope=envelope)


def told_twice(a: Aftermath, place: int) -> Aftermath:
    """A service did its work twice, and told of it under two ids."""
    a = copied(a, place)
    record = a.events[place + 1]
    sent = next(each for each in a.sent if each.message_id == a.events[place].message_id)
    assert record.envelope is not None
    a.sent.append(replace(sent, message_id=record.message_id, envelope=record.envelope))
    return a


def never_told(a: Aftermath, place: int) -> Aftermath:
    """A service did its work and did not tell of it."""
    a.sent = [each for each in a.sent if each.message_id != a.events[place].message_id]
    return lost(a, place)


HAPPENINGS: Mapping[str, Callable[[Aftermath, int], Aftermath]] = {
    "lost": lost, "copied": copied, "told twice": told_twice, "never told": never_told,
}  # fmt: skip
UNNOTICED: Mapping[tuple[str, str], str] = {
    ("told twice", "worktree.failed"): "a process that fails before its start is noted is told of by this alone",
    ("told twice", "worktree.ready"): "one that was started twice may have been ready twice",
    ("never told", "worktree.started"): "one that failed at its start is told of by its failure alone",
    ("never told", "worktree.drained"): "one that waits to be started again ends without it",
    ("never told", "audit.sealed"): "the newest seal is what says that events are sealed",
    ("never told", "baseline.frozen"): "the load waits for it, and misses it; nothing else follows from it for sure",
    ("never told", "commit.marked_good"): "the load waits for that of its merge, and misses it; others need not come",
}
"""What no check can notice, at least in some places, and why; besides events that are never told of and that the story
of the load does not have, so that nothing says how often they must be. None of it is what was acknowledged."""


def is_noticed(happening: str, kind: type[Event]) -> bool:
    in_the_story = any(type(record.envelope.data) is kind for record in whole_aftermath().events if record.envelope)
    return (happening, kind.NAME) not in UNNOTICED and (in_the_story or happening != "never told")


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("happening", HAPPENINGS)
def test_it_is_noticed_when_an_event_is(happening: str, kind: str) -> None:
    found = places(KINDS[kind])
    assert found
    unnoticed = [place for place in found if not broken(HAPPENINGS[happening](with_every_kind(), place))]
    assert (not unnoticed) is is_noticed(happening, KINDS[kind]), unnoticed


# --- everything else ------------------------------------------------------------------------------------------------


def no_agent(a: Aftermath) -> None:
    a.worktrees, a.agent_processes = [], []
    a.events = [r for r in a.events if getattr(r.envelope and r.envelope.data, "worktree_id", None) not in ("w0", "w1")]
    renumbered(a, a.events)


def a_metric_is_lost(a: Aftermath) -> None:
    del a.metrics[0]


def an_outcome_is_lost(a: Aftermath) -> None:
    del a.telemetry[1]


def an_outcome_is_doubled(a: Aftermath) -> None:
    a.metrics.append(again(a.metrics[-1]))


def a_gap(a: Aftermath) -> None:
    a.events[-1] = replace(a.events[-1], sequence=a.events[-1].sequence + 1)


def a_seen_event_is_another(a: Aftermath) -> None:
    a.seen[3] = replace(a.seen[3], message_id="another")


def an_event_is_changed(a: Aftermath) -> None:
    a.events[0] = replace(a.events[0], envelope=replace_data(a.events[0], reason="changed"))


def replace_data(record: Record, **facts: object) -> Envelope[Message]:
    assert record.envelope is not None
    return record.envelope.model_copy(update={"data": record.envelope.data.model_copy(update=facts)})


def a_rollback_of_other_content(a: Aftermath) -> None:
    place = next(n for n, r in enumerate(a.events) if r.envelope and r.envelope.data.NAME == "branch.rolled_back")
    said = replace_data(a.events[place], state_id="s9")
    a.sent = [replace(each, envelope=said) if each.message_id == said.message_id else each for each in a.sent]
    a.events[place] = replace(a.events[place], envelope=said)


OTHERWISE: Mapping[str, Callable[[Aftermath], object]] = {
    "what services sent is in the log once": a_metric_is_lost,
    "acknowledged messages are in the log once": an_outcome_is_lost,
    "acknowledged tasks are answered": lambda a: a.telemetry.pop(0),
    "outcomes are counted once": an_outcome_is_doubled,
    "order per agent: rows without a gap": lambda a: a.metrics.pop(0),
    "the event log is whole": a_gap,
    "no orphan worktree, no agent without one": no_agent,
    "worktrees start and end once": lambda a: a.worktrees.pop(),
    "no orphan branch": lambda a: a.memory[AGENT].branches.append("experiment-e1-control"),
    "commits happened once": lambda a: a.memory[AGENT].commits.remove("v1"),
    "merges and rollbacks hold what they must": a_rollback_of_other_content,
    "memory verifies": lambda a: setattr(a.memory[AGENT], "problems", ("a version is not what was written",)),
    "no orphan process": lambda a: a.left_running.append("process 1: nats-server"),
    "nothing is left in queues and outboxes": lambda a: a.outboxes.update({subjects.MEMORY_REPOSITORY: 1}),
    "no dead letters": lambda a: a.dead.append(a.events[0]),
    "replay is identical": lambda a: setattr(a, "replay", None),
    "the story happened": lambda a: a.told.missed.append("burst"),
}


@pytest.mark.parametrize("invariant", OTHERWISE)
def test_each_invariant_can_break(invariant: str) -> None:
    a = whole_aftermath()
    OTHERWISE[invariant](a)
    assert invariant in broken(a)


@pytest.mark.parametrize("happening", [a_seen_event_is_another, an_event_is_changed])
def test_an_event_that_is_another_one_now_is_noticed(happening: Callable[[Aftermath], None]) -> None:
    a = whole_aftermath()
    happening(a)
    assert broken(a)


def test_every_invariant_is_broken_somewhere_here() -> None:
    names = {finding.invariant for finding in check_all(whole_aftermath())}
    by_events = {
        invariant
        for happening in HAPPENINGS.values()
        for kind in KINDS.values()
        for place in places(kind)[:1]
        for invariant in broken(happening(with_every_kind(), place))
    }
    assert names - by_events - OTHERWISE.keys() == {"order per agent: outcomes as stored"}, "it has tests of its own"


# --- outcomes that are counted late ---------------------------------------------------------------------------------


def counted_late(seconds: float, messages: int = 1) -> Aftermath:
    """Outcomes on main of which the first few are counted last, `seconds` after the last disturbance began."""
    a = whole_aftermath()
    telemetry, metrics = a.telemetry[1], a.metrics[0]
    count = messages + 1
    a.telemetry = [*a.telemetry[:1], *(_of_task(telemetry, n) for n in range(count))]
    counted = [count - 1, *range(messages)]
    a.metrics = [
        replace(_of_row(metrics, row, task), stored_at=BEGAN + timedelta(seconds=seconds if row > 1 else 1))
        for row, task in enumerate(counted, start=1)
    ]
    a.disturbances = [Disturbance(subjects.METRICS_COLLECTOR, BEGAN, BEGAN)]
    return a


def _of_task(record: Record, task: int) -> Record:
    data = replace_data(record, task_id=f"q{task}")
    return replace(record, sequence=task + 2, message_id=f"q{task}", envelope=data, stored_at=BEGAN)


def _of_row(record: Record, row: int, task: int) -> Record:
    first = record.envelope.data.rows[0]  # type: ignore[union-attr]
    data = replace_data(record, rows=[first.model_copy(update={"row": row, "task_id": f"q{task}"})])
    return replace(record, sequence=row, message_id=f"r{row}", envelope=data)


IN_ORDER = "order per agent: outcomes as stored"


def test_outcomes_in_hand_at_a_disturbance_may_be_counted_late() -> None:
    assert IN_ORDER not in broken(counted_late(LATE_FOR.total_seconds()))
    assert IN_ORDER not in broken(counted_late(20.0, messages=LATE_MAX))


@pytest.mark.parametrize("target", ["nats", "nats server n2"])
def test_a_nats_server_counts_as_one_of_a_cluster_does(target: str) -> None:
    a = counted_late(20.0)
    a.disturbances = [Disturbance(target, BEGAN, BEGAN)]
    assert IN_ORDER not in broken(a)


def test_they_may_not_for_longer_than_they_take_to_come_again() -> None:
    assert IN_ORDER in broken(counted_late(LATE_FOR.total_seconds() + 1))


def test_they_may_not_be_more_than_are_in_hand() -> None:
    assert IN_ORDER in broken(counted_late(20.0, messages=LATE_MAX + 1))


@pytest.mark.parametrize("disturbed", [None, "decision-engine"])
def test_they_may_not_when_nobody_who_counts_was_disturbed(disturbed: str | None) -> None:
    a = counted_late(20.0)
    a.disturbances = [Disturbance(disturbed, BEGAN, BEGAN)] if disturbed else []
    assert IN_ORDER in broken(a)


def test_they_may_not_when_they_were_stored_after_the_disturbance() -> None:
    a = counted_late(20.0)
    a.disturbances = [Disturbance(subjects.METRICS_COLLECTOR, *[BEGAN - timedelta(minutes=1)] * 2)]
    assert IN_ORDER in broken(a)
