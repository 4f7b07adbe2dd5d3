"""`thymos up` as a process: it starts, keeps the suite running, and leaves nothing behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests.deadline import DEADLINE_SECONDS

from thymos import subjects
from thymos.embedded import NatsServer
from thymos.testing import free_port


class Up:
    """A `thymos up`, its messages and its processes."""

    def __init__(self, folder: Path, *options: str, data: Path | None = None) -> None:
        self.data = data or folder / "data"
        self._log = folder / "up.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("THYMOS_")}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "thymos", "up", "--data", str(self.data), *options],
                cwd=folder, stdout=log, stderr=log, env=environment,
            )  # fmt: skip

    @property
    def told(self) -> str:
        return self._log.read_text()

    def wait_for(self, words: str, times: int = 1) -> None:
        """Until it has told this so often, within a deadline."""
        eventually(lambda: self.told.count(words) >= times, lambda: self.told)

    def ready(self) -> "Up":
        self.wait_for("Thymos is ready at ")
        return self

    def pids(self) -> dict[str, int]:
        """Its children by name, as it wrote them down."""
        return {name: pid for name, (pid, _) in json.loads((self.data / "processes.json").read_text()).items()}

    def wait(self) -> int:
        return self.process.wait(DEADLINE_SECONDS)


def eventually(true: Callable[[], bool], said: Callable[[], object] = str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not true():
        assert time.monotonic() < deadline, said()
        time.sleep(0.05)


def gone(pids: list[int]) -> bool:
    """Whether none of these processes runs; one that nobody has waited for yet does not."""
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return False
    return True


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Starts `thymos up`; whatever a test leaves running is ended."""
    started: list[Up] = []

    def begin(*options: str, folder: str = "here") -> Up:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        started.append(Up(place, *options))
        return started[-1]

    yield begin
    for up in started:
        if up.process.poll() is None:
            up.process.terminate()
            up.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_everything_that_it_started(start: Callable[..., Up], number: signal.Signals) -> None:
    up = start("--port", "0").ready()
    pids = up.pids()
    assert set(pids) == {"nats", *subjects.SERVICES}
    up.process.send_signal(number)
    assert up.wait() == 0
    assert gone(list(pids.values()))
    assert not (up.data / "processes.json").exists()


def test_it_can_be_interrupted_while_it_starts(start: Callable[..., Up]) -> None:
    up = start("--port", "0")
    up.wait_for("NATS is ready at ")
    pids = up.pids()
    up.process.send_signal(signal.SIGINT)
    assert up.wait() == 0
    assert gone(list(pids.values()))


@pytest.mark.parametrize("name", [subjects.METRICS_COLLECTOR, "nats"])
def test_what_dies_is_started_again(start: Callable[..., Up], name: str) -> None:
    up = start("--port", "0").ready()
    before = up.pids()
    os.kill(before[name], signal.SIGKILL)
    eventually(lambda: up.pids().get(name, before[name]) != before[name])
    url = up.told.split("Thymos is ready at ")[1].split(";")[0]
    doctor = [sys.executable, "-m", "thymos", "doctor", "--nats", url, "--data", str(up.data)]
    eventually(lambda: subprocess.run(doctor, capture_output=True).returncode == 0)
    assert {n: p for n, p in up.pids().items() if n != name} == {n: p for n, p in before.items() if n != name}


def test_what_a_killed_one_left_running_is_ended_by_the_next(start: Callable[..., Up]) -> None:
    killed = start("--port", "0").ready()
    left = killed.pids()
    killed.process.kill()
    killed.wait()
    assert not gone(list(left.values()))
    after = start("--port", "0").ready()
    assert gone(list(left.values()))
    assert not set(after.pids().values()) & set(left.values())


def test_two_side_by_side_and_not_two_in_one_folder(start: Callable[..., Up], tmp_path: Path) -> None:
    one = start("--port", "0").ready()
    other = start("--port", "0", folder="beside").ready()
    again = Up(tmp_path, "--port", "0", data=one.data)
    assert again.wait() == 5
    assert f"is in use by another `thymos up`, process {one.process.pid}" in again.told
    assert again.told.count("\n") == 1
    other.process.terminate()
    assert other.wait() == 0
    assert not gone(list(one.pids().values()))


def test_a_port_that_is_taken_is_said_with_what_to_do(start: Callable[..., Up], nats_server: NatsServer) -> None:
    up = start("--port", str(nats_server.port))
    assert up.wait() == 5
    assert f"port {nats_server.port} is taken" in up.told
    assert f"--nats {nats_server.url}" in up.told
    assert up.told.count("\n") == 1


def test_it_uses_a_server_that_is_there(start: Callable[..., Up], nats_server: NatsServer) -> None:
    up = start("--nats", nats_server.url).ready()
    assert set(up.pids()) == set(subjects.SERVICES)
    up.process.terminate()
    assert up.wait() == 0
    assert nats_server.running, "it belongs to somebody else"


def test_no_server_at_the_address_is_an_error(start: Callable[..., Up]) -> None:
    up = start("--nats", f"nats://127.0.0.1:{free_port()}")
    assert up.wait() == 6
    assert "no NATS server answers" in up.told
    assert up.told.count("\n") == 1
