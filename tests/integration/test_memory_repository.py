"""memory-repository alone, as a real process against a real NATS server."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.deadline import DEADLINE_SECONDS

from thymos import commands, subjects
from thymos.bus import CONTENT_TYPE_HEADER
from thymos.commands import MemoryChange
from thymos.envelope import CONTENT_TYPE, Envelope
from thymos.errors import UnavailableError
from thymos.message import Message
from thymos.metrics import AgentMetrics, MetricsOutcomes, OutcomeRow
from thymos.nats_bus import NatsBus
from thymos.telemetry import Outcome
from thymos.testing import NatsServer

TENANT, AGENT = "acme", "support"


class RunningService:
    """The service's process: started, killed without warning, started again on the same files."""

    def __init__(self, nats_url: str, data_dir: Path) -> None:
        self._environment = {**os.environ, "THYMOS_NATS_URL": nats_url, "THYMOS_DATA_DIR": str(data_dir)}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "memory_repository", env=self._environment
        )

    async def end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)
            await asyncio.wait_for(self._process.wait(), DEADLINE_SECONDS)


class Client:
    """What an agent or the decision engine sees of the service."""

    def __init__(self, bus: NatsBus, tenant: str = TENANT, agent: str = AGENT) -> None:
        self._bus = bus
        self._tenant, self._agent = tenant, agent
        self._sent = 0

    async def ask(self, verb: str, **request: Any) -> dict[str, Any]:
        """The whole reply. Asked again until the service is there: safe for reads, and for writes with a key."""
        subject = subjects.request_subject(subjects.MEMORY_REPOSITORY, self._tenant, self._agent, verb)
        replies: list[dict[str, Any]] = []

        async def answered() -> bool:
            with contextlib.suppress(UnavailableError):
                body = await self._bus.request(subject, json.dumps(request).encode(), timedelta(seconds=1))
                replies.append(json.loads(body))
            return bool(replies)

        await until(answered)
        return replies[0]

    async def data(self, verb: str, **request: Any) -> dict[str, Any]:
        """What a positive reply holds."""
        reply = await self.ask(verb, **request)
        assert reply["ok"], reply
        found: dict[str, Any] = reply["data"]
        return found

    async def refused(self, verb: str, **request: Any) -> str:
        """The code of a negative reply."""
        reply = await self.ask(verb, **request)
        assert not reply["ok"], reply
        code: str = reply["error"]["code"]
        return code

    async def send(self, message: Message, identity: str | None = None) -> str:
        """Publish a command or metrics; returns its id."""
        self._sent += 1
        envelope: Envelope[Message] = Envelope(
            id=identity or f"message-{self._sent}",
            source="test",
            time=datetime.now(UTC),
            tenant=self._tenant,
            agent=self._agent,
            data=message,
        )
        headers = {CONTENT_TYPE_HEADER: CONTENT_TYPE}
        await self._bus.publish(envelope.subject, envelope.to_bytes(), envelope.message_id, headers)
        return envelope.id

    async def carry_out(self, message: Message) -> list[dict[str, Any]]:
        """The events that answer a command, up to the last one it can cause."""
        return await self.answers_to(await self.send(message))

    async def answers_to(self, identity: str) -> list[dict[str, Any]]:
        """The events that a command caused: all of them, for a marker sent after it has been answered too."""
        marker = await self.send(commands.DeleteBranch(branch="no-such-branch"), f"after-{identity}")
        caused: list[dict[str, Any]] = []
        async for event in self.events():
            if event.get("causationid") == marker:
                return caused
            if event.get("causationid") == identity:
                caused.append(event)
        raise AssertionError("unreachable")

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """This agent's events from the first one on; ends with TimeoutError when none come for too long."""
        subject = subjects.event_subject(self._tenant, self._agent, "*.*")
        async with asyncio.timeout(DEADLINE_SECONDS):
            async for stored in self._bus.follow(subjects.EVENTS, subject, from_sequence=1):
                yield json.loads(stored.body)

    async def consumed(self, stream: subjects.Stream) -> None:
        """Wait until the service has handled everything on one of its streams."""
        consumer = subjects.consumer(subjects.MEMORY_REPOSITORY, stream)

        async def handled() -> bool:
            depth = await self._bus.depth(consumer)
            return depth is not None and depth.lag == 0

        await until(handled)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that nothing announces. Raises TimeoutError."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await condition():
            await asyncio.sleep(0.02)


@pytest_asyncio.fixture
async def service(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[RunningService]:
    running = RunningService(nats_server.url, tmp_path / "data")
    await running.start()
    yield running
    await running.end(signal.SIGTERM)


@pytest.fixture
def client(nats: NatsBus, service: RunningService) -> Client:
    del service
    return Client(nats)


def put(memory_id: str, content: str, **fields: Any) -> dict[str, Any]:
    return {"op": "put", "id": memory_id, "content": content, "fields": fields}


async def test_an_agent_writes_finds_and_reads_its_memory(client: Client) -> None:
    done = await client.data(
        "commit", author="agent", message="first", changes=[put("refunds", "a refund takes thirty days")]
    )
    found = await client.data("search", query="How long does a REFUND take?")
    assert found["commit"] == done["commit"]
    assert [(hit["id"], hit["commit"]) for hit in found["results"]] == [("refunds", done["commit"])]
    assert (await client.data("get", id="refunds"))["content"] == "a refund takes thirty days"
    log = (await client.data("log"))["commits"]
    assert [(commit["message"], commit["branches"]) for commit in log] == [
        ("first", ["main"]),
        ("the memory begins", []),
    ]
    assert (await client.data("show"))["changes"][0]["id"] == "refunds"
    assert [memory["id"] for memory in (await client.data("list"))["memories"]] == ["refunds"]


async def test_a_repository_begins_with_a_first_commit_that_is_declared_good(client: Client) -> None:
    await client.data("worktree_open", worktree_id="w1")
    (first,) = (await client.data("log"))["commits"]
    created, good = [event async for event in limited(client.events(), 2)]
    assert (created["type"], created["data"]["parents"]) == ("thymos.commit.created.v1", [])
    assert (good["type"], good["data"]["commit"]) == ("thymos.commit.marked_good.v1", first["commit"])
    assert created["data"]["state_id"] == first["state_id"]


async def test_reading_what_was_never_written_finds_nothing_and_creates_nothing(client: Client) -> None:
    assert await client.refused("get", id="refunds") == "not_found"
    assert await client.data("search", query="refund") == {"commit": None, "results": [], "total": 0}
    assert await client.refused("branches") == "not_found"


async def test_an_experiment_is_prepared_merged_and_cleaned_up(client: Client) -> None:
    await client.data("commit", author="agent", changes=[put("refunds", "money comes back in thirty days")])
    await client.send(MetricsOutcomes(branch="main", rows=[outcome(n) for n in range(1, 6)]))
    await client.consumed(subjects.METRICS)
    answers = await client.carry_out(
        commands.PrepareVariants(
            experiment_id="1",
            control_branch="experiment-1-control",
            branch_prefix="experiment-1-",
            generators=["learn-from-success", "cautious", "unheard-of"],
        )
    )
    assert [event["type"].removeprefix("thymos.") for event in answers] == [
        "branch.created.v1",
        "branch.created.v1",
        "commit.created.v1",
        "variants.prepared.v1",
    ]
    prepared = answers[-1]["data"]
    (variant,) = prepared["variants"]
    assert (variant["name"], variant["branch"]) == ("learn-from-success", "experiment-1-learn-from-success")
    assert {skipped["name"]: skipped["reason"].split(" ")[0] for skipped in prepared["skipped"]} == {
        "cautious": "it",
        "unheard-of": "there",
    }
    assert (await client.data("search", query="reimbursement"))["results"] == []
    found = await client.data("search", query="reimbursement", ref=variant["branch"])
    assert [hit["id"] for hit in found["results"]] == ["refunds"]

    created, merged = await client.carry_out(
        commands.MergeBranch(source=variant["branch"], experiment_id="1", reason="proven", evidence={"wins": 10})
    )
    assert created["data"]["parents"] == [prepared["base_commit"], variant["commit"]]
    assert merged["data"]["previous_commit"] == prepared["base_commit"]
    assert merged["data"]["commit"] == created["data"]["commit"]
    assert merged["data"]["evidence"] == {"wins": 10}
    assert [hit["id"] for hit in (await client.data("search", query="reimbursement"))["results"]] == ["refunds"]

    for branch in ("experiment-1-control", variant["branch"]):
        (deleted,) = await client.carry_out(commands.DeleteBranch(branch=branch, experiment_id="1"))
        assert deleted["type"] == "thymos.branch.deleted.v1"
    assert [branch["branch"] for branch in (await client.data("branches"))["branches"]] == ["main"]


async def test_outcomes_of_experiments_teach_nothing(client: Client) -> None:
    await client.data("commit", author="agent", changes=[put("refunds", "money comes back in thirty days")])
    rows = [outcome(n) for n in range(1, 6)]
    await client.send(MetricsOutcomes(branch="experiment-0-control", experiment_id="0", arm="control", rows=rows))
    await client.consumed(subjects.METRICS)
    answers = await client.carry_out(
        commands.PrepareVariants(
            experiment_id="1", control_branch="c", branch_prefix="e-", generators=["learn-from-success"]
        )
    )
    assert answers[-1]["data"]["variants"] == []
    assert answers[-1]["data"]["outcomes_used"] == 0


async def test_variants_wait_for_outcomes_that_are_still_on_their_way(client: Client) -> None:
    """Outcomes and commands come on streams of their own; after a kill the command may be ahead."""
    await client.data("commit", author="agent", changes=[put("refunds", "money comes back in thirty days")])
    prepare = commands.PrepareVariants(
        experiment_id="1",
        control_branch="c",
        branch_prefix="e-",
        generators=["learn-from-success"],
        after_row=5,
    )
    preparing = asyncio.create_task(client.carry_out(prepare))
    await client.send(MetricsOutcomes(branch="main", rows=[outcome(n) for n in range(1, 6)]))
    answers = await preparing
    assert answers[-1]["data"]["outcomes_used"] == 5
    assert [variant["name"] for variant in answers[-1]["data"]["variants"]] == ["learn-from-success"]


async def test_a_proposed_strategy_becomes_a_variant(client: Client) -> None:
    await client.data("commit", author="agent", changes=[put("refunds", "thirty days")])
    strategy = {"name": "shorter", "description": "say less", "changes": [put("refunds", "30 d")]}
    same = {**strategy, "name": "same"}
    broken = {"name": "broken", "changes": [{"op": "modify", "id": "gone", "content": "x"}]}
    answers = await client.carry_out(
        commands.PrepareVariants(
            experiment_id="1",
            control_branch="c",
            branch_prefix="e-",
            generators=[],
            proposed=[strategy, same, broken, {"name": 7}],
        )
    )
    prepared = answers[-1]["data"]
    assert [variant["branch"] for variant in prepared["variants"]] == ["e-shorter"]
    assert [skipped["name"] for skipped in prepared["skipped"]] == ["proposed-4", "same", "broken"]
    assert [branch["branch"] for branch in (await client.data("branches"))["branches"]] == ["c", "e-shorter", "main"]


async def test_a_rollback_is_an_event_with_its_evidence(client: Client) -> None:
    good = await client.data("commit", author="agent", changes=[put("refunds", "thirty days")])
    bad = await client.data("commit", author="mallory", changes=[put("refunds", "never")])
    command = commands.RollbackBranch(target_commit=good["commit"], reason="it failed", evidence={"failures": 9})
    created, rolled_back = await client.carry_out(command)
    told = rolled_back["data"]
    assert (told["restored_commit"], told["previous_commit"]) == (good["commit"], bad["commit"])
    assert (told["revert_commit"], told["evidence"]) == (created["data"]["commit"], {"failures": 9})
    assert (await client.data("get", id="refunds"))["content"] == "thirty days"
    (again,) = await client.carry_out(command)
    assert (again["type"], again["data"]["code"]) == ("thymos.command.refused.v1", "refused")


async def test_a_snapshot_keeps_a_commit(client: Client) -> None:
    head = await client.data("commit", author="agent", changes=[put("refunds", "thirty days")])
    (created,) = await client.carry_out(
        commands.CreateSnapshot(reason="before an experiment", metrics=AgentMetrics(sample_count=300))
    )
    assert created["data"]["commit"] == head["commit"]
    assert created["data"]["metrics"]["sample_count"] == 300
    await client.data("commit", author="agent", changes=[{"op": "delete", "id": "refunds"}])
    kept = await client.data("get", id="refunds", ref=created["data"]["snapshot_id"])
    assert kept["content"] == "thirty days"


async def test_conflicts_are_told_and_change_nothing(client: Client) -> None:
    await client.data("commit", author="agent", changes=[put("refunds", "thirty days")])
    await client.data("branch_create", branch="idea")
    head = await client.data("commit", author="agent", changes=[put("refunds", "forty days")])
    await client.data("commit", author="agent", branch="idea", changes=[put("refunds", "x" * 60_000)])
    (conflicted,) = await client.carry_out(commands.MergeBranch(source="idea", experiment_id="1"))
    assert conflicted["type"] == "thymos.merge.conflicted.v1"
    (conflict,) = conflicted["data"]["conflicts"]
    assert (conflict["memory_id"], conflict["kind"], conflict["ours"]) == ("refunds", "content", "forty days")
    assert len(conflict["theirs"]) < 3_000
    answer = await client.data("merge", source="idea")
    assert (answer["result"], answer["commit"]) == ("conflicts", head["commit"])
    assert (await client.data("merge", source="idea", strategy="Theirs", dry_run=True))["result"] == "merged"
    kept = await client.data("merge", source="idea", strategy="Ours")
    assert (kept["result"], kept["changes"]) == ("merged", 0)
    assert kept["commit"] != head["commit"], "the decision is recorded"
    again = await client.data("merge", source="idea", strategy="Theirs")
    assert (again["result"], again["commit"]) == ("unchanged", kept["commit"])


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (commands.DeleteBranch(branch="main"), "refused"),
        (commands.DeleteBranch(branch="gone"), "not_found"),
        (commands.MergeBranch(source="gone"), "not_found"),
        (commands.RollbackBranch(target_commit="0" * 64), "not_found"),
        (commands.CreateBranch(branch="idea", from_ref="gone"), "not_found"),
        (commands.CommitMemory(changes=[MemoryChange(op="put", id="bad id")], author="a", message=""), "invalid"),
        (commands.CommitMemory(changes=[MemoryChange(op="delete", id="m")], author="a", message=""), "not_found"),
    ],
)
async def test_a_command_that_cannot_be_is_refused_with_its_reason(
    client: Client, command: commands.Command, code: str
) -> None:
    await client.data("worktree_open", worktree_id="w1")
    (refused,) = await client.carry_out(command)
    assert (refused["type"], refused["data"]["code"]) == ("thymos.command.refused.v1", code)
    assert refused["data"]["reason"]


async def test_worktrees_of_two_agents_land_beside_each_other(client: Client) -> None:
    await client.data("commit", author="agent", changes=[put("a", "one"), put("b", "two")])
    for worktree, memory_id in (("w1", "a"), ("w2", "b")):
        await client.data("worktree_open", worktree_id=worktree)
        staged = await client.data("worktree_stage", worktree_id=worktree, changes=[put(memory_id, worktree)])
        assert staged["staged"] == 1
    assert await client.refused("worktree_close", worktree_id="w1") == "refused"
    assert not (await client.data("worktree_commit", worktree_id="w1", author="agent"))["rebased"]
    assert (await client.data("worktree_commit", worktree_id="w2", author="agent"))["rebased"]
    memories = (await client.data("list"))["memories"]
    assert [memory["content"] for memory in memories] == ["w1", "w2"]
    await client.data("worktree_close", worktree_id="w1")
    assert [tree["worktree_id"] for tree in (await client.data("worktrees"))["worktrees"]] == ["w2"]


async def test_a_retried_write_gets_the_first_answer(client: Client) -> None:
    request = {"author": "agent", "changes": [put("a", "one")], "idempotency_key": "k1"}
    first = await client.data("commit", **request)
    await client.data("commit", author="agent", changes=[put("a", "two")])
    assert await client.data("commit", **request) == first
    assert (await client.data("get", id="a"))["content"] == "two"


async def test_a_redelivered_command_takes_effect_once(client: Client) -> None:
    await client.data("worktree_open", worktree_id="w1")
    command = commands.CommitMemory(changes=[MemoryChange(op="put", id="a", content="x")], author="a", message="once")
    for _ in range(3):
        await client.send(command, "the-same-command")
    created = [e for e in await client.answers_to("the-same-command") if e["type"] == "thymos.commit.created.v1"]
    assert len(created) == 1


async def test_tenants_do_not_see_each_other(client: Client, nats: NatsBus) -> None:
    await client.data("commit", author="agent", changes=[put("secret", "the price")])
    other = Client(nats, tenant="globex")
    await other.data("commit", author="agent", changes=[put("mine", "hello")])
    assert (await other.data("search", query="the price secret"))["results"] == []
    assert await other.refused("get", id="secret") == "not_found"


async def test_large_answers_come_in_parts(client: Client) -> None:
    for part in range(4):
        changes = [put(f"m{part}{n}", "x" * 60_000) for n in range(8)]
        await client.data("commit", author="agent", changes=changes)
    seen: list[str] = []
    after = None
    while True:
        page = await client.data("list", limit=1_000, **({"after": after} if after else {}))
        seen += [memory["id"] for memory in page["memories"]]
        after = page["next_after"]
        if after is None:
            break
    assert seen == sorted(f"m{part}{n}" for part in range(4) for n in range(8))
    assert (await client.data("diff", a="main~4", b="main"))["truncated"]
    assert not (await client.data("show"))["truncated"]
    assert (await client.data("search", query="x" * 64, limit=100))["results"]


async def test_every_acknowledged_commit_survives_kills_at_any_moment(client: Client, service: RunningService) -> None:
    """An agent keeps writing while the service is killed again and again; retries carry the same key."""
    acknowledged: dict[str, str] = {}
    more = asyncio.Condition()
    stop = asyncio.Event()

    def acknowledged_at_least(count: int) -> bool:
        return len(acknowledged) >= count

    async def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            name = f"m{number:04}"
            done = await client.data(
                "commit", author="agent", message=name, changes=[put(name, name)], idempotency_key=name
            )
            async with more:
                acknowledged[name] = done["commit"]
                more.notify_all()

    writing = asyncio.create_task(write())
    for kills in range(1, 4):
        async with asyncio.timeout(DEADLINE_SECONDS), more:
            await more.wait_for(partial(acknowledged_at_least, 15 * kills))
        await service.end(signal.SIGKILL)
        await service.start()
    stop.set()
    await asyncio.wait_for(writing, DEADLINE_SECONDS)
    log = (await client.data("log", limit=1_000))["commits"]
    assert {commit["message"]: commit["commit"] for commit in log if commit["message"] in acknowledged} == acknowledged
    assert len(log) == len(acknowledged) + 1
    told = [event["data"]["commit"] async for event in limited_by_type(client.events(), "commit.created", len(log))]
    assert told == [commit["commit"] for commit in reversed(log)]


async def test_commands_sent_while_it_is_dead_are_carried_out_in_order_when_it_is_back(
    client: Client, service: RunningService
) -> None:
    await client.data("worktree_open", worktree_id="w1")
    await service.end(signal.SIGKILL)
    for number in range(20):
        change = MemoryChange(op="put", id="a", content=str(number))
        await client.send(commands.CommitMemory(changes=[change], author="a", message=str(number)))
    await client.send(commands.CreateBranch(branch="after"))
    await service.start()
    await client.consumed(subjects.COMMANDS)
    log = (await client.data("log", ref="after"))["commits"]
    assert [commit["message"] for commit in reversed(log)][1:] == [str(number) for number in range(20)]


def outcome(row: int) -> OutcomeRow:
    return OutcomeRow(
        row=row,
        task_id=f"t{row}",
        outcome=Outcome.SUCCEEDED,
        finished_at=datetime.now(UTC),
        input="when is my reimbursement due",
        recalled_ids=["refunds"],
    )


async def limited(events: AsyncIterator[dict[str, Any]], count: int) -> AsyncIterator[dict[str, Any]]:
    """The first `count` events."""
    async for event in events:
        yield event
        count -= 1
        if not count:
            return


def limited_by_type(events: AsyncIterator[dict[str, Any]], name: str, count: int) -> AsyncIterator[dict[str, Any]]:
    """The first `count` events of one type."""
    return limited((event async for event in events if event["type"] == f"thymos.{name}.v1"), count)
