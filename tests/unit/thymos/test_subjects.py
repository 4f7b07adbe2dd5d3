"""Subjects: built from names, and read back without ambiguity."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thymos import subjects
from thymos.message import Kind
from thymos.names import BRANCH_PATTERN, NAME_PATTERN
from thymos.subjects import Address, address
from thymos.testing import subject_matches

NAMES = st.from_regex(NAME_PATTERN, fullmatch=True)
BRANCHES = st.from_regex(BRANCH_PATTERN, fullmatch=True)


@given(tenant=NAMES, agent=NAMES, branch=BRANCHES)
def test_every_subject_says_whose_it_is(tenant: str, agent: str, branch: str) -> None:
    built = {
        "telemetry": subjects.telemetry_subject(tenant, agent),
        "metrics": subjects.metrics_subject(tenant, agent, branch),
        "event": subjects.event_subject(tenant, agent, "branch.merged"),
        "command": subjects.command_subject(subjects.WORKTREE_SCALER, tenant, agent, "worktree.scale"),
        "task": subjects.task_subject(tenant, agent, branch),
        "request": subjects.request_subject(subjects.MEMORY_REPOSITORY, tenant, agent, "search"),
    }
    for kind, subject in built.items():
        assert address(subject) == Address(kind, tenant, agent)
    assert address(subjects.dead_subject("x", tenant)) == Address("dead", tenant, subjects.WHOLE_SERVICE)


@given(tenant=NAMES, agent=NAMES, branch=BRANCHES)
def test_every_subject_is_taken_by_its_own_stream_only(tenant: str, agent: str, branch: str) -> None:
    built = {
        Kind.TELEMETRY: subjects.telemetry_subject(tenant, agent),
        Kind.METRICS: subjects.metrics_subject(tenant, agent, branch),
        Kind.EVENT: subjects.event_subject(tenant, agent, "branch.merged"),
        Kind.COMMAND: subjects.command_subject(subjects.WORKTREE_SCALER, tenant, agent, "worktree.scale"),
        Kind.TASK: subjects.task_subject(tenant, agent, branch),
        Kind.DEAD_LETTER: subjects.dead_subject(subjects.WORKTREE_SCALER, tenant),
    }
    assert set(built) == set(Kind)
    for kind, subject in built.items():
        taking = [s for s in subjects.STREAMS if any(subject_matches(pattern, subject) for pattern in s.subjects)]
        assert taking == [subjects.STREAM_OF_KIND[kind]]


@pytest.mark.parametrize("subject", ["", "thymos", "thymos.telemetry", "foreign.telemetry.a.b", "thymos.other.a.b"])
def test_a_foreign_subject_is_refused(subject: str) -> None:
    with pytest.raises(ValueError, match="is not a subject of Thymos"):
        address(subject)


def test_a_durable_belongs_to_one_service_and_reads_within_its_stream() -> None:
    durables = [(c.stream.name, c.durable) for c in subjects.CONSUMERS]
    assert len(durables) == len(set(durables))
    for consumer in subjects.CONSUMERS:
        assert consumer.service in subjects.SERVICES
        kinds = {pattern.split(".")[1] for pattern in (*consumer.filters, *consumer.stream.subjects)}
        assert len(kinds) == 1, consumer


def test_work_queue_consumers_do_not_overlap() -> None:
    commands = [c for c in subjects.CONSUMERS if c.stream is subjects.COMMANDS]
    for service in subjects.SERVICES:
        subject = subjects.command_subject(service, "acme", "support", "branch.merge")
        assert sum(subject_matches(f, subject) for c in commands for f in c.filters) <= 1


def test_a_durable_of_tasks_joins_names_without_ambiguity() -> None:
    one = subjects.task_consumer("a-b", "c", "main")
    other = subjects.task_consumer("a", "b-c", "main")
    assert one.durable == "task:a-b:c:main"
    assert one.durable != other.durable
    assert one.filters == (subjects.task_subject("a-b", "c", "main"),)


def test_a_service_without_a_consumer_on_a_stream_is_told_where_to_declare_one() -> None:
    with pytest.raises(KeyError, match=r"declare it in thymos/subjects\.py"):
        subjects.consumer(subjects.MEMORY_REPOSITORY, subjects.TELEMETRY)


def test_only_events_are_kept_for_ever_and_nothing_is_without_a_limit() -> None:
    assert [s for s in subjects.STREAMS if s.for_ever] == [subjects.EVENTS]
    for stream in subjects.STREAMS:
        assert stream.bytes_max > 0
        assert stream.age_max is not None or stream is subjects.EVENTS
    assert not subjects.EVENTS.discard_old, "a full event log refuses, it never forgets"
