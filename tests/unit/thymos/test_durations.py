"""Durations are read exactly, written so that they read back the same, and refused with the remedy."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thymos.durations import LONGEST, format_duration, parse_duration

EXAMPLES = [
    ("500ms", timedelta(milliseconds=500)),
    ("5s", timedelta(seconds=5)),
    ("1m30s", timedelta(seconds=90)),
    ("30m", timedelta(minutes=30)),
    ("2h", timedelta(hours=2)),
    ("1d", timedelta(days=1)),
    ("1d2h3m4s5ms6us", timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=5, microseconds=6)),
    ("0s", timedelta(0)),
]


@pytest.mark.parametrize(("text", "duration"), EXAMPLES)
def test_a_duration_is_read_and_written(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration
    assert format_duration(duration) == text


def test_a_duration_may_be_written_in_any_unit_but_is_shown_in_the_shortest_form() -> None:
    assert format_duration(parse_duration("90s")) == "1m30s"
    assert format_duration(parse_duration("1500ms")) == "1s500ms"


@given(st.timedeltas(min_value=timedelta(0), max_value=LONGEST))
def test_every_duration_reads_back_as_it_was_written(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got ''"),
        ("5", "the unit is missing, write '5s' for seconds"),
        ("1.5s", "no fractions, use a smaller unit"),
        ("-5s", "never negative"),
        ("5 s", "no spaces"),
        ("5S", "like '500ms', '5s', '1m30s', '2h'; got '5S'"),
        ("5 minutes", "no spaces"),
        ("30s1m", "largest unit first"),
        ("5s5s", "largest unit first"),
        ("٥s", "got '٥s'"),
        ("5s\n", "no spaces"),
        ("s", "got 's'"),
        ("9999999d", "at most 36500d"),
        ("9" * 1000 + "s", "of 1001 characters"),
    ],
)
def test_what_is_not_a_duration_is_refused_with_the_rule(text: str, message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        parse_duration(text)
    assert message in str(refusal.value)
    assert len(str(refusal.value)) < 250


def test_a_negative_duration_is_never_written() -> None:
    with pytest.raises(ValueError, match="never negative"):
        format_duration(timedelta(seconds=-1))
