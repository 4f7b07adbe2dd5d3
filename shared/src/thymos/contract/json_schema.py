"""JSON Schemas of messages and requests.

A schema describes the whole CloudEvent as a writer must write it, so that it is enough to write a message from.
Readers accept more: unknown fields, and `null` for what may be left out.
"""

import inspect
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from thymos.bus import CONTENT_TYPE_HEADER, MESSAGE_ID_HEADER
from thymos.contract.addresses import MESSAGE_ID_RULE, subject_pattern, subject_template
from thymos.contract.verbs import Verb
from thymos.envelope import CONTENT_TYPE
from thymos.errors import RefusalCode
from thymos.message import Message
from thymos.names import NAME_PATTERN

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SHORT_TEXT = {"type": "string", "minLength": 1, "maxLength": 200}


class _ReaderSchema(GenerateJsonSchema):
    """Without the titles that repeat names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


class _WriterSchema(_ReaderSchema):
    """What may be absent is left out by writers: no `null`, and no default of `null`."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


def event_schema(message_class: type[Message]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a whole message: the CloudEvents attributes and `data`."""
    data = message_class.model_json_schema(schema_generator=_WriterSchema)
    definitions = data.pop("$defs", {})
    description = data.pop("description")
    data.pop("title")
    template = subject_template(message_class)
    return {
        "$schema": DIALECT,
        "$id": f"urn:thymos:schema:{message_class.NAME}:v{message_class.VERSION}",
        "title": message_class.type_name(),
        "description": f"{inspect.cleandoc(description)}\n\nPublished on {template}, with the headers "
        f"{CONTENT_TYPE_HEADER}: {CONTENT_TYPE} and {MESSAGE_ID_HEADER}: {MESSAGE_ID_RULE}.",
        "type": "object",
        "required": ["specversion", "id", "source", "type", "time", "data"],
        "properties": {**_attributes(message_class.type_name(), template), "data": data},
        **({"$defs": definitions} if definitions else {}),
    }


def verb_schema(verb: Verb) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a request; `$defs/Reply` is that of its reply."""
    request = verb.request.model_json_schema(schema_generator=_WriterSchema)
    answer = verb.answer.model_json_schema(schema_generator=_ReaderSchema, mode="serialization")
    definitions = {**request.pop("$defs", {}), **answer.pop("$defs", {}), "Reply": _reply(answer)}
    description, title = request.pop("description"), request.pop("title")
    return {
        "$schema": DIALECT,
        "$id": f"urn:thymos:schema:request:{verb.service}:{verb.name}",
        "title": title,
        "description": f"{inspect.cleandoc(description)}\n\nAsked on {verb.subject}; the reply is `$defs/Reply`.",
        **request,
        "$defs": definitions,
    }


def _reply(answer: dict[str, Any]) -> dict[str, Any]:
    error = {
        "type": "object",
        "required": ["code", "message", "hint"],
        "properties": {
            "code": {"enum": [code.value for code in RefusalCode]},
            "message": {"type": "string"},
            "hint": {"type": "string"},
        },
    }
    return {
        "oneOf": [
            {"type": "object", "required": ["ok", "data"], "properties": {"ok": {"const": True}, "data": answer}},
            {"type": "object", "required": ["ok", "error"], "properties": {"ok": {"const": False}, "error": error}},
        ]
    }


def _attributes(type_name: str, template: str) -> dict[str, Any]:
    from_subject = "Read from the NATS subject when absent; refused when it differs from it."
    return {
        "specversion": {"const": "1.0"},
        "id": {
            **_SHORT_TEXT,
            "description": "Unique for its source. A message that is sent again keeps its id, and counts once.",
        },
        "source": {**_SHORT_TEXT, "description": "Who says so: the name of a program, or another URI reference."},
        "type": {"const": type_name},
        "subject": {
            "type": "string",
            "pattern": subject_pattern(template),
            "description": f"The NATS subject it is published on: {template}",
        },
        "time": {
            "type": "string",
            "format": "date-time",
            "pattern": r"^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$",
            "description": "When it happened (RFC 3339, with its offset from UTC).",
        },
        "datacontenttype": {"const": "application/json"},
        "tenantid": {"type": "string", "pattern": f"^{NAME_PATTERN}$", "description": from_subject},
        "agentid": {"type": "string", "pattern": f"^{NAME_PATTERN}$", "description": from_subject},
        "correlationid": {**_SHORT_TEXT, "description": "The same for all that belongs to one story."},
        "causationid": {**_SHORT_TEXT, "description": "The id of the message that caused this one."},
        "traceparent": {"type": "string", "maxLength": 100, "description": "W3C trace context."},
    }
