"""Every case of the tables in docs/faults.md, sent to a running suite: it ends as it is written there.

Another agent reports meanwhile, and is counted completely.
"""

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from tests.deadline import DEADLINE_SECONDS

from thymos import nats_bus, requests, subjects
from thymos.bus import MESSAGE_ID_HEADER, PublishAck
from thymos.client import Client, decode_stored
from thymos.commands import CommitMemory
from thymos.dead_letters import DeadLetter
from thymos.envelope import Envelope
from thymos.errors import PoisonError, Refusal, TransientError, UnavailableError
from thymos.examples import example_of
from thymos.nats_bus import NatsBus
from thymos.suite import Suite
from thymos.telemetry import Outcome, TaskFinished

from .hostile_messages import (
    BODIES,
    DEEP,
    HEADERS,
    REFUSALS,
    ROWS,
    TENANT,
    WORKER,
    Json,
    Row,
    Target,
    numbers,
    outcome,
    target,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGENT_PROGRAM = Path(__file__).parent / "agents" / "echo_agent.py"
BYSTANDER_REPORTS = 40


# --- the running suite ----------------------------------------------------------------------------------------------


@dataclass
class Running:
    """A suite, a connection of the hostile client, and the dead letters so far."""

    bus: NatsBus
    letters: list[DeadLetter] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def client(self) -> Client:
        return Client(self.bus, TENANT, "test")

    async def read_letters(self) -> None:
        async with aclosing(self.bus.follow(subjects.DEAD_LETTERS, ">", from_sequence=1)) as stored:
            async for message in stored:
                for item in decode_stored(message):
                    if isinstance(item, Envelope) and isinstance(item.data, DeadLetter):
                        async with self.changed:
                            self.letters.append(item.data)
                            self.changed.notify_all()

    def about(self, subject: str, body: bytes) -> list[str]:
        """The reasons of the dead letters about these bytes."""
        start = base64.b64encode(body[: 3 * 4096]).decode()
        return [one.reason for one in self.letters if one.subject == subject and one.original.startswith(start)]

    async def dead(self, subject: str, body: bytes, reason: str) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: any(reason in said for said in self.about(subject, body)))

    async def counted(self, agent: str, total: int) -> Json:
        """The agent's metrics once `total` outcomes are in its window."""
        while True:
            with suppress(Refusal, UnavailableError):  # until something is heard of it
                answer = await self.client.ask(
                    subjects.METRICS_COLLECTOR, agent, "metrics", requests.ReadMetrics(branch="main")
                )
                metrics: Json = answer["metrics"][0]
                if metrics["task"]["total"] >= total:
                    assert metrics["task"]["total"] == total
                    return metrics
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with Suite(tmp_path_factory.mktemp("hostile"), sync_always=False) as suite:
        await suite.ready()
        bus = await nats_bus.connect(suite.url, "hostile")
        found = Running(bus)
        told = {"THYMOS_NATS_URL": suite.url, "THYMOS_TENANT": TENANT, "THYMOS_AGENT": WORKER}
        worker = await asyncio.create_subprocess_exec(sys.executable, str(AGENT_PROGRAM), env={**os.environ, **told})
        reading = asyncio.create_task(found.read_letters())
        yield found
        reading.cancel()
        worker.kill()
        await worker.wait()
        await bus.close()


# --- how it ends ----------------------------------------------------------------------------------------------------


async def send(bus: NatsBus, subject: str, body: bytes, headers: Json | None = None) -> PublishAck:
    """Like any client that is not ours: the headers are what it says, and nothing else."""
    ack = await bus.jetstream.publish(subject, body, headers=headers or None)
    return PublishAck(ack.seq, bool(ack.duplicate))


async def dead_letter(row: Row, on: Target, running: Running) -> None:
    body, headers = BODIES[row.what](on), HEADERS.get(row.what, on.headers)
    await send(running.bus, on.subject, body, headers)
    assert row.reason
    await running.dead(on.subject, body, row.reason)


async def counted(row: Row, on: Target, running: Running) -> None:
    body, headers = BODIES[row.what](on), HEADERS.get(row.what, on.headers)
    await send(running.bus, on.subject, body, headers)
    await running.counted(on.good["agentid"], 1)
    assert running.about(on.subject, body) == []


async def unknown_tenant(row: Row, on: Target, running: Running) -> None:
    subject, body = on.subject.replace(f".{TENANT}.", ".HOSTILE."), on.body(tenantid=None)
    await send(running.bus, subject, body, on.headers)
    assert row.reason
    await running.dead(subject, body, row.reason)


async def too_large(row: Row, on: Target, running: Running) -> None:
    del row
    body = on.body(x="y" * 1024 * 1024)
    with pytest.raises(PoisonError, match="the server takes at most"):
        await running.bus.publish(on.subject, body, "too-large")
    assert b"Maximum Payload" in await over_the_wire(running, on.subject, body)


async def over_the_wire(running: Running, subject: str, body: bytes) -> bytes:
    """The server's last words to a client that announces more than it takes."""
    port = int(running.bus.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b'CONNECT {"verbose":false}\r\n' + f"PUB {subject} {len(body)}\r\n".encode())
    said = b""
    with suppress(OSError):
        said = await reader.read()
    writer.close()
    return said


def refused_by_server(header: str, value: str) -> "Case":
    async def case(row: Row, on: Target, running: Running) -> None:
        del row
        with pytest.raises(Exception, match=r"(?i)wrong last sequence|roll"):
            await send(running.bus, on.subject, on.body(), {**on.headers, header: value})

    return case


async def once(running: Running, on: Target, *sent: tuple[bytes, str | None]) -> list[PublishAck]:
    """Publish with message ids (None: without); then a last outcome, which is counted after all of them."""
    agent = on.good["agentid"]
    acks = []
    for body, message_id in sent:
        headers = {**on.headers, **({MESSAGE_ID_HEADER: message_id} if message_id else {})}
        acks.append(await send(running.bus, on.subject, body, headers))
    last = outcome(agent, f"last-of-{agent}")
    await running.client.publish(last)
    metrics = await running.counted(agent, 2)
    assert await rows_of(running, agent, until=f"last-of-{agent}") == 2
    assert metrics["task"]["late"] == 0
    return acks


async def rows_of(running: Running, agent: str, until: str) -> int:
    """How many outcome rows the agent has, the one of the task `until` included."""
    found: list[str] = []
    pattern = subjects.metrics_subject(TENANT, agent, "main")
    async with aclosing(running.bus.follow(subjects.METRICS, pattern, from_sequence=1)) as stored:
        async for message in stored:
            for item in decode_stored(message):
                if isinstance(item, Envelope):
                    found += [row.task_id for row in getattr(item.data, "rows", [])]
            if until in found:
                return len(found)
    raise AssertionError("the stream ended")


async def far(year: str, row: Row, on: Target, running: Running) -> None:
    del row
    # Something current first: it is what makes a time of long ago late.
    await running.client.publish(outcome(on.good["agentid"], "current"))
    await running.counted(on.good["agentid"], 1)
    await send(running.bus, on.subject, on.body(time=f"{year}-01-02T00:00:00Z"), on.headers)
    await running.client.publish(outcome(on.good["agentid"], "last"))
    metrics = await running.counted(on.good["agentid"], 2)
    assert await rows_of(running, on.good["agentid"], until="last") == 3
    assert metrics["task"]["late"] == 1


async def in_2999(row: Row, on: Target, running: Running) -> None:
    await far("2999", row, on, running)


async def in_1970(row: Row, on: Target, running: Running) -> None:
    await far("1970", row, on, running)


async def same_id(row: Row, on: Target, running: Running) -> None:
    del row
    first, second = await once(running, on, (on.body(), "same-" + on.good["id"]), (on.body(), "same-" + on.good["id"]))
    assert (first.duplicate, second.duplicate) == (False, True)
    assert first.sequence == second.sequence


async def same_id_without_header(row: Row, on: Target, running: Running) -> None:
    del row
    acks = await once(running, on, (on.body(), None), (on.body(), None))
    assert not any(ack.duplicate for ack in acks)


async def same_id_other_content(row: Row, on: Target, running: Running) -> None:
    del row
    other = on.body(data=on.data(task_id="another", outcome="failed"))
    await once(running, on, (on.body(), None), (other, None))
    metrics = await running.counted(on.good["agentid"], 2)
    assert metrics["task"]["failed"] == 0, "the first one counts"


async def same_outcome_other_id(row: Row, on: Target, running: Running) -> None:
    del row
    await once(running, on, (on.body(), None), (on.body(id="another"), None))


async def other_source(row: Row, on: Target, running: Running) -> None:
    del row
    await send(running.bus, on.subject, on.body(), on.headers)
    await send(running.bus, on.subject, on.body(source="web", data=on.data(task_id="another")), on.headers)
    await running.counted(on.good["agentid"], 2)


Case = Callable[[Row, Target, Running], Awaitable[None]]
CASES: dict[str, Case] = {
    "more than 1 MiB": too_large,
    "a tenant that is no name, in the subject": unknown_tenant,
    "a header that expects another sequence": refused_by_server("Nats-Expected-Last-Sequence", "999999999"),
    "a header that wants to roll the stream up": refused_by_server("Nats-Rollup", "all"),
    "a time in 2999: in no window, noted as `late`": in_2999,
    "a time in 1970: in no window, noted as `late`": in_1970,
    "the same id again, within the stream's 5 minutes": same_id,
    "the same id again, without `Nats-Msg-Id`": same_id_without_header,
    "the same id with other content: the first one counts": same_id_other_content,
    "the same outcome of a task under another id": same_outcome_other_id,
    "the same id from another source": other_source,
    **{row.what: dead_letter if row.reason else counted for row in ROWS if row.what in BODIES},
}


async def test_the_document_has_every_case_and_no_other() -> None:
    assert {row.what for row in ROWS} == set(CASES)
    assert set(REFUSALS) == set(ASKED)


@pytest.mark.parametrize("entry", ["telemetry", "item", "event", "command", "metrics", "task"])
async def test_it_ends_as_the_document_says_and_nobody_else_notices(running: Running, entry: str) -> None:
    rows = [row for row in ROWS if entry in row.where]
    assert rows
    reporting = asyncio.create_task(bystander(running, f"bystander-of-{entry}"))
    ends = await asyncio.gather(*(ended(row, target(entry, next(numbers)), running) for row in rows))
    assert not any(ends), "\n".join(filter(None, ends))
    await reporting


async def ended(row: Row, on: Target, running: Running) -> str:
    """Why a case did not end as it should, in words; empty when it did."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await CASES[row.what](row, on, running)
    except TimeoutError:
        letters = [one.reason for one in running.letters if one.subject == on.subject]
        return f"{on.entry}: {row.what}: not {row.end}; dead letters of it: {letters}"
    except Exception as error:  # noqa: BLE001  (all cases are told of together)
        return f"{on.entry}: {row.what}: {type(error).__name__}: {error}"
    return ""


async def bystander(running: Running, agent: str) -> None:
    """An agent that has nothing to do with it."""
    for number in range(BYSTANDER_REPORTS):
        await running.client.publish(outcome(agent, f"b-{number}"))
    async with asyncio.timeout(DEADLINE_SECONDS):
        await running.counted(agent, BYSTANDER_REPORTS)
        await rows_of(running, agent, until=f"b-{BYSTANDER_REPORTS - 1}")


async def test_a_bad_item_goes_to_the_dead_letters_and_the_good_ones_count(running: Running) -> None:
    on = target("item", next(numbers))
    items = [outcome(on.good["agentid"], f"i-{number}").to_dict() for number in range(3)]
    body = json.dumps([items[0], {**items[0], "type": "x"}, items[1], items[1], "text", items[2]]).encode()
    await send(running.bus, on.subject, body, on.headers)
    async with asyncio.timeout(DEADLINE_SECONDS):
        await running.counted(on.good["agentid"], 3)
        await running.dead(on.subject, body, "2 of the batch's events: unknown type 'x'")


async def test_a_dead_letter_by_hand_is_passed_over(running: Running) -> None:
    subject = subjects.dead_subject("me", TENANT)
    for body in (b"", DEEP, b'{"specversion": "1.0"}'):
        await send(running.bus, subject, body)
    on = target("telemetry", next(numbers))
    await send(running.bus, on.subject, b"then this", on.headers)
    async with asyncio.timeout(DEADLINE_SECONDS):
        await running.dead(on.subject, b"then this", "not JSON")


async def test_a_command_of_any_time_is_done_once(running: Running) -> None:
    example = example_of(CommitMemory).to_dict()
    for number, time in enumerate(["2999-01-01T00:00:00Z", "1970-01-02T00:00:00Z", None]):
        agent = f"late-{number}"
        subject = subjects.command_subject(subjects.MEMORY_REPOSITORY, TENANT, agent, "memory.commit")
        wire = {**example, "tenantid": TENANT, "agentid": agent, "subject": subject, "time": time, "id": f"c-{number}"}
        changes = [{"op": "put", "id": "m", "content": "text"}]
        wire["data"] = {"author": "me", "message": "now", "changes": changes, "branch": "main"}
        body = json.dumps({key: value for key, value in wire.items() if value is not None}).encode()
        for _ in range(2):
            await send(running.bus, subject, body)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not (log := await commits(running, agent)):
                await asyncio.sleep(0.05)
        assert len(log) == 1
        age = datetime.now(UTC) - datetime.fromisoformat(log[0]["time"])
        assert timedelta(0) <= age < timedelta(hours=1)


async def commits(running: Running, agent: str) -> list[Json]:
    try:
        answer = await running.client.ask(subjects.MEMORY_REPOSITORY, agent, "log", requests.ReadLog())
    except Refusal:
        return []
    return [one for one in answer["commits"] if one["message"] == "now"]


# --- requests -------------------------------------------------------------------------------------------------------

VERBS = {
    subjects.METRICS_COLLECTOR: "metrics",
    subjects.DECISION_ENGINE: "decisions",
    subjects.MEMORY_REPOSITORY: "log",
    subjects.WORKTREE_SCALER: "worktrees",
}
ASKED: dict[str, tuple[bytes, Json]] = {
    "a body that is no JSON": (b"hello", {}),
    "JSON cut short": (b'{"limit": ', {}),
    "bytes that are no UTF-8": (b'{"x": "\xe9"}', {}),
    "half a character (a lone surrogate)": (b'{"x": "\\ud800"}', {}),
    "500,000 levels of nesting": (DEEP, {}),
    "JSON that is no object": (b"[]", {}),
    "a field that nobody knows": (b'{"nobody": 1}', {}),
    "10,000 fields that nobody knows": (json.dumps({f"k{n}": n for n in range(10_000)}).encode(), {}),
    "a number that is NaN, in a field that nobody knows": (b'{"nobody": NaN}', {}),
    "an integer of 5,000 digits, in a field that nobody knows": (b'{"nobody": ' + b"9" * 5_000 + b"}", {}),
    "nearly 1 MiB in a field that nobody knows": (b'{"nobody": "' + b"x" * 1_040_000 + b'"}', {}),
    "a tenant that is no name": (b"{}", {"tenant": "HOSTILE"}),
    "an agent that is no name": (b"{}", {"agent": "A%20B"}),
    "a verb that nobody answers": (b"{}", {"verb": "explode"}),
}


@pytest.mark.parametrize("service", subjects.SERVICES)
async def test_a_request_is_answered_as_the_document_says(running: Running, service: str) -> None:
    asked = ((what, answered(running, service, *asked)) for what, asked in ASKED.items())
    names, answers = zip(*asked, strict=True)
    async with asyncio.timeout(DEADLINE_SECONDS):
        given = dict(zip(names, await asyncio.gather(*answers), strict=True))
    assert given == {what: words.strip("`") for what, words in REFUSALS.items()}


async def answered(running: Running, service: str, body: bytes, where: Json) -> str:
    whose: Sequence[str] = (
        where.get("tenant", TENANT),
        where.get("agent", "support"),
        where.get("verb", VERBS[service]),
    )
    try:
        answer = json.loads(
            await running.bus.request(subjects.request_subject(service, *whose), body, timedelta(seconds=20))
        )
    except UnavailableError as error:
        return "nobody answers: said at once" if "nobody answers" in str(error) else str(error)
    assert answer["ok"] is False
    assert answer["error"]["message"]
    assert len(answer["error"]["message"]) <= 2_000
    return str(answer["error"]["code"])


async def test_more_than_a_message_holds_is_refused_before_it_is_sent(running: Running) -> None:
    class Long(requests.ReadLog):
        padding: str

    with pytest.raises(Refusal) as refused:
        await running.client.ask(subjects.MEMORY_REPOSITORY, "a", "log", Long(padding="x" * 2 * 1024 * 1024))
    assert refused.value.code == "too_large"
    too_long = TaskFinished(task_id="t", outcome=Outcome.FAILED).model_copy(update={"input": "x" * 2 * 1024 * 1024})
    with pytest.raises((PoisonError, TransientError), match="a message holds at most"):
        await running.client.publish(running.client.envelope(too_long, "a"))
