"""`python -m tests.chaos soak|kills|cluster`: what `make chaos`, `make chaos-kills` and `make chaos-cluster` run.

Exit code 0 when every invariant held, 1 when one broke: the seed and the invariant are printed.
"""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
import tempfile
from collections.abc import Awaitable
from pathlib import Path

from thymos.errors import ThymosError

from . import report
from .cluster import in_turn
from .kills import campaign
from .run import Result
from .soak import soak


def main() -> int:
    """Run what the command line asks for."""
    options = _parser().parse_args()
    logging.getLogger("thymos").setLevel(logging.ERROR)  # that the bus is away is what is wanted here
    with contextlib.ExitStack() as stack:
        folder = options.data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="thymos-chaos-")))
        try:
            return asyncio.run(_ended_by_signals(options.run(options, folder)))
        except asyncio.CancelledError:
            report.say("chaos: stopped; nothing is left running")
            return 130
        except ThymosError as error:
            report.say(f"chaos: {error}")
            return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chaos", description="Faults on a running suite, and what must hold.")
    verbs = parser.add_subparsers(required=True)
    soaking = verbs.add_parser("soak", help="the demo's load for a time, with faults at random")
    soaking.add_argument("--seconds", type=float, default=120.0, help="how long the faults go on [120]")
    soaking.set_defaults(run=_soak)
    killing = verbs.add_parser("kills", help="each service killed (-9) at random moments of the demo's story")
    killing.add_argument("--moments", type=int, default=50, help="kills of each service [50]")
    killing.set_defaults(run=_kills)
    clustered = verbs.add_parser("cluster", help="three NATS servers, each killed (-9) in turn under load")
    clustered.add_argument("--rounds", type=int, default=2, help="how often each server is killed [2]")
    clustered.set_defaults(run=_cluster)
    for verb in (soaking, killing, clustered):
        verb.add_argument("--seed", type=int, default=1, help="which faults, and when [1]")
        verb.add_argument("--json", action="store_true", help="the result as JSON on stdout")
        verb.add_argument("--data", type=Path, default=None, help="keep the data here [a temporary folder]")
    return parser


async def _soak(options: argparse.Namespace, folder: Path) -> int:
    result = await soak(folder, options.seconds, options.seed, report.say)
    if options.json:
        report.emit(report.as_json(result))
    else:
        report.show(result, f'make chaos ARGS="--seconds {options.seconds:g} --seed {options.seed}"')
    return 1 if result.broken else 0


async def _cluster(options: argparse.Namespace, folder: Path) -> int:
    result = await in_turn(folder, options.seed, options.rounds, report.say)
    if options.json:
        report.emit(report.as_json(result))
    else:
        report.show(result, f'make chaos-cluster ARGS="--rounds {options.rounds} --seed {options.seed}"')
    return 1 if result.broken else 0


async def _kills(options: argparse.Namespace, folder: Path) -> int:
    def over(result: Result) -> None:
        report.say(report.line(result))

    whole = await campaign(folder, options.moments, options.seed, report.say, over)
    if options.json:
        report.emit([report.as_json(result) for result in whole.runs])
        for problem in whole.problems:
            report.say(f"BROKEN: {problem}")
    else:
        report.show_campaign(whole, f'make chaos-kills ARGS="--moments {options.moments} --seed {options.seed}"')
    return 0 if whole.held else 1


async def _ended_by_signals(work: Awaitable[int]) -> int:
    """An interrupt or a term signal ends the run; what was started is stopped."""
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await work


if __name__ == "__main__":
    sys.exit(main())
