"""Backup and restore of a real suite under load: what is in the copy, what a restore makes of it, what it refuses."""

import asyncio
import contextlib
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.deadline import DEADLINE_SECONDS

from thymos import events, nats_bus, requests, subjects
from thymos.background import running
from thymos.backup import manifest
from thymos.backup.restoring import check, restore
from thymos.backup.taking import Progress, take
from thymos.bus import Stored
from thymos.cli import run
from thymos.client import Client
from thymos.commands import MemoryChange
from thymos.data_folder import RESTORING
from thymos.envelope import decode
from thymos.errors import Refusal, ThymosError, UnavailableError
from thymos.nats_bus import NatsBus
from thymos.suite import Suite
from thymos.telemetry import Outcome, TaskFinished
from thymos.testing import NatsServer

TENANT = "acme"
AGENTS = ("one", "two", "three")
FILES = (*(f"{service}.db" for service in subjects.SERVICES), "THYMOS_EVENTS.snapshot", "THYMOS_COMMANDS.snapshot",
         manifest.NAME)  # fmt: skip


@dataclass(frozen=True)
class Taken:
    """A backup that was taken under load, and the whole log of the suite that it was taken of."""

    folder: Path
    log: list[Stored]
    acknowledged: frozenset[str]


async def records(bus: NatsBus) -> list[Stored]:
    """The event log from its first event to its last."""
    last = await bus.last_sequence(subjects.EVENTS)
    found: list[Stored] = []
    if last == 0:
        return found
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(bus.follow(subjects.EVENTS, ">", from_sequence=1)) as log:
        async for record in log:
            found.append(record)
            if record.sequence == last:
                break
    return found


async def committing(client: Client, agent: str, commits: set[str]) -> None:
    """Commits one memory after the other, and reports a task each time; `commits` are those that were answered."""
    number = 0
    while True:
        number += 1
        change = MemoryChange(op="put", id=f"m{number % 20}", content=f"{agent} knows {number}")
        request = requests.CommitChanges(changes=[change], author=agent)
        answer = await client.ask_as(requests.CommitAnswer, subjects.MEMORY_REPOSITORY, agent, "commit", request)
        commits.add(answer.commit)
        finished = TaskFinished(task_id=f"{agent}-{number}", outcome=Outcome.SUCCEEDED, latency_ms=5.0)
        await client.publish(client.envelope(finished, agent))


def names(folder: Path) -> set[str]:
    """What a folder holds, but for the lock of a data folder."""
    return {path.name for path in folder.glob("*")} - {"up.lock"}


async def until_committed(commits: set[str], count: int) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while len(commits) < count:
            await asyncio.sleep(0.01)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def taken(tmp_path_factory: pytest.TempPathFactory) -> Taken:
    """Taken while three agents write; the suite is killed afterwards."""
    folder = tmp_path_factory.mktemp("taken")
    commits: set[str] = set()
    async with Suite(folder / "data", sync_always=False) as suite:
        await suite.ready()
        client = Client(suite.bus, TENANT, "load")
        async with contextlib.AsyncExitStack() as load:
            for agent in AGENTS:
                await load.enter_async_context(running(committing(client, agent, commits)))
            await until_committed(commits, 30)
            before = frozenset(commits)
            await take(suite.bus, folder / "backup")
            await until_committed(commits, len(commits) + 10)
        log = await records(suite.bus)
        for service in subjects.SERVICES:
            suite.kill9(service)
    return Taken(folder / "backup", log, before)


async def commits_of(client: Client, agent: str) -> list[str]:
    answer = await client.ask_as(
        requests.LogAnswer, subjects.MEMORY_REPOSITORY, agent, "log", requests.ReadLog(limit=1_000)
    )
    return [commit.commit for commit in answer.commits]


@pytest.mark.asyncio(loop_scope="module")
async def test_memory_and_log_fit_together_after_a_restore(taken: Taken, tmp_path: Path) -> None:
    done = await restore(taken.folder, tmp_path / "data")
    assert "of its decisions computed again: identical" in done.log
    with NatsServer(tmp_path / "data" / "nats") as server:
        bus = await nats_bus.connect(server.url, "test")
        restored = await records(bus)
        await bus.close()
    assert restored == taken.log[: len(restored)], "the same events, at the same places, stored at the same times"
    async with Suite(tmp_path / "data", sync_always=False) as suite:
        await suite.ready()
        client = Client(suite.bus, TENANT, "test")
        remembered = [commit for agent in AGENTS for commit in await commits_of(client, agent)]
        assert taken.acknowledged <= set(remembered), "what was answered before the backup is in it"
        told = await told_commits(suite.bus, len(remembered))
        assert sorted(told) == sorted(remembered), "each commit is in the log once, and none that memory does not know"
        commits: set[str] = set()
        async with running(committing(client, "one", commits)):
            await until_committed(commits, 3)
        assert (await records(suite.bus))[: len(restored)] == restored


async def told_commits(bus: NatsBus, count: int) -> list[str]:
    """The commits that the log tells of, once there are so many: what waited in the outbox is told after the start."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            data = [decode(record.body, record.subject).data for record in await records(bus)]
            told = [event.commit for event in data if isinstance(event, events.CommitCreated)]
            first = [event.from_commit for event in data if isinstance(event, events.BranchCreated)]
            if len(told) + len(first) >= count:
                return [*told, *first]
            await asyncio.sleep(0.05)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", FILES)
async def test_a_changed_byte_is_found_and_named(taken: Taken, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "backup"
    shutil.copytree(taken.folder, copy)
    body = bytearray((copy / name).read_bytes())
    at = body.index(b"TELEMETRY") if name == manifest.NAME else len(body) // 2
    body[at] ^= 0x01
    (copy / name).write_bytes(body)
    with pytest.raises(Refusal, match=f"the backup is damaged: {name} is not as it was written") as caught:
        await restore(copy, tmp_path / "data")
    assert caught.value.code == "refused"
    assert names(tmp_path / "data") == set()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_missing_or_short_file_is_named(taken: Taken, tmp_path: Path) -> None:
    copy = tmp_path / "backup"
    shutil.copytree(taken.folder, copy)
    (copy / "THYMOS_EVENTS.snapshot").write_bytes(b"short")
    with pytest.raises(Refusal, match=r"THYMOS_EVENTS\.snapshot has 5 bytes"):
        await restore(copy, tmp_path / "data")
    (copy / "THYMOS_EVENTS.snapshot").unlink()
    with pytest.raises(Refusal, match=r"THYMOS_EVENTS\.snapshot is missing"):
        await restore(copy, tmp_path / "data")
    with pytest.raises(Refusal, match="holds no backup"):
        await restore(tmp_path / "nowhere", tmp_path / "data")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_store_that_was_forged_with_its_checksum_is_found(taken: Taken, tmp_path: Path) -> None:
    """Memory is a chain of hashes: what was changed before the backup, or with its checksums, does not verify."""
    import sqlite3

    copy = tmp_path / "backup"
    shutil.copytree(taken.folder, copy)
    database = copy / "memory-repository.db"
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE version SET content = 'forged' WHERE rowid = (SELECT min(rowid) FROM version)")
    found = manifest.read(copy)
    new = manifest.BackedUpFile(
        name=database.name,
        bytes=database.stat().st_size,
        sha256=manifest.sha256_of(database, lambda _: None),
    )
    stores = [s.model_copy(update={"file": new}) if s.service == "memory-repository" else s for s in found.stores]
    (copy / manifest.NAME).write_bytes(found.model_copy(update={"stores": tuple(stores)}).to_bytes())
    with pytest.raises(ThymosError, match=r"store of memory-repository is damaged: acme/.* is not what was written"):
        await restore(copy, tmp_path / "data")
    assert not (tmp_path / "data" / RESTORING).exists()


@pytest.mark.asyncio(loop_scope="module")
async def test_nothing_is_restored_over_what_is_there(taken: Taken, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "memory-repository.db").write_bytes(b"precious")
    with pytest.raises(Refusal, match=r"holds memory-repository\.db already") as caught:
        await restore(taken.folder, data)
    assert caught.value.code == "conflict"
    assert (data / "memory-repository.db").read_bytes() == b"precious"


@pytest.mark.asyncio(loop_scope="module")
async def test_an_interrupted_restore_is_no_suite_and_can_be_begun_again(taken: Taken, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / RESTORING).mkdir(parents=True)
    (data / RESTORING / "memory-repository.db").write_bytes(b"half")
    with pytest.raises(Refusal, match="was interrupted"):
        await Suite(data).__aenter__()
    await restore(taken.folder, data)
    assert not (data / RESTORING).exists()


@pytest.mark.asyncio(loop_scope="module")
async def test_what_a_cluster_had_can_be_restored_on_one_machine(taken: Taken, tmp_path: Path) -> None:
    copy = tmp_path / "backup"
    shutil.copytree(taken.folder, copy)
    found = manifest.read(copy)
    streams = tuple(s.model_copy(update={"config": {**s.config, "num_replicas": 3}}) for s in found.streams)
    (copy / manifest.NAME).write_bytes(found.model_copy(update={"streams": streams}).to_bytes())
    await restore(copy, tmp_path / "data")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"thymos": "99.0.0"}, r"written by Thymos 99\.0\.0"),
        ({"streams": ()}, "does not name each stream once"),
        ({"streams": "twice"}, "does not name each stream once"),
        ({"stores": "twice"}, "does not name one store of each"),
    ],
)
async def test_what_is_not_all_of_a_suite_or_of_a_later_version_is_refused(
    taken: Taken, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    found = manifest.read(taken.folder)
    forged = {name: getattr(found, name) * 2 if value == "twice" else value for name, value in changes.items()}
    shutil.copytree(taken.folder, tmp_path / "backup")
    (tmp_path / "backup" / manifest.NAME).write_bytes(found.model_copy(update=forged).to_bytes())
    with pytest.raises(Refusal, match=words) as caught:
        await restore(tmp_path / "backup", tmp_path / "data")
    assert caught.value.code == "refused"
    assert names(tmp_path / "data") == set()


# --- into a server that is there ------------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="module")
async def there(nats_server: NatsServer) -> AsyncIterator[NatsBus]:
    """A server that somebody else runs, and a connection."""
    bus = await nats_bus.connect(nats_server.url, "test")
    yield bus
    await bus.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_streams_go_into_an_empty_server_and_only_there(taken: Taken, there: NatsBus, tmp_path: Path) -> None:
    from thymos.provision import provision

    await provision(there)
    await restore(taken.folder, tmp_path / "data", there.url)
    restored = await records(there)
    assert restored == taken.log[: len(restored)]
    assert names(tmp_path / "data") == {f"{service}.db" for service in subjects.SERVICES}
    with pytest.raises(Refusal, match="of the server holds, or held"):
        await restore(taken.folder, tmp_path / "other", there.url)
    assert await records(there) == restored
    async with Suite(tmp_path / "data", nats_url=there.url) as suite:
        await suite.ready()
        assert await commits_of(Client(there, TENANT, "test"), "one")
        with pytest.raises(Refusal, match="is running"):
            await restore(taken.folder, tmp_path / "third", there.url)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_restore_that_fails_leaves_no_streams(taken: Taken, there: NatsBus, tmp_path: Path) -> None:
    copy = tmp_path / "backup"
    shutil.copytree(taken.folder, copy)
    found = manifest.read(copy)
    events_stream = found.stream(subjects.EVENTS.name)
    forged = events_stream.model_copy(update={"state": {**events_stream.state, "last_seq": 1_000_000}})
    streams = [forged if s.name == forged.name else s for s in found.streams]
    (copy / manifest.NAME).write_bytes(found.model_copy(update={"streams": tuple(streams)}).to_bytes())
    with pytest.raises(ThymosError, match=r"event log has last_seq \d+, the backup's had 1000000"):
        await restore(copy, tmp_path / "data", there.url)
    answer = json.loads(await there.request("$JS.API.STREAM.NAMES", b"", timedelta(seconds=5)))
    assert not answer["streams"]


# --- taking ---------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def suite(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Suite]:
    """A suite in which nothing has happened yet."""
    async with Suite(tmp_path_factory.mktemp("suite"), sync_always=False) as started:
        await started.ready()
        yield started


@pytest.mark.asyncio(loop_scope="module")
async def test_an_empty_suite_can_be_backed_up_and_restored(suite: Suite, tmp_path: Path) -> None:
    taken = await take(suite.bus, tmp_path / "backup")
    assert taken.stream(subjects.TASKS.name).messages == 0
    assert not list(suite.data_dir.glob("*.copy")), "no copy stays beside the stores"
    await restore(tmp_path / "backup", tmp_path / "data")
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0, "it is nobody else's to read"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_folder_that_holds_something_is_left_alone(suite: Suite, tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "mine").write_text("mine")
    with pytest.raises(Refusal, match="is there already and is not empty") as caught:
        await take(suite.bus, tmp_path / "backup")
    assert caught.value.code == "conflict"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_backup_is_not_restored_into_itself(suite: Suite, tmp_path: Path) -> None:
    await take(suite.bus, tmp_path / "backup")
    before = names(tmp_path / "backup")
    with pytest.raises(Refusal, match="lies within the backup"):
        await restore(tmp_path / "backup", tmp_path / "backup" / "data")
    assert names(tmp_path / "backup") == before


@pytest.mark.asyncio(loop_scope="module")
async def test_a_manifest_that_nests_for_ever_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(Refusal, match="not JSON"):
        await check(tmp_path)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_service_that_is_killed_meanwhile_ends_the_backup(suite: Suite, tmp_path: Path) -> None:
    def step(words: str) -> None:
        if words.endswith(subjects.EVENTS.name):
            suite.kill9(subjects.MEMORY_REPOSITORY)

    with pytest.raises((Refusal, UnavailableError), match=r"memory-repository (does not answer|has not held back)"):
        await take(suite.bus, tmp_path / "backup", Progress(step=step))
    assert names(tmp_path) == set()
    await suite.ready()
    await take(suite.bus, tmp_path / "backup")


@pytest.mark.asyncio(loop_scope="module")
async def test_of_two_backups_into_one_folder_one_is_refused_and_harms_the_other_not(
    suite: Suite, tmp_path: Path
) -> None:
    refused: list[Refusal] = []

    def step(words: str) -> None:
        if words.endswith(subjects.EVENTS.name):
            with pytest.raises(Refusal, match="another backup into") as caught:
                asyncio.run(take(suite.bus, tmp_path / "backup"))
            refused.append(caught.value)

    await take(suite.bus, tmp_path / "backup", Progress(step=lambda words: in_a_thread(step, words)))
    assert [one.code for one in refused] == ["conflict"]
    manifest.check_files(tmp_path / "backup", manifest.read(tmp_path / "backup"), lambda _: None)


def in_a_thread(work: Callable[[str], None], words: str) -> None:
    """Where no event loop runs yet."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(work, words).result()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_full_disk_is_said_and_nothing_is_left(suite: Suite, tmp_path: Path) -> None:
    """The limit on the size of files stands for the disk's end."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    command = [sys.executable, "-m", "thymos", "backup", str(tmp_path / "backup"), "--nats", suite.url]
    said = await asyncio.to_thread(
        subprocess.run, command, preexec_fn=limited, capture_output=True, text=True, check=False
    )
    assert said.returncode == 1, said.stderr
    assert "the backup cannot be written into" in said.stderr
    assert "make room" in said.stderr
    assert said.stderr.count("\n") == 1
    assert names(tmp_path) == set()
    assert not list(suite.data_dir.glob("*.copy"))


@pytest.mark.asyncio(loop_scope="module")
async def test_the_command_line_says_what_was_done_and_what_was_not(
    suite: Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def thymos(*tokens: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(run, list(tokens))
        return code, *capsys.readouterr()

    backup, data = str(tmp_path / "backup"), str(tmp_path / "data")
    code, output, errors = await thymos("backup", backup, "--json", "--nats", suite.url)
    assert (code, errors) == (0, "")
    assert set(json.loads(output)["stores"]) == set(subjects.SERVICES)
    assert (await thymos("backup", backup, "--nats", suite.url))[0] == 5
    code, output, errors = await thymos("restore", backup, "--check")
    assert (code, output) == (0, "")
    assert "is whole and as it was written: 4 stores" in errors
    code, output, errors = await thymos("restore", backup, "--data", data)
    assert (code, output) == (0, "")
    assert f"`thymos up --data {data}` starts it" in errors
    for tokens, expected in (
        (("restore", backup, "--data", data), 5),
        (("restore", backup, "--data", str(suite.data_dir)), 5),
        (("restore", backup, "--data", str(tmp_path / "new"), "--nats", suite.url), 5),
        (("restore", str(tmp_path / "nowhere"), "--data", str(tmp_path / "new")), 3),
        (("restore", backup, "--check", "--data", data), 2),
        (("backup", str(tmp_path / "new"), "--nats", "nats://127.0.0.1:9"), 6),
    ):
        code, output, errors = await thymos(*tokens)
        assert (code, output, errors.count("\n")) == (expected, "", 1), errors
    (tmp_path / "backup" / "memory-repository.db").write_bytes(b"short")
    assert (await thymos("restore", backup, "--check"))[0] == 4
