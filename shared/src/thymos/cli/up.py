"""`thymos up`: the whole suite on this machine, until interrupted."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from thymos.cli.exit_codes import UsageError
from thymos.cli.options import HERE, Where, server_url
from thymos.cli.output import say

if TYPE_CHECKING:
    from thymos.suite import Suite

PORT = 4222
PORT_MAX = 65_535


def register(app: App) -> None:
    """Add the verb to the command line."""
    app.command(up, name="up")


async def up(
    *,
    data: Annotated[Path | None, Parameter(show_default=False)] = None,
    port: Annotated[int | None, Parameter(show_default=False)] = None,
    metrics_port: Annotated[int | None, Parameter(show_default=False)] = None,
    where: Where = HERE,
) -> None:
    """Run NATS and the four services on this machine, until interrupted.

    A service that dies is started again. With --nats the server there is used and none is started.

    Parameters
    ----------
    data
        Where state and logs are kept [default: the configuration's storage.directory].
    port
        Of the NATS server that is started [default: 4222]; 0 takes one that is free.
    metrics_port
        The first of four, one per service, for /metrics, /ready and /live [default: the configuration's
        observability.port]; 0 for none.
    """
    from thymos.suite import MODULES, Suite

    if where.nats and port is not None:
        raise UsageError("--port is of the server that is started here; with --nats none is: leave one of them out")
    if port is not None and not 0 <= port <= PORT_MAX:
        raise UsageError(f"--port is {port}; expected 0 to {PORT_MAX}")
    first_metrics_port = where.metrics_port() if metrics_port is None else metrics_port
    if not 0 <= first_metrics_port <= PORT_MAX - len(MODULES) + 1:
        raise UsageError(f"--metrics-port is {first_metrics_port}; expected 0 to {PORT_MAX - len(MODULES) + 1}")
    suite = Suite(
        data or where.data_folder(),
        nats_url=server_url("--nats", where.nats) if where.nats else None,
        config_path=where.config,
        port=(PORT if port is None else port) or None,
        metrics_port=first_metrics_port,
        tell=say,
    )
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    running = asyncio.create_task(_run(suite, stop))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if stop.is_set():
        say("stopping: the services first, then NATS")
        running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    if stop.is_set():
        say("stopped")


async def _run(suite: Suite, stop: asyncio.Event) -> None:
    """Start, say when it is ready, and keep it open until cancelled or `stop`.

    What is awaited at the start may lose a cancellation that comes just when it is done (`asyncio.wait_for` before
    Python 3.12): then `stop` ends it.
    """
    async with suite:
        say(f"NATS is ready at {suite.url}; state and logs are in {suite.data_dir}")
        await suite.ready()
        if suite.metrics_port_of(next(iter(suite.services))):
            ports = ", ".join(f"{name} {suite.metrics_port_of(name)}" for name in suite.services)
            say(f"metrics and health are at /metrics, /ready and /live on ports: {ports}")
        say(f"Thymos is ready at {suite.url}; Ctrl-C stops it")
        await stop.wait()
