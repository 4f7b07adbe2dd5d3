"""A table of the configuration as plain JSON: what an event holds of the settings that a decision followed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from thymos.config.section import Section
from thymos.durations import format_duration


def as_written(section: Section) -> dict[str, JsonValue]:
    """The table as it could be written, every key with its value and unset ones left out; its class reads it back.

    Raises:
        ValueError: a number has more digits than a JSON number keeps.
    """
    return {name: _plain(value) for name, value in section.model_dump(exclude_none=True).items()}


def _plain(value: Any) -> JsonValue:
    match value:
        case timedelta():
            return format_duration(value)
        case Decimal():
            return _number(value)
        case Path():
            return str(value)
        case Mapping():
            return {str(key): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
    return value  # type: ignore[no-any-return]  # text, a whole number, true or false


def _number(value: Decimal) -> float | int:
    number = float(value)
    if Decimal(repr(number)) != value:
        raise ValueError(f"{value} has more digits than a JSON number keeps")
    return int(value) if value == value.to_integral_value() else number
