"""How one value of the configuration is read: what is expected, and the function that reads it.

A field's type carries a `Reads`. It is at once the validator, the phrase of the error message, and the phrase of the
reference documentation, so that the three cannot disagree. Numbers stay the exact decimals that were written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from thymos.durations import LONGEST, format_duration, parse_duration
from thymos.names import check_branch

_SHOWN = 60
"""Characters of a wrong value that a message repeats."""

_MOST_DECIMALS = 12
"""Decimal places of a number. A limit, because the cores compute with exact fractions: 1e-999999 would never end."""


class Unreadable(ValueError):
    """A value that is not what its key expects; `detail` is the remedy, or empty."""

    def __init__(self, expected: str, value: object, detail: str = "") -> None:
        super().__init__(f"expected {expected}; got {shown(value)}" + (f" ({detail})" if detail else ""))


@dataclass(frozen=True)
class Reads:
    """What a key expects, in words, and the function that reads it (raises `ValueError` with a remedy or nothing).

    `is_text` says that the value is written as text in TOML, so that an environment variable holds it without quotes.
    """

    expected: str
    read: Callable[[Any], Any]
    is_text: bool = False
    is_shown: bool = True
    """Whether a message may repeat a wrong value: not where somebody may have written a secret."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Make pydantic read the value with `self.read`, and with nothing else."""
        return core_schema.no_info_plain_validator_function(self._validate)

    def _validate(self, value: object) -> object:
        try:
            return self.read(value)
        except ValueError as error:
            raise Unreadable(self.expected, value if self.is_shown else "…", str(error)) from None


def exact_decimal(digits: str) -> Decimal:
    """A number of the file, exactly. One that `Decimal` cannot hold is infinite, and so refused where it stands."""
    try:
        return Decimal(digits)
    except InvalidOperation:
        return Decimal("Infinity")


def shown(value: object) -> str:
    """A value in TOML's notation, on one line, shortened to what a message can hold."""
    text = in_toml(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def in_toml(value: object) -> str:
    """A value as it could stand in the file, on one line; an unset value is ``(unset)``."""
    if value is None:
        return "(unset)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, timedelta):
        return in_toml(format_duration(value))
    if isinstance(value, Decimal) and value.is_finite():
        return f"{value:f}" if -_MOST_DECIMALS * 2 < value.adjusted() < _MOST_DECIMALS * 2 else str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(in_toml(item) for item in value) + "]"
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{key_in_toml(str(key))} = {in_toml(item)}" for key, item in value.items())
        return f"{{{pairs}}}"
    return printable(json.dumps(str(value), ensure_ascii=False)) if isinstance(value, (str, Path)) else str(value)


def printable(text: str) -> str:
    """`text` on one line, with what a terminal would obey rather than show escaped as TOML does."""
    return "".join(
        char if char.isprintable() else f"\\u{ord(char):04x}" if ord(char) < 1 << 16 else f"\\U{ord(char):08x}"
        for char in text
    )


def key_in_toml(key: str) -> str:
    """One part of a dotted key, quoted only where TOML asks for it, shortened to what a message can hold."""
    if key and all(character.isascii() and (character.isalnum() or character in "-_") for character in key):
        return key if len(key) <= _SHOWN else f"{key[:_SHOWN]}…"
    return shown(key)


def switch() -> Reads:
    """`true` or `false`."""
    return Reads("true or false", _boolean)


def whole(low: int, high: int, unit: str = "") -> Reads:
    """A whole number within `low` and `high`, both included."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError("without quotes" if isinstance(value, str) and value.isdecimal() else "")
        return value

    return Reads(f"a whole number{unit} from {low} to {high}", read)


def whole_seconds(low: int, high: int) -> Reads:
    """A whole number of seconds within `low` and `high`; a duration of whole seconds such as ``"15s"`` is one too."""
    plain = whole(low, high)

    def read(value: object) -> int:
        if isinstance(value, str):
            value = parse_duration(value)
        if isinstance(value, timedelta):
            if value % timedelta(seconds=1):
                raise ValueError("whole seconds only")
            value = value // timedelta(seconds=1)
        return int(plain.read(value))

    return Reads(f'a whole number of seconds from {low} to {high}, or such a duration like "15s"', read)


def number(low: str, high: str, *, open_low: bool = False, open_high: bool = False, places: int = 0) -> Reads:
    """An exact decimal between `low` and `high` with at most `places` decimal places (12 unless said otherwise).

    The bounds are included unless said to be open.
    """
    least, most = Decimal(low), Decimal(high)

    def read(value: object) -> Decimal:
        exact = _decimal(value, places or _MOST_DECIMALS)
        if not least <= exact <= most or (open_low and exact == least) or (open_high and exact == most):
            raise ValueError("")
        return exact

    least_said = f"above {low}" if open_low else f"from {low}"
    most_said = f"and below {high}" if open_high else f"and at most {high}" if open_low else f"to {high}"
    places_said = f" with at most {places} decimal places" if places else ""
    return Reads(f"a number {least_said} {most_said}{places_said}", read)


def duration(*, zero: bool = False) -> Reads:
    """A duration such as ``"30m"``; longer than nothing, unless `zero`."""

    def read(value: object) -> timedelta:
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            raise ValueError(f'the unit is missing: write "{value}s" for seconds')
        if not isinstance(value, (str, timedelta)):
            raise ValueError("")
        if isinstance(value, str):
            value = parse_duration_shortly(value)
        if not (timedelta(0) if zero else timedelta(microseconds=1)) <= value <= LONGEST:
            raise ValueError(f"at most {format_duration(LONGEST)}" if value > LONGEST else "")
        return value

    least = "" if zero else " longer than 0s"
    return Reads(f'a duration{least} like "500ms", "5s", "1m30s" or "2h"', read, is_text=True)


def parse_duration_shortly(text: str) -> timedelta:
    """`parse_duration`, raising only the remedy: the rule is in the phrase of the key already."""
    try:
        return parse_duration(text)
    except ValueError as error:
        _, _, remedy = str(error).rpartition(f"{text!r}: ")
        raise ValueError(remedy if remedy != str(error) else "") from None


def choice(*allowed: str, refused: Mapping[str, str] | None = None) -> Reads:
    """One of `allowed`; a value in `refused` is known, and refused with its own explanation."""

    def read(value: object) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        if isinstance(value, str) and value in (refused or {}):
            raise ValueError((refused or {})[value])
        raise ValueError(nearest_said(value, allowed))

    quoted = [in_toml(name) for name in allowed]
    return Reads(quoted[0] if len(quoted) == 1 else f"one of {', '.join(quoted)}", read, is_text=True)


def text(most: int, what: str = "text") -> Reads:
    """Text of 1 to `most` printable characters on one line."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not value.strip() or len(value) > most or not value.isprintable():
            raise ValueError("")
        return value

    return Reads(f"{what} of 1 to {most} printable characters", read, is_text=True)


def texts(most: int, *, what: str, allowed: tuple[str, ...] = (), least: int = 1) -> Reads:
    """A list of `least` to `most` texts, each from `allowed` and at most once if `allowed` is given."""

    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)) or not least <= len(value) <= most:
            raise ValueError("")
        for item in value:
            if not isinstance(item, str) or not item or "\0" in item:
                raise ValueError(f"{shown(item)} is not one")
            if allowed and item not in allowed:
                hint = nearest_said(item, allowed)
                raise ValueError(f"{shown(item)} is not one" + (f"; {hint}" if hint else ""))
        if allowed and len(set(value)) < len(value):
            raise ValueError("each only once")
        return tuple(value)

    among = f", each one of {', '.join(in_toml(name) for name in allowed)}" if allowed else ""
    return Reads(f"a list of {least} to {most} {what}{among}", read)


def branch() -> Reads:
    """The name of a memory branch."""

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("")
        try:
            return check_branch(value)
        except ValueError:
            raise ValueError("") from None

    return Reads(
        "a branch name (1 to 127 characters of A-Z, a-z, 0-9, '_' and '-', starting with a letter or digit)",
        read,
        is_text=True,
    )


def path(what: str) -> Reads:
    """The path of a file or directory, relative to the configuration file unless absolute."""

    def read(value: object) -> Path:
        if isinstance(value, Path):
            return value
        if not isinstance(value, str) or not value.strip() or "\0" in value or len(value) > 4096:
            raise ValueError("")
        return Path(value)

    return Reads(f"the path of {what}, relative to this file", read, is_text=True)


def variables() -> Reads:
    """Environment variables for a process: names and texts."""

    def read(value: object) -> dict[str, str]:
        if not isinstance(value, Mapping) or len(value) > 200:
            raise ValueError("")
        for name, setting in value.items():
            if not isinstance(name, str) or not name or "=" in name or "\0" in name:
                raise ValueError(f"{shown(name)} is not the name of a variable")
            if name.startswith("THYMOS_"):
                raise ValueError(f"{name[:_SHOWN]} is set by worktree-scaler itself")
            if not isinstance(setting, str) or "\0" in setting:
                raise ValueError(f"{shown(name)} must be text; got {shown(setting)}")
        return dict(value)

    return Reads("a table of at most 200 environment variables, each text", read)


def variable_name() -> Reads:
    """The name of an environment variable."""

    def read(value: object) -> str:
        if not isinstance(value, str) or re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,199}", value) is None:
            raise ValueError("its name, not its value")
        return value

    return Reads("the name of an environment variable (letters, digits and '_')", read, is_text=True, is_shown=False)


def server_urls() -> Reads:
    """One or more NATS servers, separated by commas."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not value.isprintable():
            raise ValueError("")
        for url in value.split(","):
            parts = urlsplit(url.strip())
            _ = parts.port  # raises ValueError where it is not a number up to 65535
            if parts.scheme not in ("nats", "tls", "ws", "wss") or not parts.hostname:
                raise ValueError("")
        return value

    return Reads(
        'a server like "nats://127.0.0.1:4222" (nats, tls, ws or wss), or several separated by commas',
        read,
        is_text=True,
    )


def postgresql_url() -> Reads:
    """The address of a PostgreSQL database."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not value.isprintable() or len(value) > 2048:
            raise ValueError("")
        parts = urlsplit(value)
        if parts.scheme not in ("postgresql", "postgres") or not value.startswith(f"{parts.scheme}://"):
            raise ValueError("an SQLite file lies in `directory`" if parts.scheme == "sqlite" else "")
        if not value.removeprefix(f"{parts.scheme}://").strip("/?"):
            raise ValueError("it names neither a server nor a database")
        _check_as_psycopg_does(value)
        return value

    return Reads('a database like "postgresql://user@host/name"', read, is_text=True, is_shown=False)


def _check_as_psycopg_does(url: str) -> None:
    """Raises ValueError for what libpq cannot read, such as a misspelt setting. Where psycopg is not installed the
    service says so when it starts."""
    from thymos.errors import Refusal

    try:
        from thymos.postgresql.faults import parsed
    except ImportError:
        return
    try:
        parsed(url)
    except Refusal as error:
        raise ValueError(error.message) from None


def host() -> Reads:
    """An address or a name of this machine to listen on."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= 253 or not value.isascii():
            raise ValueError("")
        if not all(character.isalnum() or character in ".:-_" for character in value):
            raise ValueError("without a scheme, and the port is a key of its own")
        return value

    return Reads('an address or a host name like "127.0.0.1" or "0.0.0.0"', read, is_text=True)


def http_url() -> Reads:
    """The address of an HTTP server."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not value.isprintable() or len(value) > 2048:
            raise ValueError("")
        parts = urlsplit(value)
        _ = parts.port  # raises ValueError where it is not a number up to 65535
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("")
        return value

    return Reads('an address like "http://127.0.0.1:4318" (http or https)', read, is_text=True)


def nearest(value: object, allowed: Sequence[str], likeness: float = 0.6) -> str:
    """The allowed value that resembles the wrong one most; empty if none does, by difflib's ratio, `likeness`."""
    if not isinstance(value, str) or len(value) > _SHOWN * 2:
        return ""
    same = [name for name in allowed if _folded(name) == _folded(value)]
    return next(iter(same or get_close_matches(value, allowed, n=1, cutoff=likeness)), "")


def nearest_said(value: object, allowed: Sequence[str]) -> str:
    """``did you mean "AutoMerge"?``, or nothing when no allowed value resembles the wrong one."""
    near = nearest(value, allowed)
    return f"did you mean {in_toml(near)}?" if near else ""


def _folded(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("without quotes" if value in ("true", "false") else "")
    return value


def _decimal(value: object, places: int) -> Decimal:
    if isinstance(value, float):
        value = Decimal(repr(value))  # the digits that were written, not the binary fraction behind them
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise ValueError("without quotes" if isinstance(value, str) and _looks_like_number(value) else "")
    exact = Decimal(value)
    if not exact.is_finite():
        raise ValueError("")
    exponent = exact.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -places or exact.adjusted() > _MOST_DECIMALS:
        raise ValueError(f"at most {places} decimal places")
    return exact


def _looks_like_number(value: str) -> bool:
    return value.replace(".", "", 1).isdecimal()
