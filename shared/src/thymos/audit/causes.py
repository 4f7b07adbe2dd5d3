"""Which events belong together: what an id may mean, and what an event says about its causes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thymos.audit.record import LogRecord

_SHORT_ID = re.compile(r"[0-9a-f]{12}")
"""An experiment's or a decision's id; an event's has hyphens, and is longer."""
_NAMED = {"decision_id": "decision", "experiment_id": "experiment"}
_COMMITS = ("commit", "revert_commit", "restored_commit")
_FIRST_OF_COMMIT = ("branch.merged", "branch.rolled_back", "commit.created")

COMMAND_OF: Mapping[str, str] = {
    "snapshot.created": "snapshot.create",
    "variants.prepared": "variants.prepare",
    "branch.merged": "branch.merge",
    "branch.rolled_back": "branch.rollback",
    "branch.deleted": "branch.delete",
    "merge.conflicted": "branch.merge",
    "merge.opened": "branch.merge",
    "worktrees.reserved": "worktrees.reserve",
    "worktrees.released": "worktrees.release",
    "scenario.started": "scenario.run",
}
"""The command that an event answers. Commands themselves are not kept once they are done."""


@dataclass(frozen=True)
class LoggedEvent:
    """An event of the log as its JSON says, unchecked: old ones have a say, too."""

    sequence: int
    id: str
    type: str
    tenant: str
    agent: str
    time: str
    source: str
    causation_id: str | None
    correlation_id: str | None
    data: Mapping[str, Any]

    def text(self, name: str) -> str | None:
        """A field of its data, if it is text."""
        value = self.data.get(name)
        return value if isinstance(value, str) and value else None


@dataclass(frozen=True)
class Meaning:
    """What an id stands for: `kind` is event, decision, experiment, commit or worktree; `value` is the whole id."""

    kind: str
    value: str


def read_event(record: LogRecord) -> LoggedEvent | None:
    """The event of a record; None when it is none that can be read."""
    try:
        whole = json.loads(record.body)
        _, _, tenant, agent, name = record.subject.split(".", 4)
        data = whole["data"]
        if not isinstance(data, dict):
            return None
        texts = [str(whole[key]) if whole.get(key) else None for key in ("causationid", "correlationid")]
        return LoggedEvent(
            record.sequence, str(whole["id"]), name, tenant, agent, str(whole.get("time", "")),
            str(whole.get("source", "")), texts[0], texts[1], data,
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def meanings(event: LoggedEvent) -> Iterable[Meaning]:
    """Everything that this event has an id of."""
    yield Meaning("event", event.id)
    for name, kind in _NAMED.items():
        if value := event.text(name):
            yield Meaning(kind, value)
    for name in _COMMITS:
        if value := event.text(name):
            yield Meaning("commit", value)
    if value := event.text("worktree_id"):
        yield Meaning("worktree", value)


def keys_of(event: LoggedEvent) -> set[str]:
    """The ids of the decisions and experiments that it belongs to."""
    found = {value for name in _NAMED if (value := event.text(name))}
    if event.correlation_id and _SHORT_ID.fullmatch(event.correlation_id):
        found.add(event.correlation_id)
    return found


def belongs(event: LoggedEvent, keys: set[str]) -> bool:
    """Whether it is part of the story of these decisions, experiments, events or commits."""
    own = {event.id, event.causation_id, *(event.text(name) for name in ("commit", "revert_commit", "worktree_id"))}
    return not keys.isdisjoint(keys_of(event) | own)


def place_of(event: LoggedEvent) -> tuple[str, str, str | None]:
    """Whose branch it is about."""
    return event.tenant, event.agent, event.text("branch")


def focus_of(meaning: Meaning, events: Sequence[LoggedEvent]) -> LoggedEvent:
    """The event that an id is best told by. Raises IndexError when there is none."""
    if meaning.kind == "event":
        return next(event for event in events if event.id == meaning.value)
    if meaning.kind == "decision":
        made = [event for event in events if event.type == "decision.made"]
        return next((event for event in made if event.text("decision_id") == meaning.value), events[0])
    if meaning.kind == "commit":
        made = [e for e in events if meaning.value in (e.text("commit"), e.text("revert_commit"))]
        return min(made or list(events), key=lambda e: (_rank(e.type), e.sequence))
    return events[-1]


def _rank(name: str) -> int:
    return _FIRST_OF_COMMIT.index(name) if name in _FIRST_OF_COMMIT else len(_FIRST_OF_COMMIT)


def decisions_among(events: Iterable[LoggedEvent], focus: LoggedEvent) -> list[LoggedEvent]:
    """The decisions that lead to `focus`, oldest first: those of its experiment, or the one that it names."""
    wanted = keys_of(focus)
    if focus.type == "decision.made" and not focus.text("experiment_id"):
        wanted = {focus.text("decision_id") or ""}
    listed = list(events)
    opened = {e.text("decision_id") for e in listed if e.type == "experiment.started" and keys_of(e) & wanted}
    wanted |= {key for key in opened if key}
    return [e for e in listed if e.type == "decision.made" and keys_of(e) & wanted]
