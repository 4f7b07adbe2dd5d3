"""The only file with subject, stream, bucket and durable strings, and the limits of each stream.

    thymos.telemetry.<tenant>.<agent>
    thymos.metrics.<tenant>.<agent>.<branch>
    thymos.event.<tenant>.<agent>.<entity>.<verb>
    thymos.command.<service>.<tenant>.<agent>.<entity>.<verb>
    thymos.task.<tenant>.<agent>.<branch>
    thymos.dead.<service>.<tenant>
    thymos.request.<service>.<tenant>.<agent>.<verb>

Names never hold a dot (names.py), so a subject splits back into its parts without ambiguity; durables join theirs
with ':', which no name may hold either. The tenant of a message is the one in its subject, never the body's.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from thymos.message import Kind

PREFIX = "thymos"
WHOLE_SERVICE = "_"
"""Stands for "no agent" (and "no tenant") in request subjects that concern a whole service; no name begins with it."""

AUDIT_TENANT = "thymos"
AUDIT_AGENT = "audit"
"""Whose the seals of the event log are, which cover all tenants' events. Names like any other; nobody's agent."""

MIB = 1024 * 1024
MESSAGE_BYTES_MAX = MIB - 8192
"""The server's own limit (`max_payload`, 1 MiB) less room for headers."""


class Retention(StrEnum):
    """How a stream forgets."""

    LIMITS = "limits"
    WORK_QUEUE = "workqueue"


@dataclass(frozen=True)
class Stream:
    """One stream and its limits. At `bytes_max` or `age_max` the oldest messages go (`discard_old`), or new ones
    are refused with an error to the publisher (`discard_old=False`)."""

    name: str
    subjects: tuple[str, ...]
    retention: Retention
    age_max: timedelta | None
    bytes_max: int
    discard_old: bool
    for_ever: bool = False
    duplicate_window: timedelta = timedelta(minutes=5)


TELEMETRY = Stream("THYMOS_TELEMETRY", ("thymos.telemetry.*.*",), Retention.LIMITS, timedelta(days=2), 2048 * MIB, True)
METRICS = Stream("THYMOS_METRICS", ("thymos.metrics.*.*.*",), Retention.LIMITS, timedelta(days=7), 1024 * MIB, True)
EVENTS = Stream(
    "THYMOS_EVENTS",
    ("thymos.event.*.*.*.*",),
    Retention.LIMITS,
    None,
    16_384 * MIB,
    False,
    for_ever=True,
    duplicate_window=timedelta(hours=1),
)
COMMANDS = Stream(
    "THYMOS_COMMANDS",
    ("thymos.command.*.*.*.*.*",),
    Retention.WORK_QUEUE,
    timedelta(days=7),
    256 * MIB,
    False,
    duplicate_window=timedelta(hours=1),
)
TASKS = Stream("THYMOS_TASKS", ("thymos.task.*.*.*",), Retention.WORK_QUEUE, timedelta(days=1), 512 * MIB, False)
DEAD_LETTERS = Stream(
    "THYMOS_DEAD_LETTERS", ("thymos.dead.*.*",), Retention.LIMITS, timedelta(days=30), 256 * MIB, True
)
ADVISED_STREAMS = (TELEMETRY, METRICS, EVENTS, COMMANDS, TASKS)
ADVISORY = "$JS.EVENT.ADVISORY.CONSUMER"
ADVISORIES = Stream(
    "THYMOS_ADVISORIES",
    tuple(
        f"{ADVISORY}.{kind}.{stream.name}.*"
        for kind in ("MAX_DELIVERIES", "MSG_TERMINATED")
        for stream in ADVISED_STREAMS
    ),
    Retention.LIMITS,
    timedelta(days=7),
    64 * MIB,
    True,
)
"""What the server says when it delivers a message no more: the net under the dead letters."""
STREAMS = (TELEMETRY, METRICS, EVENTS, COMMANDS, TASKS, DEAD_LETTERS, ADVISORIES)

STREAM_OF_KIND = {
    Kind.TELEMETRY: TELEMETRY,
    Kind.METRICS: METRICS,
    Kind.EVENT: EVENTS,
    Kind.COMMAND: COMMANDS,
    Kind.TASK: TASKS,
    Kind.DEAD_LETTER: DEAD_LETTERS,
}


@dataclass(frozen=True)
class Bucket:
    """A key-value bucket; `history` values per key."""

    name: str
    history: int = 1
    bytes_max: int = 64 * MIB


ROUTING = Bucket("thymos_routing")
LEASES = Bucket("thymos_leases")
BUCKETS = (ROUTING, LEASES)


@dataclass(frozen=True)
class Consumer:
    """A durable pull consumer. `ordered` ones have one message in flight; `deliver_max` bounds the attempts.

    `batch` messages are fetched at once; those of an ordered consumer are handled one after the other.
    """

    stream: Stream
    durable: str
    filters: tuple[str, ...]
    service: str
    batch: int = 1
    ordered: bool = True
    ack_wait: timedelta = timedelta(seconds=15)
    deliver_max: int = 8
    in_flight_max: int = field(default=0)

    @property
    def max_ack_pending(self) -> int:
        """How many delivered messages may be without an acknowledgement."""
        return self.in_flight_max or (1 if self.ordered else max(self.batch * 4, 16))


METRICS_COLLECTOR = "metrics-collector"
DECISION_ENGINE = "decision-engine"
MEMORY_REPOSITORY = "memory-repository"
WORKTREE_SCALER = "worktree-scaler"
SERVICES = (METRICS_COLLECTOR, DECISION_ENGINE, MEMORY_REPOSITORY, WORKTREE_SCALER)


def _telemetry_of(service: str) -> Consumer:
    return Consumer(TELEMETRY, service, ("thymos.telemetry.*.*",), service, batch=500, ordered=False)


def _commands_of(service: str) -> Consumer:
    return Consumer(COMMANDS, service, (f"thymos.command.{service}.>",), service)


def _events_of(service: str, *filters: str) -> Consumer:
    return Consumer(EVENTS, service, tuple(f"thymos.event.*.*.{f}" for f in filters), service)


def _outcomes_of(service: str) -> Consumer:
    return Consumer(METRICS, service, ("thymos.metrics.*.*.*",), service)


CONSUMERS = (
    _telemetry_of(METRICS_COLLECTOR),
    _events_of(METRICS_COLLECTOR, "commit.marked_good", "branch.deleted", "branch.rolled_back"),
    _outcomes_of(DECISION_ENGINE),
    _events_of(DECISION_ENGINE, ">"),
    _commands_of(DECISION_ENGINE),
    _outcomes_of(MEMORY_REPOSITORY),
    _commands_of(MEMORY_REPOSITORY),
    _telemetry_of(WORKTREE_SCALER),
    _events_of(WORKTREE_SCALER, "branch.deleted", "experiment.closed"),
    _commands_of(WORKTREE_SCALER),
    Consumer(ADVISORIES, WORKTREE_SCALER, (f"{ADVISORY}.>",), WORKTREE_SCALER),
)


def consumers_of(service: str) -> tuple[Consumer, ...]:
    """The durables that a service needs before it is ready."""
    return tuple(c for c in CONSUMERS if c.service == service)


def consumer(service: str, stream: Stream) -> Consumer:
    """The durable of a service on a stream. Raises KeyError if it has none."""
    for found in CONSUMERS:
        if found.service == service and found.stream is stream:
            return found
    raise KeyError(f"{service} has no consumer on {stream.name}: declare it in thymos/subjects.py")


def task_consumer(tenant: str, agent: str, branch: str) -> Consumer:
    """The work-queue durable of one branch's tasks; whoever works on the branch shares it."""
    return Consumer(
        TASKS,
        ":".join(("task", tenant, agent, branch)),
        (task_subject(tenant, agent, branch),),
        service=WORKTREE_SCALER,
        ordered=False,
        ack_wait=timedelta(seconds=20),
        deliver_max=5,
        in_flight_max=1_000,
    )


def telemetry_subject(tenant: str, agent: str) -> str:
    """Where an agent reports."""
    return f"thymos.telemetry.{tenant}.{agent}"


def metrics_subject(tenant: str, agent: str, branch: str) -> str:
    """Where an agent's metrics and outcome rows appear."""
    return f"thymos.metrics.{tenant}.{agent}.{branch}"


def event_subject(tenant: str, agent: str, name: str) -> str:
    """Where an event appears; `name` is `<entity>.<verb>`, or a pattern of it."""
    return f"thymos.event.{tenant}.{agent}.{name}"


def command_subject(service: str, tenant: str, agent: str, name: str) -> str:
    """Where a service takes a command."""
    return f"thymos.command.{service}.{tenant}.{agent}.{name}"


def task_subject(tenant: str, agent: str, branch: str) -> str:
    """Where the tasks of a branch wait."""
    return f"thymos.task.{tenant}.{agent}.{branch}"


def dead_subject(service: str, tenant: str) -> str:
    """Where a service puts what it cannot process."""
    return f"thymos.dead.{service}.{tenant}"


def request_subject(service: str, tenant: str, agent: str, verb: str) -> str:
    """Where a service answers a request."""
    return f"thymos.request.{service}.{tenant}.{agent}.{verb}"


@dataclass(frozen=True)
class Address:
    """Whose a message is: read from its subject."""

    kind: str
    tenant: str
    agent: str


_TENANT_AT = {"telemetry": 2, "metrics": 2, "event": 2, "task": 2, "command": 3, "dead": 3, "request": 3}


def address(subject: str) -> Address:
    """Tenant and agent of a subject. Raises ValueError when it is none of ours."""
    parts = subject.split(".")
    at = _TENANT_AT.get(parts[1]) if len(parts) > 1 and parts[0] == PREFIX else None
    if at is None or len(parts) <= at:
        raise ValueError(f"{subject!r} is not a subject of Thymos")
    return Address(parts[1], parts[at], parts[at + 1] if len(parts) > at + 1 else WHOLE_SERVICE)
