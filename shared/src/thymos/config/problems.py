"""What is wrong with a configuration: one line per problem, with its place, its key and what was expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from thymos.config.outline import Node, Tables, Variants, fixed_keys, locate, names_of, places_named
from thymos.config.readers import Reads, in_toml, key_in_toml, nearest, nearest_said, printable, shown
from thymos.config.toml_lines import KeyPath
from thymos.errors import ConfigError

MOST_SHOWN = 50
"""Problems listed in one error; the rest are counted."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `path` is empty where no key is to blame (the file cannot be read)."""

    source: str
    line: int | None
    path: KeyPath
    message: str

    def __str__(self) -> str:
        source = printable(self.source)
        place = f"{source}:{self.line}" if self.line else source
        return f"{place}: {dotted(self.path)}: {self.message}" if self.path else f"{place}: {self.message}"


@dataclass
class Places:
    """Where the values stand: lines of `file`, or environment variables, which win."""

    file: str
    lines: dict[KeyPath, int] = field(default_factory=dict)
    variables: dict[KeyPath, str] = field(default_factory=dict)

    def problem(self, path: KeyPath, message: str) -> Problem:
        """A problem with the key `path`, placed at it, or else at the nearest table around it that is written."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.variables:
                return Problem(self.variables[path[:length]], None, path, message)
            if path[:length] in self.lines:
                return Problem(self.file, self.lines[path[:length]], path, message)
        inside = [name for written, name in self.variables.items() if written[: len(path)] == path]
        return Problem(inside[0] if inside else self.file, None, path, message)

    def is_from_environment(self, path: KeyPath) -> bool:
        """Whether a variable holds the value, or a table around it."""
        return any(path[:length] in self.variables for length in range(1, len(path) + 1))

    def origins(self) -> dict[KeyPath, str]:
        """For every key that is written somewhere: `file:line`, or `env NAME`."""
        written = {path: f"{self.file}:{line}" for path, line in self.lines.items()}
        return written | {path: f"env {name}" for path, name in self.variables.items()}


def dotted(path: KeyPath) -> str:
    """A path as people write it: ``supervisor.versioning.rules[0].name``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{key_in_toml(part)}" for part in path)
    return text.removeprefix(".")


def found_by_validation(error: ValidationError, places: Places) -> list[Problem]:
    """The problems that pydantic found, in the words of this package."""
    found = []
    for details in error.errors(include_url=False):
        location = details["loc"]
        if location and location[-1] == "[key]":
            location = location[:-1]
        path, node = locate(location)
        if details["type"] in ("union_tag_invalid", "union_tag_not_found"):
            path = (*path, "type")
        found.append(places.problem(path, _message(details, location, path, node)))
    return found


def raise_for(problems: list[Problem]) -> None:
    """Raise all `problems` as one error, in the order of the file, one line each, bounded.

    Raises:
        ConfigError: there is at least one.
    """
    if not problems:
        return
    ordered = sorted(problems, key=lambda each: (each.line is None, each.line or 0, each.source))
    lines = [str(each) for each in ordered[:MOST_SHOWN]]
    if len(ordered) > MOST_SHOWN:
        lines.append(f"{ordered[0].source}: and {len(ordered) - MOST_SHOWN} more problems")
    raise ConfigError("\n".join(lines))


def _message(details: ErrorDetails, location: KeyPath, path: KeyPath, node: Node | None) -> str:
    context: Mapping[str, object] = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            return _unknown_key(location, path)
        case "missing":
            return f"missing; expected {expected_at(node)}"
        case "value_error":
            return str(context["error"])
        case "union_tag_not_found":
            return f"missing; expected {expected_type(node)}"
        case "union_tag_invalid":
            return _wrong_type(node, details["input"])
        case "too_long":
            return f"at most {context['max_length']} of them; got {context['actual_length']}"
        case _:
            return f"expected {expected_at(node)}; got {shown(details['input'])}"


def expected_at(node: Node | None) -> str:
    """What a key expects, in words."""
    if isinstance(node, Reads):
        return node.expected
    return "an array of tables" if isinstance(node, Tables) and node.is_array else "a table"


def expected_type(node: Node | None) -> str:
    """What the `type` of a condition or action expects."""
    return node.type.expected if isinstance(node, Variants) else "a type"


def _wrong_type(node: Node | None, table: object) -> str:
    value = table.get("type") if isinstance(table, Mapping) else None
    allowed = tuple(node.by_type) if isinstance(node, Variants) else ()
    hint = nearest_said(value, allowed)
    return f"expected {expected_type(node)}; got {shown(value)}" + (f" ({hint})" if hint else "")


def _unknown_key(location: KeyPath, path: KeyPath) -> str:
    """Say that a key is unknown, and which was probably meant: a similar one here, or the same one elsewhere."""
    _, table = locate(location[:-1])
    known = [*names_of(table)] if isinstance(table, type) else []
    where = f"[{dotted(path[:-1])}]" if len(path) > 1 else "the file"
    if not known:
        return f"unknown key; {where} has no keys in this version"
    hint = _meant(str(path[-1]), known)
    return f"unknown key{hint} (allowed in {where}: {', '.join(known)})"


def _meant(key: str, known: list[str]) -> str:
    """The key that was probably meant: the same elsewhere, else a similar one here, else a similar one elsewhere."""
    if same := places_named(key):
        return f"; did you mean {' or '.join(dotted(path) for path in same[:3])}?"
    if near := nearest(key, known):
        return f"; did you mean {in_toml(near)}?"
    if far := nearest(key, [str(path[-1]) for path, _ in fixed_keys()], 0.8):
        return f"; did you mean {' or '.join(dotted(path) for path in places_named(far)[:3])}?"
    return ""
