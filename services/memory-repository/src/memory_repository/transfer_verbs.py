"""What `thymos memory export` and `thymos memory import` do: whole histories over the bus, in pages and in batches.

The command line finds it by the entry point `thymos.histories`, when one of the two is called.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Final

from memory_repository.core.transfer.fast_export import FastExport
from memory_repository.core.transfer.lines import decode, renumbered
from memory_repository.library.sources import Numbered, batches, broken_off, lines_of, lines_of_git, skip
from thymos import requests, subjects
from thymos.cli.exit_codes import UsageError
from thymos.cli.options import Where
from thymos.cli.output import count, say
from thymos.cli.progress import PROGRESS_EVERY, Progress
from thymos.cli.whole_file import keep, output
from thymos.client import Client
from thymos.errors import Refusal, RefusalCode, ThymosError, UnavailableError

BATCH_LINES: Final = 1_000
BATCH_BYTES: Final = 768 * 1024
"""Lines of one request: below what a message holds."""
PATIENCE: Final = timedelta(seconds=120)
"""How long an answer may take: the first page counts what is reachable, a large commit is written at once."""


async def export(where: Where, agent: str, file: str, *, git: bool, with_key: bool, force: bool) -> None:
    """See `thymos memory export`."""
    if git and with_key:
        raise UsageError("git has no place for the key: leave --git or --with-key out")
    target = None if file == "-" else Path(file)
    if not force:
        keep(target)
    as_git = FastExport()
    commits = done = 0
    async with where.client() as client:
        with output(target, force=force, private=with_key) as write, Progress("exported", "lines") as progress:
            async for line in _exported(client, agent, with_key=with_key, whole=git):
                text = line.encode()
                write(as_git.told(decode(text)) if git else text + b"\n")
                commits += line.startswith('{"type":"commit"')
                done += 1
                if done % PROGRESS_EVERY == 0:
                    progress.at(done)
    say(f"{count(commits, 'commit')} exported{'' if file == '-' else f' to {file}'}")


async def import_(where: Where, agent: str, file: str, *, git: bool, resume: bool) -> requests.ImportAnswer:
    """See `thymos memory import`."""
    async with where.client() as client:
        with _source(file) as source, closing((lines_of_git if git else lines_of)(source)) as lines:
            return await _imported(client, agent, lines, resume=resume)


async def _exported(client: Client, agent: str, *, with_key: bool, whole: bool) -> AsyncIterator[str]:
    after: str | None = None
    while True:
        request = requests.ExportHistory(after=after, with_key=with_key, whole=whole)
        data = await client.ask(subjects.MEMORY_REPOSITORY, agent, "export", request, PATIENCE)
        page = requests.ExportAnswer.model_validate(data)
        for line in page.lines:
            yield line
        after = page.next_after
        if after is None:
            return


async def _imported(client: Client, agent: str, lines: Iterator[Numbered], *, resume: bool) -> requests.ImportAnswer:
    standing = await _ask(client, agent, "import_standing", requests.ReadImport())
    if standing.next_line > 1 and not resume:
        message = f"an import into {agent} is open, at line {standing.next_line:,}"
        raise Refusal(RefusalCode.CONFLICT, message, "go on with --resume, or forget it with --abandon")
    if standing.next_line == 1 and resume:
        hint = "it may have come in whole: see whether the agent has a memory; else begin anew, without --resume"
        raise Refusal(RefusalCode.CONFLICT, f"no import into {agent} is open", hint)
    skip(lines, standing.next_line, standing.digest)
    cut = batches(lines, BATCH_LINES, BATCH_BYTES)
    with Progress("imported", "lines") as progress:
        # The file is read beside the loop, so that the connection lives while standard input makes us wait.
        while (batch := await asyncio.to_thread(next, cut, None)) is not None:
            standing = await _taken(client, agent, standing.next_line, batch)
            progress.at(standing.next_line - 1)
    if not standing.done:
        hint = "what came in is kept aside: mend the file and go on with --resume, or forget it with --abandon"
        raise broken_off(standing.next_line, hint)
    return standing


async def _taken(client: Client, agent: str, first: int, batch: list[Numbered]) -> requests.ImportAnswer:
    try:
        texts = [line.decode() for _, line in batch]
    except UnicodeDecodeError:
        number = next(number for number, line in batch if not _is_text(line))
        raise Refusal(RefusalCode.INVALID, f"line {number:,}: this is not UTF-8") from None
    request = requests.ImportHistory(first_line=first, lines=texts, idempotency_key=_key())
    try:
        return await _ask(client, agent, "import", request)
    except Refusal as refusal:
        raise renumbered(refusal, lambda number: batch[number - first][0]) from None
    except UnavailableError as error:
        raise UnavailableError(f"{error}; what came in is kept: go on with --resume") from error


async def _ask(client: Client, agent: str, verb: str, request: requests.Request) -> requests.ImportAnswer:
    data = await client.ask(subjects.MEMORY_REPOSITORY, agent, verb, request, PATIENCE)
    return requests.ImportAnswer.model_validate(data)


@contextmanager
def _source(file: str) -> Iterator[BinaryIO]:
    """What a file holds, or standard input for `-`. Raises Refusal (not_found), ThymosError."""
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        source = open(file, "rb")  # noqa: SIM115  (closed below; only opening is to be caught)
    except FileNotFoundError as error:
        raise Refusal(RefusalCode.NOT_FOUND, f"there is no file {file}", "use - for standard input") from error
    except OSError as error:
        raise ThymosError(f"{file} cannot be read: {error.strerror}") from error
    with source:
        yield source


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _key() -> str:
    return str(uuid.uuid4())
