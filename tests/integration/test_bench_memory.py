"""`make bench-memory` runs, checks what each store did, and tells it to people and to machines."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.memory.measuring import ROWS
from benchmarks.memory.report import Result, growth, table, wrong

ROOT = Path(__file__).parents[2]
PEERS = ("sqlite", "thymos", "libgit2", "doltlite", "doltlite-fts")


def test_every_store_does_the_whole_workload(tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.memory", "--quick", "--peers", ",".join(PEERS), "--json", str(written)]
    done = subprocess.run([*command, "--folder", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(written.read_text())["results"]["200"]
    assert list(found) == list(PEERS)
    assert all(row in found["thymos"] and "none" not in found["thymos"][row] for row in ROWS)
    assert "rollback of 100" in done.stdout
    assert "synchronous=FULL" in done.stdout


def test_a_row_over_the_limit_ends_a_store_and_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.memory", "--sizes", "300", "--alone", "0", "--peers", "libgit2"]
    command += ["--limit-seconds", "0.001", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "> 0.001 s" in done.stdout
    assert "not reached" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_ratio_says_how_many_times_as_much_the_other_takes() -> None:
    shown = table({"thymos": {"get": {"seconds": [0.001]}}, "other": {"get": {"seconds": [0.002, 0.003, 0.004]}}})
    (line,) = [line for line in shown.splitlines() if line.startswith("get")]
    assert line.split() == ["get", "1", "ms", "3", "ms", "x3"]


def test_growth_compares_the_largest_memory_with_the_smallest() -> None:
    shown = growth({1_000: {"branch": {"seconds": [0.002]}}, 9_000: {"branch": {"seconds": [0.003]}}})
    (line,) = [line for line in shown.splitlines() if line.startswith("branch")]
    assert line.split() == ["branch", "2", "ms", "3", "ms", "1.50"]


def test_a_wrong_result_has_no_figure_and_is_told() -> None:
    found: dict[str, Result] = {"other": {"get": {"wrong": "memory 7 is old"}, "tag": {"seconds": [0.001]}}}
    (line,) = [line for line in table(found).splitlines() if line.startswith("get")]
    assert line.split() == ["get", "wrong"]
    assert wrong(found) == ["other, get: wrong, memory 7 is old"]
