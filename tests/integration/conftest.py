"""A suite that runs as long as the tests of a module, and the command line on it. A tenant for each test."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deadline import DEADLINE_SECONDS
from tests.integration.command_line import CONFIGURATION, SCENARIO, CommandLine, ready_url


@pytest.fixture(scope="module")
def suite_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a suite that runs as long as this module's tests."""
    folder = tmp_path_factory.mktemp("suite")
    agent = Path(__file__).parent / "agents" / "echo_agent.py"
    (folder / "scenario.jsonl").write_text(SCENARIO)
    (folder / "thymos.toml").write_text(CONFIGURATION.format(python=sys.executable, agent=agent))
    log = folder / "up.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "thymos", "up", "--port", "0", "--data", "data"], cwd=folder, stderr=errors
        )
    try:
        yield ready_url(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_SECONDS)


@pytest.fixture
def thymos(suite_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine(suite_url, capsys, monkeypatch)
