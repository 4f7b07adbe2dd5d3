"""The event log as lines of a file: each event exactly, then seals over what the log had not sealed yet, and an end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime

from thymos.audit.chain import SEAL_SUBJECT, Head, Tail, may_begin, read_seal
from thymos.audit.closing import End, cover_line, end_line
from thymos.audit.record import LogRecord, to_line


@dataclass(frozen=True)
class Exported:
    """What was written; `head` is the newest seal of the log among it (sequence 0: there is none)."""

    records: int
    head: Head


async def export(
    records: AsyncIterator[LogRecord], write: Callable[[bytes], object], until: datetime | None = None
) -> Exported:
    """Write records, up to the time `until`, line by line; memory is needed only for hashes of unsealed events.

    Raises whatever `write` does.
    """
    tail: Tail | None = None
    first = last = count = 0
    async for record in records:
        if until is not None and record.stored_at > until:
            break
        tail = tail or Tail(Head(sealed_to=record.sequence - 1))
        _take(tail, record)
        write(to_line(record))
        first, last, count = first or record.sequence, record.sequence, count + 1
    tail = tail or Tail(Head())
    head = tail.head
    while len(tail):
        seal, _ = tail.next_seal()
        write(cover_line(seal))
        tail.sealed(Head.at(head.sequence, seal))
    write(end_line(End.of(count, first, last, tail.head.hash)))
    return Exported(count, head)


def _take(tail: Tail, record: LogRecord) -> None:
    """The next record. The first seal of an export that begins in the middle is where its chain begins, if it leaves
    no event out."""
    seal = read_seal(record) if tail.head.sequence == 0 and record.subject == SEAL_SUBJECT else None
    if seal is not None and may_begin(seal, record.sequence, tail.oldest or record.sequence):
        tail.sealed(Head.at(record.sequence, seal))
    tail.take(record)
