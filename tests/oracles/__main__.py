"""`make oracles ARGS="--seeds 2000"`: random merges beside libgit2, git and DoltLite; a failing seed is printed."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from . import field_merges, record_merges, text_merges
from .tally import Tally

SHARE: Final = {"records": 1, "texts": 2, "fields": 40}
"""Seeds of each oracle, in terms of --seeds: a seed of `records` is a history of ten merges."""
BATCH: Final = 100
PROBLEMS_SHOWN: Final = 5


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(prog="make oracles", description=__doc__)
    parser.add_argument("--oracle", choices=SHARE, help="this one alone")
    parser.add_argument("--seed", type=int, help="run this seed alone")
    parser.add_argument("--first", type=int, default=1_000, help="the first seed (the test suite has those below)")
    parser.add_argument("--seeds", type=int, default=500, help="histories to compare; other oracles by their share")
    return parser


def oracles(scratch: Path) -> dict[str, Callable[[range], Tally]]:
    """Each oracle as a function of seeds."""
    return {
        "records": lambda seeds: record_merges.compare(seeds, scratch / "records"),
        "texts": lambda seeds: text_merges.compare(text_merges.FAMILIES, seeds, scratch),
        "fields": field_merges.compare,
    }


def run(name: str, compare: Callable[[range], Tally], seeds: range) -> bool:
    """Compare in batches and tell what came of it. Returns whether all agreed."""
    total, began = Tally(), time.monotonic()
    for first in range(seeds.start, seeds.stop, BATCH):
        total.add(compare(range(first, min(first + BATCH, seeds.stop))))
    counted = ", ".join(f"{count:,} {what}" for what, count in total.counts.items() if count)
    tell(f"{name}: {counted}; {len(total.problems)} disagreements, {time.monotonic() - began:.0f} s")
    for problem in total.problems[:PROBLEMS_SHOWN]:
        tell(f'{problem}\n  again: make oracles ARGS="--oracle {name} --seed N", with the seed that it names')
    return not total.problems


def tell(text: str) -> None:
    """Say something on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Exit code 0 when all agreed, 1 when something did not."""
    given = parser().parse_args()
    agreed = True
    with tempfile.TemporaryDirectory() as scratch:
        for name, compare in oracles(Path(scratch)).items():
            if given.oracle not in (None, name):
                continue
            count = 1 if given.seed is not None else given.seeds * SHARE[name]
            first = given.first if given.seed is None else given.seed
            agreed &= run(name, compare, range(first, first + count))
    return 0 if agreed else 1


if __name__ == "__main__":
    raise SystemExit(main())
