"""A seal that leaves events out is told, and they are checked; decisions that lost their inputs are told, too."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from thymos.audit import Difference, LogRecord, Report
from thymos.audit.chain import NO_SEAL, SEAL_SUBJECT, Head, Seal, Tail, Unsealed, read_seal
from thymos.audit.closing import End, cover_line, end_line
from thymos.audit.record import to_line
from thymos.audit.sealer import seal_envelope
from thymos.audit.testing import START, a_log, lines_of, stored_as_next, unsealed, verified
from thymos.errors import NoInputsError
from thymos.events import DecisionMade


def with_seal_over_the_last(log: list[LogRecord], previous_hash: str) -> list[LogRecord]:
    """The log with a seal that is right in itself, over its last event only."""
    seal = Seal.over([Unsealed(log[-1].sequence, log[-1].hash(), START, False)], previous_hash)
    forged = seal_envelope(seal, START)
    return [*log, LogRecord(len(log) + 1, START, SEAL_SUBJECT, "forged", forged.to_bytes())]


def sealed_to_the_end(log: list[LogRecord]) -> list[LogRecord]:
    """The log with the seal that a sealer would store next."""
    tail, sealed = Tail(Head()), list(log)
    for record in log:
        tail.take(record)
    stored_as_next(sealed, tail)
    return sealed


def last_hash(log: Sequence[LogRecord]) -> str:
    return [seal for record in log if (seal := read_seal(record)) is not None][-1].hash


@pytest.mark.parametrize("then", [list, sealed_to_the_end], ids=["nothing", "sealed"])
@pytest.mark.parametrize("first", [False, True], ids=["later", "first of all"])
async def test_a_seal_that_leaves_events_out_is_told_and_they_are_covered_all_the_same(
    tmp_path: Path, then: Callable[[list[LogRecord]], list[LogRecord]], first: bool
) -> None:
    log = a_log(12, sealed_every=30) if first else a_log(24, unsealed=6)
    start = 1 if first else 11
    log = then(with_seal_over_the_last(log, NO_SEAL if first else last_hash(log)))
    lines = await lines_of(log)
    report = verified(tmp_path, lines)
    skipping = max(place for place, record in enumerate(log, 1) if record.message_id == "forged")
    assert report.difference_count == 1, report.problems
    assert report.problems[0].endswith(
        f"(sequence {skipping}, audit.sealed): it leaves out events {start} to {skipping - 2}"
    )
    assert (report.unchecked, report.unsealed, report.checked) == (0, 0, len(log))

    harmed = lines[start].replace(b"3f9a", b"3f9b").replace(b"event-", b"event_", 1)
    changed = verified(tmp_path, [*lines[:start], harmed, *lines[start + 1 :]])
    assert (changed.differences[0].sequence, changed.differences[0].kind) == (start + 1, Difference.CHANGED)


async def test_a_seal_that_continues_one_that_leaves_events_out_is_none_of_the_chain_either(tmp_path: Path) -> None:
    log = a_log(24, unsealed=6)
    log = with_seal_over_the_last(log, last_hash(log))
    log = with_seal_over_the_last(log, last_hash(log))
    report = verified(tmp_path, await lines_of(sealed_to_the_end(log)))
    assert report.difference_count == 1
    assert "leaves out events 11 to 24" in report.problems[0]
    assert report.unchecked == 0


async def test_a_seal_with_a_made_up_past_that_leaves_events_out_is_told_and_passed_over(tmp_path: Path) -> None:
    log = sealed_to_the_end(with_seal_over_the_last(a_log(24, unsealed=6), "5" * 64))
    report = verified(tmp_path, await lines_of(log))
    assert report.difference_count == 1
    assert "does not continue the seal before it" in report.problems[0]
    assert report.unchecked == 0


async def test_where_nothing_else_covers_them_the_chain_is_followed_and_they_are_told(tmp_path: Path) -> None:
    """A log that went on from such a seal, as it could before sealers passed them over."""
    log = a_log(24, unsealed=6)
    log = with_seal_over_the_last(log, last_hash(log))
    went_on = Tail(Head(len(log), len(log) - 1, last_hash(log)))
    log.append(replace(log[0], sequence=len(log) + 1, message_id="acme/support/x/later"))
    for record in log:
        went_on.take(record)
    stored_as_next(log, went_on)
    cover = Seal.over(unsealed(log[-1:]), last_hash(log))
    end = End.of(len(log), 1, len(log), cover.hash)
    report = verified(tmp_path, [*map(to_line, log), cover_line(cover), end_line(end)])
    assert report.difference_count == 1, report.problems
    assert "leaves out events 11 to 24" in report.problems[0]
    assert report.unchecked == 14


async def test_a_gap_in_the_numbering_is_missing_events_and_the_chain_goes_on(tmp_path: Path) -> None:
    log = [record for record in a_log(24, unsealed=6) if record.sequence not in (21, 22)]
    report = verified(tmp_path, await lines_of(sealed_after_gap(log)))
    assert report.problems == ["missing: event 21 of the log", "missing: event 22 of the log"]
    assert report.unchecked == 0


def sealed_after_gap(log: list[LogRecord]) -> list[LogRecord]:
    tail, sealed = Tail(Head()), list(log)
    for record in log:
        tail.take(record)
    while tail.worth_sealing:
        envelope = seal_envelope(*tail.next_seal())
        number = sealed[-1].sequence + 1
        sealed.append(LogRecord(number, START, envelope.subject, envelope.message_id, envelope.to_bytes()))
        tail.take(sealed[-1])
    return sealed


# --- decisions that are not whole -------------------------------------------------------------------------------------


def without_inputs(_: DecisionMade) -> DecisionMade:
    raise NoInputsError


async def recomputed(tmp_path: Path, log: Sequence[LogRecord]) -> Report:
    return verified(tmp_path, await lines_of(log), recomputations={DecisionMade: without_inputs})


async def test_a_decision_without_inputs_is_a_difference_once_the_log_is_sealed(tmp_path: Path) -> None:
    log = a_log(24, unsealed=6)
    report = await recomputed(tmp_path, log)
    assert [(problem.kind, problem.sequence) for problem in report.differences] == [
        (Difference.DECISION, record.sequence) for record in log[11:] if record.type == "decision.made"
    ]
    assert "event 12, decision.made event-10: it holds no inputs" in report.problems[0]
    assert report.not_recomputed == {"it was made before decisions carried all of their inputs": 2}


async def test_a_part_of_a_sealed_log_has_no_decisions_without_inputs_either(tmp_path: Path) -> None:
    part = a_log(64)[12:50]
    report = await recomputed(tmp_path, part)
    assert report.difference_count == sum(record.type == "decision.made" for record in part)
    assert report.not_recomputed == {}


async def test_decisions_without_inputs_of_a_log_without_seals_are_a_note(tmp_path: Path) -> None:
    report = await recomputed(tmp_path, a_log(12, sealed_every=30))
    assert (report.identical, sum(report.not_recomputed.values())) == (True, 3)


async def test_a_decision_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    log = a_log(24)
    log[2] = replace(log[2], body=b"{}")
    sealed = a_log(0)
    tail = Tail(Head())
    for record in log[:10]:
        tail.take(record)
        sealed.append(record)
    stored_as_next(sealed, tail)
    report = verified(tmp_path, await lines_of(sealed))
    assert report.difference_count == 1
    assert report.problems[0].startswith("decision: event 3, decision.made event-2: it cannot be read")
