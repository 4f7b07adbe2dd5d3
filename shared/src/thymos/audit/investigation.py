"""Find in the log what an id stands for, and everything that belongs to it; tell why it came to be.

The log is streamed, not kept: a pass for the id, then passes for what belongs together until nothing new turns up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from thymos.audit import explaining
from thymos.audit.causes import (
    LoggedEvent,
    Meaning,
    belongs,
    decisions_among,
    focus_of,
    keys_of,
    meanings,
    place_of,
    read_event,
)
from thymos.audit.record import LogRecord
from thymos.audit.telemetry_trail import Trail, trail_of
from thymos.bus import Bus
from thymos.errors import Refusal, RefusalCode

Log = Callable[[], AbstractAsyncContextManager[AsyncIterator[LogRecord]]]
"""Opens the log for one pass, from its beginning to its end."""

PREFIX_MIN = 6
HEXADECIMAL = frozenset("0123456789abcdef-")
"""Ids of these characters are written in small letters, and found in large ones, too."""
PASSES_MAX = 6
EVENTS_MAX = 5_000
"""Events of one story that are looked at; more are told to be there."""
SHOWN_MEANINGS = 5


@dataclass
class Answer:
    """Why something came to be, as sections of lines."""

    id: str
    kind: str
    title: str
    sections: dict[str, list[str]] = field(default_factory=dict)
    chain: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As `thymos why --json` prints it."""
        return vars(self)


async def investigate(text: str, log: Log, bus: Bus | None) -> Answer:
    """Why: of an event, a decision, an experiment, a commit or a worktree, by its id or the beginning of one.

    Args:
        text: the id, or at least six characters of it.
        log: the log, which is read several times.
        bus: where metrics and telemetry are; None: they are not looked for.

    Raises:
        Refusal: `not_found`, or `invalid` when it stands for several things.
        UnavailableError: the bus is away.
    """
    meaning, known = await _resolve(text, log)
    story, complete = await _story(meaning, known, log)
    focus = focus_of(meaning, [e for e in story if meaning in meanings(e)] or story)
    answer = Answer(meaning.value, meaning.kind, f"{focus.type} {focus.id} of {focus.agent}, {focus.time}")
    answer.sections["what"] = [explaining.words_of(focus)]
    decisions = decisions_among(story, focus)
    _explain(answer, focus, decisions, story)
    if focus.type == "worktree.scaled":
        story = [focus, *await _consequences(focus, log)]
    await _tell_chain(answer, story, decisions, bus)
    if meaning.kind == "commit":
        answer.notes += await _restorations(meaning.value, log)
    if not complete:
        answer.notes.append(f"only {EVENTS_MAX} of its events were looked at")
    return answer


async def _resolve(text: str, log: Log) -> tuple[Meaning, set[str]]:
    """What an id stands for, and the decisions and experiments of the events that name it."""
    if len(text) < PREFIX_MIN:
        raise Refusal(RefusalCode.INVALID, f"{text!r} is too short", f"give at least {PREFIX_MIN} characters of an id")
    spellings = (text, text.lower()) if set(text.lower()) <= HEXADECIMAL else (text,)
    needles = [spelling.encode() for spelling in spellings]
    found: dict[Meaning, set[str]] = {}
    later: dict[Meaning, set[str]] = {}  # a commit's restoration is its story only when there is no other
    async with log() as records:
        async for record in records:
            if not any(needle in record.body for needle in needles) or (event := read_event(record)) is None:
                continue
            for meaning in meanings(event):
                if meaning.value.startswith(spellings):
                    place = later if meaning.value == event.text("restored_commit") else found
                    place.setdefault(meaning, set()).update(keys_of(event))
    found = {**later, **found}
    exact = [[meaning for meaning in found if meaning.value == spelling] for spelling in spellings]
    candidates = next(filter(None, exact), list(found))
    if not candidates:
        raise Refusal(
            RefusalCode.NOT_FOUND,
            f"nothing in the event log has the id {text!r}",
            "`thymos replay` shows the log, `thymos experiment list` the experiments, `thymos memory log` the commits",
        )
    if len({meaning.value for meaning in candidates}) > 1:
        several = ", ".join(f"{m.kind} {m.value}" for m in candidates[:SHOWN_MEANINGS])
        raise Refusal(RefusalCode.INVALID, f"{text!r} may be {several}", "give more of it")
    return candidates[0], found[candidates[0]]


async def _story(meaning: Meaning, known: set[str], log: Log) -> tuple[list[LoggedEvent], bool]:
    """All events that belong to it; False with it when there are more than are looked at."""
    keys = {meaning.value, *(known if meaning.kind != "worktree" else ())}
    for _ in range(PASSES_MAX):
        story = await _pass(keys, log)
        more = set(keys)
        for event in story:
            more |= keys_of(event)
            if event.type == "branch.rolled_back" and (undone := event.text("previous_commit")):
                more.add(undone)
        if more == keys or len(story) >= EVENTS_MAX:
            break
        keys = more
    return story, len(story) < EVENTS_MAX


async def _pass(keys: set[str], log: Log) -> list[LoggedEvent]:
    needles = [key.encode() for key in keys]
    story: list[LoggedEvent] = []
    async with log() as records:
        async for record in records:
            if len(story) == EVENTS_MAX:
                break
            if not any(needle in record.body for needle in needles):
                continue
            event = read_event(record)
            if event is not None and belongs(event, keys):
                story.append(event)
    return story


async def _consequences(scaled: LoggedEvent, log: Log) -> list[LoggedEvent]:
    """What happened to the worktrees of a branch until their number was changed again."""
    found: list[LoggedEvent] = []
    async with log() as records:
        async for record in records:
            if record.sequence <= scaled.sequence or not record.type.startswith("worktree."):
                continue
            event = read_event(record)
            if event is None or place_of(event) != place_of(scaled):
                continue
            if event.type == scaled.type or len(found) == EVENTS_MAX:
                break
            found.append(event)
    return found


async def _restorations(commit: str, log: Log) -> list[str]:
    """Rollbacks that brought a commit's state back."""
    notes: list[str] = []
    async with log() as records:
        async for record in records:
            if record.type != "branch.rolled_back" or commit.encode() not in record.body:
                continue
            event = read_event(record)
            if event is not None and event.text("restored_commit") == commit:
                notes.append(f"a rollback restored it: `thymos why {event.correlation_id or event.id}`")
    return notes


def _explain(answer: Answer, focus: LoggedEvent, decisions: list[LoggedEvent], story: list[LoggedEvent]) -> None:
    if focus.type == "worktree.scaled":
        answer.sections["evidence"] = explaining.scaling_lines(focus)
        answer.notes.append("the signal is read from the work queue and the agents' heartbeats, which keep no history")
        return
    own = [made for made in decisions if made is focus or focus.text("decision_id") == made.text("decision_id")]
    told = own if focus.type == "decision.made" else decisions
    answer.sections["rule"] = [line for made in told for line in explaining.rule_lines(made)]
    evidence = [line for made in told for line in explaining.evidence_lines(made.data)]
    if focus.type != "decision.made":
        decided = [e for e in story if e.type in ("experiment.decided", "experiment.closed")]
        evidence += [line for e in decided for line in explaining.evidence_lines(e.data)]
    answer.sections["evidence"] = explaining.distinct(evidence)
    answer.sections["done"] = [line for made in told for line in explaining.done_lines(made)]
    if not decisions:
        answer.notes.append("no decision led to it: " + _origin(focus))


def _origin(focus: LoggedEvent) -> str:
    if author := focus.text("author"):
        return f"{author} did it"
    return f"{focus.source} reports it" + (f", caused by {focus.causation_id}" if focus.causation_id else "")


async def _tell_chain(answer: Answer, story: list[LoggedEvent], decisions: list[LoggedEvent], bus: Bus | None) -> None:
    """Oldest first: for each decision the outcomes that moved it, then what followed."""
    begun = 0
    for made in decisions:
        index = next(place for place, event in enumerate(story) if event is made)
        answer.chain += explaining.chain_lines(story[begun:index])
        if bus is not None:
            trail: Trail = await trail_of(bus, made)
            answer.chain += trail.lines
            answer.notes += trail.notes
        begun = index
    answer.chain += explaining.chain_lines(story[begun:])
    if bus is None and decisions:
        caused = ", ".join(made.causation_id[:8] for made in decisions if made.causation_id)
        answer.notes.append(f"a file holds no metrics and no telemetry; the decisions were caused by metrics {caused}")
