"""Command lines of one tenant against a running suite, and what they said."""

import io
import itertools
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.deadline import DEADLINE_SECONDS

from thymos.cli import run

CONFIGURATION = """
[supervisor.versioning.experiments]
learning_timeout = "1s"
preparing_timeout = "20s"

[agents.support]
command = ["{python}", "{agent}"]
scenario = "scenario.jsonl"

[agents.broken]
command = ["{python}", "-c", "raise SystemExit(3)"]
"""
SCENARIO = "".join(
    json.dumps({"task_id": f"s{n}", "input": f"question {n}", "expect": f"answer {n}"}) + "\n" for n in range(3)
)


def ready_url(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """The address that `thymos up` says it is ready at."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith("Thymos is ready at "):
                return line.split()[4].rstrip(";")
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@dataclass
class Said:
    """What a command line did."""

    code: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        """Its data."""
        return json.loads(self.output)


tenants = (f"tenant{number}" for number in itertools.count())


class CommandLine:
    """Runs command lines of one tenant, in this process."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.common = ["--nats", url, "--tenant", next(tenants)]
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *tokens: str, given: bytes | None = None) -> Said:
        if given is not None:
            self._monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
        code = run([*tokens, *self.common])
        output, errors = self._capsys.readouterr()
        return Said(code, output, errors)

    def done(self, *tokens: str, given: bytes | None = None) -> Said:
        """A command line that must succeed."""
        said = self(*tokens, given=given)
        assert said.code == 0, said.errors
        return said

    def until(self, wanted: Callable[[Said], bool], *tokens: str) -> Said:
        """Again and again, within a deadline: the services work on their own time."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not wanted(said := self(*tokens)):
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
        return said
