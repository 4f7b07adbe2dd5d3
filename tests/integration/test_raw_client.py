"""A stranger with nothing but a NATS client, JSON and `proto/`: publishes telemetry, receives notifications."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client as RawClient
from tests.deadline import DEADLINE_SECONDS

from thymos.suite import Suite

PROTO = Path(__file__).parents[2] / "proto"
Json = dict[str, Any]


@pytest_asyncio.fixture
async def raw(tmp_path: Path) -> AsyncIterator[RawClient]:
    """A raw connection to a running suite."""
    async with Suite(tmp_path / "suite", sync_always=False) as suite:
        await suite.ready()
        connection = await nats.connect(suite.url)
        yield connection
        await connection.close()


def example(event_type: str) -> Json:
    """The published example of a type: what a stranger would copy."""
    loaded: Json = json.loads((PROTO / "examples" / f"{event_type.removeprefix('thymos.')}.json").read_text())
    return loaded


def check(event: Json) -> None:
    """Raises ValidationError when an event does not fit its published schema."""
    schema = PROTO / "events" / f"{event['type'].removeprefix('thymos.')}.json"
    jsonschema.validate(event, json.loads(schema.read_text()))


async def reply(raw: RawClient, service: str, verb: str, **request: object) -> Json:
    subject = f"thymos.request.{service}.acme.support.{verb}"
    answer: Json = json.loads((await raw.request(subject, json.dumps(request).encode(), timeout=10)).data)
    return answer


async def ask(raw: RawClient, service: str, verb: str, **request: object) -> Any:
    answer = await reply(raw, service, verb, **request)
    assert answer["ok"], answer
    return answer["data"]


async def test_telemetry_from_the_schemas_is_counted(raw: RawClient) -> None:
    jetstream = raw.jetstream()
    for number in range(3):
        event = example("thymos.task.finished.v1") | {"id": f"stranger-{number}", "source": "stranger"}
        event |= {"tenantid": "acme", "agentid": "support", "subject": "thymos.telemetry.acme.support"}
        event["time"] = datetime.now(UTC).isoformat()
        event["data"] = {"task_id": f"t{number}", "outcome": "succeeded" if number else "errored", "branch": "main"}
        check(event)
        identity = f"acme/support/stranger/{event['id']}"
        headers = {"Nats-Msg-Id": identity, "content-type": "application/cloudevents+json"}
        for _ in range(2):  # twice, as a client does that did not hear the acknowledgement
            await jetstream.publish("thymos.telemetry.acme.support", json.dumps(event).encode(), headers=headers)

    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            answer = await reply(raw, "metrics-collector", "metrics")
            metrics = answer["data"]["metrics"] if answer["ok"] else []  # until something is heard of the agent
            if metrics and metrics[0]["task"]["total"] == 3:
                break
            await asyncio.sleep(0.05)
    assert metrics[0]["task"]["errored"] == 1


@pytest.mark.parametrize("name", ["branch.merged", "branch.rolled_back"])
async def test_notifications_reach_a_plain_subscription(raw: RawClient, name: str) -> None:
    heard = await raw.subscribe(f"thymos.event.acme.*.{name}")
    first, change = ([{"op": "put", "id": name, "content": "hello"}] for name in ("m0", "m1"))
    await ask(raw, "memory-repository", "commit", changes=first, author="me", message="begin")
    await ask(raw, "memory-repository", "branch_create", branch="idea")
    commit = await ask(raw, "memory-repository", "commit", branch="idea", changes=change, author="me", message="add")
    await ask(raw, "memory-repository", "merge", source="idea", target="main", reason="looks good")
    await ask(raw, "memory-repository", "rollback", branch="main", to=commit["previous_commit"], reason="regretted")

    event = json.loads((await heard.next_msg(timeout=20)).data)
    check(event)
    assert event["type"] == f"thymos.{name}.v1"
    assert event["agentid"] == "support"
    assert event["data"]["reason"] in ("looks good", "regretted")
