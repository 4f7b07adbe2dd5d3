"""The command line on a running suite: `thymos up` as a process, every verb against it. A tenant for each test."""

import json
import subprocess
import sys
from pathlib import Path

from tests.integration.command_line import CommandLine

from thymos.subjects import SERVICES


def test_a_healthy_suite_has_no_findings(thymos: CommandLine) -> None:
    said = thymos.until(lambda said: said.code == 0, "doctor", "--json")
    names = [check["name"] for check in said.json["checks"]]
    assert said.json["ok"]
    assert {"nats", "streams", *SERVICES} <= set(names)
    assert "all is well" in thymos.done("doctor").errors


def test_an_agent_that_crashes_is_a_finding_and_stands_among_the_agents(thymos: CommandLine) -> None:
    thymos.common[-1] = "default"  # whose agents the configuration's are
    said = thymos.until(lambda said: "broken: 1 worktree failed" in said.output, "doctor", "--json")
    (finding,) = next(check for check in said.json["checks"] if check["name"] == "agents")["findings"]
    assert "exit code 3" in finding["what"]
    assert "agents/" in finding["mend"]
    agents = {each["agent"]: each for each in thymos.done("agents", "--json").json}
    assert agents["broken"]["worktrees"] == {"failed": 1}
    assert [each["phase"] for each in agents["broken"]["crashed"]] == ["failed"]
    assert (agents["support"]["backend"], agents["support"]["crashed"]) == ("process", [])
    assert "1 failed" in thymos.done("agents").output


def test_provisioning_again_changes_nothing(thymos: CommandLine) -> None:
    changes = thymos.done("provision", "--json").json
    assert {change["action"] for change in changes} == {"unchanged"}
    assert {change["what"] for change in changes} == {"stream", "consumer", "bucket"}


def test_tasks_that_are_published_are_measured(thymos: CommandLine) -> None:
    sent = thymos.done("publish", "task", "support", "--success", "--latency-ms", "12", "--json").json
    assert sent["subject"].endswith(".support")
    thymos.done("publish", "task", "support", "--failure", "--latency-ms", "9", "--task-id", "t2")
    thymos.done("publish", "task", "support", "--failure", "--latency-ms", "9", "--task-id", "t2")
    counted = thymos.until(
        lambda said: said.code == 0 and said.json[0]["task"]["total"] == 2, "metrics", "support", "--json"
    )
    assert counted.json[0]["task"]["success_rate"] == 0.5
    assert [agent["agent"] for agent in thymos.done("agents", "--json").json] == ["support"]
    assert "success rate" in thymos.done("metrics", "support").output
    assert thymos("metrics", "nobody").code == 3


def test_bad_lines_are_reported_by_number_and_the_others_published(thymos: CommandLine) -> None:
    lines = [
        {"type": "task.finished", "agent": "support", "data": {"task_id": "a", "outcome": "succeeded"}},
        {"type": "task.finished", "agent": "support", "data": {"task_id": "b", "outcome": "odd"}},
        {"type": "branch.merged", "agent": "support", "data": {}},
        {"type": "task.finished", "agent": "support", "id": "same", "data": {"task_id": "c", "outcome": "failed"}},
        {"type": "task.finished", "agent": "support", "id": "same", "data": {"task_id": "c", "outcome": "failed"}},
    ]
    said = thymos("publish", "-", "--json", given="\n".join(map(json.dumps, lines)).encode())
    assert said.code == 1
    assert (said.json["published"], said.json["duplicates"]) == (2, 1)
    assert [problem["line"] for problem in said.json["refused"]] == [2, 3]
    assert [line.split(":")[0] for line in said.errors.splitlines()] == ["line 2", "line 3"]
    thymos.until(lambda said: said.code == 0 and said.json[0]["task"]["total"] == 2, "metrics", "support", "--json")


def test_an_example_of_the_contract_is_published_and_known_the_second_time(thymos: CommandLine) -> None:
    example = Path(__file__).parents[2] / "proto" / "examples" / "task.finished.v1.json"
    event = json.loads(example.read_text()) | {"tenantid": thymos.common[-1]}
    pretty = json.dumps(event, indent=2).encode()
    first = thymos.done("publish", "-", "--json", given=pretty).json
    again = thymos.done("publish", "-", "--json", given=pretty).json
    assert (first["published"], first["duplicates"]) == (1, 0)
    assert (again["published"], again["duplicates"]) == (0, 1)
    assert "0 published, 1 known already, 0 refused" in thymos.done("publish", "-", given=pretty).errors


def test_memory_from_the_first_put_to_a_rollback(thymos: CommandLine) -> None:
    assert thymos("memory", "log", "support").code == 3
    put = thymos.done("memory", "put", "support", "refunds", "within 14 days", "--field", "weight=3", "--json").json
    assert put["changes"] == 1
    thymos.done("memory", "branch", "create", "support", "tryout")
    thymos.done("memory", "put", "support", "refunds", "within 30 days", "--field", "weight=3", "--branch", "tryout")
    diff = thymos.done("memory", "diff", "support", "main", "tryout", "--json").json
    assert [(c["before"]["content"], c["after"]["content"]) for c in diff["changes"]] == [
        ("within 14 days", "within 30 days")
    ]
    shown = thymos.done("memory", "diff", "support", "main", "tryout").output
    assert "~  refunds  within 14 days → within 30 days" in shown
    assert thymos.done("memory", "diff", "support", "main..tryout").output == shown

    assert thymos.done("memory", "merge", "support", "tryout", "--dry-run", "--json").json["dry_run"]
    assert thymos.done("memory", "merge", "support", "tryout", "--reason", "better").code == 0
    found = thymos.done("memory", "search", "support", "30", "--json").json
    assert [hit["id"] for hit in found["results"]] == ["refunds"]

    thymos.done("memory", "rollback", "support", put["commit"], "--reason", "worse")
    assert thymos.done("memory", "get", "support", "refunds", "--json").json["content"] == "within 14 days"
    assert thymos.done("memory", "get", "support", "refunds", "--json").json["fields"] == {"weight": 3}
    reasons = thymos.until(
        lambda said: said.code == 0, "watch", "merged", "rolled_back", "--since", "1h", "--count", "2",
        "--timeout", "10s", "--json",
    )  # fmt: skip
    events = [json.loads(line) for line in reasons.output.splitlines()]
    assert [(event["type"], event["data"]["reason"]) for event in events] == [
        ("thymos.branch.merged.v1", "better"),
        ("thymos.branch.rolled_back.v1", "worse"),
    ]


def test_a_merge_that_conflicts_exits_5_and_changes_nothing(thymos: CommandLine) -> None:
    thymos.done("memory", "put", "support", "refunds", "14 days")
    thymos.done("memory", "branch", "create", "support", "tryout")
    thymos.done("memory", "put", "support", "refunds", "30 days", "--branch", "tryout")
    before = thymos.done("memory", "put", "support", "refunds", "7 days", "--json").json["commit"]
    said = thymos("memory", "merge", "support", "tryout", "--json")
    assert said.code == 5
    assert said.json["result"] == "conflicts"
    assert [conflict["memory_id"] for conflict in said.json["conflicts"]] == ["refunds"]
    heads = {each["branch"]: each["commit"] for each in thymos.done("memory", "branch", "support", "--json").json}
    assert heads["main"] == before
    thymos.done("memory", "merge", "support", "tryout", "--strategy", "Theirs")
    assert thymos.done("memory", "get", "support", "refunds", "--json").json["content"] == "30 days"


def test_a_merge_is_kept_resolved_by_parts_and_continued(thymos: CommandLine) -> None:
    put = ("memory", "put", "support", "terms")
    thymos.done(*put, "14 days", "--field", "limit=1", "--field", "hits=1")
    thymos.done("memory", "branch", "create", "support", "tryout")
    thymos.done(*put, "30 days", "--field", "limit=2", "--field", "hits=3")
    thymos.done(*put, "60 days", "--field", "limit=3", "--field", "hits=4", "--branch", "tryout")
    assert thymos.done("memory", "number-rule", "support", "hits", "sum", "--json").json == {"hits": "sum"}
    thymos.done("memory", "branch", "protect", "support", "main", "--reason", "it is read by customers")
    branches = thymos.done("memory", "branch", "support", "--json").json
    assert {each["branch"]: each["protected"] for each in branches} == {"main": True, "tryout": False}
    kept = thymos("memory", "merge", "support", "tryout", "--keep", "--json")
    merge = kept.json["merge_id"]
    assert (kept.code, kept.json["state"], len(kept.json["conflicts"])) == (5, "open", 2)
    assert [each["merge_id"] for each in thymos.done("memory", "merges", "support", "--json").json] == [merge]
    assert "fields/limit" in thymos.done("memory", "merges", "support", merge).output
    resolve = ("memory", "resolve", "support", merge, "terms")
    assert "say what to take" in thymos(*resolve).errors
    assert "say which --part" in thymos(*resolve, "--value", "30 or 60 days").errors
    thymos.done(*resolve, "--part", "content", "--value", "30 or 60 days")
    assert thymos("memory", "merge", "support", "--continue", merge).code == 5
    assert "--continue" in thymos.done(*resolve, "--part", "fields/limit", "--take", "theirs").errors
    shown = thymos.done("memory", "merges", "support", merge, "--json").json
    assert [(each["part"], each["take"]) for each in shown["conflicts"]] == [
        ("content", "value"),
        ("fields/limit", "theirs"),
    ]
    thymos.done("memory", "merge", "support", "--continue", merge, "--by", "jo")
    (memory,) = thymos.done("memory", "list", "support", "--json").json["memories"]
    assert (memory["content"], memory["fields"]) == ("30 or 60 days", {"limit": 3, "hits": 6})
    assert thymos("memory", "merge", "support", "--abort", merge).code == 3
    assert thymos("memory", "merge", "support", "tryout", "--approve", merge).code == 2
    thymos.done("memory", "branch", "unprotect", "support", "main")


def test_a_memory_moves_to_another_agent_whole_and_by_way_of_git(thymos: CommandLine, tmp_path: Path) -> None:
    for part in range(3):  # more than one page and one batch
        puts = ({"op": "put", "id": f"m{part}-{n}", "content": f"{part} " + "x" * 30_000} for n in range(15))
        thymos.done("memory", "commit", "support", given="\n".join(map(json.dumps, puts)).encode())
    thymos.done("memory", "branch", "create", "support", "tryout")
    thymos.done("memory", "put", "support", "m0-0", "short", "--branch", "tryout")
    log = thymos.done("memory", "log", "support", "--json").json
    keyed, stream = tmp_path / "keyed.jsonl", tmp_path / "stream.fi"
    assert "5 commits exported" in thymos.done("memory", "export", "support", str(keyed), "--with-key").errors
    kept = thymos("memory", "export", "support", str(keyed))
    assert (kept.code, "--force" in kept.errors, b'"key"' in keyed.read_bytes()) == (5, True, True)
    stream.write_bytes(b"of yesterday")
    thymos.done("memory", "export", "support", str(stream), "--git", "--force")
    assert '"key"' not in thymos.done("memory", "export", "support").output

    assert "5 commits and 2 refs" in thymos.done("memory", "import", "copy", str(keyed)).errors
    assert thymos.done("memory", "log", "copy", "--json").json == log
    assert thymos.done("memory", "get", "copy", "m0-0", "--ref", "tryout", "--json").json["content"] == "short"
    again = thymos("memory", "import", "copy", str(keyed))
    assert again.code == 5
    assert "has a memory already" in again.errors
    said = thymos.done("watch", "imported", "--agent", "copy", "--since", "1h", "--count", "1", "--json")
    assert said.json["data"]["commit"] == log[0]["commit"]

    whole = keyed.read_bytes()
    broken = thymos("memory", "import", "other", "-", given=whole[: len(whole) * 4 // 5])
    assert broken.code == 2
    assert "this is not JSON" in broken.errors
    assert thymos("memory", "log", "other").code == 3, "nothing is seen of it"
    assert "--resume" in thymos("memory", "import", "other", str(keyed)).errors
    thymos.done("memory", "import", "other", str(keyed), "--resume")
    assert thymos.done("memory", "log", "other", "--json").json == log

    said = thymos.done("memory", "import", "from-git", "--git", "--json", given=stream.read_bytes())
    assert said.json["done"]
    there = thymos.done("memory", "log", "from-git", "--json").json
    assert [commit["message"] for commit in there] == [commit["message"] for commit in log]
    assert thymos.done("memory", "get", "from-git", "m2-14", "--json").json["content"].startswith("2 xxx")
    assert thymos("memory", "import", "x", "--git", given=b"commit refs/heads/main\n").code == 2
    assert thymos("memory", "import", "x", "--abandon").code == 3
    assert thymos("memory", "import", "x", str(tmp_path / "nothing")).code == 3
    assert thymos("memory", "export", "nobody").code == 3
    assert thymos("memory", "export", "support", "--git", "--with-key").code == 2


def test_the_other_verbs_of_memory(thymos: CommandLine) -> None:
    change = b'{"op": "put", "id": "a", "content": "apples"}\n{"op": "put", "id": "b", "content": "pears"}\n'
    first = thymos.done("memory", "commit", "support", "-", "--message", "fruit", "--json", given=change).json
    assert first["changes"] == 2
    assert [m["id"] for m in thymos.done("memory", "list", "support", "--json").json["memories"]] == ["a", "b"]
    shown = thymos.done("memory", "show", "support", "--json").json
    assert shown["commit"]["message"] == "fruit"
    assert "+  a       apples" in thymos.done("memory", "show", "support").output
    thymos.done("memory", "delete", "support", "a")
    assert [c["message"] for c in thymos.done("memory", "log", "support", "--json").json][:2] == ["delete a", "fruit"]
    snapshot = thymos.done("memory", "snapshot", "support", "--reason", "keep", "--json").json["snapshot_id"]
    assert thymos.done("memory", "list", "support", "--ref", snapshot, "--json").json["memories"][0]["id"] == "b"
    assert thymos.done("memory", "worktree", "list", "support", "--json").json == []
    change = b'{"op": "modify", "id": "a", "content": "oranges"}'
    late = thymos("memory", "commit", "support", "--expected-head", first["commit"], given=change)
    assert late.code == 5, "a was deleted since"


def test_an_experiment_is_started_waited_for_and_shown(thymos: CommandLine) -> None:
    refused = thymos("experiment", "start", "nobody")
    assert (refused.code, refused.errors.count("\n")) == (4, 1)
    thymos.done("memory", "put", "support", "refunds", "14 days")

    started = thymos.done("experiment", "start", "support", "--reason", "curious", "--json").json
    experiment = started["experiment_id"]
    ended = thymos("experiment", "wait", experiment, "--timeout", "60s", "--json")
    assert ended.json["phase"] == "Closed"
    assert ended.code == {"inconclusive": 11, "error": 13}[ended.json["verdict"]], "three tasks decide nothing"
    assert thymos("experiment", "wait", experiment).code == ended.code, "waiting for the past is no wait"

    listed = thymos.done("experiment", "list", "--json").json
    assert [each["experiment_id"] for each in listed] == [experiment]
    assert "curious" in thymos.done("experiment", "show", experiment).output
    assert thymos("experiment", "abort", experiment).code == 5
    assert thymos("experiment", "show", "nix").code == 3
    assert thymos("experiment", "approve", "nix").code == 3


def test_an_experiment_can_be_aborted(thymos: CommandLine) -> None:
    thymos.done("memory", "put", "support", "refunds", "14 days")
    experiment = thymos.done("experiment", "start", "support", "--json").json["experiment_id"]
    late = thymos("experiment", "wait", experiment, "--timeout", "1ms")
    assert late.code in (124, 11, 13)
    aborted = thymos("experiment", "abort", experiment, "--reason", "enough")
    assert aborted.code in (0, 5), "it may have ended by itself before"
    ended = thymos("experiment", "wait", experiment, "--timeout", "60s", "--json")
    assert (ended.code == 14) == (aborted.code == 0)


def test_the_figures(thymos: CommandLine) -> None:
    assert set(thymos.done("stats", "--json").json) == {
        "branches_created", "branches_merged", "branches_rolled_back", "worktrees_created", "ab_tests_run",
        "avg_experiment_duration_seconds", "experiment_success_rate", "avg_improvement",
    }  # fmt: skip
    thymos.done("memory", "put", "support", "refunds", "14 days")
    thymos.done("memory", "branch", "create", "support", "tryout")
    thymos.until(lambda said: said.json["branches_created"] == 1, "stats", "--json")


def test_dead_letters_are_a_finding_until_they_are_dropped(thymos: CommandLine, suite_url: str) -> None:
    tenant = thymos.common[-1]
    publish = (
        "import asyncio, sys\nfrom thymos import nats_bus\n"
        "async def main():\n"
        "    bus = await nats_bus.connect(sys.argv[1], 'stranger')\n"
        "    await bus.publish(f'thymos.telemetry.{sys.argv[2]}.support', b'nonsense', 'x')\n"
        "    await bus.close()\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", publish, suite_url, tenant], check=True)
    said = thymos.until(lambda said: said.code == 1, "doctor", "--json")
    finding = next(check for check in said.json["checks"] if check["name"] == "dead letters")["findings"][0]
    assert "could not be processed" in finding["what"]
    letters = thymos.done("dead", "list", "--json").json
    assert {letter["original"] for letter in letters} == {"nonsense"}
    assert "not JSON" in thymos.done("dead").output
    thymos.done("dead", "drop", "--all")
    assert thymos.done("dead", "list", "--json").json == []


def test_a_watch_that_sees_too_little_exits_124(thymos: CommandLine) -> None:
    thymos.done("memory", "put", "support", "refunds", "14 days")
    thymos.done("memory", "branch", "create", "support", "tryout")
    said = thymos("watch", "created", "--agent", "support", "--since", "1h", "--count", "9", "--timeout", "300ms")
    assert said.code == 124
    assert "branch.created" in said.output
    assert thymos("watch", "merged", "--since", "1h", "--timeout", "50ms").code == 0


def test_memory_has_names_a_past_and_authors(thymos: CommandLine) -> None:
    for text in ("one", "two", "three"):
        thymos.done("memory", "put", "sales", "a", f"{text}\nlast line", "--message", text, "--author", "jo")
    thymos.done("memory", "tag", "create", "sales", "v1", "main~1", "--reason", "it was good")
    assert [tag["name"] for tag in thymos.done("memory", "tag", "sales", "--json").json] == ["v1"]
    assert thymos.done("memory", "get", "sales", "a", "--ref", "v1", "--json").json["content"] == "two\nlast line"
    assert thymos.done("memory", "get", "sales", "a", "--ref", "main@{2}", "--json").json["content"] == "one\nlast line"
    history = thymos.done("memory", "history", "sales", "a", "--json").json["changes"]
    assert [each["commit"]["message"] for each in history] == ["three", "two", "one"]
    blamed = thymos.done("memory", "blame", "sales", "a")
    assert "   1  three" in blamed.output
    base = thymos.done("memory", "merge-base", "sales", "main~2", "v1", "--json").json
    assert [commit["message"] for commit in base] == ["one"]
    moves = thymos.done("memory", "reflog", "sales", "--json").json
    assert [move["operation"] for move in moves] == ["commit"] * 3 + ["create"]
    thymos.done("memory", "tag", "delete", "sales", "v1")
    assert thymos("memory", "show", "sales", "v1").code == 3
    snapshot = thymos.done("memory", "snapshot", "sales", "--json").json["snapshot_id"]
    thymos.done("memory", "snapshots", "delete", "sales", snapshot)
    assert thymos.done("memory", "snapshots", "sales", "--json").json == []


def test_memory_takes_changes_from_elsewhere(thymos: CommandLine) -> None:
    thymos.done("memory", "put", "sales", "a", "base")
    thymos.done("memory", "branch", "create", "sales", "idea")
    picked = thymos.done("memory", "put", "sales", "b", "bee", "--branch", "idea", "--json").json["commit"]
    thymos.done("memory", "put", "sales", "c", "sea")
    rebased = thymos.done("memory", "rebase", "sales", "idea", "--json").json
    assert (rebased["previous_commit"], len(rebased["replayed"])) == (picked, 1)
    thymos.done("memory", "branch", "rename", "sales", "idea", "plan")
    thymos.done("memory", "cherry-pick", "sales", "plan")
    assert thymos.done("memory", "get", "sales", "b").output
    thymos.done("memory", "revert", "sales", "main", "--reason", "not yet")
    assert thymos("memory", "get", "sales", "b").code == 3
    thymos.done("memory", "put", "sales", "b", "other")
    collided = thymos("memory", "cherry-pick", "sales", "plan")
    assert (collided.code, "collide" in collided.errors) == (5, True)
    assert thymos("memory", "rebase", "sales", "main", "plan").code == 4


def test_the_first_bad_commit_is_found_by_a_command(thymos: CommandLine) -> None:
    good = thymos.done("memory", "put", "sales", "n", "0", "--json").json["commit"]
    ids = [thymos.done("memory", "put", "sales", "n", f"{n}", "--json").json["commit"] for n in range(1, 7)]
    bad = " ".join(ids[3:])
    said = thymos.done(
        "memory", "bisect", "sales", "--good", good, "--run", f'! echo {bad} | grep -q "$THYMOS_COMMIT"', "--json"
    )
    assert [suspect["commit"] for suspect in said.json["suspects"]] == [ids[3]]
    step = thymos.done("memory", "bisect", "sales", "--good", good, "--json").json
    assert (step["result"], step["remaining"]) == ("test", 6)
    assert thymos("memory", "bisect", "sales", "--good", good, "--run", "exit 129").code == 1


def test_a_worktree_of_memory_from_the_command_line(thymos: CommandLine) -> None:
    thymos.done("memory", "put", "sales", "a", "base")
    thymos.done("memory", "worktree", "open", "sales", "w1")
    thymos.done("memory", "worktree", "stage", "sales", "w1", given=b'{"op": "put", "id": "b", "content": "bee"}\n')
    staged = thymos.done("memory", "worktree", "show", "sales", "w1", "--json").json["staged"]
    assert [(each["id"], each["memory"]["content"]) for each in staged] == [("b", "bee")]
    assert thymos("memory", "worktree", "close", "sales", "w1").code == 4
    thymos.done("memory", "worktree", "commit", "sales", "w1", "--message", "a bee")
    assert thymos.done("memory", "get", "sales", "b", "--json").json["content"] == "bee"
    thymos.done("memory", "worktree", "close", "sales", "w1")
