"""`thymos backup` and `thymos restore` killed (-9) on their way: what is left, and that it can be done again."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from thymos import requests, subjects
from thymos.backup import manifest
from thymos.backup.restoring import restore
from thymos.backup.taking import take
from thymos.client import Client
from thymos.commands import MemoryChange
from thymos.data_folder import RESTORING
from thymos.errors import Refusal, ThymosError
from thymos.suite import Suite
from thymos.testing import NatsServer

KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from thymos import nats_bus
from thymos.backup.restoring import restore
from thymos.backup.taking import Progress, take
verb, backup, other, moment = sys.argv[1:]
def end(seen):
    if moment in seen:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(lambda event, told: end(f"{event} {told[0]}") if event in ("os.rename", "os.rmdir") else None)
sys.addaudithook(lambda event, told: end(f"{event} {told[0][0]}") if event == "subprocess.Popen" else None)
async def main():
    if verb == "restore":
        return await restore(Path(backup), Path(other), progress=Progress(step=end))
    await take(await nats_bus.connect(other, "killed"), Path(backup), Progress(step=end))
asyncio.run(main())
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def suite(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Suite]:
    async with Suite(tmp_path_factory.mktemp("suite"), sync_always=False) as started:
        await started.ready()
        request = requests.CommitChanges(changes=[MemoryChange(op="put", id="m", content="known")], author="me")
        client = Client(started.bus, "acme", "test")
        await client.ask_as(requests.CommitAnswer, subjects.MEMORY_REPOSITORY, "one", "commit", request)
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def taken(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taken") / "backup"
    await take(suite.bus, folder)
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*")} - {"up.lock"}


async def killed(verb: str, backup: Path, other: Path | str, moment: str) -> None:
    """`restore` or `backup` in a process of its own, which is killed at a moment of it."""
    command = [sys.executable, "-c", KILLED, verb, str(backup), str(other), moment]
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == -9, f"it was not killed at {moment!r}"


def processes_of(folder: Path) -> list[psutil.Process]:
    """The processes whose command line names something in a folder."""
    found = psutil.process_iter(["cmdline"])
    return [each for each in found if any(str(folder) in part for part in each.info["cmdline"] or ())]


def test_a_server_is_known_before_it_answers(nats_server: NatsServer, tmp_path: Path) -> None:
    """Who is killed while it starts has written it down. This one finds that its port was taken just before."""
    pids: list[int] = []
    with pytest.raises(ThymosError, match="did not start on port"):
        NatsServer(tmp_path / "second", nats_server.port).start(born=pids.append)
    assert len(pids) == 1


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("moment", "goes_on"),
    [
        ("checking the backup's files", True),
        ("restoring the store of memory-repository", True),
        ("restoring the stream KV_thymos_routing", True),
        ("restoring the stream THYMOS_TELEMETRY", True),
        ("verifying the event log", True),
        ("restoring/decision-engine.db", True),
        ("restoring/worktree-scaler.db", False),
    ],
)
async def test_a_restore_that_was_killed_is_no_suite_and_is_done_again_or_clearly_refused(
    taken: Path, tmp_path: Path, moment: str, goes_on: bool
) -> None:
    data = tmp_path / "data"
    await killed("restore", taken, data, moment)
    if (data / RESTORING).exists():
        with pytest.raises(Refusal, match="was interrupted"):
            await Suite(data).__aenter__()
        assert not processes_of(tmp_path), "its server is not left behind"
    else:
        assert names(data) <= {"processes.json"}, "nothing of it is there yet"
    if goes_on:
        done = await restore(taken, data)
        assert "identical" in done.log
        return
    with pytest.raises(Refusal, match=r"interrupted at its very end .*empty that one"):
        await restore(taken, data)
    for left in data.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    await restore(taken, data)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("moment", ["copying the store of memory-repository", "os.rename"])
async def test_a_backup_that_was_killed_is_none_and_is_taken_again(suite: Suite, tmp_path: Path, moment: str) -> None:
    """Earlier the services hold back until they miss it: tests/unit/thymos/test_backup_copies.py."""
    await killed("backup", tmp_path / "backup", suite.url, moment)
    assert names(tmp_path) == {"backup.partial"}
    with pytest.raises(Refusal, match="holds no backup"):
        manifest.read(tmp_path / "backup")
    await take(suite.bus, tmp_path / "backup")
    assert names(tmp_path) == {"backup"}
    assert not list(suite.data_dir.glob("*.copy"))
    manifest.check_files(tmp_path / "backup", manifest.read(tmp_path / "backup"), lambda _: None)
