"""Whatever is done to an exported log is found, and the event is named."""

import asyncio
import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thymos import subjects
from thymos.audit import Difference, LogRecord
from thymos.audit.chain import NO_SEAL, Head, Seal, Tail, read_seal
from thymos.audit.closing import End, cover_line, end_line
from thymos.audit.record import of_line, to_line
from thymos.audit.sealer import seal_envelope
from thymos.audit.testing import START, a_log, lines_of, stored_as_next, unsealed, verified
from thymos.events import BranchCreated
from thymos.examples import example_of


async def test_an_untouched_log_is_identical(tmp_path: Path) -> None:
    report = verified(tmp_path, await lines_of(a_log(64)))
    assert report.identical, report.problems
    assert (report.events, report.checked, report.unsealed, report.unchecked) == (70, 70, 0, 0)
    assert report.seals == 7
    assert report.not_recomputed == {"nothing installed here computes decision.made again": 16}


async def test_an_empty_log_is_identical(tmp_path: Path) -> None:
    assert verified(tmp_path, await lines_of([])).identical


async def test_a_part_of_a_log_is_identical(tmp_path: Path) -> None:
    report = verified(tmp_path, await lines_of(a_log(64)[17:50]))
    assert report.identical, report.problems
    assert report.checked + report.unchecked == report.events == 33
    assert report.unchecked <= 4, "those whose seal would name what came before the part"


@pytest.mark.parametrize("body", [b"{}", b"\xff\xfe", b"", b'{"a": "\xc3\xa9 \\u0001"}', b'{"a":1}\n', b"[1, 2"])
def test_a_record_comes_back_from_its_line(body: bytes) -> None:
    record = LogRecord(7, START, "thymos.event.acme.support.branch.created", "acme/support/x/1", body)
    assert of_line(to_line(record)) == record
    assert to_line(record).count(b"\n") == 1


def test_no_two_records_have_the_same_hash() -> None:
    one = LogRecord(1, START, "ab", "c", b"d")
    others = [
        LogRecord(1, START, "a", "bc", b"d"),
        LogRecord(1, START, "ab", "", b"cd"),
        LogRecord(2, START, "ab", "c", b"d"),
        LogRecord(1, START + timedelta(microseconds=1), "ab", "c", b"d"),
    ]
    assert one.hash() not in {other.hash() for other in others}


# --- any harm, anywhere ---------------------------------------------------------------------------------------------

LOG = a_log(64)
LINES = asyncio.run(lines_of(LOG))
anywhere = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


RECORDED = gzip.decompress((Path(__file__).parents[2] / "histories" / "demo.log.gz").read_bytes()).splitlines(True)
"""A log as the services wrote it: with ids within ids, and decisions of many kilobytes."""
any_byte = st.one_of(st.sampled_from(b'\n"\\ 0'), st.integers(0, 255))


def with_another_byte(data: st.DataObject, line: bytes) -> bytes:
    at = data.draw(st.integers(0, len(line) - 1))
    byte = data.draw(any_byte.filter(lambda b: b != line[at]))
    return line[:at] + bytes([byte]) + line[at + 1 :]


@anywhere
@given(data=st.data())
def test_one_changed_byte_is_found_and_its_event_named(tmp_path: Path, data: st.DataObject) -> None:
    lines = data.draw(st.sampled_from([LINES, RECORDED]))
    index = data.draw(st.integers(0, sum(line.startswith(b'{"sequence"') for line in lines) - 1))
    record = of_line(lines[index])
    harmed = [*lines[:index], with_another_byte(data, lines[index]), *lines[index + 1 :]]
    first = verified(tmp_path, harmed).differences[0]
    if first.sequence is None:  # two lines have become one
        assert f"one of the events {index + 1} to {index + 2}" in first.words
    else:
        assert first.sequence == record.sequence == index + 1, first.words
        assert f"event {index + 1}" in first.words or first.kind is Difference.SEAL
    assert record.event_id in first.words


@anywhere
@given(data=st.data())
def test_a_changed_byte_of_the_closing_lines_is_found_and_no_event_blamed(tmp_path: Path, data: st.DataObject) -> None:
    index = data.draw(st.integers(len(LOG), len(LINES) - 1))
    harmed = [*LINES[:index], with_another_byte(data, LINES[index]), *LINES[index + 1 :]]
    report = verified(tmp_path, harmed)
    assert not report.identical
    assert {problem.sequence for problem in report.differences} == {None}, report.problems


def test_a_line_break_in_an_event_does_not_harm_the_next_one(tmp_path: Path) -> None:
    for at in (0, 30, LINES[33].index(b"event-") + 3, len(LINES[33]) - 2):
        broken = LINES[33][:at] + b"\n" + LINES[33][at + 1 :]
        report = verified(tmp_path, [*LINES[:33], broken, *LINES[34:]])
        assert report.difference_count == 1, report.problems
        assert report.problems[0].startswith("unreadable: line 34 (where event 34, "), report.problems


def test_a_line_between_two_events_is_none_of_them(tmp_path: Path) -> None:
    report = verified(tmp_path, [*LINES[:33], b"hello\n", *LINES[33:]])
    assert report.difference_count == 1
    assert report.problems[0].startswith("unreadable: line 34 (after event 33): it is not JSON")


def test_fewer_broken_lines_than_missing_events_name_the_range(tmp_path: Path) -> None:
    report = verified(tmp_path, [*LINES[:33], b"hello\n", *LINES[36:]])
    assert report.difference_count == 3
    assert "line 34 (where one of the events 34 to 36 was)" in report.problems[0]
    assert report.problems[1] == "missing: 2 of the events 34 to 36 of the log"


def test_an_id_that_was_changed_is_told_beside_the_message_id(tmp_path: Path) -> None:
    harmed = LINES[4].replace(b'\\"id\\":\\"event-4\\"', b'\\"id\\":\\"event-7\\"')
    report = verified(tmp_path, [*LINES[:4], harmed, *LINES[5:]])
    assert "event 5, branch.created event-7 (message id " in report.problems[0]
    assert "/event-4)" in report.problems[0]


COVER = len(LOG)


@pytest.mark.parametrize("place", [0, 1, 40, len(LOG) - 1])
@pytest.mark.parametrize("repeated", [True, False])
def test_a_seal_of_the_file_before_its_last_event_is_misplaced(tmp_path: Path, place: int, repeated: bool) -> None:
    left = LINES[place:] if repeated else [*LINES[place:COVER], *LINES[COVER + 1 :]]
    report = verified(tmp_path, [*LINES[:place], LINES[COVER], *left])
    assert report.problems[0].startswith(f"inserted: line {place + 1}: ")
    assert report.difference_count == 1, report.problems


def test_a_misplaced_seal_hides_no_change(tmp_path: Path) -> None:
    harmed = LINES[39].replace(b"event-", b"event_", 1)
    report = verified(tmp_path, [LINES[COVER], *LINES[:39], harmed, *LINES[40:]])
    assert [problem.kind for problem in report.differences] == [Difference.INSERTED, Difference.CHANGED]
    assert report.differences[1].sequence == 40


def test_a_file_whose_events_were_all_taken_out_is_found(tmp_path: Path) -> None:
    report = verified(tmp_path, LINES[COVER:])
    assert report.difference_count == len(LOG)
    assert report.problems[0] == "missing: event 1 of the log"


@anywhere
@given(index=st.integers(0, len(LOG) - 1))
def test_a_missing_event_is_found(tmp_path: Path, index: int) -> None:
    report = verified(tmp_path, [*LINES[:index], *LINES[index + 1 :]])
    assert (report.differences[0].kind, report.differences[0].sequence) == (Difference.MISSING, index + 1)
    assert report.difference_count == 1, report.problems


@anywhere
@given(places=st.lists(st.integers(0, len(LOG) - 1), min_size=2, max_size=2, unique=True))
def test_two_events_that_changed_places_are_found(tmp_path: Path, places: list[int]) -> None:
    one, other = sorted(places)
    swapped = list(LINES)
    swapped[one], swapped[other] = swapped[other], swapped[one]
    report = verified(tmp_path, swapped)
    assert {problem.kind for problem in report.differences} == {Difference.REORDERED}, report.problems
    first = report.differences[0]
    assert first.sequence is not None
    assert one + 1 <= first.sequence <= other + 1
    assert first.event_id == LOG[first.sequence - 1].event_id


@anywhere
@given(data=st.data())
def test_an_event_that_was_put_in_is_found(tmp_path: Path, data: st.DataObject) -> None:
    sequence = data.draw(st.integers(1, len(LOG) + 5))
    at = data.draw(st.integers(0, len(LOG)))
    forged = LogRecord(sequence, START, LOG[0].subject, "acme/support/x/forged", b'{"id":"forged"}')
    report = verified(tmp_path, [*LINES[:at], to_line(forged), *LINES[at:]])
    assert not report.identical
    assert any(problem.event_id == "forged" for problem in report.differences), report.problems


@anywhere
@given(data=st.data())
def test_what_was_cut_off_is_missed(tmp_path: Path, data: st.DataObject) -> None:
    whole = b"".join(LINES)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert not verified(tmp_path, [whole[:cut]]).identical


# --- harm that knows what it does -----------------------------------------------------------------------------------


def edited(line: bytes, change: Callable[[dict[str, object]], None]) -> bytes:
    parsed = json.loads(line)
    change(parsed)
    return json.dumps(parsed, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


async def test_a_sequence_number_that_was_changed_names_its_event(tmp_path: Path) -> None:
    lines = await lines_of(LOG)
    lines[4] = edited(lines[4], lambda record: record.update(sequence=9))
    report = verified(tmp_path, lines)
    assert report.problems[0] == "changed: event 5, branch.created event-4: its sequence was 5 and says 9"


async def test_a_seal_that_was_made_anew_after_a_change_breaks_the_chain(tmp_path: Path) -> None:
    forged = list(LOG)
    forged[2] = LogRecord(3, LOG[2].stored_at, LOG[2].subject, LOG[2].message_id, LOG[2].body.replace(b"3", b"4"))
    tail = Tail(Head())
    for record in forged[:10]:
        tail.take(record)
    sealed = seal_envelope(*tail.next_seal())
    forged[10] = LogRecord(11, LOG[10].stored_at, sealed.subject, sealed.message_id, sealed.to_bytes())
    report = verified(tmp_path, await lines_of(forged))
    assert report.differences[0].sequence == 11
    assert "audit.sealed" in report.problems[0]


async def test_a_seal_that_names_another_before_it_is_found(tmp_path: Path) -> None:
    log = a_log(24, unsealed=3)
    place = max(index for index, record in enumerate(log) if record.type == "audit.sealed")
    before = read_seal(log[place])
    assert before is not None
    tail = Tail(Head(sealed_to=before.from_sequence - 1, hash="5" * 64))
    for record in log[:place]:
        tail.take(record)
    sealed = seal_envelope(*tail.next_seal())
    log[place] = LogRecord(place + 1, log[place].stored_at, sealed.subject, sealed.message_id, sealed.to_bytes())
    report = verified(tmp_path, await lines_of(log))
    assert report.differences[0].sequence == place + 1
    assert "does not continue the seal before it" in report.problems[0]


async def test_the_hash_that_was_kept_elsewhere_is_looked_for(tmp_path: Path) -> None:
    lines = await lines_of(LOG)
    kept = verified(tmp_path, lines).last_seal
    assert kept is not None
    assert verified(tmp_path, lines, seal=kept).identical
    report = verified(tmp_path, lines, seal="0" * 64)
    assert "kept elsewhere" in report.problems[0]


async def test_a_seal_over_events_that_are_sealed_already_is_passed_by(tmp_path: Path) -> None:
    log = list(LOG)
    again = LOG[10]
    log.append(LogRecord(len(log) + 1, START + timedelta(hours=2), again.subject, again.message_id, again.body))
    assert verified(tmp_path, await lines_of(log)).identical


# --- whoever may write everything, and knows how ----------------------------------------------------------------------


def a_backlog() -> tuple[list[LogRecord], str]:
    """600 events that were sealed when all were there, so that every seal stands behind them; the second one's hash."""
    log: list[LogRecord] = []
    tail = Tail(Head())
    for number in range(600):
        envelope = example_of(BranchCreated).model_copy(update={"id": f"event-{number}"})
        log.append(LogRecord(number + 1, START, envelope.subject, envelope.message_id, envelope.to_bytes()))
        tail.take(log[-1])
    while tail.worth_sealing:
        stored_as_next(log, tail)
    kept = read_seal(log[601])
    assert kept is not None
    return log, kept.hash


def forged_lines(log: list[LogRecord], before_kept: LogRecord, kept: str) -> list[bytes]:
    """The log with event 3 forged and `before_kept` where its first seal was; everything after the kept seal is made
    anew, so that each seal and the end of the file agree with it."""
    forged = [*log[:602]]
    forged[2] = replace(log[2], body=log[2].body.replace(b"event-2", b"event-X"))
    forged[600] = before_kept
    tail = Tail(Head(602, 512, kept))
    for record in forged[512:]:
        tail.take(record)
    stored_as_next(forged, tail)
    cover = Seal.over(unsealed(forged[602:]), tail.head.hash)
    end = End.of(len(forged), 1, len(forged), cover.hash)
    return [*map(to_line, forged), cover_line(cover), end_line(end)]


async def test_a_kept_hash_holds_although_the_seal_before_it_leaves_an_event_out(tmp_path: Path) -> None:
    log, kept = a_backlog()
    assert verified(tmp_path, await lines_of(log), seal=kept).identical
    changed = replace(log[2], body=log[2].body.replace(b"event-2", b"event-X"))
    short = seal_envelope(Seal.over(unsealed([*log[:2], changed, *log[3:255]]), NO_SEAL), START)
    first = replace(log[600], message_id=short.message_id, body=short.to_bytes())
    report = verified(tmp_path, forged_lines(log, first, kept), seal=kept)
    assert "seal-257" in report.problems[0]
    assert "does not continue the seal before it" in report.problems[0]


async def test_a_kept_hash_holds_although_the_seals_before_it_are_gone(tmp_path: Path) -> None:
    log, kept = a_backlog()
    other = replace(log[0], sequence=601, message_id="acme/support/x/other")
    report = verified(tmp_path, forged_lines(log, other, kept), seal=kept)
    assert "the first seal of the log" in report.problems[0]


async def test_a_seal_cannot_cover_itself(tmp_path: Path) -> None:
    log = a_log(12, sealed_every=30)
    early = seal_envelope(Seal.over(unsealed(log), NO_SEAL), START)
    log[4] = LogRecord(5, START, early.subject, early.message_id, early.to_bytes())
    report = verified(tmp_path, await lines_of(log))
    assert (report.differences[0].sequence, report.differences[0].kind) == (5, Difference.SEAL)
    assert "is itself event 5" in report.problems[0]


async def test_a_part_says_that_it_is_one(tmp_path: Path) -> None:
    report = verified(tmp_path, await lines_of(a_log(64)[17:]))
    assert (report.identical, report.first_event) == (True, 18)
    assert "it begins with event 18: nothing was read of what came before" in report.notes


@pytest.mark.parametrize("lines", [[*LINES, LINES[-1]], [LINES[-1], *LINES[:-1]]], ids=["twice", "first"])
def test_the_last_line_is_last_and_once(tmp_path: Path, lines: list[bytes]) -> None:
    assert verified(tmp_path, lines).problems == ["inserted: lines after the one that ends the file"]


@pytest.mark.parametrize("sequence", ["9223372036854775808", "9" * 4_200])
def test_a_sequence_beyond_all_bounds_is_told_in_few_words(tmp_path: Path, sequence: str) -> None:
    harmed = LINES[0].replace(b'"sequence":1,', f'"sequence":{sequence},'.encode())
    for lines in ([harmed, *LINES[1:]], [harmed, LINES[-1]]):
        report = verified(tmp_path, lines)
        assert "its sequence is no number above 0 and below 2^63" in report.problems[0]
        assert len(report.problems[0]) < 200


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x00\xff\xfe\n", "line 1: it is not JSON"),
        (b"[]\n", "line 1: it is not a JSON object"),
        (b"{}\n", "line 1: 'body_base64' is missing"),
        (b'{"sequence":"1","stored_at":"x","subject":"s","message_id":"m","body":"{}"}\n', "line 1: its sequence"),
        (b'{"sequence":1,"stored_at":7,"subject":"s","message_id":"m","body":"{}"}\n', "line 1: a value"),
        (b'{"sequence":1e999}\n', "line 1"),
        (b'{"cover":[]}\n', "line 1: cover is no JSON object"),
        (b'{"end":{"records":true}}\n', "line 1: it is no end"),
        (b"{" * 10_000 + b"\n", "line 1: it is not JSON"),
        (b'{"sequence":1', "line 1: it is cut off"),
        (b"", "the file ends after nothing"),
        (b"x" * (9 * subjects.MIB) + b"\n", "longer than 8388608 bytes"),
    ],
    ids=["binary", "array", "empty", "text", "time", "infinite", "cover", "end", "deep", "cut", "nothing", "huge"],
)
def test_a_file_that_is_no_export_is_told_by_its_line(tmp_path: Path, content: bytes, words: str) -> None:
    report = verified(tmp_path, [content])
    assert not report.identical
    assert words in report.problems[0]
