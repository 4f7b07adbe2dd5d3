"""kill -9 at a random moment: the store opens, verifies, and is as it was after the last acknowledged operation, or
after the one that was under way; and life goes on as if nothing had happened."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import IO, Final

from .life import Life, Step, found, readable, rows

STEPS_MAX: Final = 60
"""Operations before a kill, at most."""
MOMENT_MAX_S: Final = 0.02
"""After the last of them, at most: most operations take less."""
GOES_ON: Final = 5
"""Operations that the survivor must do as the life that nobody killed."""


def kill(seed: int, folder: Path) -> str:
    """One life, killed. Returns the operation that was cut off, or "" when it was between two; AssertionError says what
    is wrong."""
    acknowledged = _killed(folder / "killed.db", seed)
    true = Life(folder / "true.db", seed, durable=False)
    for step in acknowledged:
        assert true.step() == step, f"seed {seed}: not the same life"
    before = rows(true.connection)
    number = len(acknowledged)
    life = Life(folder / "killed.db", seed, number)
    after = rows(life.connection)
    cut_off = ""
    if after != before:
        cut_off = true.step().operation
        life.done += 1
        _same(seed, f"{cut_off} was cut off", rows(true.connection), after)
    _check(seed, life, acknowledged, true)
    for _ in range(GOES_ON):
        assert life.step() == true.step(), f"seed {seed}: it does not go on as it should"
    _same(seed, "it went on", rows(true.connection), rows(life.connection))
    life.close()
    true.close()
    return cut_off


def _killed(path: Path, seed: int) -> list[Step]:
    """A life that is killed after a number of operations and a moment, both of the seed; what it acknowledged."""
    choose = Random(seed)
    steps, moment_s = choose.randrange(1, STEPS_MAX), choose.random() * MOMENT_MAX_S
    program = [sys.executable, "-m", "tests.memory_safety.life", str(path), str(seed)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        lines: IO[bytes] = process.stdout
        said = [lines.readline() for _ in range(steps)]
        until = time.monotonic() + moment_s
        while time.monotonic() < until:
            pass  # a sleep is not as exact as the moments between two writes
        process.kill()
        said += lines.readlines()
    assert said[steps - 1], f"seed {seed}: it ended by itself"
    return [Step(**json.loads(line)) for line in said if line.endswith(b"\n")]


def _check(seed: int, life: Life, acknowledged: list[Step], true: Life) -> None:
    assert life.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",), f"seed {seed}"
    life.connection.execute("INSERT INTO version_terms (version_terms) VALUES ('integrity-check')")
    problems = life.memory.verify().problems
    assert not problems, f"seed {seed}: {problems}"
    assert found(life.memory) == found(true.memory), f"seed {seed}: the index finds something else"
    kept = {name for (name,) in true.connection.execute("SELECT commit_id FROM commits").fetchall()}
    gone = {
        name
        for (name,) in true.connection.execute(
            "SELECT commit_id FROM commits JOIN header_only USING (commit_no)"
        ).fetchall()
    }
    for step in acknowledged:
        if step.commit in kept - gone:
            assert readable(life.memory, step.commit) == readable(true.memory, step.commit), f"seed {seed}: {step}"


def _same(seed: int, what: str, wanted: object, got: object) -> None:
    assert isinstance(wanted, dict)
    assert isinstance(got, dict)
    differing = [table for table in wanted if wanted[table] != got.get(table)]
    assert wanted == got, f"seed {seed}: {what}, and half of it is there: {differing}"
