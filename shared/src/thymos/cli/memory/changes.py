"""The lines of changes that `commit` and `worktree stage` read: all of them, or a refusal that names the line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thymos.cli.exit_codes import UsageError
from thymos.errors import Refusal, RefusalCode

if TYPE_CHECKING:
    from thymos.commands import MemoryChange


@dataclass(frozen=True)
class ReadChanges:
    """Changes with the number of each one's line, to be "committed" or "staged"."""

    changes: list[MemoryChange]
    lines: list[int]
    what: str

    @contextmanager
    def asked(self) -> Iterator[None]:
        """What the repository refuses within is told with the line that it is about. Raises Refusal."""
        try:
            yield
        except Refusal as error:
            if error.code is RefusalCode.UNAVAILABLE:  # nobody knows what was done
                raise
            words = f"{self._line(error)}{error.message}; nothing was {self.what}"
            raise Refusal(error.code, words, error.hint) from error

    def _line(self, error: Refusal) -> str:
        for number, change in zip(self.lines, self.changes, strict=True):
            if error.message.startswith(f"cannot {change.op} {change.id}:"):
                return f"line {number}: "
        return ""


async def read_changes(source: str, what: str) -> ReadChanges:
    """The changes of a file, or of standard input for `-`.

    Raises:
        UsageError: there are none, or a line is no change, or puts what an earlier one puts already.
    """
    from thymos.cli.json_lines import read_lines

    read = ReadChanges([], [], what)
    put: dict[str, int] = {}
    async with read_lines(source) as lines:
        async for number, text in lines:
            try:
                change = _change(text)
                if change.op == "put" and change.id in put:
                    raise ValueError(f"line {put[change.id]} puts {change.id} already; a put replaces all of it")
            except ValueError as error:
                raise UsageError(f"line {number}: {_words(error)}; nothing was {what}") from error
            if change.op == "delete":
                put.pop(change.id, None)
            elif change.op == "put":
                put[change.id] = number
            read.changes.append(change)
            read.lines.append(number)
    if not read.changes:
        raise UsageError('no changes; a line is such as {"op": "put", "id": "refunds", "content": "…"}')
    return read


def _change(text: bytes) -> MemoryChange:
    """The change on a line. Raises ValueError: it is none, or says what would be passed over."""
    from thymos.commands import MemoryChange

    change = MemoryChange.model_validate_json(text)
    known = list(MemoryChange.model_fields)
    for key in json.loads(text, object_pairs_hook=_unique):
        if key not in known:
            raise ValueError(f"unknown key {key!r}{_meant(key, known)}")
    if change.op == "put" and change.content is None:
        raise ValueError(f"put {change.id} has no content: give it, or use modify")
    if change.op == "delete" and (said := [key for key in known[2:] if getattr(change, key) is not None]):
        raise ValueError(f"delete {change.id} has {' and '.join(said)}: a delete has op and id alone")
    return change


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r:.60} stands there twice: keep one")
        found[key] = value
    return found


def _meant(key: str, known: list[str]) -> str:
    from thymos.config.readers import nearest

    near = nearest(key, known)
    return f" (did you mean {near}?)" if near else f" (a change has {', '.join(known)})"


def _words(error: ValueError) -> str:
    from pydantic import ValidationError

    from thymos.envelope import first_problem

    return first_problem(error) if isinstance(error, ValidationError) else str(error)
