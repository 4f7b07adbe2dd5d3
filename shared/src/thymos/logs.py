"""Logs on stderr: one JSON object a line, with the ids of the message in hand; lines for people on a terminal.

What is logged are ids and reasons, never bodies; names and passwords in addresses are left out.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_in_hand: ContextVar[Mapping[str, str] | None] = ContextVar("thymos_in_hand", default=None)


@contextmanager
def about(**ids: str | None) -> Iterator[None]:
    """Lines logged inside say what they are about; an id that is None is left out."""
    known = {name: value for name, value in ids.items() if value}
    token = _in_hand.set({**(_in_hand.get() or {}), **known})
    try:
        yield
    finally:
        _in_hand.reset(token)


class _Formatter(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    @staticmethod
    def said(text: str) -> str:
        """Without the credentials of an address."""
        return _CREDENTIALS.sub("", text)


class JsonFormatter(_Formatter):
    """One line of JSON per record: time, level, service, logger, message, the ids of the message in hand, and the
    traceback if there is one."""

    def __init__(self, service: str = "") -> None:
        super().__init__(service)

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            **({"service": self.service} if self.service else {}),
            "logger": record.name,
            "message": self.said(record.getMessage()),
            **(_in_hand.get() or {}),
        }
        if record.exc_info:
            line["traceback"] = self.said(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


class LineFormatter(_Formatter):
    """One line for people per record, and the traceback below; nothing that a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        ids = " ".join(f"{name}={value}" for name, value in (_in_hand.get() or {}).items())
        line = f"{clock} {record.levelname.lower():7} {self.said(record.getMessage())}" + (f"  [{ids}]" if ids else "")
        shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)
        return f"{shown}\n{self.said(self.formatException(record.exc_info))}" if record.exc_info else shown


def configure_logging(level: str | None = None, service: str = "", stream: TextIO | None = None) -> None:
    """Log to stderr at `level` (default: THYMOS_LOG_LEVEL, else INFO): for people where that is a terminal, else in
    JSON. `service` says who speaks."""
    out = stream or sys.stderr
    handler = logging.StreamHandler(out)
    handler.setFormatter(LineFormatter(service) if out.isatty() else JsonFormatter(service))
    logging.basicConfig(level=(level or os.environ.get("THYMOS_LOG_LEVEL") or "INFO").upper(), handlers=[handler])


def name_service(service: str) -> None:
    """From here on the lines of this process say which service speaks."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, _Formatter):
            handler.formatter.service = service
