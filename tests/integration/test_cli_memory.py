"""What users of `thymos memory` rely on, on a running suite: one example of behaviour each."""

import os
import sys
from pathlib import Path

import pytest
from tests.integration.command_line import CommandLine


def history_that_turns_bad(thymos: CommandLine) -> list[str]:
    """The ids of four commits; the first two are good."""
    texts = ("30 days", "30 days, in full", "60 days", "60 days, or more")
    return [thymos.done("memory", "put", "support", "refunds", text, "--json").json["commit"] for text in texts]


def test_a_bisect_whose_test_cannot_be_run_blames_nobody(thymos: CommandLine, tmp_path: Path) -> None:
    good = history_that_turns_bad(thymos)[0]
    forbidden = tmp_path / "ask.sh"
    forbidden.write_text("#!/bin/sh\n")
    search = ("memory", "bisect", "support", "--good", good, "--json", "--run")

    missing = thymos(*search, "./nope.sh")
    assert (missing.code, missing.output) == (1, "")
    assert "ended with 127 (there is no such command): nothing is known of it" in missing.errors
    refused = thymos(*search, str(forbidden))
    assert (refused.code, refused.output) == (1, "")
    assert "is it executable?" in refused.errors


def test_the_test_of_a_bisect_asks_the_suite_that_is_searched(
    thymos: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = history_that_turns_bad(thymos)
    ask = tmp_path / "ask.sh"  # as docs/memory-how-to.md has it
    ask.write_text('#!/bin/sh\nthymos memory get "$THYMOS_AGENT" refunds --ref "$THYMOS_COMMIT" | grep -q "30 days"\n')
    ask.chmod(0o755)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    found = thymos.done("memory", "bisect", "support", "--good", commits[0], "--run", str(ask), "--json")
    assert [suspect["commit"] for suspect in found.json["suspects"]] == [commits[2]]


def test_a_branch_with_commits_that_are_nowhere_else_goes_only_by_force(thymos: CommandLine) -> None:
    thymos.done("memory", "put", "support", "refunds", "14 days")
    delete = ("memory", "branch", "delete", "support", "idea")
    thymos.done("memory", "branch", "create", "support", "idea")
    thymos.done("memory", "put", "support", "refunds", "30 days", "--branch", "idea")
    refused = thymos(*delete)
    assert refused.code == 4
    assert "idea holds commits that are nowhere else (merge it, tag it, or force the deletion)" in refused.errors
    thymos.done(*delete, "--force")
    thymos.done("memory", "branch", "create", "support", "idea", "--from", "idea@{1}")
    thymos.done("memory", "merge", "support", "idea")
    thymos.done("memory", "put", "support", "more", "x")  # main has gone on since
    thymos.done(*delete)


def test_who_decided_a_merge_is_told(thymos: CommandLine) -> None:
    thymos.done("memory", "put", "support", "refunds", "14 days")
    thymos.done("memory", "branch", "create", "support", "idea")
    thymos.done("memory", "put", "support", "refunds", "30 days", "--branch", "idea")
    thymos.done("memory", "put", "support", "refunds", "60 days")
    merge = thymos("memory", "merge", "support", "idea", "--keep", "--json").json["merge_id"]
    decision = ("--take", "theirs", "--by", "jo", "--reason", "agreed on Monday")
    thymos.done("memory", "resolve", "support", merge, "refunds", *decision)
    thymos.done("memory", "merge", "support", "--continue", merge)
    meta = thymos.done("memory", "show", "support", "main", "--json").json["meta"]
    assert (meta["merge_id"], meta["source"]) == (merge, "idea")
    assert [(each["memory"], each["by"], each["rationale"]) for each in meta["decisions"]] == [
        ("refunds", "jo", "agreed on Monday")
    ]
    shown = thymos.done("memory", "show", "support").output
    assert f"merge_id   {merge}" in shown
    assert "memory refunds" in shown
    assert "by jo, rationale agreed on Monday" in shown


def test_a_page_says_how_the_next_one_is_asked_for_also_where_the_branch_has_moved(thymos: CommandLine) -> None:
    first = thymos.done("memory", "put", "support", "a", "x", "--json").json["commit"]
    for each in ("b", "c"):
        thymos.done("memory", "put", "support", each, "x")
    for verb, refs in (("diff", (f"{first}..main",)), ("list", ("--ref", "main"))):
        page = thymos.done("memory", verb, "support", *refs, "--limit", "1")
        thymos.done("memory", "put", "support", "c", f"it has moved since {verb}")
        told = page.errors.partition("there are more: ")[2].split()
        rest = thymos.done("memory", verb, "support", *told, "--json").json
        assert f"since {verb}" not in str(rest)
        assert "'c'" in str(rest)


def test_a_commit_that_is_refused_names_the_line_and_leaves_all_as_it_was(thymos: CommandLine) -> None:
    head = thymos.done("memory", "put", "support", "a", "x", "--json").json["commit"]
    lines = b'{"op": "put", "id": "b", "content": "y"}\n\n{"op": "modify", "id": "nope", "content": "z"}\n'
    said = thymos("memory", "commit", "support", "-", given=lines)
    assert said.code == 3
    assert "line 3: cannot modify nope: there is no such memory here; nothing was committed" in said.errors
    assert thymos.done("memory", "log", "support", "--json").json[0]["commit"] == head


def test_an_import_that_breaks_off_names_the_line_and_what_is_kept(thymos: CommandLine, tmp_path: Path) -> None:
    thymos.done("memory", "put", "support", "a", "x")
    whole, short = tmp_path / "whole.jsonl", tmp_path / "short.jsonl"
    thymos.done("memory", "export", "support", str(whole))
    lines = whole.read_bytes().splitlines(keepends=True)
    short.write_bytes(b"".join(lines[:-1]))

    empty = thymos("memory", "import", "copy", "/dev/null")
    assert (empty.code, "line 1: the history breaks off before it begins" in empty.errors) == (2, True)
    assert "kept" not in empty.errors
    broken = thymos("memory", "import", "copy", str(short))
    assert broken.code == 2
    assert f"line {len(lines)}: the history breaks off" in broken.errors
    assert "what came in is kept aside" in broken.errors
    thymos.done("memory", "import", "copy", str(whole), "--resume")


def test_a_bisect_that_cannot_say_exits_1(thymos: CommandLine) -> None:
    good = history_that_turns_bad(thymos)[0]
    said = thymos("memory", "bisect", "support", "--good", good, "--run", "exit 125")
    assert said.code == 1
    assert "the first bad commit is one of these 3" in said.errors
