"""`make simulate ARGS="--seed 7"`: run seeds, say what was exercised, and how to run a failing one again."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import IO

from .coverage import MUST_HAPPEN, SEEDS_FOR_ALL
from .world import Report, Scale, simulate

DEFAULT = Scale()


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this seed alone")
    parser.add_argument("--first", type=int, default=1, help="the first of several seeds")
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--minutes", type=float, help="run seeds until this time has passed")
    parser.add_argument("--virtual-seconds", type=float, default=DEFAULT.traffic_seconds, help="of traffic per seed")
    parser.add_argument("--drift-at", type=float, default=DEFAULT.drift_at, help="virtual second of the drift")
    parser.add_argument("--damage-at", type=float, default=DEFAULT.damage_at, help="virtual second of the bad commit")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write each agent's history for the replay gate")
    parser.add_argument("--trace", type=argparse.FileType("w"), metavar="FILE", help="write everything that happens")
    return parser


def scale_of(given: argparse.Namespace) -> Scale:
    """How long each seed is."""
    return Scale(traffic_seconds=given.virtual_seconds, drift_at=given.drift_at, damage_at=given.damage_at)


def main() -> int:
    """Exit code 0 when everything held, 1 when something did not."""
    given = parser().parse_args()
    scale = scale_of(given)
    began, total, failed = time.monotonic(), Counter[str](), 0
    seed = given.first if given.seed is None else given.seed
    done = 0
    while True:
        report = run_one(seed, scale, given.trace)
        total += report.counts
        failed += report.problem is not None
        if given.record is not None:
            report.steps.write(given.record, f"seed-{seed}")
        seed, done = seed + 1, done + 1
        elapsed = time.monotonic() - began
        if given.seed is not None or (elapsed > 60 * given.minutes if given.minutes else done >= given.seeds):
            break
    tell(f"{done} seeds in {elapsed:.0f} s, {failed} failed")
    tell("\n".join(f"{count:8d}  {name}" for name, count in sorted(total.items())))
    if (
        missing := sorted(MUST_HAPPEN - {name for name, count in total.items() if count})
        if done >= SEEDS_FOR_ALL and scale == DEFAULT
        else []
    ):
        tell(f"never happened, in {done} seeds: {', '.join(missing)}")
    return 1 if failed or missing else 0


def run_one(seed: int, scale: Scale, trace: IO[str] | None = None) -> Report:
    """One seed, with a line of its own; a failing one says why and how it is run again."""
    began = time.monotonic()
    report = simulate(seed, scale, trace)
    took = time.monotonic() - began
    verdict = "held" if report.problem is None else "FAILED"
    tell(f"seed {seed}: {verdict}, trace {report.trace}, {report.virtual_seconds:.0f} virtual s in {took:.1f} s")
    if report.problem is not None:
        tell("\n".join(report.last_lines))
        tell(f"{report.problem}\n{rerun(seed, scale)}")
    return report


def tell(words: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def rerun(seed: int, scale: Scale) -> str:
    """The command that runs a seed again, exactly."""
    said = (
        ("--virtual-seconds", scale.traffic_seconds, DEFAULT.traffic_seconds),
        ("--drift-at", scale.drift_at, DEFAULT.drift_at),
        ("--damage-at", scale.damage_at, DEFAULT.damage_at),
    )
    length = "".join(f" {option} {value:g}" for option, value, usual in said if value != usual)
    return f'run it again: make simulate ARGS="--seed {seed}{length}"'


if __name__ == "__main__":
    sys.exit(main())
