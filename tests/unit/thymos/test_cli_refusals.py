"""What the command line refuses before it asks anybody, and what it says then."""

import io
from pathlib import Path

import pytest

from thymos.cli import run
from thymos.cli.whole_file import output


def test_a_restore_refuses_where_memories_are_kept_in_a_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration = tmp_path / "thymos.toml"
    configuration.write_text('[storage]\nurl = "postgresql://ann:secret@db.example/memory"\n')
    data = tmp_path / "data"
    code = run(["restore", str(tmp_path / "backup"), "--config", str(configuration), "--data", str(data)])
    said = capsys.readouterr().err
    assert (code, data.exists()) == (4, False)
    assert "the configuration keeps memories in PostgreSQL" in said
    assert "restore with a configuration without storage.url" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            '{"op": "put", "id": "y", "content": "1", "field": {"a": 1}}',
            "line 1: unknown key 'field' (did you mean fields?)",
        ),
        ('{"op": "modify", "id": "y", "feilds": {"a": 1}}', "line 1: unknown key 'feilds' (did you mean fields?)"),
        ('{"op": "delete", "id": "y", "because": "old"}', "line 1: unknown key 'because' (a change has op, id"),
        ('\n{"op": "put", "id": "x"}', "line 2: put x has no content: give it, or use modify"),
        (
            '{"op": "put", "id": "x", "content": "1"}\n{"op": "put", "id": "x", "content": "2"}',
            "line 2: line 1 puts x already; a put replaces all of it",
        ),
        ('{"op": "put", "id": "y", "id": "q", "content": "1"}', "line 1: the key 'id' stands there twice: keep one"),
        (
            '{"op": "modify", "id": "y", "fields": {"a": {"b": 1, "b": 2}}}',
            "line 1: the key 'b' stands there twice: keep one",
        ),
        (
            '{"op": "delete", "id": "y", "content": "x", "fields": {}}',
            "line 1: delete y has content and fields: a delete has op and id alone",
        ),
        ('{"op": "put", "id": "y", "content": "1", "fields": {"a": 1e400}}', "inf is no number of JSON"),
        ('{"op": "put", "id": "y", "content": "1", "fields": {"a": [NaN]}}', "nan is no number of JSON"),
        ('{"op": "modify", "id": "y", "fields": {"a": {"b": -Infinity}}}', "-inf is no number of JSON"),
    ],
)
@pytest.mark.parametrize("verb", ["memory commit support", "memory worktree stage support w1"])
def test_a_line_that_would_lose_what_it_says_is_refused(
    verb: str, lines: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    assert run([*verb.split(), "-", "--nats", "nats://127.0.0.1:1"]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "; nothing was " in told


def test_a_field_is_decided_by_json_and_a_text_is_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    resolve = ["memory", "resolve", "support", "merge-1", "desk", "--nats", "nats://127.0.0.1:1", "--part"]
    assert run([*resolve, "fields/limit", "--value", "6x"]) == 2
    assert """'6x' is no JSON; a text is quoted: --value '"6x"'""" in capsys.readouterr().err
    assert run([*resolve, "fields/limit", "--value", '"6x"']) == 6  # nobody is asked in vain
    assert run([*resolve, "content", "--value", "6x"]) == 6


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("memory merge support main main", "main cannot be merged into itself: name the branch to merge"),
        ("memory merge support main", "main cannot be merged into itself"),
        ("memory verify support --known 0123456789ab", "--known 0123456789ab: give the whole id, its 64 digits"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anybody_is_asked(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*line.split(), "--nats", "nats://127.0.0.1:1"]) == 2
    assert said in capsys.readouterr().err


def test_a_file_with_a_key_is_its_owner_s_alone(tmp_path: Path) -> None:
    for name, private in (("keyed", True), ("plain", False)):
        with output(tmp_path / name, force=False, private=private) as write:
            write(b"x")
    assert (tmp_path / "keyed").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "plain").stat().st_mode & 0o044 == 0o044
