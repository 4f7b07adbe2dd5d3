"""Lines of a file or of standard input, numbered, each bounded: what `publish` and `memory commit` read."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO

from thymos.errors import Refusal, RefusalCode, ThymosError
from thymos.subjects import MESSAGE_BYTES_MAX

LINE_BYTES_MAX = 2 * MESSAGE_BYTES_MAX
"""Longer lines are cut here: more than a message may hold, so that they are refused and not merely cut."""


@asynccontextmanager
async def read_lines(source: str) -> AsyncIterator[AsyncIterator[tuple[int, bytes]]]:
    """The lines of a file, or of standard input for `-`, as they come.

    Raises:
        Refusal: `not_found`: there is no such file.
        ThymosError: it cannot be read.
    """
    if source == "-":
        yield _numbered(sys.stdin.buffer)
        return
    try:
        file = open(source, "rb")  # noqa: ASYNC230, SIM115  (opening does not wait; it is closed below)
    except FileNotFoundError as error:
        raise Refusal(RefusalCode.NOT_FOUND, f"there is no file {source}", "use - for standard input") from error
    except OSError as error:
        raise ThymosError(f"{source} cannot be read: {error.strerror}") from error
    with file:
        yield _numbered(file)


async def _numbered(file: BinaryIO) -> AsyncIterator[tuple[int, bytes]]:
    """(number from 1, bytes without the line's end); blank lines are left out."""
    number = 0
    while line := await asyncio.to_thread(file.readline, LINE_BYTES_MAX):
        number += 1
        more = line
        while not more.endswith(b"\n") and len(more) == LINE_BYTES_MAX:  # the rest of a line that is too long
            more = await asyncio.to_thread(file.readline, LINE_BYTES_MAX)
        if line.strip():
            yield number, line.rstrip(b"\r\n")


async def documents(lines: AsyncIterator[tuple[int, bytes]]) -> AsyncIterator[tuple[int, bytes]]:
    """(number of its first line, bytes) of each object: a line is one, and so is `{` with what follows it up to `}`."""
    begun, spread = 0, bytearray()
    async for number, line in lines:
        if not spread and line.rstrip() != b"{":
            yield number, line
            continue
        begun = begun if spread else number
        spread += line + b"\n"
        if line.rstrip() == b"}" or len(spread) > LINE_BYTES_MAX:
            yield begun, bytes(spread)
            spread.clear()
    if spread:  # it breaks off: whoever reads it says so
        yield begun, bytes(spread)
