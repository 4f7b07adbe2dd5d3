"""What a configuration amounts to: every key with its value and where that came from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from thymos.config.outline import Tables, aliases_of, node_of
from thymos.config.problems import dotted
from thymos.config.readers import in_toml
from thymos.config.section import Section
from thymos.config.sections import Config
from thymos.config.toml_lines import KeyPath
from thymos.durations import format_duration

_SECRET = re.compile(r"(?i)(secret|token|passw|credential|api_?key|private_?key)")
_HIDDEN = "***"


class Setting(NamedTuple):
    """One key, its value (a `Decimal` for a number, text for a duration or path, None for unset), its origin.

    `origin` is ``default``, ``file:line`` or ``env NAME``. Passwords in addresses, and environment variables of agents
    whose name says that they are secret, are hidden.
    """

    key: str
    value: Any
    origin: str

    def __str__(self) -> str:
        return f"{self.key} = {in_toml(self.value)}"


def effective(config: Config) -> list[Setting]:
    """Every setting of `config`, in the order of the reference documentation."""
    return [
        Setting(dotted(path), _plain(path, value), _origin(config, path, written_as))
        for path, value, written_as in _leaves(config, ())
    ]


def _leaves(section: Section, path: KeyPath) -> Iterator[tuple[KeyPath, Any, tuple[str, ...]]]:
    """Every key with its value, and the names that it may be written as."""
    for name, field in type(section).model_fields.items():
        value, here = getattr(section, name), (*path, name)
        if isinstance(value, Section):
            yield from _leaves(value, here)
        elif not isinstance(node := node_of(field), Tables) or not value:
            yield here, value, (name, *aliases_of(field))
        else:
            parts = enumerate(value) if node.is_array else value.items()
            for key, each in parts:
                yield from _leaves(each, (*here, key))


def _origin(config: Config, path: KeyPath, written_as: tuple[str, ...]) -> str:
    origins = config._provenance.origins
    for name in written_as:
        if (*path[:-1], name) in origins:
            return origins[*path[:-1], name]
    for length in range(len(path) - 1, 0, -1):  # a variable may hold a whole table
        if origins.get(path[:length], "").startswith("env "):
            return origins[path[:length]]
    return "default"


def _plain(path: KeyPath, value: Any) -> Any:
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    if path[-1] == "environment" and isinstance(value, dict):
        return {name: _HIDDEN if _SECRET.search(name) else text for name, text in value.items()}
    if path[-1] == "url" and isinstance(value, str):
        value = re.sub(r"://[^@/,]*@", f"://{_HIDDEN}@", value)
        return re.sub(r"([?&](?:ssl)?password=)[^&]*", rf"\1{_HIDDEN}", value)
    return value
