"""The whole story, as a user runs it."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

DEADLINE_SECONDS = 240


@pytest.mark.parametrize("seed", [7])
async def test_the_story_happens(tmp_path: Path, seed: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "thymos", "demo", "--json", "--seed", str(seed), "--data", str(tmp_path / "demo"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(DEADLINE_SECONDS):
        output, told = await process.communicate()
    assert process.returncode == 0, told.decode()
    summary = json.loads(output)

    rate = summary["success_rate"]
    assert rate["drifted"] < rate["baseline"], "customers' new words are not in its memory"
    assert rate["recovered"] > rate["drifted"], "the winner is better on questions that nobody learned from"
    assert rate["damaged"] < rate["recovered"]
    assert rate["restored"] > rate["damaged"]
    assert summary["winner"] in ("learn-from-success", "aggressive", "cautious")
    assert summary["restored_commit"]
    assert summary["worktrees_peak"] > 1
    assert (summary["branches_merged"], summary["branches_rolled_back"], summary["ab_tests_run"]) == (1, 1, 1)
    assert summary["branches_created"] >= 4, "a control and three variants"
    assert summary["seed"] == seed
    assert summary["replay_identical"] is None, "until replay exists"
