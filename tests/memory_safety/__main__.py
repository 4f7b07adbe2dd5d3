"""`make memory-safety`: random histories; the memory killed, without room, written by two. Prints failing seeds."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from . import full_disk, kills, writers

COUNT: Final = {"kills": 300, "full-disk": 100, "writers": 1}
"""Seeds of each."""
HISTORIES: Final = 5_000
COMMITS: Final = 10_000
"""Of two writers, in all."""


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(prog="make memory-safety", description=__doc__)
    parser.add_argument("--only", choices=("histories", *COUNT), help="this alone")
    parser.add_argument("--seed", type=int, help="run this seed alone")
    parser.add_argument("--seeds", type=int, help="so many seeds of each, instead of its own number")
    parser.add_argument("--first", type=int, default=1_000, help="the first seed (the test suite has those below)")
    parser.add_argument("--histories", type=int, default=HISTORIES, help="how many random histories")
    parser.add_argument("--commits", type=int, default=COMMITS, help="of the two writers, in all")
    return parser


def tell(text: str) -> None:
    """Say something on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run(name: str, one: Callable[[int, Path], Counter[str]], seeds: range) -> bool:
    """Each seed in a folder of its own; what came of it. Returns whether all went well."""
    happened: Counter[str] = Counter()
    failed, began = 0, time.monotonic()
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            try:
                happened += one(seed, Path(folder))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told with its seed, and the next is tried
                failed += 1
                tell(f'{name}: {error!r:.600}\n  again: make memory-safety ARGS="--only {name} --seed {seed}"')
    said = ", ".join(f"{what} {count:,}" for what, count in sorted(happened.items()))
    tell(f"{name}: {len(seeds)} seeds, {failed} failed, {time.monotonic() - began:.0f} s: {said}")
    return not failed


def histories(count: int, seed: int) -> bool:
    """So many of Hypothesis's random histories, and a twentieth of them exported and imported; it prints the smallest
    one that fails."""
    tests = "tests/unit/memory-repository/test_random_histories.py"
    options = ["-q", f"--hypothesis-seed={seed}", "-p", "no:cacheprovider"]
    environment = {**os.environ, "THYMOS_TEST_HISTORIES": str(count)}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-m", "pytest", tests, *options], cwd=root, env=environment, check=False)
    tell(f"histories: {count:,} of seed {seed}, {'failed' if done.returncode else 'all agree with the dictionaries'}")
    return done.returncode == 0


def main() -> int:
    """Exit code 0 when all went well, 1 when something did not."""
    given = parser().parse_args()
    each: dict[str, Callable[[int, Path], Counter[str]]] = {
        "kills": lambda seed, folder: Counter([kills.kill(seed, folder) or "between two"]),
        "full-disk": lambda seed, folder: Counter(full_disk.fill(seed, folder)),
        "writers": lambda seed, folder: writers.write_together(given.commits, seed, folder),
    }
    well = True
    if given.only in (None, "histories"):
        well = histories(given.histories, given.first if given.seed is None else given.seed)
    for name, one in each.items():
        if given.only not in (None, name):
            continue
        seeds = range(given.first, given.first + (given.seeds or COUNT[name]))
        well &= run(name, one, seeds if given.seed is None else range(given.seed, given.seed + 1))
    return 0 if well else 1


if __name__ == "__main__":
    raise SystemExit(main())
