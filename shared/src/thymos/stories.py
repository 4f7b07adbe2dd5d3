"""Which trace a story belongs to: an experiment's begins with the telemetry that set it off.

Steps of an experiment are caused by many messages, also by such of other traces (live traffic that it learns from) and
by deadlines, which are of none. What is published about it goes on in its own trace all the same; the trace of what
caused the step is linked.
"""

from dataclasses import dataclass

from thymos.database import Connection
from thymos.message import Message
from thymos.trace_context import same_trace

SCHEMA = """
CREATE TABLE IF NOT EXISTS stories(
    position INTEGER PRIMARY KEY AUTOINCREMENT, story TEXT NOT NULL UNIQUE, traceparent TEXT NOT NULL);
"""
STORIES_MAX = 10_000
"""Stories whose trace is remembered; the oldest are forgotten."""


@dataclass(frozen=True)
class Place:
    """The step before, and steps of other traces that led here too."""

    traceparent: str | None
    links: tuple[str, ...] = ()


def story_of(message: Message, tenant: str, agent: str, correlation_id: str | None) -> str | None:
    """The story that a message belongs to: its experiment, else its correlation if it has one."""
    name = getattr(message, "experiment_id", None) or correlation_id
    return f"{tenant}/{agent}/{name}" if name else None


def note(connection: Connection, story: str | None, traceparent: str | None) -> None:
    """Remember the trace that a story began in. The first one stays."""
    if story is None or traceparent is None:
        return
    new = connection.execute(
        "INSERT INTO stories(story, traceparent) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING position",
        (story, traceparent),
    ).fetchone()
    if new:
        connection.execute("DELETE FROM stories WHERE position <= ?", (new[0] - STORIES_MAX,))


def placed(connection: Connection, story: str | None, cause: str | None) -> Place:
    """Where a message of a story stands, whose cause is in the given step."""
    if story is None:
        return Place(cause)
    found = connection.execute("SELECT traceparent FROM stories WHERE story = ?", (story,)).fetchone()
    if found is None or same_trace(found[0], cause):
        return Place(cause)
    return Place(str(found[0]), (cause,) if cause else ())
