"""The contract for those who do not use this package: JSON Schemas of messages and requests, and the subjects.

A schema describes the whole CloudEvent as a writer must write it, so that it is enough to write a message from.
Readers accept more: unknown fields, and `null` for what may be left out.
"""

import inspect
import re
from typing import Any, NamedTuple

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from thymos import requests, subjects
from thymos.bus import CONTENT_TYPE_HEADER, MESSAGE_ID_HEADER
from thymos.catalogue import messages
from thymos.commands import Command
from thymos.envelope import BATCH_CONTENT_TYPE, BATCH_MAX, CONTENT_TYPE, NESTING_MAX, subject_of
from thymos.errors import RefusalCode
from thymos.examples import example_of
from thymos.message import Message
from thymos.names import BRANCH_PATTERN, NAME_PATTERN

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MESSAGE_ID_RULE = "<tenantid>/<agentid>/<source>/<id>"
_TOKEN_PATTERNS = {
    "<tenant>": NAME_PATTERN,
    "<agent>": NAME_PATTERN,
    "<branch>": BRANCH_PATTERN,
    "<service>": "(" + "|".join(subjects.SERVICES) + ")",
}
_SHORT_TEXT = {"type": "string", "minLength": 1, "maxLength": 200}


class Verb(NamedTuple):
    """A request that a service answers, for those who ask."""

    service: str
    name: str
    request: type[requests.Request]
    answer: type[requests.Answer]

    @property
    def subject(self) -> str:
        """Where it is asked."""
        return subjects.request_subject(self.service, "<tenant>", "<agent>", self.name)


def _verbs(service: str, **verbs: tuple[type[requests.Request], type[requests.Answer]]) -> tuple[Verb, ...]:
    return tuple(Verb(service, name, *pair) for name, pair in verbs.items())


VERBS = (
    *_verbs(
        subjects.MEMORY_REPOSITORY,
        get=(requests.GetMemory, requests.Memory),
        list=(requests.ListMemories, requests.MemoryPage),
        search=(requests.SearchMemories, requests.SearchAnswer),
        commit=(requests.CommitChanges, requests.CommitAnswer),
        log=(requests.ReadLog, requests.LogAnswer),
        show=(requests.ShowCommit, requests.ShowAnswer),
        diff=(requests.DiffRefs, requests.DiffAnswer),
        branches=(requests.ListBranches, requests.BranchesAnswer),
        branch_create=(requests.NewBranch, requests.BranchAnswer),
        branch_delete=(requests.RemoveBranch, requests.BranchAnswer),
        merge=(requests.Merge, requests.MergeAnswer),
        rollback=(requests.Rollback, requests.CommitAnswer),
        snapshot=(requests.Snapshot, requests.SnapshotAnswer),
        worktree_open=(requests.OpenWorktree, requests.WorktreeAnswer),
        worktree_stage=(requests.StageChanges, requests.WorktreeAnswer),
        worktree_commit=(requests.CommitWorktree, requests.CommitAnswer),
        worktree_close=(requests.CloseWorktree, requests.WorktreeAnswer),
        worktrees=(requests.ListWorktrees, requests.WorktreesAnswer),
    ),
    *_verbs(
        subjects.METRICS_COLLECTOR,
        metrics=(requests.ReadMetrics, requests.MetricsAnswer),
        agents=(requests.ListAgents, requests.AgentsAnswer),
    ),
    *_verbs(
        subjects.DECISION_ENGINE,
        experiments=(requests.ListExperiments, requests.ExperimentsAnswer),
        experiment=(requests.ReadExperiment, requests.ExperimentRecord),
        decisions=(requests.ListDecisions, requests.DecisionsAnswer),
        stats=(requests.ReadStats, requests.VersioningMetrics),
    ),
    *_verbs(
        subjects.WORKTREE_SCALER,
        worktrees=(requests.ListAgentWorktrees, requests.AgentWorktreesAnswer),
        agents=(requests.ListFleets, requests.FleetsAnswer),
        scenario=(requests.ReadScenario, requests.ScenarioAnswer),
    ),
)


def file_stem(message_class: type[Message]) -> str:
    """The name of a message's files, for example `branch.merged.v1`."""
    return f"{message_class.NAME}.v{message_class.VERSION}"


def subject_template(message_class: type[Message]) -> str:
    """The subject with `<tenant>`, `<agent>`, `<branch>` and `<service>` for what varies."""
    placeholders = {"branch": "<branch>", "handler": "<service>"}
    fields = {name: text for name, text in placeholders.items() if name in message_class.model_fields}
    return subject_of(example_of(message_class).data.model_copy(update=fields), "<tenant>", "<agent>")


def subject_pattern(template: str) -> str:
    """A regular expression (anchored) for the subjects of a template."""
    return "^" + r"\.".join(_TOKEN_PATTERNS.get(token, re.escape(token)) for token in template.split(".")) + "$"


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


def subjects_document() -> dict[str, Any]:
    """Subject grammar, headers, limits, streams, consumers and messages."""
    return {
        "names": {
            "tenant": NAME_PATTERN,
            "agent": NAME_PATTERN,
            "branch": BRANCH_PATTERN,
            "service": list(subjects.SERVICES),
        },
        "subjects": {
            "telemetry": subjects.telemetry_subject("<tenant>", "<agent>"),
            "metrics": subjects.metrics_subject("<tenant>", "<agent>", "<branch>"),
            "event": subjects.event_subject("<tenant>", "<agent>", "<entity>.<verb>"),
            "command": subjects.command_subject("<service>", "<tenant>", "<agent>", "<entity>.<verb>"),
            "task": subjects.task_subject("<tenant>", "<agent>", "<branch>"),
            "dead": subjects.dead_subject("<service>", "<tenant>"),
            "request": subjects.request_subject("<service>", "<tenant>", "<agent>", "<verb>"),
        },
        "headers": {
            CONTENT_TYPE_HEADER: CONTENT_TYPE,
            f"{CONTENT_TYPE_HEADER} of a telemetry batch": BATCH_CONTENT_TYPE,
            MESSAGE_ID_HEADER: MESSAGE_ID_RULE,
        },
        "limits": {
            "message_bytes": subjects.MESSAGE_BYTES_MAX,
            "batch_events": BATCH_MAX,
            "nesting_levels": NESTING_MAX,
        },
        "streams": [_stream(stream) for stream in subjects.STREAMS],
        "consumers": [_consumer(consumer) for consumer in subjects.CONSUMERS],
        "task_consumer": _consumer(subjects.task_consumer("<tenant>", "<agent>", "<branch>")),
        "buckets": [{"name": b.name, "history": b.history, "bytes_max": b.bytes_max} for b in subjects.BUCKETS],
        "messages": [_message(message_class) for message_class in messages()],
        "requests": [
            {"subject": verb.subject, "schema": f"requests/{verb.service}.{verb.name}.json"} for verb in VERBS
        ],
    }


def _stream(stream: subjects.Stream) -> dict[str, Any]:
    return {
        "name": stream.name,
        "subjects": list(stream.subjects),
        "retention": stream.retention.value,
        "age_max_seconds": int(stream.age_max.total_seconds()) if stream.age_max else None,
        "bytes_max": stream.bytes_max,
        "discard": "old" if stream.discard_old else "new",
        "deny_delete": stream.for_ever,
        "deny_purge": stream.for_ever,
        "duplicate_window_seconds": int(stream.duplicate_window.total_seconds()),
    }


def _consumer(consumer: subjects.Consumer) -> dict[str, Any]:
    return {
        "stream": consumer.stream.name,
        "durable": consumer.durable,
        "service": consumer.service,
        "filters": list(consumer.filters),
        "batch": consumer.batch,
        "max_ack_pending": consumer.max_ack_pending,
        "ack_wait_seconds": int(consumer.ack_wait.total_seconds()),
        "attempts_before_dead_letter": consumer.deliver_max,
    }


def _message(message_class: type[Message]) -> dict[str, Any]:
    described = {
        "type": message_class.type_name(),
        "kind": message_class.KIND.value,
        "stream": subjects.STREAM_OF_KIND[message_class.KIND].name,
        "subject": subject_template(message_class),
        "schema": f"events/{file_stem(message_class)}.json",
        "example": f"examples/{file_stem(message_class)}.json",
    }
    if issubclass(message_class, Command):
        described["carried_out_by"] = message_class.SERVICE
    return described
