"""`thymos watch`: notifications as they happen, one line or one JSON object each."""

from __future__ import annotations

import asyncio
import json as json_format
from collections.abc import Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from thymos.cli.exit_codes import DONE, TIMED_OUT, UsageError
from thymos.cli.options import HERE, Json, Where, agent_name, duration, moment
from thymos.cli.output import cell, emit, line, say, short

if TYPE_CHECKING:
    from datetime import datetime

    from thymos.bus import Stored
    from thymos.client import Client
    from thymos.envelope import Envelope
    from thymos.message import Message


def register(app: App) -> None:
    """Add the verb to the command line."""
    app.command(watch, name="watch")


async def watch(
    *names: str,
    agent: str | None = None,
    since: str | None = None,
    count: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    timeout: str | None = None,
    json: Json = False,
    where: Where = HERE,
) -> int:
    """Follow notifications until interrupted.

    Exits 0 after --count notifications or at the end of --timeout; 124 when --timeout comes before --count is reached.

    Parameters
    ----------
    names
        Which: merged, rolled_back, experiment, worktree.failed, … [default: all of them].
    agent
        Only of this agent.
    since
        Begin in the past: an age such as 1h, or a time such as 2026-03-01T12:00:00Z.
    count
        End after so many.
    timeout
        End after this time, such as 30s.
    """
    wanted = event_names(names)
    start, limit = moment("--since", since), duration("--timeout", timeout)
    owner = agent_name(agent) if agent else "*"
    async with where.client() as client:
        seen = await _follow(client, owner, wanted, start, count, limit, json)
    return TIMED_OUT if count is not None and seen < count else DONE


def event_names(names: Sequence[str]) -> frozenset[str]:
    """The events that short names stand for: a name, its verb, or its entity. None given: none, which means all.

    Raises:
        UsageError: a name is of no event.
    """
    from thymos.catalogue import messages
    from thymos.message import Kind

    known = [message.NAME for message in messages(Kind.EVENT)]
    found: set[str] = set()
    for name in names:
        matching = [event for event in known if name in (event, *event.split("."))]
        if not matching:
            raise UsageError(f"{name!r} is no notification; they are {', '.join(known)}, or a part of one of these")
        found.update(matching)
    return frozenset(found)


async def _follow(
    client: Client,
    agent: str,
    wanted: frozenset[str],
    since: datetime | None,
    count: int | None,
    limit: timedelta | None,
    json: bool,
) -> int:
    """Print what comes; how many there were."""
    from thymos import subjects

    seen = 0
    pattern = subjects.event_subject(client.tenant, agent, next(iter(wanted)) if len(wanted) == 1 else ">")
    try:
        async with (
            asyncio.timeout(limit.total_seconds() if limit is not None else None),
            aclosing(client.bus.follow(subjects.EVENTS, pattern, since)) as stored,
        ):
            async for message in stored:
                if wanted and message.subject.split(".", 4)[4] not in wanted:
                    continue
                if _print(message, json):
                    seen += 1
                if seen == count:
                    break
    except TimeoutError:
        pass
    return seen


def _print(stored: Stored, json: bool) -> bool:
    """One notification as it is, or as a line; False for what is none."""
    from thymos.envelope import decode
    from thymos.errors import PoisonError

    try:
        envelope = decode(stored.body, stored.subject)
    except PoisonError as error:
        say(f"passed over message {stored.sequence}: {error}")
        return False
    if json:
        emit(json_format.loads(stored.body))
    else:
        line(told(envelope))
    return True


def told(envelope: Envelope[Message]) -> str:
    """An event in one line: when, whose, what, and why."""
    data = envelope.data.model_dump(mode="json", exclude_none=True)
    reason = data.pop("reason", "") or data.pop("message", "")
    facts = " ".join(
        f"{name}={short(str(value)) if 'commit' in name else cell(value)}"
        for name, value in data.items()
        if isinstance(value, str | int | float | bool) and value != "" and not name.endswith("state_id")
    )
    time = envelope.time.astimezone().strftime("%H:%M:%S")
    return f"{time}  {envelope.agent}  {envelope.data.NAME}  {facts}{'  — ' + reason if reason else ''}"
