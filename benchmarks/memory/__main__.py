"""`make bench-memory`: one workload for Thymos, libgit2, DoltLite and prollytree, and bare SQLite as the floor.

Each store runs alone, in a process and a folder of its own, one after the other. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from .measuring import MODULES, ROWS
from .report import THYMOS, Result, duration, figure, growth, table, wrong

ROOT: Final = Path(__file__).parents[2]
OWN_ENVIRONMENT: Final = ROOT / ".venv-bench" / "bin" / "python"
"""Where peers are installed that `make install` leaves out."""
SIZES: Final = (1_000, 10_000, 100_000)
ALONE: Final = 1_000_000
QUICK_SIZE: Final = 200
LIMIT_SECONDS: Final = 120.0
LIMIT_SECONDS_ALONE: Final = 1_800.0


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(prog="make bench-memory", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SIZE} memories, a few repetitions: does it run?")
    parser.add_argument("--sizes", type=_numbers, default=SIZES, help="memories, for all stores (1000,10000,100000)")
    parser.add_argument("--alone", type=int, default=ALONE, help="memories, for Thymos alone; 0 for none (1000000)")
    parser.add_argument("--peers", type=lambda text: text.split(","), default=list(MODULES), help=", ".join(MODULES))
    parser.add_argument("--processor-time", action="store_true", help="what the processor does, not what a clock says")
    parser.add_argument("--folder", type=Path, help="where the stores lie (a temporary folder)")
    parser.add_argument("--limit-seconds", type=float, default=LIMIT_SECONDS, help="for a row, preparation included")
    parser.add_argument("--seed", type=int, default=1, help="of the memories")
    parser.add_argument("--json", type=argparse.FileType("w"), metavar="FILE", help="write every measured time, too")
    return parser


def measured(peer: str, size: int, given: argparse.Namespace, limit_seconds: float) -> dict[str, dict[str, Any]]:
    """One store at one size. A row over the limit ends it: what comes after it is not reached."""
    python = OWN_ENVIRONMENT if peer == "prollytree" else Path(sys.executable)
    if not python.exists():
        return {row: {"none": "not installed: make bench-memory installs it"} for row in ROWS}
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        command = [str(python), "-m", "benchmarks.memory.measuring", peer, str(size), folder, "--seed", str(given.seed)]
        command += ["--quick"] * given.quick + ["--processor-time"] * given.processor_time
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        results: dict[str, dict[str, Any]] = {}
        try:
            for line in _lines(child.stdout, limit_seconds):
                facts = json.loads(line)
                row = facts.pop("row")
                if not facts.pop("begins", False):
                    results[row] = facts
            if child.wait():
                results[_reached(results)] = {
                    "wrong": f"its process ended with {child.returncode}: see the error output"
                }
        except TimeoutError:
            results[_reached(results)] = {"over": limit_seconds}
        finally:
            child.kill()
            child.wait()
        return results


def _reached(results: Result) -> str:
    """The row that is being measured."""
    return next((row for row in ROWS if row not in results), ROWS[-1])


def _lines(output: IO[str], limit_seconds: float) -> Iterator[str]:
    """The lines as they come; TimeoutError when one takes longer than the limit."""
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in output:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=limit_seconds)
        except queue.Empty:
            raise TimeoutError from None
        if not line:
            return
        yield line


def _numbers(text: str) -> Sequence[int]:
    return [int(number) for number in text.split(",")]


def tell(text: str) -> None:
    """Say something on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def machine() -> str:
    """The class of machine, without its name."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {memory_gb:.0f} GB, {system}"


def main() -> int:
    """Measure, and print a table for each size."""
    given = parser().parse_args()
    sizes = [QUICK_SIZE] if given.quick else given.sizes
    alone = 0 if given.quick else given.alone
    found: dict[int, dict[str, Result]] = {}
    tell(f"{datetime.now(UTC):%Y-%m-%d}, {machine()}; load average {os.getloadavg()[0]:.1f} at the start")
    for size in sizes:
        found[size] = {peer: measured(peer, size, given, given.limit_seconds) for peer in given.peers}
        if size == sizes[0]:
            for peer, results in found[size].items():
                tell(f"{peer}: {results.get('about', {}).get('text', 'not installed')}")
        fsync = figure(found[size][given.peers[0]].get("fsync", {}))
        tell(f"\n{size:,} memories; to write 4 KiB and have them on the disk takes {duration(fsync or 0.0)}")
        tell("\n".join([table(found[size]), *wrong(found[size])]))
    if alone and THYMOS in given.peers:
        found[alone] = {THYMOS: measured(THYMOS, alone, given, max(given.limit_seconds, LIMIT_SECONDS_ALONE))}
        tell("\n".join([f"\n{alone:,} memories, Thymos alone", table(found[alone]), *wrong(found[alone])]))
        tell(f"\nThymos, growing\n{growth({size: results[THYMOS] for size, results in found.items()})}")
    if given.json:
        json.dump({"machine": machine(), "seed": given.seed, "results": found}, given.json, indent=1)
    return 1 if any(wrong({THYMOS: results.get(THYMOS, {})}) for results in found.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
