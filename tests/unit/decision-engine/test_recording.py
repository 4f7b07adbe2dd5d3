"""Reading recorded results: two formats, and one clear line for everything that is wrong."""

from fractions import Fraction

import pytest

from decision_engine.recording import LARGEST_FILE_BYTES, RecordedOutcome, RecordingError, parse_recording


def test_csv() -> None:
    recording = parse_recording(
        b"task_id,agent,success,latency_ms,cost_usd,note\n"
        b't1,a,1,12.5,0.0021,"said ""yes"", then no"\n'
        b"t1,b,0,,,\n"
        b"\n"
        b"t2,a,,,,\n"
    )
    assert recording.agents == {
        "a": {
            "t1": RecordedOutcome(2, True, 12_500, Fraction(21, 10_000)),
            "t2": RecordedOutcome(5, None),
        },
        "b": {"t1": RecordedOutcome(3, False)},
    }


def test_json_lines() -> None:
    recording = parse_recording(
        b'{"task_id": 1, "arm": "a", "success": 1, "latency_ms": 12.5}\n'
        b'{"task_id": "2", "arm": "a", "success": null}\n\n'
        b'{"task_id": "3", "arm": "a", "success": false, "extra": [1]}\n'
    )
    assert recording.agents == {
        "a": {
            "1": RecordedOutcome(1, True, 12_500),
            "2": RecordedOutcome(2, None),
            "3": RecordedOutcome(4, False),
        }
    }


def test_a_byte_order_mark_and_windows_line_ends_are_read() -> None:
    assert parse_recording(b"\xef\xbb\xbftask_id, agent ,success\r\nt,a,1\r\n").agents["a"]["t"].success


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty; expected CSV with a header line, or JSON lines"),
        (b" \n\n", "the file is empty"),
        (b"task_id,agent,success\n", "the file holds no results"),
        (b"task_id,agent,success\nt,a,1\n\xff", "line 3: not UTF-8; save the file as UTF-8 text"),
        (b"task_id,success\nt,1\n", "line 1: no column agent; there is 'task_id', 'success'; wanted are"),
        (b"task,agent\n", "line 1: no column task_id and no column success"),
        (b"task_id;agent;success\n", "separate columns by commas"),
        (b"task_id,agent,agent,success\n", "line 1: column 'agent' appears twice"),
        (b"task_id,agent,success\nt,a,1,9\n", "line 2: 4 values for 3 columns"),
        (b"task_id,agent,success\nt,a,2\n", "line 2: success is '2'; expected 0, 1 or empty"),
        (b"task_id,agent,success\nt,a,yes\n", "line 2: success is 'yes'"),
        (b"task_id,agent,success\n,a,1\n", "line 2: task_id is ''; expected text of 1 to 200 characters"),
        (b"task_id,agent,success\nt,a,1\nu,a,1\nt,a,0\n", "line 4: task 't' of 'a' was recorded on line 2 already"),
        (b"task_id,agent,success,latency_ms\nt,a,1,fast\n", "line 2: latency_ms is 'fast'; expected a number"),
        (b"task_id,agent,success,latency_ms\nt,a,1,-1\n", "line 2: latency_ms is '-1'; expected 0 to 1e+12"),
        (b"task_id,agent,success,latency_ms\nt,a,1,nan\n", "line 2: latency_ms is 'nan'; expected a number"),
        (b"task_id,agent,success,cost_usd\nt,a,1,1e999999999\n", "line 2: cost_usd is '1e999999999'"),
        (b'task_id,agent,success\n"t,a,1\n', "line 2: not CSV"),
        (b'[{"task_id": 1}]', "line 1: a JSON list; write JSON lines instead"),
        (b'{"task_id": "t", "agent": "a", "success": 1}\n{oops\n', "line 2: not JSON; write one object per line"),
        (b'{"task_id": "t", "agent": "a", "success": 1}\n3\n', "line 2: not a JSON object"),
        (b'{"task_id": "t", "agent": "a"}', "line 1: no column success"),
        (b'{"task_id": [], "agent": "a", "success": 1}', "line 1: task_id is []"),
        (b'{"task_id": "t", "agent": "a", "success": 0.5}', "line 1: success is '0.5'"),
        (b'{"task_id": "t", "agent": "a", "success": [1]}', "line 1: success is [1]"),
        (b'{"task_id": "t", "agent": "a", "success": 1, "latency_ms": NaN}', "line 1: latency_ms is 'NaN'"),
        (b'{"task_id": "t", "agent": "a", "success": 1, "latency_ms": true}', "line 1: latency_ms is True"),
        (b"[" * 100_000, "line 1: a JSON list"),
        (b'{"a":' * 100_000, "line 1: not JSON"),
        (b'{"task_id": ' + b"9" * 5_000 + b', "agent": "a", "success": 1}', "line 1: not JSON"),
        (b"x" * (LARGEST_FILE_BYTES + 1), "the file is larger than 64 MiB; judge a part of it"),
    ],
    ids=range(31),
)
def test_what_is_wrong_is_said_in_one_line(content: bytes, said: str) -> None:
    with pytest.raises(RecordingError) as refused:
        parse_recording(content)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_an_unknown_agent_is_told_who_is_there() -> None:
    recording = parse_recording(b"task_id,agent,success\nt,a,1\nt,b,0\n")
    with pytest.raises(RecordingError, match="no agent 'c' in the file; it has 'a', 'b'"):
        recording.outcomes("c")
