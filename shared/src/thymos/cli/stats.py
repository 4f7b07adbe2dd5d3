"""`thymos stats`: the eight figures of `VersioningMetrics`."""

from __future__ import annotations

from cyclopts import App

from thymos.cli.options import HERE, Json, Where, agent_name
from thymos.cli.output import emit, table


def register(app: App) -> None:
    """Add the verb to the command line."""
    app.command(stats, name="stats")


async def stats(*, agent: str | None = None, json: Json = False, where: Where = HERE) -> None:
    """What versioning has done so far: branches, merges, rollbacks, worktrees, experiments and what they gained.

    Parameters
    ----------
    agent
        Only of this agent.
    """
    from thymos import subjects
    from thymos.requests import ReadStats, VersioningMetrics

    owner = agent_name(agent) if agent else subjects.WHOLE_SERVICE
    async with where.client() as client:
        figures = await client.ask_as(VersioningMetrics, subjects.DECISION_ENGINE, owner, "stats", ReadStats())
    if json:
        emit(figures)
    else:
        table(("figure", "value"), list(figures))
