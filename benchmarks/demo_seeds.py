"""How many seeds of the demo succeed, and why the others do not.

    .venv/bin/python benchmarks/demo_seeds.py [--seeds 20] [--first 1]

Runs `thymos demo --json --seed N` one after the other, as a user would, and prints a row per seed and the totals.
"""

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

STAGES = ("baseline", "drifted", "recovered", "damaged", "restored")
COLUMNS = "{:>4}  {:>8} {:>8} {:>9} {:>8} {:>8}  {:<20} {:>5} {:>7}  {}"


def run(seed: int) -> tuple[int, dict[str, Any]]:
    """The exit code and the summary of one run; an empty summary when there was none."""
    command = [sys.executable, "-m", "thymos", "demo", "--json", "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        return done.returncode, {"failures": [done.stderr.strip().splitlines()[-1] if done.stderr else "no output"]}


def row(seed: int, code: int, summary: dict[str, Any]) -> str:
    """One line of the table."""
    rates = summary.get("success_rate", {})
    shown = ["-" if rates.get(stage) is None else f"{rates[stage]:.3f}" for stage in STAGES]
    why = "ok" if code == 0 else "; ".join(summary.get("failures", [])) or f"exit {code}"
    figures = (summary.get("winner") or "-", summary.get("worktrees_peak", "-"), summary.get("elapsed_seconds", "-"))
    return COLUMNS.format(seed, *shown, *figures, why)


def main() -> int:
    """Print the table; exit 1 when a seed failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    options = parser.parse_args()
    sys.stdout.write(COLUMNS.format("seed", *STAGES, "winner", "peak", "seconds", "result") + "\n")
    results = []
    for seed in range(options.first, options.first + options.seeds):
        code, summary = run(seed)
        results.append((code, summary))
        sys.stdout.write(row(seed, code, summary) + "\n")
        sys.stdout.flush()
    good = [summary for code, summary in results if code == 0]
    sys.stdout.write(f"{len(good)} of {len(results)} seeds succeeded\n")
    if good:
        seconds = [s["elapsed_seconds"] for s in good]
        sys.stdout.write(f"seconds: median {statistics.median(seconds):.1f}, at most {max(seconds):.1f}\n")
    return 0 if len(good) == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
