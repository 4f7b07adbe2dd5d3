"""Whole histories, page by page out and batch by batch in (docs/memory-export.md has the format of the lines)."""

from typing import Annotated

from pydantic import Field

from thymos.message import Count, Id
from thymos.requests.base import Answer, Nothing, Request, WriteRequest

LINE_CHARACTERS_MAX = 512 * 1024
IMPORT_LINES_MAX = 10_000

HistoryLine = Annotated[str, Field(max_length=LINE_CHARACTERS_MAX)]
"""A line of a history, without its end."""
Cursor = Annotated[str, Field(min_length=1, max_length=2_000)]
LineNumber = Annotated[int, Field(ge=1)]


class ExportHistory(Request):
    """`export`: the next lines of the history, as many as fit; answered by `ExportAnswer`.

    The first page is asked for without `after`; the others with `next_after` of the page before and the same options.
    """

    after: Cursor | None = None
    with_key: bool = False
    whole: bool = False


class ExportAnswer(Answer):
    """Lines of a history. `next_after` is null on the last page; `commits` is how many the whole history has."""

    lines: list[HistoryLine]
    commits: Count
    next_after: Cursor | None = None


class ReadImport(Nothing):
    """`import_standing`: where the import into this agent stands; answered by `ImportAnswer`."""


class ImportHistory(WriteRequest):
    """`import`: take the next lines in, all or none; answered by `ImportAnswer`.

    The agent has no memory yet, and has none until the last line is in. `first_line` is the number of the first of
    `lines`, counted from 1: what the answer before said.
    """

    first_line: LineNumber
    lines: Annotated[list[HistoryLine], Field(max_length=IMPORT_LINES_MAX)]


class AbandonImport(WriteRequest):
    """`import_abandon`: forget an import that is open; answered by `ImportAnswer` of where it stood."""


class ImportAnswer(Answer):
    """Where an import stands: at line 1 when none is open. `done` when its last line is in and the memory is there."""

    next_line: LineNumber
    digest: Id
    commits: Count
    refs: Count
    done: bool = False
