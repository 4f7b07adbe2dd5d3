"""Ids and fingerprints. The literal values here can never change: histories out there are named by them."""

import hashlib
import struct
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_repository.core.canonical import canonical_json, same_json
from memory_repository.core.commit_id import CommitHeader, commit_id, delta_hash, salt_of, timestamp, version_hash
from memory_repository.core.fingerprint import EMPTY, state_id, updated
from memory_repository.core.memory import Memory

KEY = b"a key of at least sixteen bytes"
BODY = Memory("refunds", "Thirty days – always.", "answer", {"b": [1, 1.5, True, None], "a": "ä"}).body()


def test_the_encoding_is_fixed() -> None:
    assert BODY == b'["refunds","answer","Thirty days \\u2013 always.",{"a":"\\u00e4","b":[1,1.5,true,null]}]'


def test_the_hashes_are_fixed() -> None:
    salt = salt_of(KEY, BODY)
    assert salt.hex() == "5fb80ff64ef2a29bee4aac9c0c23226bd022303471ef87ce93a200bcf8a22106"
    version = version_hash(salt, BODY)
    assert version == "2d519082f2ddc9fdadbddd0961de15555e68f514c927af331556d5cd212649a5"
    delta = delta_hash([("refunds", version), ("gone", None)])
    assert delta == "db0a35ad5b0d7ade95aa268290adceadfb88fd1a4fbc513cb117dc23a8821e1e"
    state = state_id(updated(EMPTY, [("refunds", version)], []))
    assert state == "64ec2a41bb95102261fd54460149133224dd07162775076b60c8988ad27cc9d6"
    header = CommitHeader(["0" * 64], delta, state, "ann", "2025-03-01T12:00:00.000000Z", "why", "commit", {"n": 1})
    assert commit_id(header) == "e66625aac04414f72e71fecc440ca82078463ad0a48544614e9c19f7502a6070"


def test_every_part_of_a_commit_is_part_of_its_id() -> None:
    plain = CommitHeader(["a", "b"], "d", "s", "ann", "t", "m", "commit", {})
    others = [
        CommitHeader(["b", "a"], "d", "s", "ann", "t", "m", "commit", {}),
        CommitHeader(["a", "b"], "D", "s", "ann", "t", "m", "commit", {}),
        CommitHeader(["a", "b"], "d", "S", "ann", "t", "m", "commit", {}),
        CommitHeader(["a", "b"], "d", "s", "bob", "t", "m", "commit", {}),
        CommitHeader(["a", "b"], "d", "s", "ann", "T", "m", "commit", {}),
        CommitHeader(["a", "b"], "d", "s", "ann", "t", "M", "commit", {}),
        CommitHeader(["a", "b"], "d", "s", "ann", "t", "m", "merge", {}),
        CommitHeader(["a", "b"], "d", "s", "ann", "t", "m", "commit", {"x": 1}),
    ]
    assert len({commit_id(header) for header in (plain, *others)}) == 9


def test_another_key_gives_another_version_so_that_guesses_cannot_be_tested() -> None:
    assert version_hash(salt_of(KEY, BODY), BODY) != version_hash(salt_of(KEY + b"!", BODY), BODY)


def test_times_are_utc_and_of_one_length() -> None:
    east = timezone(timedelta(hours=2))
    assert timestamp(datetime(2025, 3, 1, 14, 0, tzinfo=east)) == "2025-03-01T12:00:00.000000Z"
    with pytest.raises(ValueError, match="time zone"):
        timestamp(datetime(2025, 3, 1, 14, 0))
    assert timestamp(datetime(2025, 3, 1, tzinfo=UTC)) == "2025-03-01T00:00:00.000000Z"


def test_json_tells_numbers_and_truth_values_apart() -> None:
    assert not same_json(1, True)
    assert not same_json(1, 1.0)
    assert same_json({"a": [1], "b": 2}, {"b": 2, "a": [1]})
    with pytest.raises(ValueError, match=r"[Oo]ut of range"):
        canonical_json(float("nan"))


def test_the_fingerprint_is_the_published_sum() -> None:
    """Lane by lane, as LtHash is defined, without the trick that makes it fast."""
    elements = [("a", "1" * 64), ("b", "2" * 64)]
    vectors = [hashlib.shake_128(b"thymos.element.v1\x00" + v.encode() + m.encode()).digest(2048) for m, v in elements]
    lanes = [struct.unpack(">1024H", vector) for vector in vectors]
    assert updated(EMPTY, elements, []) == struct.pack(
        ">1024H", *((x + y) % 2**16 for x, y in zip(*lanes, strict=True))
    )
    assert updated(EMPTY, [], elements[:1]) == struct.pack(">1024H", *(-x % 2**16 for x in lanes[0]))


ELEMENTS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["1" * 64, "2" * 64]))


@given(ELEMENTS, ELEMENTS)
def test_a_state_depends_on_what_is_there_and_not_on_the_way_there(one: dict[str, str], other: dict[str, str]) -> None:
    direct = updated(EMPTY, other.items(), [])
    over = updated(updated(EMPTY, reversed(one.items()), []), other.items(), one.items())
    assert direct == over
    assert (updated(EMPTY, one.items(), []) == direct) == (one == other)
