"""`thymos demo`: the whole story on this machine, with real processes."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from thymos.cli import exit_codes
from thymos.cli.options import Json
from thymos.cli.output import emit, say
from thymos.embedded import check_port_free

if TYPE_CHECKING:
    from cyclopts import App

    from thymos.demo.screen import LiveScreen, PlainScreen
    from thymos.demo.story import Summary


def register(app: App) -> None:
    """Add the verb."""
    app.command(demo)


async def demo(
    *,
    json: Json = False,
    seed: Annotated[int, Parameter(help="Changes the order of everything; the story is the same.")] = 1,
    data: Annotated[
        Path | None,
        Parameter(help="Keep the run's data here, or in run-2, run-3, … of it [default: a temporary folder]."),
    ] = None,
    port: Annotated[int | None, Parameter(help="NATS listens here [default: a free port].")] = None,
) -> int:
    """An agent gets worse, is made better, is damaged, is restored, and is scaled: in under 90 seconds."""
    if port is not None:
        check_port_free(port, "end what listens there")  # before a folder is begun
    with ExitStack() as stack:
        folder = _fresh(data) if data else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="thymos-demo-")))
        screen = _screen(json)
        stack.enter_context(screen)
        _end_on_term_signal()
        try:
            summary = await _tell(folder, port, seed, screen)
        except asyncio.CancelledError:
            say("thymos: stopped; nothing is left running")
            return exit_codes.INTERRUPTED
    _print(summary, json)
    return exit_codes.DONE if summary.succeeded else exit_codes.FAILED


def _fresh(folder: Path) -> Path:
    """`folder`, or a new one in it when it holds an earlier run: every story begins with an empty memory."""
    runs = itertools.chain([folder], (folder / f"run-{number}" for number in itertools.count(2)))
    fresh = next(run for run in runs if not (run / "nats").exists())
    if fresh != folder:
        say(f"thymos: {folder} holds an earlier run; this one is kept in {fresh}")
    return fresh


def _end_on_term_signal() -> None:
    """A term signal ends the demo as an interrupt does: nothing is left running."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def _screen(json: bool) -> LiveScreen | PlainScreen:
    from rich.console import Console

    from thymos.demo.screen import LiveScreen, PlainScreen

    console = Console(stderr=True)
    return LiveScreen(console) if console.is_terminal and not json else PlainScreen()


async def _tell(folder: Path, port: int | None, seed: int, screen: LiveScreen | PlainScreen) -> Summary:
    from thymos import nats_bus
    from thymos.client import Client
    from thymos.demo.dataset import load_dataset
    from thymos.demo.story import Story, write_configuration
    from thymos.suite import Suite

    dataset = load_dataset()
    async with Suite(folder, config_path=write_configuration(folder, dataset), port=port) as suite:
        await suite.ready()
        bus = await nats_bus.connect(suite.url, "demo")
        try:
            return await Story(Client(bus, source="customers"), dataset, seed, screen).tell()
        finally:
            screen.progress("stopping")
            await bus.close()


def _print(summary: Summary, json: bool) -> None:
    if json:
        emit(summary.to_json())
    else:
        from rich.console import Console

        from thymos.demo.screen import summary_table

        Console(file=sys.stdout).print(summary_table(summary.to_json()))
    for failure in summary.failures:
        say(f"thymos: {failure}")
