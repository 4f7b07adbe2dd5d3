"""asyncapi.yaml against the rules of AsyncAPI 3.0 that a document by itself can break."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from thymos import subjects
from thymos.catalogue import messages
from thymos.contract.addresses import file_stem, subject_matches, subject_template
from thymos.contract.asyncapi import asyncapi_document
from thymos.contract.senders import senders_of
from thymos.contract.verbs import VERBS
from thymos.message import REGISTRY, Kind, Message

ROOT = Path(__file__).parents[2]
PROTO = ROOT / "proto"
DOCUMENT: dict[str, Any] = yaml.safe_load((PROTO / "asyncapi.yaml").read_text(encoding="utf-8"))
CHANNELS, OPERATIONS = DOCUMENT["channels"], DOCUMENT["operations"]
KEY = re.compile(r"[A-Za-z0-9._-]+")
"""What the specification asks of a key within `components`."""
ALLOWED = {
    "": {"asyncapi", "id", "info", "servers", "defaultContentType", "channels", "operations", "components"},
    "channel": {"address", "messages", "title", "summary", "description", "servers", "parameters", "tags", "bindings"},
    "operation": {
        "action", "channel", "title", "summary", "description", "tags", "bindings", "traits", "messages", "reply",
    },
    "message": {
        "headers", "payload", "correlationId", "contentType", "name", "title", "summary", "description", "tags",
        "bindings", "examples", "traits",
    },
}  # fmt: skip
"""The fields that the specification has; `x-` may begin others."""


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolved(reference: str) -> Any:
    """What a `$ref` leads to. Raises KeyError or OSError when it leads nowhere."""
    file, _, pointer = reference.partition("#")
    value: Any = json.loads((PROTO / file).read_bytes()) if file else DOCUMENT
    for part in pointer.split("/")[1:]:
        value = value[part.replace("~1", "/").replace("~0", "~")]
    return value


def unknown_fields(kind: str, value: dict[str, Any]) -> set[str]:
    return {name for name in value if name not in ALLOWED[kind] and not name.startswith("x-")}


def test_it_says_what_the_code_says() -> None:
    assert asyncapi_document() == DOCUMENT
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= DOCUMENT["info"].keys()


def test_every_reference_leads_somewhere() -> None:
    found = set(references(DOCUMENT))
    assert all(isinstance(resolved(reference), dict) for reference in found)
    assert {f"./events/{file_stem(each)}.json" for each in messages()} <= found
    with pytest.raises(KeyError):
        resolved("#/channels/no.such")


def test_there_are_no_fields_that_the_specification_does_not_have() -> None:
    assert not unknown_fields("", DOCUMENT)
    assert not any(unknown_fields("channel", channel) for channel in CHANNELS.values())
    assert not any(unknown_fields("operation", operation) for operation in OPERATIONS.values())
    assert not any(unknown_fields("message", message) for message in DOCUMENT["components"]["messages"].values())
    assert all(KEY.fullmatch(key) for part in DOCUMENT["components"].values() for key in part)


@pytest.mark.parametrize("name", CHANNELS)
def test_a_channels_address_and_its_parameters_agree(name: str) -> None:
    address, parameters = CHANNELS[name]["address"], CHANNELS[name].get("parameters", {})
    assert re.findall(r"{(\w+)}", address or "") == list(parameters)
    for parameter in parameters.values():
        assert {"description", "enum", "default", "examples", "location"} >= resolved(parameter["$ref"]).keys()


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_of_a_channel_and_its_messages(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["action"] in ("send", "receive")
    channel = operation["channel"]["$ref"]
    assert channel.removeprefix("#/channels/") in CHANNELS
    assert operation["messages"]
    assert all(message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"])
    reply = operation.get("reply")
    if reply is not None:
        assert resolved(reply["channel"]["$ref"])["address"] is None, "a reply address that the asker gives"
        assert reply["address"]["location"].startswith("$message.header#/")
        assert all(each["$ref"].startswith(f"{reply['channel']['$ref']}/messages/") for each in reply["messages"])


def test_every_message_has_its_headers_and_is_sent_by_somebody() -> None:
    published = DOCUMENT["components"]["messageTraits"]["published"]["headers"]
    assert published["required"] == ["content-type", "Nats-Msg-Id"]
    assert published["properties"].keys() == {"content-type", "Nats-Msg-Id", "traceparent"}
    sent = {
        ref["$ref"].rpartition("/")[2]
        for each in OPERATIONS.values()
        if each["action"] == "send"
        for ref in each["messages"]
    }
    assert sent == DOCUMENT["components"]["messages"].keys()


def test_a_service_receives_what_its_durables_deliver() -> None:
    carrying = subjects.STREAM_OF_KIND.values()
    for consumer in (each for each in subjects.CONSUMERS if each.stream in carrying):
        delivered = {
            file_stem(each)
            for each in messages()
            if any(subject_matches(subject_template(each), one) for one in consumer.filters)
        }
        received = {
            ref["$ref"].rpartition("/")[2]
            for name, operation in OPERATIONS.items()
            if name.startswith(f"{consumer.service}.receive.")
            for ref in operation["messages"]
        }
        assert delivered, "a durable without a message"
        assert delivered <= received


def test_every_request_is_answered_with_a_reply() -> None:
    answered = {name for name in OPERATIONS if ".answer." in name}
    assert answered == {f"{verb.service}.answer.{verb.name}" for verb in VERBS}
    assert all("reply" in OPERATIONS[name] for name in answered)


def events_made_in(folder: Path) -> set[type[Message]]:
    """Message classes of events and metrics that the code of a service makes."""
    made = {each.__name__: each for each in REGISTRY.values() if each.KIND in (Kind.EVENT, Kind.METRICS)}
    found = set()
    for path in folder.rglob("*.py"):
        if path.stem in ("testing", "recompute"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in made:
                found.add(made[name])
    return found


@pytest.mark.parametrize("service", subjects.SERVICES)
def test_whoever_makes_an_event_is_said_to_send_it(service: str) -> None:
    made = events_made_in(ROOT / "services" / service / "src")
    assert made
    assert {each.NAME for each in made if service not in senders_of(each)} == set()


@pytest.mark.parametrize(
    ("subject", "pattern", "expected"),
    [
        ("a.b.c", "a.*.c", True),
        ("a.b.c", "a.>", True),
        ("a", "a.>", False),
        ("a.b", "a.*.c", False),
        ("a.b", ">", True),
    ],
)
def test_a_pattern_of_nats_matches_as_on_the_server(subject: str, pattern: str, expected: bool) -> None:
    assert subject_matches(subject, pattern) is expected
