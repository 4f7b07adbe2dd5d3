"""The audit on a real server: one chain of seals through kills, and the command line over it."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.deadline import DEADLINE_SECONDS

from thymos import requests, subjects
from thymos.audit import verify_log
from thymos.audit.sealer import Sealer
from thymos.background import running
from thymos.client import Client
from thymos.envelope import Envelope
from thymos.errors import Refusal, UnavailableError
from thymos.events import BranchCreated
from thymos.nats_bus import NatsBus
from thymos.testing import NatsServer


async def happened(bus: NatsBus, first: int, count: int) -> None:
    """`count` events, as fast as the server takes them."""
    client = Client(bus)
    branches = (BranchCreated(branch=f"branch-{n}", from_commit="a" * 64) for n in range(first, first + count))
    envelopes = [client.envelope(branch, "support") for branch in branches]
    for start in range(0, count, 100):
        await asyncio.gather(*(client.publish(envelope) for envelope in envelopes[start : start + 100]))


async def seal(bus: NatsBus) -> requests.LogSealed:
    """Ask decision-engine for a seal, once it is there."""
    client, service, whole = Client(bus), subjects.DECISION_ENGINE, subjects.WHOLE_SERVICE
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                return await client.ask_as(requests.LogSealed, service, whole, "seal", requests.SealLog())
            except (UnavailableError, Refusal):
                await asyncio.sleep(0.05)


class Engine:
    """`python -m decision_engine`, to be killed."""

    def __init__(self, nats_url: str, folder: Path) -> None:
        self._environment = {**os.environ, "THYMOS_NATS_URL": nats_url, "THYMOS_DATA_DIR": str(folder)}
        self._log = (folder / "decision-engine.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "decision_engine"], env=self._environment, stdout=self._log, stderr=self._log
        )

    def kill9(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(DEADLINE_SECONDS)
        self._process = None

    def close(self) -> None:
        self.kill9()
        self._log.close()


@pytest.fixture
def engine(nats_server: NatsServer, tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(nats_server.url, tmp_path)
    yield engine
    engine.close()


async def test_killing_decision_engine_while_it_seals_leaves_one_chain(nats: NatsBus, engine: Engine) -> None:
    moments = random.Random(3)
    events = 0
    for _ in range(4):
        engine.start()
        await seal(nats)
        sealed = await nats.last_sequence(subjects.EVENTS)
        traffic = asyncio.create_task(happened(nats, events, 1_500))
        events += 1_500
        moment = sealed + moments.randrange(50, 1_300)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while await nats.last_sequence(subjects.EVENTS) < moment:
                await asyncio.sleep(0.001)
        engine.kill9()
        await traffic
    engine.start()
    head = await seal(nats)
    report = await verify_log(nats, seal=head.hash, recomputations={})
    assert report.identical, report.problems
    assert report.unsealed == 0
    assert report.checked + report.last_seals == report.events == events + report.seals, "no seal is there twice"


async def test_two_sealers_and_a_server_that_dies_leave_one_chain(nats: NatsBus, nats_server: NatsServer) -> None:
    one, other = Sealer(), Sealer()
    async with running(one.run(nats)), running(other.run(nats)):
        await happened(nats, 0, 1_000)
        nats_server.kill9()
        nats_server.start()
        await happened(nats, 1_000, 1_000)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.gather(one.sealed(nats), other.sealed(nats))
    report = await verify_log(nats, recomputations={})
    assert report.identical, report.problems
    assert report.checked + report.last_seals == report.events == 2_000 + report.seals


async def thymos(server: NatsServer, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "thymos", *arguments, "--nats", server.url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(DEADLINE_SECONDS):
        out, told = await process.communicate()
    return process.returncode or 0, out.decode(), told.decode()


@pytest.fixture
async def a_sealed_log(nats: NatsBus) -> str:
    """300 events under seals; the hash of the newest one."""
    await happened(nats, 0, 299)
    await nats.publish("thymos.event.acme.sales.branch.created", b"\xff not JSON", "broken")
    sealer = Sealer()
    async with running(sealer.run(nats)):
        return (await sealer.sealed(nats)).hash


async def test_what_is_exported_is_replayed_and_verified(
    nats_server: NatsServer, a_sealed_log: str, tmp_path: Path
) -> None:
    file = tmp_path / "log.jsonl"
    code, out, told = await thymos(nats_server, "export", str(file))
    assert (code, out) == (0, ""), told
    assert a_sealed_log in told
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".log")], "nothing is left beside it"

    live = await thymos(nats_server, "replay", "--json")
    again = await thymos(nats_server, "replay", str(file), "--json")
    assert live[:2] == again[:2]
    assert [event_of(line) for line in live[1].splitlines()[:3]] == ["branch-0", "branch-1", "branch-2"]
    assert "passed over event 300" in live[2]

    for arguments in ([], [str(file)]):
        code, out, told = await thymos(nats_server, "replay", *arguments, "--verify", "--seal", a_sealed_log)
        assert code == 0, out + told
        assert "identical" in out


async def test_an_export_writes_over_no_file_unless_it_is_told_to(
    nats_server: NatsServer, a_sealed_log: str, tmp_path: Path
) -> None:
    del a_sealed_log
    file = tmp_path / "log.jsonl"
    file.write_text("kept")
    code, _, told = await thymos(nats_server, "export", str(file))
    assert (code, file.read_text()) == (5, "kept")
    assert "exists already" in told
    assert "--force" in told
    code, _, told = await thymos(nats_server, "export", str(file), "--force")
    assert code == 0, told
    assert file.read_bytes().startswith(b'{"sequence":1,')


async def test_a_file_that_was_cut_off_is_told_to_be(
    nats_server: NatsServer, a_sealed_log: str, tmp_path: Path
) -> None:
    file = tmp_path / "log.jsonl"
    await thymos(nats_server, "export", str(file))
    code, _, told = await thymos(nats_server, "replay", str(file), "--verify", "--seal", a_sealed_log.upper())
    assert code == 0, told
    event = json.loads(json.loads(file.read_bytes().splitlines()[3])["body"])["id"]
    for whole in (True, False):
        code, out, told = await thymos(nats_server, "replay", str(file))
        assert (code, out.count("\n") > 10, "cut off" in told) == (0, True, not whole)
        code, out, told = await thymos(nats_server, "why", event.upper(), "--file", str(file))
        assert (code, f"branch.created {event}" in out, "cut off" in out) == (0, True, not whole), told
        file.write_bytes(b"".join(file.read_bytes().splitlines(True)[:20]))


def event_of(line: str) -> Any:
    return json.loads(line)["data"]["branch"]


async def test_a_changed_file_is_refused_with_the_event(
    nats_server: NatsServer, a_sealed_log: str, tmp_path: Path
) -> None:
    del a_sealed_log
    file = tmp_path / "log.jsonl"
    await thymos(nats_server, "export", str(file))
    file.write_bytes(file.read_bytes().replace(b"branch-77", b"branch-78", 1))
    code, out, _ = await thymos(nats_server, "replay", str(file), "--verify")
    assert code == 1
    assert out.startswith("changed: event 78, branch.created ")
    code, out, _ = await thymos(nats_server, "replay", str(file), "--verify", "--json")
    first = json.loads(out)["first_difference"]
    assert (code, first["kind"], first["sequence"], first["type"]) == (1, "changed", 78, "branch.created")


async def test_the_past_is_told_of_one_tenant_and_from_a_time_on(nats_server: NatsServer, a_sealed_log: str) -> None:
    del a_sealed_log
    code, out, _ = await thymos(nats_server, "replay", "--tenant", "thymos")
    assert (code, [line.split()[2] for line in out.splitlines()]) == (0, ["audit.sealed", "audit.sealed"])
    code, out, _ = await thymos(nats_server, "replay", "--until", "1h")
    assert (code, out) == (0, "")
    code, _, told = await thymos(nats_server, "replay", "--seal", "ab")
    assert (code, "--seal belongs to --verify" in told) == (2, True)


@pytest.mark.parametrize(
    "arguments", [["export", "--tenant", "acme"], ["replay", "--verify", "--tenant", "acme"],
                  ["replay", "--verify", "--agent", "sales"]]
)  # fmt: skip
async def test_what_concerns_all_tenants_does_not_pretend_to_concern_one(
    nats_server: NatsServer, nats: NatsBus, arguments: list[str]
) -> None:
    del nats
    code, out, told = await thymos(nats_server, *arguments)
    assert (code, out) == (2, "")
    assert "seals cover" in told


async def test_why_of_an_event_and_of_nothing(nats_server: NatsServer, a_sealed_log: str) -> None:
    del a_sealed_log
    _, out, _ = await thymos(nats_server, "replay", "--json")
    event = json.loads(out.splitlines()[4])["id"]
    code, out, told = await thymos(nats_server, "why", event[:12])
    assert (code, out.splitlines()[0].split()[:2]) == (0, ["branch.created", event]), told
    code, out, told = await thymos(nats_server, "why", "nothing-at-all")
    assert (code, out) == (3, "")
    assert "nothing in the event log has the id" in told


async def test_a_file_that_cannot_be_written_is_told(nats_server: NatsServer, nats: NatsBus, tmp_path: Path) -> None:
    del nats
    code, _, told = await thymos(nats_server, "export", str(tmp_path / "nowhere" / "log.jsonl"))
    assert code == 1
    assert "cannot be written: No such file or directory" in told


async def test_a_log_without_seals_is_told_to_be_one(nats: NatsBus) -> None:
    envelope: Envelope[Any] = Client(nats).envelope(BranchCreated(branch="b", from_commit="a"), "support")
    await Client(nats).publish(envelope)
    report = await verify_log(nats, recomputations={})
    assert (report.events, report.unsealed, report.seals) == (1, 1, 0)
    assert "no event is sealed" in report.notes[0]
