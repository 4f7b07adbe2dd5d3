"""What a message is called outside: its files, its subject, and which subjects are its."""

import re

from thymos import subjects
from thymos.envelope import subject_of
from thymos.examples import example_of
from thymos.message import Message
from thymos.names import BRANCH_PATTERN, NAME_PATTERN

MESSAGE_ID_RULE = "<tenantid>/<agentid>/<source>/<id>"
PATTERN_OF_PLACEHOLDER = {
    "<tenant>": NAME_PATTERN,
    "<agent>": NAME_PATTERN,
    "<branch>": BRANCH_PATTERN,
    "<service>": "(" + "|".join(subjects.SERVICES) + ")",
}
"""What stands for each `<placeholder>` of a subject template, as a regular expression."""


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
    return "^" + r"\.".join(PATTERN_OF_PLACEHOLDER.get(token, re.escape(token)) for token in template.split(".")) + "$"


def subject_matches(subject: str, pattern: str) -> bool:
    """Whether a subject is among those of a NATS pattern: `*` stands for one token, a last `>` for one or more."""
    tokens, wanted = subject.split("."), pattern.split(".")
    if wanted[-1] == ">":
        return len(tokens) >= len(wanted) and subject_matches(
            ".".join(tokens[: len(wanted) - 1]), ".".join(wanted[:-1])
        )
    return len(tokens) == len(wanted) and all(want in ("*", token) for token, want in zip(tokens, wanted, strict=True))
