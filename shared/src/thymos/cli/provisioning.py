"""`thymos provision`: streams, consumers and buckets are made, and brought in line."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from thymos.cli.options import HERE, Json, Where
from thymos.cli.output import emit, say, table


def register(app: App) -> None:
    """Add the verb to the command line."""
    app.command(provision, name="provision")


async def provision(
    *,
    replicas: Annotated[int | None, Parameter(validator=Number(gte=1, lte=5), show_default=False)] = None,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Create what the suite needs on NATS, and bring what exists in line. Running it again changes nothing.

    Parameters
    ----------
    replicas
        Copies of each stream: 1 on one server, 3 on a cluster [default: the configuration's nats.replicas].
    """
    from thymos import provision as provisioning

    async with where.bus() as bus:
        changes = await provisioning.provision(bus, replicas or where.replicas())
    if json:
        emit([asdict(change) for change in changes])
        return
    table(("what", "name", "action"), [(c.what, c.name, c.action) for c in changes])
    say(f"{sum(c.action != 'unchanged' for c in changes)} of {len(changes)} changed")
