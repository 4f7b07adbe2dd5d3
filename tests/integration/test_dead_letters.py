"""Dead letters on a real server: who handles a message again and who does not, and the net under them."""

import asyncio
import json
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.deadline import DEADLINE_SECONDS

from thymos import dead_letters_net, subjects
from thymos.background import running
from thymos.bus import CONTENT_TYPE_HEADER, Delivery
from thymos.cli import run as run_command
from thymos.dead_letters_kept import KeptLetter, dropped, kept
from thymos.dead_letters_retry import retry
from thymos.envelope import BATCH_CONTENT_TYPE
from thymos.errors import Refusal, UnavailableError
from thymos.nats_bus import NatsBus
from thymos.settlement import ORIGINAL_BYTES_MAX, publish_dead_letter
from thymos.subjects import Consumer
from thymos.tasks import TaskAssigned
from thymos.telemetry import TaskStarted
from thymos.testing import NatsServer

from .dead_letter_bench import (
    COLLECTOR,
    ENGINE,
    MEMORY,
    SCALER,
    Bench,
    Reader,
    Said,
    answers,
    letter_of,
    until,
)

DEADLY = Path(__file__).parent / "agents" / "deadly_service.py"


async def handled(reader: Reader, *ids: str) -> None:
    async def all_there() -> bool:
        return reader.handled == list(ids)

    await until(all_there)


@pytest_asyncio.fixture
async def bench(nats: NatsBus, nats_server: NatsServer, tmp_path: Path) -> Bench:
    return Bench(nats, nats_server.url, tmp_path)


# --- again ----------------------------------------------------------------------------------------------------------


async def test_the_handler_that_gave_up_handles_it_and_nobody_else_does_so_twice(bench: Bench) -> None:
    async with bench.service(ENGINE, subjects.EVENTS) as engine, bench.service(SCALER, subjects.EVENTS) as scaler:
        engine.bad.add("e1")
        await bench.event("e1")
        await bench.event("e2")
        (letter,) = await bench.letters()
        await handled(scaler, "e1", "e2")
        assert letter.letter.handler == "decision-engine:THYMOS_EVENTS"
        assert (letter.letter.stream, letter.letter.sequence) == ("THYMOS_EVENTS", 1)
        assert letter.letter.message_id == "acme/support/test/e1"

        engine.bad.clear()  # the fault is mended
        await retry(bench.client, letter.letter, letter.id)
        await retry(bench.client, letter.letter, letter.id)  # once more does no harm
        await bench.event("e3")
        await handled(engine, "e2", "e1", "e3")
        await handled(scaler, "e1", "e2", "e3")
        assert await bench.bus.last_sequence(subjects.EVENTS) == 3, "the log does not hold it a second time"


async def test_what_fails_again_stays_and_says_why(bench: Bench) -> None:
    async with bench.service(ENGINE, subjects.EVENTS) as engine:
        engine.bad.add("e1")
        await bench.event("e1")
        (letter,) = await bench.letters()
        with pytest.raises(Refusal, match="failed again: PoisonError: this handler has a fault") as caught:
            await retry(bench.client, letter.letter, letter.id)
        assert caught.value.code == "refused"
    with pytest.raises(UnavailableError, match="nobody answers"):
        await retry(bench.client, letter.letter, letter.id)
    assert len(await bench.letters()) == 1


async def test_a_command_of_the_work_queue_is_carried_out_once(bench: Bench) -> None:
    async with bench.service(MEMORY, subjects.COMMANDS) as memory:
        memory.bad.add("c1")
        await bench.command("c1")
        (letter,) = await bench.letters()
        memory.bad.clear()
        for _ in range(2):
            await retry(bench.client, letter.letter, letter.id)
        await bench.command("c2")
        await handled(memory, "c1", "c2")


async def test_of_a_batch_only_what_was_not_handled_is_handled(bench: Bench) -> None:
    good = [bench.client.envelope(TaskStarted(task_id=f"t{n}"), "support", id=f"t{n}").to_dict() for n in range(3)]
    body = json.dumps([*good[:2], {"specversion": "1.0"}, good[2]]).encode()
    async with bench.service(COLLECTOR, subjects.TELEMETRY) as collector:
        subject = subjects.telemetry_subject("acme", "support")
        await bench.bus.publish(subject, body, "b1", {CONTENT_TYPE_HEADER: BATCH_CONTENT_TYPE})
        (letter,) = await bench.letters()
        assert letter.letter.content_type == BATCH_CONTENT_TYPE
        with pytest.raises(Refusal, match="failed again: PoisonError: not a CloudEvent"):
            await retry(bench.client, letter.letter, letter.id)
        assert collector.handled == ["t0", "t1", "t2"]


async def test_a_task_is_put_into_its_queue_again_once(bench: Bench) -> None:
    consumer = subjects.task_consumer("acme", "support", "main")
    await bench.bus.ensure_consumer(consumer)
    task = bench.client.envelope(TaskAssigned(task_id="t1", branch="main", input="?"), "support")
    await publish_dead_letter(
        bench.bus, f"{SCALER}:{subjects.TASKS.name}", task.subject, task.to_bytes(), reason="?", attempts=5, key="1"
    )
    (letter,) = await bench.letters()
    for _ in range(2):
        assert await retry(bench.client, letter.letter, letter.id) is False, "its reader may yet give it up"
    depth = await bench.bus.depth(consumer)
    assert depth
    assert depth.lag == 1
    await bench.bus.delete_consumer(consumer)
    with pytest.raises(Refusal, match="nobody takes tasks of support on main any more"):
        await retry(bench.client, letter.letter, letter.id)


async def test_one_tenant_cannot_have_the_message_of_another_handled(bench: Bench) -> None:
    async with bench.service(MEMORY, subjects.COMMANDS):
        await until(lambda: answers(bench))
        subject = subjects.request_subject(MEMORY, "other", "_", "retry")
        body = {"stream": subjects.COMMANDS.name, "subject": subjects.command_subject(MEMORY, "acme", "a", "x"),
                "original": ""}  # fmt: skip
        answer = json.loads(await bench.bus.request(subject, json.dumps(body).encode(), timedelta(seconds=5)))
    assert answer["error"]["message"] == f"{body['subject']} is not of tenant other"


# --- the net --------------------------------------------------------------------------------------------------------


async def taken(bus: NatsBus, consumer: Consumer) -> Delivery:
    subscription = await bus.subscribe(consumer)
    (delivery,) = await subscription.fetch(1, timedelta(seconds=10))
    return delivery


async def test_a_message_that_somebody_else_terminated_becomes_one_dead_letter(bench: Bench) -> None:
    await bench.event("e1")
    delivery: Any = await taken(bench.bus, subjects.consumer(SCALER, subjects.EVENTS))
    await bench.bus.client.publish(delivery._message.reply, b"+TERM not for me")
    async with running(dead_letters_net.run(bench.bus)):
        (letter,) = await bench.letters()
    assert letter.letter.handler == "worktree-scaler:THYMOS_EVENTS"
    assert letter.letter.reason == "terminated by a consumer of another make: not for me"
    assert json.loads(letter.letter.kept)["id"] == "e1"
    async with bench.service(SCALER, subjects.EVENTS) as scaler:
        await until(lambda: retried(bench, letter))
        await handled(scaler, "e1")


async def retried(bench: Bench, letter: KeptLetter) -> bool:
    try:
        await retry(bench.client, letter.letter, letter.id)
    except UnavailableError:
        return False
    return True


async def test_a_consumer_with_a_limit_of_its_own_loses_nothing(bench: Bench) -> None:
    """Somebody has set `max_deliver` on the server, and the service never settles."""
    consumer = replace(subjects.consumer(SCALER, subjects.EVENTS), ack_wait=timedelta(milliseconds=200))
    await bench.bus.ensure_consumer(consumer)
    limited = (await bench.bus.jetstream.consumer_info(consumer.stream.name, consumer.durable)).config
    await bench.bus.jetstream.add_consumer(consumer.stream.name, limited.evolve(name=None, max_deliver=2))
    await bench.event("e1")
    async with AsyncExitStack() as stack:
        subscription = await bench.bus.subscribe(consumer)
        stack.push_async_callback(subscription.close)
        for _ in range(2):
            await subscription.fetch(1, timedelta(seconds=10))
        await stack.enter_async_context(running(dead_letters_net.run(bench.bus)))
        pulling = asyncio.ensure_future(subscription.fetch(1, timedelta(seconds=10)))
        (letter,) = await bench.letters()
        pulling.cancel()
    assert letter.letter.attempts == 2
    assert letter.letter.reason == "the server gave it up after 2 deliveries: the consumer has a limit of its own"


async def test_the_net_knows_what_thymos_gave_up_itself(bench: Bench) -> None:
    async with bench.service(ENGINE, subjects.EVENTS) as engine, running(dead_letters_net.run(bench.bus)):
        engine.bad.add("e1")
        await bench.event("e1")
        await bench.letters()
        await bench.command("c1")
        delivery: Any = await taken(bench.bus, subjects.consumer(MEMORY, subjects.COMMANDS))
        await bench.bus.client.publish(delivery._message.reply, b"+TERM")
        nobodys = Bench(bench.bus, bench.url, bench._folder, tenant="unknown")
        (gone,) = await nobodys.letters()
        (own,) = await bench.letters()
    assert "a fault" in own.letter.reason
    assert gone.letter.reason.endswith("which gave no reason; the message was gone before it could be kept")
    assert (gone.letter.stream, gone.letter.sequence) == ("THYMOS_COMMANDS", 1)
    with pytest.raises(Refusal, match="its original was gone"):
        await retry(nobodys.client, gone.letter, gone.id)


async def test_whose_a_task_was_is_known_even_when_it_is_gone(bench: Bench) -> None:
    consumer = subjects.task_consumer("acme", "support", "main")
    await bench.bus.ensure_consumer(consumer)
    await bench.client.publish(bench.client.envelope(TaskAssigned(task_id="t1", branch="main", input="?"), "support"))
    delivery: Any = await taken(bench.bus, consumer)
    await bench.bus.client.publish(delivery._message.reply, b"+TERM no idea")
    async with running(dead_letters_net.run(bench.bus)):
        (letter,) = await bench.letters()
    assert letter.letter.subject == subjects.task_subject("acme", "support", "main")
    assert letter.letter.handler == "worktree-scaler:THYMOS_TASKS"


async def test_a_message_that_ends_every_process_is_given_up_once(bench: Bench) -> None:
    await bench.command("c1")
    database = str(bench._folder / "deadly.db")
    deaths = 0
    async with asyncio.timeout(DEADLINE_SECONDS), running(dead_letters_net.run(bench.bus)):
        while not await bench._waiting(1):
            process = await asyncio.create_subprocess_exec(sys.executable, str(DEADLY), bench.url, database)
            try:
                ending = asyncio.ensure_future(process.wait())
                while not ending.done() and not await bench._waiting(1):
                    await asyncio.sleep(0.05)
            finally:
                if process.returncode is None:
                    process.kill()
                deaths += await process.wait() == 9
    (letter,) = await bench.letters()
    assert deaths == 2
    assert letter.letter.attempts == 3
    assert "does it end the process?" in letter.letter.reason
    assert json.loads(letter.letter.kept)["id"] == "c1"


# --- the command line -----------------------------------------------------------------------------------------------


@pytest.fixture
def thymos(bench: Bench, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    async def command(*tokens: str) -> Said:
        code = await asyncio.to_thread(run_command, [*tokens, "--nats", bench.url, "--tenant", "acme"])
        return Said(code, *capsys.readouterr())

    return command


async def test_letters_are_listed_by_service_and_age(bench: Bench, thymos: Callable[..., Any]) -> None:
    for service in (ENGINE, MEMORY):
        await letter_of(bench, service, b'{"a": 1}')
    await letter_of(bench, ENGINE, b'{"a": 1}', tenant="other")
    everything = json.loads((await thymos("dead", "list", "--json")).output)
    assert [letter["handler"] for letter in everything] == [f"{ENGINE}:THYMOS_EVENTS", f"{MEMORY}:THYMOS_EVENTS"]
    assert everything[0]["original"] == '{"a": 1}'
    assert everything[0]["number"] == 1
    of_memory = json.loads((await thymos("dead", "list", "--service", MEMORY, "--json")).output)
    assert [letter["id"] for letter in of_memory] == [everything[1]["id"]]
    assert (await thymos("dead", "list", "--since", "1h")).output.count("\n") == 3
    said = await thymos("dead", "list", "--count", "1")
    assert said.output.count("\n") == 2
    assert "the oldest 1" in said.errors
    late = datetime.now(UTC) + timedelta(hours=1)
    assert "no dead letters" in (await thymos("dead", "list", "--since", late.isoformat())).errors
    assert (await thymos("dead", "list", "--service", "nobody")).code == 2


async def test_a_letter_is_shown_with_its_message(bench: Bench, thymos: Callable[..., Any]) -> None:
    letter_id = await letter_of(bench, ENGINE, b'{"data": {"branch": "main"}}')
    shown = (await thymos("dead", "show", letter_id[:6])).output
    for text in (letter_id, "acme, support", f"{ENGINE}:THYMOS_EVENTS", "not JSON", '    "branch": "main"', "28 bytes"):
        assert text in shown
    binary = await letter_of(bench, ENGINE, b"\x00\x1b[2Jhello" + b"x" * 400)
    shown = (await thymos("dead", "show", binary)).output
    assert "00000000  00 1b 5b 32 4a 68 65 6c 6c 6f 78" in shown
    assert "..[2Jhello" in shown
    assert "154 bytes more" in shown
    cut = await letter_of(bench, ENGINE, b"y" * (ORIGINAL_BYTES_MAX + 1))
    assert f"{ORIGINAL_BYTES_MAX + 1} bytes, of which only the first" in (await thymos("dead", "show", cut)).output
    assert json.loads((await thymos("dead", "show", cut, "--json")).output)["cut"]


async def test_a_cut_original_is_not_tried_again(bench: Bench, thymos: Callable[..., Any]) -> None:
    cut = await letter_of(bench, ENGINE, b"y" * (ORIGINAL_BYTES_MAX + 1))
    said = await thymos("dead", "retry", cut)
    assert said.code == 4
    assert f"only {ORIGINAL_BYTES_MAX} of its {ORIGINAL_BYTES_MAX + 1} bytes were kept" in said.errors
    assert said.errors.count("\n") == 1
    assert len(await bench.letters()) == 1


async def test_what_was_handled_leaves_the_list(bench: Bench, thymos: Callable[..., Any]) -> None:
    async with bench.service(ENGINE, subjects.EVENTS) as engine:
        engine.bad |= {"e1", "e2"}
        await bench.event("e1")
        await bench.event("e2")
        first, _ = await bench.letters(2)
        engine.bad.discard("e1")
        said = await thymos("dead", "retry", "--all")
        assert said.code == 4
        assert "1 message handled, 1 not" in said.errors
        (left,) = await bench.letters()
        assert (await thymos("dead", "retry", first.id)).code == 3
        assert (await thymos("dead", "retry", left.id)).code == 4
        engine.bad.clear()
        assert (await thymos("dead", "retry", left.id[:8])).code == 0
    assert engine.handled == ["e1", "e2"]
    assert "no dead letters" in (await thymos("dead")).errors


async def test_letters_are_dropped_one_by_one_by_age_or_all(bench: Bench, thymos: Callable[..., Any]) -> None:
    ids = [await letter_of(bench, ENGINE, b"%d" % number) for number in range(4)]
    assert (await thymos("dead", "drop", ids[1][:8])).code == 0
    assert [letter.id for letter in await bench.letters(3)] == [ids[0], ids[2], ids[3]]
    assert "0 dead letters dropped" in (await thymos("dead", "drop", "--older", "1h")).errors
    assert "3 dead letters dropped" in (await thymos("dead", "drop", "--all")).errors
    for tokens, code in ((("drop",), 2), (("drop", "--all", ids[0]), 2), (("retry",), 2), (("drop", ids[0]), 3),
                         (("show", "x"), 3), (("drop", "--older", "soon"), 2)):  # fmt: skip
        said = await thymos("dead", *tokens)
        assert said.code == code, said
        assert said.errors.count("\n") == 1


async def test_a_list_ends_although_letters_are_dropped_meanwhile(bench: Bench) -> None:
    for number in range(3):
        await letter_of(bench, ENGINE, b"%d" % number)
    found = []
    async for letter in kept(bench.client):
        found.append(letter)
        if len(found) == 1:
            for later in (letter.sequence + 1, letter.sequence + 2):
                await dropped(bench.client, replace(letter, sequence=later))
    assert len(found) <= 3
