"""`thymos stats`: the eight figures of `VersioningMetrics`."""

from __future__ import annotations

from dataclasses import asdict

from cyclopts import App

from thymos.cli.options import HERE, Json, Where, agent_name
from thymos.cli.output import emit, table


def register(app: App) -> None:
    """Add the verb to the command line."""
    app.command(stats, name="stats")


async def stats(*, agent: str | None = None, json: Json = False, where: Where = HERE) -> None:
    """What versioning has done so far, counted from the event log: branches, merges, rollbacks, experiments.

    Parameters
    ----------
    agent
        Only of this agent.
    """
    from thymos import subjects
    from thymos.cli.history import past
    from thymos.versioning_metrics import COUNTED, versioning_metrics

    owner = agent_name(agent) if agent else "*"
    async with where.client() as client:
        pattern = subjects.event_subject(client.tenant, owner, ">")
        events = [e.data async for e in past(client, subjects.EVENTS, pattern) if isinstance(e.data, COUNTED)]
    figures = asdict(versioning_metrics(events))
    if json:
        emit(figures)
    else:
        table(("figure", "value"), figures.items())
