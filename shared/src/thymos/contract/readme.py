"""`proto/README.md`: `readme.md` beside this file with the names, limits and examples of today filled in."""

import re

from thymos import subjects
from thymos.bus import CONTENT_TYPE_HEADER, MESSAGE_ID_HEADER
from thymos.catalogue import messages
from thymos.contract.addresses import MESSAGE_ID_RULE, file_stem, subject_template
from thymos.contract.protobuf import CLOUD_EVENT, PACKAGE, message_name
from thymos.contract.verbs import VERBS
from thymos.envelope import BATCH_CONTENT_TYPE, BATCH_MAX, CONTENT_TYPE
from thymos.events import BranchMerged, BranchRolledBack
from thymos.examples import example_of
from thymos.message import Message
from thymos.names import BRANCH_PATTERN, NAME_PATTERN
from thymos.telemetry import TaskFinished

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


def readme(template: str, generated: str) -> str:
    """The template with everything filled in; `generated` says where it comes from."""
    example = example_of(TaskFinished)
    merged = example_of(BranchMerged)
    values = {
        "generated": generated,
        "telemetry": subject_template(TaskFinished),
        "merged": subject_template(BranchMerged),
        "rolled_back": subject_template(BranchRolledBack),
        "followed": subjects.event_subject(merged.tenant, "*", "branch.*"),
        "events_stream": subjects.EVENTS.name,
        "telemetry_stream": subjects.TELEMETRY.name,
        "content_type_header": CONTENT_TYPE_HEADER,
        "content_type": CONTENT_TYPE,
        "batch_content_type": BATCH_CONTENT_TYPE,
        "batch_max": f"{BATCH_MAX:,}",
        "bytes_max": f"{subjects.MESSAGE_BYTES_MAX:,}",
        "message_id_header": MESSAGE_ID_HEADER,
        "message_id_rule": MESSAGE_ID_RULE,
        "window_minutes": str(int(subjects.TELEMETRY.duplicate_window.total_seconds() // 60)),
        "name_pattern": NAME_PATTERN,
        "branch_pattern": BRANCH_PATTERN,
        "example_subject": example.subject,
        "example_message_id": example.message_id,
        "tenant": example.tenant,
        "agent": example.agent,
        "search": subjects.request_subject(subjects.MEMORY_REPOSITORY, example.tenant, example.agent, "search"),
        "type_example": f"`{TaskFinished.type_name()}`",
        "message_example": message_name(TaskFinished),
        "cloud_event_example": f"{PACKAGE}.{CLOUD_EVENT}",
        "requests": "\n".join(
            f"| [`{verb.name}`](requests/{verb.service}.{verb.name}.json) | `{verb.subject}` |" for verb in VERBS
        ),
        "table": "\n".join(_row(message_class) for message_class in messages()),
    }
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)


def _row(message_class: type[Message]) -> str:
    schema = f"[`{message_class.type_name()}`](events/{file_stem(message_class)}.json)"
    return f"| {schema} | `{subject_template(message_class)}` | `{message_name(message_class).rpartition('.')[2]}` |"
