"""What users of `thymos memory` rely on, on a running suite: one example of behaviour each."""

import getpass
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


def kept_merge(thymos: CommandLine) -> str:
    """The id of a kept merge of idea into main, in which `refunds` collides."""
    thymos.done("memory", "put", "support", "refunds", "14 days")
    thymos.done("memory", "branch", "create", "support", "idea")
    thymos.done("memory", "put", "support", "refunds", "30 days", "--branch", "idea")
    thymos.done("memory", "put", "support", "refunds", "60 days")
    merge: str = thymos("memory", "merge", "support", "idea", "--keep", "--json").json["merge_id"]
    return merge


@pytest.mark.parametrize("verb", ["--continue", "--approve", "--abort"])
@pytest.mark.parametrize("beside", [["--dry-run"], ["--keep"], ["--strategy", "Manual"], ["--resolver", "longer"]])
def test_a_kept_merge_is_not_touched_by_a_command_whose_options_would_mean_nothing(
    thymos: CommandLine, verb: str, beside: list[str]
) -> None:
    merge = kept_merge(thymos)
    thymos.done("memory", "resolve", "support", merge, "refunds", "--take", "theirs")
    refused = thymos("memory", "merge", "support", verb, merge, *beside)
    assert refused.code == 2
    assert f"{verb} takes a kept merge as it is: leave out {beside[0]}" in refused.errors
    assert [kept["merge_id"] for kept in thymos.done("memory", "merges", "support", "--json").json] == [merge]


def test_the_strategy_custom_wants_a_resolver(thymos: CommandLine) -> None:
    kept_merge(thymos)
    refused = thymos("memory", "merge", "support", "idea", "--strategy", "Custom")
    assert (refused.code, "say which one, --resolver NAME" in refused.errors) == (2, True)


def test_a_kept_merge_shows_since_when_it_waits_and_what_was_decided_by_whom_and_why(thymos: CommandLine) -> None:
    merge = kept_merge(thymos)
    opened = thymos.done("memory", "merges", "support", "--json").json[0]["opened_at"]
    assert opened[:10] in thymos.done("memory", "merges", "support").output
    decision = ("--part", "content", "--value", "45 days", "--by", "jo", "--reason", "agreed on Monday")
    thymos.done("memory", "resolve", "support", merge, "refunds", *decision)
    shown = thymos.done("memory", "merges", "support", merge)
    (row,) = [row for row in shown.output.splitlines() if row.startswith("refunds")]
    assert row.split("60 days")[1].strip().startswith("30 days")
    assert all(told in row for told in ("value 45 days", "jo", "agreed on Monday"))
    assert "1 of 1 conflict decided; everything is decided: it is merged when it is continued" in shown.errors


def test_a_merge_that_only_records_a_decision_is_merged_and_says_where_the_branch_stands(thymos: CommandLine) -> None:
    merge = kept_merge(thymos)
    thymos.done("memory", "resolve", "support", merge, "refunds", "--take", "ours")
    said = thymos.done("memory", "merge", "support", "--continue", merge)
    head = thymos.done("memory", "log", "support", "--json").json[0]["commit"]
    assert f"{merge} merged, nothing changed: main at {head[:12]}" in said.errors
    assert "nothing to merge: main has all of idea" in thymos.done("memory", "merge", "support", "idea").errors

    thymos.done("memory", "put", "support", "refunds", "20 days", "--branch", "idea")
    ours = ("memory", "merge", "support", "idea", "--strategy", "Ours")
    assert "idea would bring 0 changes to main" in thymos.done(*ours, "--dry-run").errors
    told = thymos.done(*ours, "--json").json
    assert (told["result"], told["changes"], told["target"]) == ("merged", 0, "main")


def test_whoever_asks_is_named_where_it_is_written_down(thymos: CommandLine) -> None:
    me = getpass.getuser()
    first = thymos.done("memory", "put", "support", "refunds", "14 days", "--json").json["commit"]
    thymos.done("memory", "put", "support", "refunds", "30 days")
    thymos.done("memory", "rollback", "support", first)
    assert thymos.done("memory", "log", "support", "--json").json[0]["author"] == me
    thymos.done("memory", "put", "support", "refunds", "30 days")
    thymos.done("memory", "rollback", "support", first, "--author", "jo")
    assert thymos.done("memory", "log", "support", "--json").json[0]["author"] == "jo"
    thymos.done("memory", "branch", "create", "support", "idea")
    thymos.done("memory", "branch", "rename", "support", "idea", "plan")
    thymos.done("memory", "branch", "delete", "support", "plan")
    moves = thymos.done("memory", "reflog", "support", "plan", "--json").json
    assert [(move["operation"], move["actor"]) for move in moves] == [("delete", me), ("rename", me), ("create", me)]


def test_a_snapshot_has_the_name_and_the_metadata_that_it_is_given(thymos: CommandLine) -> None:
    thymos.done("memory", "put", "support", "refunds", "14 days")
    made = thymos.done("memory", "snapshot", "support", "--id", "before-the-move", "--meta", "ticket=7", "--json").json
    assert made["snapshot_id"] == "before-the-move"
    (kept,) = thymos.done("memory", "snapshots", "support", "--json").json
    assert (kept["name"], kept["metadata"]) == ("before-the-move", {"ticket": 7})
    assert '{"ticket": 7}' in thymos.done("memory", "snapshots", "support").output


@pytest.mark.parametrize(
    "verb",
    [["search", "nobody", "x"], ["list", "nobody"], ["branch", "create", "nobody", "x"], ["snapshot", "nobody"]],
)
def test_an_agent_without_a_memory_has_none_and_gets_none(thymos: CommandLine, verb: list[str]) -> None:
    refused = thymos("memory", *verb)
    assert refused.code == 3
    assert "the agent nobody has no memory yet (it begins with the first commit)" in refused.errors
    assert thymos("memory", "log", "nobody").code == 3


def test_main_is_always_kept_which_is_not_the_same_as_protected(thymos: CommandLine) -> None:
    thymos.done("memory", "put", "support", "refunds", "14 days")
    assert "main is not protected" in thymos.done("memory", "branch", "unprotect", "support", "main").errors
    for verb, why in (
        (["branch", "delete", "support", "main"], "main cannot be deleted: it is always kept"),
        (["branch", "rename", "support", "main", "trunk"], "main cannot be renamed: it is always called so"),
        (["rebase", "support", "main"], "main cannot be rebased: its history is not rewritten"),
    ):
        refused = thymos("memory", *verb)
        assert (refused.code, why in refused.errors) == (4, True), refused


def test_the_metrics_of_an_agent_tell_how_its_memory_is_searched(thymos: CommandLine) -> None:
    thymos.done("memory", "put", "support", "refunds", "14 days")
    thymos.done("memory", "search", "support", "nothing of that")
    beyond = thymos.done("memory", "search", "support", "days", "--skip", "1")  # of a search that has found something
    assert "no more: 1 in all" in beyond.errors
    told = thymos.until(lambda said: "search hit rate" in said.output and "0.5" in said.output, "metrics", "support")
    rows = {name.strip(): value for name, _, value in (row.strip().rpartition(" ") for row in told.output.splitlines())}
    assert (rows["memories"], rows["search hit rate"], rows["results per search"]) == ("1", "0.5", "0")
    assert float(rows["search ms"]) > 0


def test_an_import_is_resumed_only_where_one_is_open_and_a_stream_of_git_is_known(
    thymos: CommandLine, tmp_path: Path
) -> None:
    thymos.done("memory", "put", "support", "a", "x")
    lines, stream = tmp_path / "memory.jsonl", tmp_path / "memory.fi"
    thymos.done("memory", "export", "support", str(lines))
    thymos.done("memory", "export", "support", str(stream), "--git")
    refused = thymos("memory", "import", "copy", str(lines), "--resume")
    assert (refused.code, "no import into copy is open" in refused.errors) == (5, True)
    assert thymos("memory", "log", "copy").code == 3
    refused = thymos("memory", "import", "copy", str(stream))
    assert refused.code == 2
    assert "line 1: this is a stream of git, and no JSON lines (import it as such: --git" in refused.errors
    thymos.done("memory", "import", "copy", str(stream), "--git")


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
