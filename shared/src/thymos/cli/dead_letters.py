"""`thymos dead`: messages that could not be processed, and why."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from cyclopts import App

from thymos.cli.options import HERE, Json, Where
from thymos.cli.output import count, emit, say, table

if TYPE_CHECKING:
    from thymos.client import Client
    from thymos.dead_letters import DeadLetter
    from thymos.envelope import Envelope


def register(app: App) -> None:
    """Add the verbs to the command line."""
    verbs = App(name="dead", help="Messages that could not be processed, and why.")
    verbs.default(list_letters)
    verbs.command(list_letters, name="list")
    verbs.command(drop, name="drop")
    app.command(verbs)


async def list_letters(*, json: Json = False, where: Where = HERE) -> None:
    """The messages, oldest first: who gave them up, after how many attempts, and why."""
    async with where.client() as client:
        letters = await _letters(client)
    if json:
        emit([{**letter.to_dict(), "original": _original(letter.data)} for letter in letters])
        return
    table(
        ("time", "agent", "handler", "attempts", "subject", "reason"),
        [(e.time, e.agent, e.data.handler, e.data.attempts, e.data.subject, e.data.reason) for e in letters],
        empty="no dead letters",
    )


async def drop(*, where: Where = HERE) -> None:
    """Drop the tenant's dead letters, once what they tell of is mended."""
    from thymos import subjects

    async with where.client() as client:
        gone = await client.bus.purge(subjects.DEAD_LETTERS, subjects.dead_subject("*", client.tenant))
    say(f"{count(gone, 'dead letter')} dropped")


async def _letters(client: Client) -> list[Envelope[DeadLetter]]:
    from thymos import subjects
    from thymos.cli.history import past
    from thymos.dead_letters import DeadLetter

    pattern = subjects.dead_subject("*", client.tenant)
    return [
        envelope
        async for envelope in past(client, subjects.DEAD_LETTERS, pattern)
        if isinstance(envelope.data, DeadLetter)
    ]


def _original(letter: DeadLetter) -> str:
    """The message as text, as far as it is."""
    return base64.b64decode(letter.original).decode(errors="replace")
