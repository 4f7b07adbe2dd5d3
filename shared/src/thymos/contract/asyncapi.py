"""`asyncapi.yaml` (AsyncAPI 3.0): channels, messages, and who sends and receives what.

A channel is one subject, an operation what one service (or `agents`, or `people`) does there. Payloads are the JSON
Schemas beside it.
"""

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

from thymos import subjects
from thymos.bus import CONTENT_TYPE_HEADER, MESSAGE_ID_HEADER
from thymos.catalogue import messages
from thymos.contract.addresses import (
    MESSAGE_ID_RULE,
    PATTERN_OF_PLACEHOLDER,
    file_stem,
    subject_matches,
    subject_template,
)
from thymos.contract.protobuf import message_name
from thymos.contract.senders import AGENTS, senders_of
from thymos.contract.verbs import VERBS, Verb
from thymos.envelope import BATCH_CONTENT_TYPE, BATCH_MAX, CONTENT_TYPE
from thymos.message import Kind, Message

JSON = "application/json"
REPLY = "reply"
BATCH = "telemetry.batch"
_PLACEHOLDER = re.compile(r"<(\w+)>")
_SAID_OF = {
    "tenant": "Whose the message is; always that of the subject.",
    "agent": "The agent that it is about.",
    "branch": "The branch of memory that it is about.",
    "service": "The service that gave the message up.",
}

Object = dict[str, Any]


def asyncapi_document() -> Object:
    """The whole document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Thymos",
            "version": "1.0.0",
            "description": "What travels between agents, people and the services of Thymos. Every message is a "
            "CloudEvents 1.0 JSON object on NATS JetStream; a request is answered on the reply subject of NATS.",
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {"nats": {"host": "127.0.0.1:4222", "protocol": "nats", "description": "NATS with JetStream."}},
        "channels": {**_message_channels(), **_request_channels()},
        "operations": dict(sorted({**_sending(), **_receiving(), **_answering()}.items())),
        "components": {
            "messages": {**{_key(each): _message(each) for each in messages()}, BATCH: _batch()},
            "messageTraits": {"published": {"headers": _headers(CONTENT_TYPE)}},
            "parameters": {name: _parameter(name) for name in _SAID_OF},
        },
    }


def _ref(*path: str) -> Object:
    """A reference within the document; `/` and `~` in a name are escaped as JSON Pointer wants."""
    return {"$ref": "#/" + "/".join(part.replace("~", "~0").replace("/", "~1") for part in path)}


def _key(message_class: type[Message]) -> str:
    return file_stem(message_class)


def _channel_of(message_class: type[Message]) -> str:
    """Telemetry, metrics, tasks and dead letters share a subject each; events and commands have one of their own."""
    own = message_class.KIND in (Kind.EVENT, Kind.COMMAND)
    return f"{message_class.KIND.value}.{message_class.NAME}" if own else message_class.KIND.value


def _message_channels() -> Object:
    members: dict[str, list[type[Message]]] = {}
    for message_class in messages():
        members.setdefault(_channel_of(message_class), []).append(message_class)
    channels = {}
    for name, classes in sorted(members.items()):
        stream = subjects.STREAM_OF_KIND[classes[0].KIND].name
        carried = {_key(each): _ref("components", "messages", _key(each)) for each in classes}
        if classes[0].KIND is Kind.TELEMETRY:
            carried[BATCH] = _ref("components", "messages", BATCH)
        channels[name] = {
            **_address(subject_template(classes[0])),
            "description": f"Stream {stream}.",
            "messages": carried,
        }
    return channels


def _address(template: str) -> Object:
    names = _PLACEHOLDER.findall(template)
    return {
        "address": _PLACEHOLDER.sub(r"{\1}", template),
        "parameters": {name: _ref("components", "parameters", name) for name in names},
    }


def _parameter(name: str) -> Object:
    if name == "service":
        return {"description": _SAID_OF[name], "enum": list(subjects.SERVICES)}
    return {"description": f"{_SAID_OF[name]} Matches ^{PATTERN_OF_PLACEHOLDER[f'<{name}>']}$"}


def _headers(content_type: str) -> Object:
    return {
        "type": "object",
        "required": [CONTENT_TYPE_HEADER, MESSAGE_ID_HEADER],
        "properties": {
            CONTENT_TYPE_HEADER: {"type": "string", "const": content_type},
            MESSAGE_ID_HEADER: {
                "type": "string",
                "description": f"{MESSAGE_ID_RULE}: the stream keeps one message of each.",
            },
            "traceparent": {
                "type": "string",
                "description": "W3C trace context, for tools that look at headers; what counts is the attribute.",
            },
        },
    }


def _message(message_class: type[Message]) -> Object:
    said = inspect.cleandoc(message_class.__doc__ or "")
    return {
        "name": message_class.type_name(),
        "summary": said.splitlines()[0],
        "contentType": CONTENT_TYPE,
        "traits": [_ref("components", "messageTraits", "published")],
        "correlationId": {"location": "$message.payload#/correlationid"},
        "payload": {"$ref": f"./events/{file_stem(message_class)}.json"},
        "x-example": f"examples/{file_stem(message_class)}.json",
        "x-protobuf": message_name(message_class),
    }


def _batch() -> Object:
    members = [each for each in messages(Kind.TELEMETRY)]
    return {
        "name": BATCH,
        "summary": f"Up to {BATCH_MAX} telemetry events in one message, for writers with many.",
        "contentType": BATCH_CONTENT_TYPE,
        "headers": _headers(BATCH_CONTENT_TYPE),
        "payload": {
            "type": "array",
            "minItems": 1,
            "maxItems": BATCH_MAX,
            "items": {"oneOf": [{"$ref": f"./events/{file_stem(each)}.json"} for each in members]},
        },
    }


def _operation(action: str, channel: str, carried: Iterable[str]) -> Object:
    return {
        "action": action,
        "channel": _ref("channels", channel),
        "messages": [_ref("channels", channel, "messages", name) for name in carried],
    }


def _by_channel(classes: Iterable[type[Message]]) -> Iterator[tuple[str, list[str]]]:
    carried: dict[str, list[str]] = {}
    for each in classes:
        carried.setdefault(_channel_of(each), []).append(_key(each))
    yield from carried.items()


def _sending() -> Object:
    senders = sorted({sender for each in messages() for sender in senders_of(each)})
    return {
        f"{sender}.send.{channel}": _operation("send", channel, [*carried, *([BATCH] if sender == AGENTS else [])])
        for sender in senders
        for channel, carried in _by_channel(each for each in messages() if sender in senders_of(each))
    }


def _receiving() -> Object:
    """What the durables deliver; a task goes to whichever agent of its branch takes it."""
    tasks = subjects.task_consumer("<tenant>", "<agent>", "<branch>")
    deliveries = [(AGENTS, tasks.filters), *((each.service, each.filters) for each in subjects.CONSUMERS)]
    operations: Object = {}
    for receiver, filters in deliveries:
        heard = [each for each in messages() if any(subject_matches(subject_template(each), one) for one in filters)]
        for channel, carried in _by_channel(heard):
            batch = [BATCH] if channel == Kind.TELEMETRY.value else []
            operations[f"{receiver}.receive.{channel}"] = _operation("receive", channel, [*carried, *batch])
    return operations


def _verb_key(verb: Verb) -> str:
    return f"{verb.service}.{verb.name}"


def _request_channels() -> Object:
    channels: Object = {}
    for verb in VERBS:
        schema = f"./requests/{_verb_key(verb)}.json"
        said = inspect.cleandoc(verb.request.__doc__ or "").splitlines()[0]
        channels[f"request.{_verb_key(verb)}"] = {
            **_address(verb.subject),
            "messages": {"request": {"summary": said, "contentType": JSON, "payload": {"$ref": schema}}},
        }
    replies = {
        _verb_key(verb): {"contentType": JSON, "payload": {"$ref": f"./requests/{_verb_key(verb)}.json#/$defs/Reply"}}
        for verb in VERBS
    }
    channels[REPLY] = {
        "address": None,
        "description": "The reply subject that the asker's NATS client makes up and sends along with the request.",
        "messages": replies,
    }
    return channels


def _answering() -> Object:
    return {
        f"{verb.service}.answer.{verb.name}": {
            **_operation("receive", f"request.{_verb_key(verb)}", ["request"]),
            "reply": {
                "address": {
                    "location": "$message.header#/reply-to",
                    "description": "NATS carries it beside the headers, as the reply subject of the message.",
                },
                "channel": _ref("channels", REPLY),
                "messages": [_ref("channels", REPLY, "messages", _verb_key(verb))],
            },
        }
        for verb in VERBS
    }
