"""Memories as files and commits as messages: what git shows, and that nothing is lost on the way."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memory_repository.core.memory import Memory
from memory_repository.core.transfer import messages
from memory_repository.core.transfer.files import file_of, put_of
from memory_repository.core.transfer.messages import Said
from memory_repository.core.transfer.values import PutLine
from thymos.errors import Refusal

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=60)
JSON = st.recursive(
    st.sampled_from([None, True, False, 1, 1.0, -0.0, 1e300, 2**63 - 1]) | st.floats(-9, 9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def test_a_memory_is_markdown_with_its_kind_and_fields_in_front() -> None:
    memory = Memory("refunds", "A refund takes thirty days.\n\nSee *terms*.", "answer", {"b": [1, 2.0], "a": "é"})
    assert file_of(PutLine("refunds", memory=memory)).decode() == (
        '---\nkind: answer\nfields:\n  "a": "é"\n  "b": [1, 2.0]\n---\nA refund takes thirty days.\n\nSee *terms*.\n'
    )


def test_a_redacted_version_says_so_and_keeps_its_hash() -> None:
    redacted = PutLine("refunds", "ab" * 32, redacted=True)
    assert file_of(redacted).decode() == (f"---\nredacted: {'ab' * 32}\n---\nThe content of this version was erased.\n")
    assert put_of("refunds", file_of(redacted)) == redacted


@given(TEXT, st.dictionaries(TEXT, JSON, max_size=4))
@example("---\nkind: x\n---\n", {})
@example("\r\n\x85\u2028", {'": x': 1.0, "a": 1, "\n---\n": None})
def test_a_file_gives_back_the_very_memory(content: str, fields: dict[str, Any]) -> None:
    memory = Memory("m", content, "note", fields)
    read = put_of("m", file_of(PutLine("m", memory=memory))).memory
    assert read is not None
    assert read.body() == memory.body()


def test_a_file_that_an_editor_left_without_a_last_line_feed_is_the_same_memory() -> None:
    assert put_of("m", b"---\nkind: note\n---\ntext").memory == Memory("m", "text")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"# Notes\n", "does not begin with ---"),
        (b"---\nkind: note\n", "ends them"),
        (b"---\nkind: UP\n---\n", "a kind is"),
        (b"---\ntitle: x\n---\n", "kind: <kind>"),
        (b"---\nkind: note\nfields:\n  a: 1\n---\n", "is no field"),
        (b'---\nkind: note\nfields:\n  "a": {\n---\n', "not JSON"),
        (b'---\nkind: note\nfields:\n  "a": NaN\n---\n', "finite"),
        (b'---\nkind: note\nfields:\n  "a": 1\n  "a": 2\n---\n', "twice"),
        (b'---\nkind: note\nfields:\n  "\\ud800": 1\n---\n', "surrogate"),
        (b"---\nkind: note\n---\n\xff\n", "UTF-8"),
        (b"---\nkind: note\n---\na\x00b\n", "NUL"),
        (b"---\nredacted: " + b"ab" * 32 + b"\n---\nmore\n", "redacted and has content"),
        (b'---\nkind: note\nfields:\n  "a": ' + b"[" * 5000 + b"\n---\n", "not JSON"),
        (b"---\nkind: note\n---\n" + b"x" * 65_537 + b"\n", "limit is"),
    ],
)
def test_a_file_that_is_no_memory_is_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(Refusal, match=why):
        put_of("m", data)


AT = datetime(2026, 3, 1, 12, 0, 1, 250_000, tzinfo=UTC)


def test_a_commit_says_in_trailers_what_git_has_no_place_for() -> None:
    ident, text = messages.written(Said("agent/7", AT, "what we know", {"Commit": "c0ffee", "Kind": "commit"}))
    assert ident == "agent/7 <agent-7@thymos.invalid> 1772366401 +0000"
    assert text.decode() == (
        "what we know\n\nThymos-Commit: c0ffee\nThymos-Kind: commit\nThymos-Time: 2026-03-01T12:00:01.250000Z\n"
    )


def test_a_person_keeps_the_address_that_the_author_names() -> None:
    ident, text = messages.written(Said("Ann <ann@x.org>", AT.replace(microsecond=0), "m", {"Kind": "commit"}))
    assert ident == "Ann <ann@x.org> 1772366401 +0000"
    assert text == b"m\n\nThymos-Kind: commit\n"


AUTHORS = TEXT.filter(bool) | st.sampled_from(
    ["Ann <ann@x.org>", "<>", "a\nb", " x ", "<a@b>", "Jo <jo@thymos.invalid>"]
)


@given(AUTHORS, st.datetimes(datetime(1000, 1, 1), timezones=st.just(UTC)), TEXT)
@example("x", datetime(1000, 1, 1, tzinfo=UTC), "")
@example("x", datetime.max.replace(tzinfo=UTC), "(commit)")
@example("x", AT.astimezone(timezone(timedelta(hours=5))), "Thymos-Kind: merge")
@example("x", AT, 'a\n\nThymos-Commit: forged\nThymos-Message: "forged"')
@example("x", AT, "  two\r\nlines\n\n")
def test_whatever_a_commit_says_comes_back_exactly(author: str, at: datetime, message: str) -> None:
    said = Said(author, at, message, {"Kind": "commit", "Meta": '{"a":1}'})
    ident, text = messages.written(said)
    assert "\n" not in ident
    assert ident.count("<") == ident.count(">") == 1
    assert messages.read(ident, text.decode()) == said


def test_what_was_changed_in_git_wins_over_its_trailer() -> None:
    ident, text = messages.written(Said("a\nb", AT, "", {"Kind": "commit"}))
    read = messages.read("Ann <ann@x.org> 1772366500 +0100", text.decode().replace("(commit)", "now with words"))
    assert (read.author, read.message) == ("Ann <ann@x.org>", "now with words")
    assert read.at == datetime(2026, 3, 1, 12, 1, 40, tzinfo=UTC)
    assert ident.startswith("a b <")


def test_trailers_of_others_stay_in_the_message() -> None:
    said = messages.read("Ann <a@b.c> 1 +0000", "fix\n\nSigned-off-by: Ann\nThymos-Kind: commit\n")
    assert said.message == "fix\n\nSigned-off-by: Ann"
    assert said.trailers == {"Kind": "commit"}


@pytest.mark.parametrize(
    "ident", ["", "Ann", "Ann <a@b>", "Ann <a@b> now", "Ann <a> <b> 1 +0000", "A <a@b> 999999999999 +0000"]
)
def test_an_ident_that_is_none_is_refused(ident: str) -> None:
    with pytest.raises(Refusal):
        messages.read(ident, "m")


@pytest.mark.parametrize("meta", ["[]", "{", "{" + '"a":{' * 40 + "}" * 41, '{"a":1e999}'])
def test_facts_that_are_no_json_object_within_the_limits_are_refused(meta: str) -> None:
    with pytest.raises(Refusal):
        messages.meta_of({"Meta": meta})
