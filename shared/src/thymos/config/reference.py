"""The reference documentation of the configuration, written from the models.

python -m thymos.config.reference > docs/reference/configuration.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from thymos.config.outline import Node, Tables, Variants, node_of
from thymos.config.problems import dotted
from thymos.config.readers import Reads, in_toml
from thymos.config.section import Section
from thymos.config.sections import Config
from thymos.config.toml_lines import KeyPath

_INTRODUCTION = """\
<!-- Generated from the models in shared/src/thymos/config by `python -m thymos.config.reference`. -->

# Configuration: `thymos.toml`

Every command takes `--config FILE`; without it, the file that `THYMOS_CONFIG` names, else `./thymos.toml` if it exists,
else the defaults below. `thymos config check FILE` says what is wrong with a file, and `thymos config show` what is in
force and where it comes from.

- An unknown key, a wrong type or unit and a contradiction are errors; all of a file are reported together, each with
  its line, its key and what is allowed.
- Numbers are exact decimals: `0.9` is nine tenths.
- Durations are text: whole numbers with a unit each (`d`, `h`, `m`, `s`, `ms`), largest unit first: `"1m30s"`.
- Relative paths start at the file's directory; those in environment variables, at the current one.

## Environment variables

`THYMOS_` and the key in upper case, with two underscores for each dot, override the file:

    THYMOS_SUPERVISOR__VERSIONING__SUCCESS_CRITERIA__MIN_SUCCESS_RATE=0.75
    THYMOS_SUPERVISOR__VERSIONING__AUTO_MERGE_ENABLED=false
    THYMOS_AGENTS__SUPPORT__COMMAND='["python3", "agent.py"]'

Text is written without quotes, anything else as in TOML. `THYMOS_NATS_URL` is short for `THYMOS_NATS__URL`. In an
agent's name `_` stands for `-` too. A table of rules or of an agent's environment is set whole, as one TOML value.
A variable that has two underscores and is no key is an error; one without two underscores is no setting.
"""

_CONTRADICTIONS = """\
## What contradicts

- `success_criteria.min_success_rate` must be above `failure_criteria.min_success_rate`, and the other limits of
  `success_criteria` at most those of `failure_criteria`; the same for criteria that a rule has of its own.
- `min_worktrees` is at most `max_worktrees`; `scale_down_threshold` is below `scale_up_threshold`.
- `experiments.task_timeout` is at most `experiment_timeout`.
- Each rule has a name of its own, and `ScaleWorktrees` stays within `min_worktrees` and `max_worktrees`.
- An agent with a `scenario` has a `command`.
"""


def reference() -> str:
    """The text of ``docs/reference/configuration.md``, in Markdown."""
    parts = [_INTRODUCTION, *_sections(Config, ()), _CONTRADICTIONS]
    return "\n".join(parts)


def _sections(section: type[Section], path: KeyPath) -> Iterator[str]:
    """A chapter for `section` and for every table in it."""
    tables = {name: node_of(field) for name, field in section.model_fields.items()}
    if path and (not all(isinstance(node, type) for node in tables.values()) or not tables):
        yield _chapter(f"## `{_header(path)}`", section)
    for name, node in tables.items():
        here = (*path, name)
        if isinstance(node, type):
            yield from _sections(node, here)
        elif isinstance(node, Tables):
            yield from _tables(node, here)


def _tables(tables: Tables, path: KeyPath) -> Iterator[str]:
    header = f"[[{dotted(path)}]]" if tables.is_array else f"[{dotted(path)}.<name>]"
    yield _chapter(f"## `{header}`", tables.each)
    for name, field in tables.each.model_fields.items():
        node = node_of(field)
        if isinstance(node, Variants):
            yield f"### `{name}`\n\n`{name} = {{type = …}}`, with the keys of its type:\n"
            for kind, variant in node.by_type.items():
                yield _chapter(f'#### `{name} = {{type = "{kind}"}}`', variant)


def _header(path: KeyPath) -> str:
    return f"[{dotted(path)}]"


def _chapter(heading: str, section: type[Section]) -> str:
    # What has no description has a chapter of its own (a table), or is its heading (the type of a variant).
    fields = [(name, field) for name, field in section.model_fields.items() if field.description]
    rows = [_row(name, field) for name, field in fields if not isinstance(node_of(field), Tables)]
    about = " ".join((section.__doc__ or "").split())
    if not rows:
        return f"{heading}\n\n{about}\n"
    table = "\n".join(["| key | default | allowed | meaning |", "|---|---|---|---|", *rows])
    return f"{heading}\n\n{about}\n\n{table}\n"


def _row(name: str, field: FieldInfo) -> str:
    node = node_of(field)
    cells = [f"`{name}`", _default(field), _allowed(node), field.description or ""]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: FieldInfo) -> str:
    default: Any = field.default
    if default is PydanticUndefined:
        return "required"
    return "unset" if default is None else f"`{in_toml(default)}`"


def _allowed(node: Node) -> str:
    return node.expected if isinstance(node, Reads) else "a table"


if __name__ == "__main__":
    sys.stdout.write(reference())
