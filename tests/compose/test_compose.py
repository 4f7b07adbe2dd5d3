"""The suite in containers, as a test of the tier that needs Docker."""

import subprocess
import sys

import pytest

from .engine import ROOT


@pytest.mark.docker
def test_the_suite_in_containers_survives_what_make_test_compose_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.compose"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
