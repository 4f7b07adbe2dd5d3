"""When a stream counts as full."""

import pytest

from thymos.nats_room import ROOM_BYTES_MIN, finding
from thymos.subjects import COMMANDS, EVENTS, TELEMETRY

LIMIT = 100 * ROOM_BYTES_MIN


@pytest.mark.parametrize(
    ("used", "limit", "full"),
    [
        (0, LIMIT, False),
        (LIMIT - ROOM_BYTES_MIN, LIMIT, False),
        (LIMIT - ROOM_BYTES_MIN + 1, LIMIT, True),
        (LIMIT, -1, False),
    ],
)
def test_a_stream_that_refuses_is_full_when_the_largest_message_finds_no_room(
    used: int, limit: int, full: bool
) -> None:
    assert bool(finding(EVENTS, used, limit)) is full


def test_the_words_name_the_stream_and_what_to_do() -> None:
    assert "nats stream edit" in finding(EVENTS, LIMIT, LIMIT)
    assert "THYMOS_COMMANDS is full" in finding(COMMANDS, LIMIT, LIMIT)


def test_a_stream_that_drops_what_is_old_is_never_full() -> None:
    assert finding(TELEMETRY, LIMIT, LIMIT) == ""
