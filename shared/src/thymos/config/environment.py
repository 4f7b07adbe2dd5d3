"""Environment variables that override the file: ``THYMOS_SUPERVISOR__VERSIONING__AUTO_MERGE_ENABLED=false``.

Two underscores stand for the dot between keys; upper case stands for lower case. A key that is text takes the value as
it is; any other takes it as TOML (``0.75``, ``true``, ``["cautious"]``). Variables without two underscores are no
overrides: the suite has some of its own, and other programs make more.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from thymos.config.outline import Tables, Variants, locate
from thymos.config.problems import Places, Problem, dotted
from thymos.config.readers import Reads, exact_decimal
from thymos.config.toml_lines import KeyPath

PREFIX = "THYMOS_"
SHORT_FORMS: Mapping[str, KeyPath] = {"THYMOS_NATS_URL": ("nats", "url")}
"""Documented variables with one underscore that are overrides all the same."""

_NEVER_OVERRIDES = "THYMOS_TEST_"
_LONGEST_VALUE = 1 << 16


def override(document: dict[str, Any], environ: Mapping[str, str], places: Places) -> list[Problem]:
    """Put the values of `environ` into `document`, and note their origin in `places`.

    Returns the problems of variables that cannot be put anywhere. Those of their values are found by validation.
    """
    problems: list[Problem] = []
    for name, path in _overrides(environ, document):
        if not all(path):
            problems.append(Problem(name, None, (), "an empty key between underscores"))
        elif path in places.variables:
            if environ[places.variables[path]] != environ[name]:
                problems.append(Problem(name, None, path, f"{places.variables[path]} says something else"))
        elif len(environ[name]) > _LONGEST_VALUE:
            problems.append(Problem(name, None, path, f"longer than {_LONGEST_VALUE} characters"))
        elif trouble := _put(document, path, _value(path, environ[name])):
            problems.append(Problem(name, None, path, trouble))
        else:
            _note(places, path, name)
    return problems


def _overrides(environ: Mapping[str, str], document: Mapping[str, Any]) -> Iterator[tuple[str, KeyPath]]:
    """The variables that are overrides, by name, each with its path."""
    for name in sorted(environ):
        if name in SHORT_FORMS:
            yield name, SHORT_FORMS[name]
        elif name.startswith(PREFIX) and not name.startswith(_NEVER_OVERRIDES) and "__" in name[len(PREFIX) :]:
            parts = name[len(PREFIX) :].lower().split("__")
            yield name, tuple(_agent(parts, document) if parts[0] == "agents" else parts)


def _agent(parts: list[str], document: Mapping[str, Any]) -> list[str]:
    """A variable cannot have ``-`` in its name: there ``support_desk`` stands for the agent ``support-desk``, too."""
    agents = document.get("agents")
    if len(parts) < 2 or not isinstance(agents, Mapping) or parts[1] in agents:
        return parts
    same = [agent for agent in agents if str(agent).replace("-", "_") == parts[1]]
    return [parts[0], same[0], *parts[2:]] if len(same) == 1 else parts


def _value(path: KeyPath, text: str) -> Any:
    _, node = locate(path)
    if isinstance(node, Reads) and node.is_text:
        return text
    try:
        read = tomllib.loads(f"value = {text.strip()}", parse_float=exact_decimal)
    except (ValueError, RecursionError):
        return text
    return read["value"] if len(read) == 1 else text


def _put(document: dict[str, Any], path: KeyPath, value: Any) -> str:
    """Set the value, making the tables on the way; say what is in the way, if anything is."""
    table: Any = document
    for depth, part in enumerate(path[:-1], start=1):
        _, node = locate(path[:depth])
        if isinstance(node, (Reads, Variants)) or (isinstance(node, Tables) and node.is_array):
            return f"{dotted(path[:depth])} is one value; set it whole"
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            return f"{dotted(path[:depth])} is not a table; set it whole"
    table[path[-1]] = value
    return ""


def _note(places: Places, path: KeyPath, name: str) -> None:
    """The variable replaces what the file says at `path` and below."""
    for written in [each for each in places.lines if each[: len(path)] == path]:
        del places.lines[written]
    places.variables[path] = name
