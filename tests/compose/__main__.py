"""`make test-compose`: docker-compose.yml as users start it: built, watched, killed, mended, and taken down.

Prints each step with `ok` or `FAILED`, and ends with exit code 1 at the first that failed; the containers' last words
are printed then. It has a project name, volumes and ports of its own, so that a suite that runs here is left alone, and
takes down what it started, however it ends. `--keep` leaves it running instead.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable

from thymos.embedded import free_port
from thymos.errors import ThymosError

from .engine import Project
from .steps import Steps

PROJECT = "thymos-test"


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def take(title: str, step: Callable[[], Awaitable[str]]) -> None:
    """One step: what it found, and how long it took."""
    began = time.monotonic()
    try:
        found = await step()
    except BaseException as error:
        say(f"FAILED  {title}: {error or type(error).__name__} ({time.monotonic() - began:.0f} s)")
        raise
    say(f"ok      {title}: {found} ({time.monotonic() - began:.0f} s)")


async def tell(steps: Steps) -> None:
    """All steps, in order."""
    for title, step in steps.before():
        await take(title, step)
    async with steps.under_load():
        for title, step in steps.faults():
            await take(title, step)
        await take("nothing lost, nothing doubled", steps.nothing_lost)
        await take("taken down and started again: everything is still there", steps.survives_down)
        await take("the books agree still", steps.nothing_lost)
    for title, step in steps.afterwards():
        await take(title, step)


def take_down(project: Project) -> str:
    """Remove everything of the project. Raises ThymosError when something is left."""
    project.compose("down", "--volumes", "--remove-orphans", "--timeout", "20")
    if left := project.left():
        raise ThymosError(f"left behind: {', '.join(left)}")
    return "no container, volume or network is left"


def last_words(project: Project) -> None:
    """What the containers said last."""
    with contextlib.suppress(ThymosError):
        say(project.compose("ps", check=False))
        say(project.compose("logs", "--no-color", "--tail", "15", check=False))


def main() -> int:
    """Run it. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="make test-compose", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything running at the end")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ports = {"NATS": free_port(), "NATS_MONITOR": free_port(), "PROMETHEUS": free_port()}
    environment = {f"THYMOS_{name}_PORT": str(port) for name, port in ports.items()}
    for name in [name for name in os.environ if name.startswith(("THYMOS_", "COMPOSE_"))]:
        del os.environ[name]  # the suite as it comes, whatever this shell is set to
    try:
        project = Project(PROJECT, environment)
    except ThymosError as error:
        say(f"test-compose: {error}")
        return 1
    try:
        take_down(project)  # what an earlier run that was killed left behind
        asyncio.run(tell(Steps(project, ports)))
    except KeyboardInterrupt:
        say("test-compose: stopped")
        return 130
    except ThymosError:
        last_words(project)
        return 1
    finally:
        if not options.keep:
            say(f"ok      taken down: {take_down(project)}")
    say("test-compose: all is well")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
