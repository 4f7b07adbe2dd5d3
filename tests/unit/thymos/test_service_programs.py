"""The four programs as somebody meets them who asks first: they say what they are, and start nothing by mistake."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.deadline import DEADLINE_SECONDS

PROGRAMS = ("decision-engine", "memory-repository", "metrics-collector", "worktree-scaler")


def said(program: str, argument: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / f"thymos-{program}"), argument]
    wide = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=folder, env=wide, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_says_what_it_is_and_how_it_is_configured(program: str, tmp_path: Path) -> None:
    help_ = said(program, "--help", tmp_path)
    assert (help_.returncode, help_.stderr) == (0, "")
    told = ("THYMOS_CONFIG", "./thymos.toml", "docs/reference/configuration.md", f"{program} ")
    assert all(words in help_.stdout for words in told)
    assert list(tmp_path.iterdir()) == [], "nothing was started"


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_is_given_what_it_does_not_know_starts_nothing(program: str, tmp_path: Path) -> None:
    refused = said(program, "--prot=9", tmp_path)
    assert (refused.returncode, "unrecognized arguments: --prot=9" in refused.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []
