"""Letters that no service wrote, letters that are there twice, and many that are tried again at once."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from thymos import commands, events, subjects
from thymos.cli import run as run_command
from thymos.dead_letters import DeadLetter
from thymos.nats_bus import NatsBus
from thymos.settlement import publish_dead_letter
from thymos.testing import NatsServer

from .dead_letter_bench import ENGINE, MEMORY, SCALER, Bench, Said, answers, letter_of, until


@pytest_asyncio.fixture
async def bench(nats: NatsBus, nats_server: NatsServer, tmp_path: Path) -> Bench:
    return Bench(nats, nats_server.url, tmp_path)


@pytest.fixture
def thymos(bench: Bench, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    async def command(*tokens: str) -> Said:
        code = await asyncio.to_thread(run_command, [*tokens, "--nats", bench.url, "--tenant", "acme"])
        return Said(code, *capsys.readouterr())

    return command


async def put(bench: Bench, message_id: str, service: str = ENGINE, **letter: Any) -> None:
    """A letter as somebody publishes it by hand."""
    data = {"original": "e30=", "subject": subjects.event_subject("acme", "support", "branch.deleted"), "reason": "?",
            "handler": f"{service}:THYMOS_EVENTS", "attempts": 1, "original_bytes": 2, **letter}  # fmt: skip
    body = {"specversion": "1.0", "id": "by-hand", "source": "x", "type": DeadLetter.type_name(), "data": data}
    await bench.bus.publish(subjects.dead_subject(service, "acme"), json.dumps(body).encode(), message_id)


@pytest.mark.parametrize("body", [b"not json", None], ids=["no JSON", "no base64"])
async def test_what_cannot_be_read_is_shown_and_dropped_and_stops_no_other(
    bench: Bench, thymos: Callable[..., Any], body: bytes | None
) -> None:
    if body is None:
        await put(bench, "1", original="!!", original_bytes=9)
    else:
        await bench.bus.publish(subjects.dead_subject(ENGINE, "acme"), body, "1")
    async with bench.service(ENGINE, subjects.EVENTS) as engine:
        engine.bad.add("e1")
        await bench.event("e1")
        await bench.letters(2)
        engine.bad.clear()
        unreadable = json.loads((await thymos("dead", "list", "--json")).output)[0]
        assert unreadable["reason"].startswith("this letter cannot be read: ")
        assert "cannot be: it is no letter" in (await thymos("dead", "show", "unreadable-1")).output
        said = await thymos("dead", "retry", "--all")
        assert (said.code, said.errors.count("\n")) == (4, 2), said
        assert "1 message handled, 1 not" in said.errors
    assert (await thymos("dead", "drop", "unreadable-1")).code == 0
    assert "no dead letters" in (await thymos("dead")).errors


async def test_a_letter_that_is_there_twice_is_one(bench: Bench, thymos: Callable[..., Any]) -> None:
    """Its message was given up again after the stream had forgotten the letter's id."""
    for message_id in ("1", "2"):
        await put(bench, message_id)
    assert (await thymos("dead", "show", "by-hand")).code == 0
    said = await thymos("dead", "drop", "by-hand")
    assert (said.code, "2 dead letters dropped" in said.errors) == (0, True), said


@pytest.mark.parametrize(
    ("letter", "words"),
    [
        ({"subject": subjects.event_subject("other", "support", "branch.deleted")}, "is not of tenant acme"),
        ({"subject": "thymos.task.acme.a", "handler": f"{SCALER}:THYMOS_TASKS"}, "is no queue of tasks"),
        ({"handler": f"{SCALER}:THYMOS_TASKS"}, "is no queue of tasks"),
    ],
)
async def test_a_forged_letter_reaches_nobody_else(
    bench: Bench, thymos: Callable[..., Any], letter: dict[str, str], words: str
) -> None:
    await put(bench, "1", **letter)
    said = await thymos("dead", "retry", "by-hand")
    assert (said.code, said.errors.count("\n")) == (4, 1), said
    assert words in said.errors
    assert await bench.bus.last_sequence(subjects.EVENTS) == 0


async def test_all_are_tried_although_one_service_is_away_and_one_stream_is_full(
    bench: Bench, thymos: Callable[..., Any]
) -> None:
    envelope = bench.client.envelope(events.BranchDeleted(branch="b", from_commit="c", reason="t"), "support", id="e0")
    full = bench.client.envelope(commands.CreateBranch(branch="b", from_ref="main", reason="t"), "support")
    await publish_dead_letter(
        bench.bus, f"{SCALER}:outbox", full.subject, full.to_bytes(), reason="?", attempts=1, key="full"
    )
    for key in ("away", "away too"):
        await letter_of(bench, MEMORY, key.encode())
    handler = f"{ENGINE}:{subjects.EVENTS.name}"
    await publish_dead_letter(
        bench.bus, handler, envelope.subject, envelope.to_bytes(), reason="?", attempts=8, key="good"
    )
    config = (await bench.bus.jetstream.stream_info(subjects.COMMANDS.name)).config
    await bench.bus.jetstream.update_stream(config.evolve(max_bytes=1))
    async with bench.service(ENGINE, subjects.EVENTS) as engine:
        await until(lambda: answers(bench, ENGINE))
        said = await thymos("dead", "retry", "--all", "--json")
        assert (said.code, engine.handled) == (6, ["e0"]), said
    assert len(json.loads(said.output)["handled"]) == 1
    assert [one["reason"].split(":")[0] for one in json.loads(said.output)["refused"]] == [
        f"not stored on {full.subject}", *["nobody answers thymos.request.memory-repository.acme._.retry"] * 2
    ]  # fmt: skip
    assert said.errors.count("\n") == 2, "each reason is told once"
    assert len(await bench.letters(3)) == 3
