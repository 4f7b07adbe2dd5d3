"""Reading `thymos.toml`: bounded, checked whole, every problem named with its place."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from thymos.config.contradictions import contradictions
from thymos.config.environment import override
from thymos.config.problems import Places, Problem, found_by_validation, raise_for
from thymos.config.readers import exact_decimal
from thymos.config.sections import COLLECT, Config, Provenance
from thymos.config.toml_lines import KeyPath, key_lines
from thymos.errors import ConfigError, NoConfigError

DEFAULT_FILE = Path("thymos.toml")
LARGEST_FILE_BYTES = 1 << 20

_VERSIONING: KeyPath = ("supervisor", "versioning")


@dataclass(frozen=True)
class _Source:
    """What is read: the name for messages, the text, and the directory that relative paths start from."""

    name: str
    text: str
    directory: Path


def load(path: Path | None = None, environ: Mapping[str, str] | None = None, text: str | None = None) -> Config:
    """Read the configuration.

    Args:
        path: the file. None: the one that the variable `THYMOS_CONFIG` names, else `./thymos.toml` if it exists,
            else none, and everything has its default.
        environ: the environment, whose `THYMOS_…__…` variables override the file. None: that of this process.
        text: the text of the file, which is then not read; `path` only names it in messages.

    Returns:
        A valid configuration. Its relative paths are made absolute: those of the file from the file's directory,
        those of the environment from the current one.

    Raises:
        NoConfigError: there is no such file.
        ConfigError: it is wrong. One line per problem: file and line (or variable), dotted key, what is allowed.
    """
    environ = os.environ if environ is None else environ
    source = _source(path, environ, text)
    document = _parse(source)
    places = Places(source.name, key_lines(source.text))
    problems = override(document, environ, places)
    config = _validate(document, places, problems)
    return _settle(config, places, source.directory)


def _source(path: Path | None, environ: Mapping[str, str], text: str | None) -> _Source:
    if text is not None:
        directory = (path.parent if path else Path()).absolute()
        if len(text.encode(errors="surrogatepass")) > LARGEST_FILE_BYTES:
            raise ConfigError(f"{path or '<text>'}: larger than {LARGEST_FILE_BYTES} bytes")
        return _Source(str(path or "<text>"), text, directory)
    if path is None and environ.get("THYMOS_CONFIG"):
        path = Path(environ["THYMOS_CONFIG"])
    if path is None and not DEFAULT_FILE.exists():
        return _Source(str(DEFAULT_FILE), "", Path().absolute())
    path = path or DEFAULT_FILE
    return _Source(str(path), _read(path), path.absolute().parent)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        kind = NoConfigError if isinstance(error, FileNotFoundError) else ConfigError
        raise kind(f"{path}: cannot be read: {reason}") from error
    if len(content) > LARGEST_FILE_BYTES:
        raise ConfigError(f"{path}: larger than {LARGEST_FILE_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8: byte 0x{content[error.start]:02x}") from error


def _parse(source: _Source) -> dict[str, Any]:
    try:
        return tomllib.loads(source.text, parse_float=exact_decimal)
    except tomllib.TOMLDecodeError as error:
        message, line = str(error), source.text.count("\n") + 1
        if position := re.search(r" \(at line (\d+), column (\d+)\)$", message):
            line = int(position[1])
            message = f"{message[: position.start()]} (column {position[2]})"
        message = message.replace(" (at end of document)", " (at the end of the file)")
        raise ConfigError(f"{source.name}:{line}: not TOML: {message}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets without end
        raise ConfigError(f"{source.name}: not TOML that can be read: {error}") from error


def _validate(document: dict[str, Any], places: Places, problems: list[Problem]) -> Config:
    """The configuration, if it has no problem besides; else raise all of them."""
    try:
        config = Config.model_validate(document, context=COLLECT)
        kept: list[int] | None = None
    except ValidationError as error:
        problems = [*problems, *found_by_validation(error, places)]
        document, kept = _without(document, problems)
        try:
            config = Config.model_validate(document, context=COLLECT)
        except ValidationError:  # what is wrong cannot be left out; its contradictions are seen the next time
            raise_for(problems)
            raise
    wrong = {each.path for each in problems}
    for each in contradictions(config.versioning):
        keys = [(*_VERSIONING, *_renumbered(key, kept)) for key in each.keys]
        if not wrong.intersection(keys):
            reported = next((key for key in keys if key in places.lines or key in places.variables), keys[0])
            place = places.problem(reported, "")
            problems.append(Problem(place.source, place.line, keys[0], each.message))
    raise_for(problems)
    return config


def _without(document: dict[str, Any], problems: list[Problem]) -> tuple[dict[str, Any], list[int] | None]:
    """The document less what is wrong in it, and the numbers of the rules that remain.

    A wrong rule is left out whole; anything else by its key, so that it has its default.
    """
    rules_at = (*_VERSIONING, "rules")
    wrong_rules = {each.path[3] for each in problems if each.path[:3] == rules_at and len(each.path) > 3}
    left = _copied(document, {each.path for each in problems}, ())
    versioning = left.get("supervisor", {}).get("versioning", {})
    rules = versioning.get("rules")
    if not isinstance(rules, list):
        return left, None
    kept = [index for index in range(len(rules)) if index not in wrong_rules]
    versioning["rules"] = [rules[index] for index in kept]
    return left, kept


def _copied(table: dict[str, Any], wrong: set[KeyPath], path: KeyPath) -> dict[str, Any]:
    return {
        key: _copied(value, wrong, (*path, key)) if isinstance(value, dict) else value
        for key, value in table.items()
        if (*path, key) not in wrong
    }


def _renumbered(key: KeyPath, kept: list[int] | None) -> KeyPath:
    if kept is None or key[0] != "rules":
        return key
    return ("rules", kept[int(key[1])], *key[2:])


def _settle(config: Config, places: Places, directory: Path) -> Config:
    """Make paths absolute, and note where each value came from."""

    def absolute(path: Path, key: KeyPath) -> Path:
        return (Path().absolute() if places.is_from_environment(key) else directory) / path

    agents = {
        name: agent.model_copy(update={"scenario": absolute(agent.scenario, ("agents", name, "scenario"))})
        if agent.scenario
        else agent
        for name, agent in config.agents.items()
    }
    storage = config.storage
    if "directory" in storage.model_fields_set:
        directory = absolute(storage.directory, ("storage", "directory"))
        storage = storage.model_copy(update={"directory": directory})
    settled = config.model_copy(update={"agents": agents, "storage": storage})
    settled._provenance = Provenance(places.origins(), directory)
    return settled
