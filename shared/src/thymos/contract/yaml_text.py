"""The YAML that the contract is written in: block style, text quoted as in JSON, which YAML reads too."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_PLAIN = re.compile(r"[A-Za-z$][A-Za-z0-9_ $-]*", re.ASCII)
_SAID_OTHERWISE = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
"""Words that YAML reads as something else than text."""


def yaml_text(document: Mapping[str, Any], generated: str) -> str:
    """A document as a whole file; `generated` says where it comes from."""
    return f"# {generated}\n" + "\n".join(yaml_lines(document)) + "\n"


def yaml_lines(value: Mapping[str, Any] | Sequence[Any], indent: str = "") -> Iterator[str]:
    """A mapping or a list as YAML in block style; text is quoted as in JSON, which YAML reads too."""
    items = value.items() if isinstance(value, Mapping) else (("-", item) for item in value)
    for key, item in items:
        head = key if key == "-" else f"{_key(key)}:"
        if isinstance(item, Mapping | list) and item:
            nested = list(yaml_lines(item, indent + "  "))
            if head == "-":
                yield f"{indent}- {nested[0].lstrip()}"
                yield from nested[1:]
            else:
                yield f"{indent}{head}"
                yield from nested
        else:
            yield f"{indent}{head} {json.dumps(item, ensure_ascii=False)}"


def _key(key: str) -> str:
    plain = _PLAIN.fullmatch(key) and key.lower() not in _SAID_OTHERWISE
    return key if plain else json.dumps(key)
