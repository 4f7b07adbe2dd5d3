"""`subjects.yaml`: subject grammar, headers, limits, streams, consumers and messages."""

from typing import Any

from thymos import subjects
from thymos.bus import CONTENT_TYPE_HEADER, MESSAGE_ID_HEADER
from thymos.catalogue import messages
from thymos.commands import Command
from thymos.contract.addresses import MESSAGE_ID_RULE, file_stem, subject_template
from thymos.contract.protobuf import message_name
from thymos.contract.verbs import VERBS
from thymos.envelope import BATCH_CONTENT_TYPE, BATCH_MAX, CONTENT_TYPE, NESTING_MAX
from thymos.message import Message
from thymos.names import BRANCH_PATTERN, NAME_PATTERN


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
        "protobuf": message_name(message_class),
    }
    if issubclass(message_class, Command):
        described["carried_out_by"] = message_class.SERVICE
    return described
