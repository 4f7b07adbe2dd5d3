"""Logs for tests: made of examples, sealed as a sealer would, exported and verified."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from thymos.audit.chain import Head, Tail, Unsealed
from thymos.audit.exporting import export
from thymos.audit.recomputation import Recomputations
from thymos.audit.record import LogRecord
from thymos.audit.report import Report
from thymos.audit.sealer import seal_envelope
from thymos.audit.verify import verify_file
from thymos.events import BranchCreated, CommitCreated, DecisionMade, WorktreeReady
from thymos.examples import example_of

START = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
KINDS = (BranchCreated, CommitCreated, DecisionMade, WorktreeReady)


def a_log(events: int, *, sealed_every: int = 10, unsealed: int = 4) -> list[LogRecord]:
    """A log of `events` events with seals among them; the last `unsealed` come after the last seal."""
    log: list[LogRecord] = []
    tail = Tail(Head())

    def add(subject: str, message_id: str, body: bytes) -> LogRecord:
        at = START + timedelta(milliseconds=7 * len(log))
        log.append(LogRecord(len(log) + 1, at, subject, message_id, body))
        tail.take(log[-1])
        return log[-1]

    for number in range(events):
        envelope = example_of(KINDS[number % len(KINDS)]).model_copy(update={"id": f"event-{number}"})
        add(envelope.subject, envelope.message_id, envelope.to_bytes())
        if len(tail) >= sealed_every and number < events - unsealed:
            sealed = seal_envelope(*tail.next_seal())
            add(sealed.subject, sealed.message_id, sealed.to_bytes())
    return log


async def lines_of(log: Sequence[LogRecord]) -> list[bytes]:
    """The log as an exported file."""

    async def records() -> AsyncIterator[LogRecord]:
        for record in log:
            yield record

    lines: list[bytes] = []
    await export(records(), lines.append)
    return lines


def verified(
    folder: Path, lines: Sequence[bytes], seal: str | None = None, recomputations: Recomputations | None = None
) -> Report:
    """What a verification says of a file with these lines; without `recomputations` no decision is computed again."""
    path = folder / "log.jsonl"
    path.write_bytes(b"".join(lines))
    return verify_file(path, seal=seal, recomputations=recomputations or {})


def stored_as_next(log: list[LogRecord], tail: Tail) -> None:
    """The seal that is due, at the end of the log."""
    sealed = seal_envelope(*tail.next_seal())
    log.append(LogRecord(len(log) + 1, START, sealed.subject, sealed.message_id, sealed.to_bytes()))
    tail.take(log[-1])


def unsealed(records: Sequence[LogRecord]) -> list[Unsealed]:
    """What a seal over these records is made from."""
    return [Unsealed(record.sequence, record.hash(), record.stored_at, False) for record in records]
