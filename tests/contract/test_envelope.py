"""A stranger with a plain NATS client takes part, by what proto/README.md says and nothing else."""

import asyncio
import json
import re
from contextlib import aclosing
from pathlib import Path
from typing import Any

import nats as nats_client

from thymos import subjects
from thymos.bus import CONTENT_TYPE_HEADER
from thymos.envelope import CONTENT_TYPE, decode
from thymos.events import BranchMerged, BranchRolledBack
from thymos.examples import example_of
from thymos.nats_bus import NatsBus
from thymos.telemetry import Outcome, TaskFinished
from thymos.testing import NatsServer

README = Path(__file__).parents[2] / "proto" / "README.md"


def python_of_the_readme() -> dict[str, Any]:
    block = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert block
    names: dict[str, Any] = {}
    exec(compile(block[1], str(README), "exec"), names)
    return names


async def test_telemetry_published_as_the_readme_says_is_read(nats: NatsBus, nats_server: NatsServer) -> None:
    connection = await nats_client.connect(nats_server.url)
    sequence = await python_of_the_readme()["report"](connection, "t-1", "failed", 12.5)
    async with aclosing(nats.follow(subjects.TELEMETRY, "thymos.telemetry.>", from_sequence=sequence)) as stored:
        message = await asyncio.wait_for(anext(stored), 10)
    envelope = decode(message.body, message.subject)
    assert envelope.data == TaskFinished(task_id="t-1", outcome=Outcome.FAILED, latency_ms=12.5)
    assert (message.headers["Nats-Msg-Id"], message.headers["content-type"]) == (envelope.message_id, CONTENT_TYPE)
    await connection.close()


async def test_notifications_arrive_as_the_readme_says(nats: NatsBus, nats_server: NatsServer) -> None:
    sent = [example_of(BranchMerged), example_of(BranchRolledBack)]
    for envelope in sent:
        headers = {CONTENT_TYPE_HEADER: CONTENT_TYPE}
        await nats.publish(envelope.subject, envelope.to_bytes(), envelope.message_id, headers)
    connection = await nats_client.connect(nats_server.url)
    async with aclosing(python_of_the_readme()["notifications"](connection)) as notes:
        received = [await asyncio.wait_for(anext(notes), 10) for _ in sent]
    assert received == [json.loads(envelope.to_bytes()) for envelope in sent]
    await connection.close()
