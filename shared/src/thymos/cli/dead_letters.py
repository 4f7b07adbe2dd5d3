"""`thymos dead`: messages that could not be processed, and why; once more, or forget them."""

from __future__ import annotations

import json as json_text
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from thymos.cli.exit_codes import DONE, REFUSED, UNREACHABLE, UsageError
from thymos.cli.options import HERE, Json, Where, moment
from thymos.cli.output import count, emit, line, one_line, pairs, say, table

if TYPE_CHECKING:
    from thymos.client import Client
    from thymos.dead_letters import DeadLetter
    from thymos.dead_letters_kept import KeptLetter

EXCERPT_BYTES = 256
DUMP_COLUMNS = 16
LETTERS_AT_ONCE = 1_000
"""Letters of a list unless more are asked for: each may hold half a megabyte."""

Service = Annotated[str | None, Parameter(show_default=False, help="Only those that this service gave up.")]


def register(app: App) -> None:
    """Add the verbs to the command line."""
    verbs = App(name="dead", help="Messages that could not be processed, and why.")
    verbs.default(list_letters)
    verbs.command(list_letters, name="list")
    verbs.command(show, name="show")
    verbs.command(retry, name="retry")
    verbs.command(drop, name="drop")
    app.command(verbs)


async def list_letters(
    *,
    service: Service = None,
    since: Annotated[str | None, Parameter(show_default=False)] = None,
    count: Annotated[int, Parameter(show_default=False)] = LETTERS_AT_ONCE,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """The messages that wait, oldest first: who gave them up, after how many attempts, and why.

    Parameters
    ----------
    since
        Only those put there since: an age such as 1h, or a time such as 2026-03-01T12:00:00Z.
    count
        At most so many [default: 1000].
    """
    if count < 1:
        raise UsageError(f"--count is {count}; expected at least 1")
    _check_service(service)
    shown: list[Any] = []
    more = False
    async with where.client() as client, aclosing(_kept(client, service, moment("--since", since))) as letters:
        async for kept in letters:
            if len(shown) == count:
                more = True
                break
            shown.append(_json(kept) if json else _row(kept))
    if json:
        emit(shown)
    else:
        columns = ("id", "time", "agent", "handler", "attempts", "subject", "reason")
        table(columns, shown, empty="no dead letters")
    if more:
        say(f"these are the oldest {count}; --count shows more")


async def show(letter_id: Annotated[str, Parameter(name="ID")], *, json: Json = False, where: Where = HERE) -> None:
    """Everything about one message, with the message itself.

    Parameters
    ----------
    letter_id
        Its id, or the beginning of it.
    """
    from thymos.dead_letters_kept import named
    from thymos.dead_letters_retry import plan

    async with where.client() as client:
        kept = (await named(client, letter_id))[0]
    letter, planned = kept.letter, plan(kept.letter, kept.envelope.tenant)
    if json:
        emit({**_json(kept), "retry": planned.refused or "possible"})
        return
    pairs(
        (
            ("id", kept.id),
            ("stored", f"{_time(kept.stored_at)}, number {kept.sequence} among the dead letters"),
            ("tenant, agent", f"{kept.envelope.tenant}, {kept.envelope.agent}"),
            ("handler", letter.handler),
            ("attempts", letter.attempts),
            ("reason", letter.reason),
            ("subject", letter.subject),
            ("found in", letter.stream and f"{letter.stream}, number {letter.sequence}"),
            ("message id", letter.message_id),
            ("content type", letter.content_type),
            ("original", _size(letter)),
            ("retry", planned.refused and f"cannot be: {planned.refused}"),
        )
    )
    for text in _lines(letter.kept):
        line(text)


async def retry(
    letter_id: Annotated[str | None, Parameter(name="ID", show_default=False)] = None,
    *,
    everything: Annotated[bool, Parameter(name="--all", negative=(), show_default=False)] = False,
    service: Service = None,
    json: Json = False,
    where: Where = HERE,
) -> int:
    """Give a message again to the handler that gave it up, and to no other; what it takes leaves the dead letters.

    Parameters
    ----------
    letter_id
        Its id, or the beginning of it.
    everything
        All that wait, one after the other; those that fail again stay.
    """
    from thymos.dead_letters_kept import dropped, named
    from thymos.dead_letters_retry import retry as retried

    _check_one("retry", letter_id, everything)
    _check_service(service)
    tried = _Tried()
    async with where.client() as client:
        if letter_id is not None:
            copies = await named(client, letter_id)
            tried.note(copies[0].id, await retried(client, copies[0].letter, copies[0].id))
            for kept in copies:
                await dropped(client, kept)
        else:
            async with aclosing(_kept(client, service)) as letters:
                async for kept in letters:
                    await _try(client, kept, tried)
    if json:
        emit({"handled": tried.done, "queued": tried.queued, "refused": tried.left})
    else:
        say(tried.summary())
    return tried.code


@dataclass
class _Tried:
    """What became of many letters: the ids of those that were handled, of those that wait in their queue again, those
    that stay with the reason, and which handlers could not be asked."""

    done: list[str] = field(default_factory=list)
    queued: list[str] = field(default_factory=list)
    left: list[dict[str, str]] = field(default_factory=list)
    away: dict[str, str] = field(default_factory=dict)
    code: int = DONE

    def note(self, letter_id: str, handled: bool) -> None:
        """It was taken."""
        (self.done if handled else self.queued).append(letter_id)

    def summary(self) -> str:
        """For people: `2 messages handled, 1 put into its queue again, 1 not`."""
        said = [f"{count(len(self.done), 'message')} handled"] if self.done or not self.queued else []
        if self.queued:
            what = f"{len(self.queued)}" if self.done else count(len(self.queued), "message")
            said.append(f"{what} put into the queue again: `thymos dead list` shows what is given up once more")
        return ", ".join([*said, *([f"{len(self.left)} not"] if self.left else [])])


async def _try(client: Client, kept: KeptLetter, tried: _Tried) -> None:
    """One of many. A handler that could not be asked is not asked for its other letters either."""
    from thymos.dead_letters_kept import dropped
    from thymos.dead_letters_retry import retry as retried
    from thymos.errors import Refusal, TransientError, UnavailableError

    handler = kept.letter.handler
    try:
        if handler not in tried.away:
            tried.note(kept.id, await retried(client, kept.letter, kept.id))
            await dropped(client, kept)
            return
    except Refusal as refusal:
        reason, tried.code = str(refusal), REFUSED
        say(f"{_short(kept)}: {reason}")
    except (UnavailableError, TransientError) as error:
        reason = tried.away[handler] = str(error)
        say(f"{handler}: {reason}")
    else:
        reason = tried.away[handler]
    tried.left.append({"id": kept.id, "reason": reason})
    tried.code = tried.code or UNREACHABLE


async def drop(
    letter_id: Annotated[str | None, Parameter(name="ID", show_default=False)] = None,
    *,
    everything: Annotated[bool, Parameter(name="--all", negative=(), show_default=False)] = False,
    older: Annotated[str | None, Parameter(show_default=False)] = None,
    service: Service = None,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Forget messages for good, once what they tell of is mended.

    Parameters
    ----------
    letter_id
        Its id, or the beginning of it.
    everything
        All that wait.
    older
        Those put there before: an age such as 7d, or a time such as 2026-03-01T12:00:00Z.
    """
    from thymos.dead_letters_kept import dropped, named

    _check_one("drop", letter_id, everything, older)
    _check_service(service)
    until = moment("--older", older)
    gone = 0
    async with where.client() as client:
        if letter_id is not None:
            for kept in await named(client, letter_id):
                gone += await dropped(client, kept)
        else:
            async with aclosing(_kept(client, service, until=until)) as letters:
                async for kept in letters:
                    gone += await dropped(client, kept)
    if json:
        emit({"dropped": gone})
    else:
        say(f"{count(gone, 'dead letter')} dropped")


def _kept(client: Client, service: str | None, since: datetime | None = None, until: datetime | None = None) -> Any:
    from thymos.dead_letters_kept import kept

    return kept(client, service, since, until)


def _check_one(verb: str, letter_id: str | None, everything: bool, older: str | None = None) -> None:
    named = [bool(letter_id), everything, older is not None]
    if sum(named) != 1:
        options = "an ID or --all" if verb == "retry" else "an ID, --all or --older"
        raise UsageError(f"dead {verb}: say which: {options}" + (", one of them" if sum(named) else ""))


def _check_service(service: str | None) -> None:
    from thymos.subjects import SERVICES

    if service is not None and service not in SERVICES:
        raise UsageError(f"--service: {service!r} is none of {', '.join(SERVICES)}")


# --- how they look --------------------------------------------------------------------------------------------------


def _row(kept: KeptLetter) -> tuple[Any, ...]:
    letter = kept.letter
    return (
        _short(kept), kept.stored_at, kept.envelope.agent, letter.handler, letter.attempts, letter.subject,
        letter.reason,
    )  # fmt: skip


def _json(kept: KeptLetter) -> dict[str, Any]:
    """A letter as the data that it is; `number` is its own among the dead letters, `sequence` that of the original.
    That is `original` as text, as far as it is text, and `original_base64` as bytes."""
    letter = kept.letter
    return {
        "id": kept.id,
        "number": kept.sequence,
        "time": _time(kept.stored_at),
        "tenant": kept.envelope.tenant,
        "agent": kept.envelope.agent,
        **letter.model_dump(mode="json"),
        "cut": letter.cut,
        "original": letter.kept.decode(errors="replace"),
        "original_base64": letter.original,
    }


def _short(kept: KeptLetter) -> str:
    from thymos.dead_letters_kept import SHORT_ID

    return kept.id[:SHORT_ID]


def _time(at: datetime) -> str:
    from datetime import UTC

    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _size(letter: DeadLetter) -> str:
    size = len(letter.kept)
    if letter.cut:
        return f"{letter.original_bytes} bytes, of which only the first {size} were kept"
    return f"{size} bytes"


def _lines(original: bytes) -> list[str]:
    """The original to be read: JSON one value a line, other text and bytes as an excerpt."""
    try:
        return json_text.dumps(json_text.loads(original), indent=2, ensure_ascii=False).splitlines()
    except (ValueError, RecursionError):
        pass
    excerpt = original[:EXCERPT_BYTES]
    lines = [_dumped(excerpt, at) for at in range(0, len(excerpt), DUMP_COLUMNS)]
    if len(original) > EXCERPT_BYTES:
        lines.append(f"… and {len(original) - EXCERPT_BYTES} bytes more; --json has them all")
    return lines


def _dumped(data: bytes, at: int) -> str:
    row = data[at : at + DUMP_COLUMNS]
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
    return one_line(f"{at:08x}  {row.hex(' '):<{3 * DUMP_COLUMNS - 1}}  {text}")
