"""The command line without a suite: what it refuses, in which words, with which exit code."""

import asyncio
import errno
import importlib.metadata
import io
import json
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from thymos import subjects
from thymos.cli import _options_last, exit_codes, experiment, options, run, verbs
from thymos.cli.checks import storage_check
from thymos.cli.event_lines import envelope_of
from thymos.cli.exit_codes import TimedOutError, UsageError
from thymos.cli.findings import crash_finding
from thymos.cli.fleet import crashing, joined, read_fleet
from thymos.cli.json_lines import LINE_BYTES_MAX, documents, read_lines
from thymos.cli.memory.reading import two_refs
from thymos.cli.options import Where, duration, moment
from thymos.cli.output import cell, one_line
from thymos.cli.watch import event_names
from thymos.client import Client
from thymos.errors import ConfigError, PoisonError, Refusal, RefusalCode, TransientError, UnavailableError
from thymos.events import Verdict
from thymos.requests import AgentFleet, AgentSummary, AgentWorktree
from thymos.testing import MemoryBus

NOBODY = "nats://127.0.0.1:1"
HOME = Path("/var/lib/thymos")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration and no environment of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, "CONNECT_WAIT", timedelta(milliseconds=20))
    for name in ("THYMOS_NATS_URL", "THYMOS_TENANT", "THYMOS_CONFIG", "THYMOS_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("zzz", "thymos: unknown verb 'zzz'; see `thymos --help`\n"),
        ("metric", "thymos: unknown verb 'metric', did you mean 'metrics'?; see `thymos --help`\n"),
        ("memory serch", "unknown verb 'serch', did you mean 'search'?; see `thymos memory --help`\n"),
        ("metrics", "AGENT requires an argument"),
        ("watch --count 0", "Must be >= 1"),
        ("watch never.happened", "'never.happened' is no notification"),
        ("watch --since yesterday", "'yesterday' is neither an age such as 1h nor a time such as 2026-03-01T12:00:00Z"),
        ("watch --since 2026-13-01", "'2026-13-01' is neither an age such as 1h nor a time"),
        ("watch --timeout 5", "the unit is missing, write '5s'"),
        ("agents --tenant A", "--tenant: a tenant name is"),
        ("publish task Support --success", "an agent name is"),
        ("publish task support", "--success, --failure, or --outcome"),
        ("publish task support --success --outcome failed", "choose one of --success and --outcome"),
        ("publish task support --success --failure", "choose one of --success and --failure"),
        ("publish task support --success", "say how long the task took: --latency-ms"),
        ("publish task support --outcome odd", "it is one of succeeded"),
        ("publish task support --success --latency-ms=-1", "latency_ms: Input should be greater than or equal to 0"),
        ("publish", "name a file, or - for standard input"),
        ("memory put support refunds", "say what the memory holds"),
        ("memory branch create support a/b", "branch: a branch name is"),
        ("memory merge support a --strategy Sideways", "Sideways"),
        ("up --nats nats://x --port 3", "leave one of them out"),
        ("up --port 99999", "--port is 99999; expected 0 to 65535"),
        ("up --port=-1", "--port is -1; expected 0 to 65535"),
        (
            "up --nats foo://x",
            "--nats: 'foo://x': expected a server like \"nats://127.0.0.1:4222\" (nats, tls, ws or wss)",
        ),
        ("agents --nats foo://x", "(nats, tls, ws or wss)"),
        ("agents --nats nats://x:99999", "--nats: 'nats://x:99999': expected a server"),
        ("memory diff support main", "name two refs"),
        ("memory diff support main..a..b", "name two refs"),
        ("memory diff support main..a b", "name two refs"),
        ("experiment start support --timeout soon", "--timeout"),
        ("experiment start support --timeout 5s", "it needs --wait"),
        ("experiment start support --generator nosuch", "it is one of learn-from-success, cautious, aggressive"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) == exit_codes.USAGE
    output, errors = capsys.readouterr()
    assert said in errors
    assert errors.count("\n") == 1
    assert output == ""


@pytest.mark.parametrize("line", ["agents", "metrics support --json", "memory log support", "stats", "provision"])
def test_without_a_server_it_says_how_to_get_one(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*line.split(), "--nats", NOBODY]) == exit_codes.UNREACHABLE
    output, errors = capsys.readouterr()
    assert "start one with `thymos up`" in errors
    assert errors.count("\n") == 1
    assert output == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refusal(RefusalCode.INVALID, "x"), 2),
        (Refusal(RefusalCode.NOT_FOUND, "x"), 3),
        (Refusal(RefusalCode.REFUSED, "x"), 4),
        (Refusal(RefusalCode.CONFLICT, "x"), 5),
        (Refusal(RefusalCode.UNAVAILABLE, "x"), 6),
        (UnavailableError("x"), 6),
        (TransientError("x"), 6),
        (PoisonError("x"), 1),
        (ConfigError("x"), 1),
    ],
)
def test_every_error_has_its_exit_code(error: Refusal, code: int) -> None:
    assert exit_codes.of_error(error) == code


def test_a_verdict_is_an_exit_code() -> None:
    codes = {verdict.value: exit_codes.of_verdict(verdict) for verdict in Verdict}
    assert codes == {
        "merge": 0, "rollback": 10, "inconclusive": 11, "invalid": 12, "error": 13, "aborted": 14, "continue": 13
    }  # fmt: skip


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == exit_codes.DONE
    assert capsys.readouterr().out.strip() == importlib.metadata.version("thymos")


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == exit_codes.DONE
    output, errors = capsys.readouterr()
    assert errors == "", "every verb can be loaded"
    for verb in (*verbs.BUILT_IN, "judge"):
        assert f"{verb} " in output


@pytest.mark.parametrize("verb", sorted(verbs.BUILT_IN))
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == exit_codes.DONE
    assert f"Usage: thymos {verb}" in capsys.readouterr().out


def test_a_verb_that_cannot_be_loaded_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = importlib.metadata.EntryPoint("broken", "thymos.no_such_module:register", verbs.ENTRY_POINTS)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [broken])
    assert run(["broken"]) == exit_codes.FAILED
    assert "the verb `broken` cannot be loaded from thymos.no_such_module:register" in capsys.readouterr().err
    assert run(["config", "check", "nowhere.toml"]) == exit_codes.NOT_FOUND, "the others still work"


def test_a_bug_is_one_line_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Where, "url", lambda _: 1 / 0)
    assert run(["agents"]) == exit_codes.FAILED
    assert capsys.readouterr().err.startswith("thymos: internal error: ZeroDivisionError")


def test_a_wrong_configuration_is_told_problem_by_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thymos.toml").write_text("[natss]\n[storage]\ndirectory = 7\n")
    assert run(["agents"]) == exit_codes.FAILED
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert all(line.startswith("thymos: thymos.toml:") for line in errors)
    assert run(["agents", "--config", "none.toml"]) == exit_codes.NOT_FOUND


def test_the_server_s_address_is_the_option_s_then_the_environment_s_then_the_configuration_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Where().url() == "nats://127.0.0.1:4222"
    (tmp_path / "thymos.toml").write_text('[nats]\nurl = "nats://file:1"\n')
    assert Where().url() == "nats://file:1"
    monkeypatch.setenv("THYMOS_NATS_URL", "nats://environment:1")
    assert Where().url() == "nats://environment:1"
    assert Where(nats="nats://option:1").url() == "nats://option:1"


def test_the_data_folder_is_the_configured_one_or_lies_here(tmp_path: Path) -> None:
    assert Where().data_folder() == Path(".thymos")
    (tmp_path / "thymos.toml").write_text('[storage]\ndirectory = "state"\n')
    assert Where().data_folder() == tmp_path / "state"


def test_common_options_may_stand_before_the_verb() -> None:
    assert _options_last(["--nats", "u", "--json", "watch", "merged"]) == ["watch", "merged", "--nats", "u", "--json"]
    assert _options_last(["--tenant=acme", "agents"]) == ["agents", "--tenant=acme"]
    assert _options_last(["--json", "memory", "put", "a", "b", "--", "-x"]) == [
        "memory", "put", "a", "b", "--json", "--", "-x"
    ]  # fmt: skip
    assert _options_last(["watch", "--nats", "u"]) == ["watch", "--nats", "u"]
    assert _options_last(["--nats"]) == ["--nats"]


# --- what people write ---------------------------------------------------------------------------------------------


def test_short_names_stand_for_events() -> None:
    assert event_names(["merged", "rolled_back"]) == {"branch.merged", "branch.rolled_back"}
    assert event_names(["experiment"]) == {
        "experiment.started", "experiment.running", "experiment.decided", "experiment.closed"
    }  # fmt: skip
    assert event_names(["worktree.failed"]) == {"worktree.failed"}
    created = {"branch.created", "commit.created", "snapshot.created", "tag.created"}
    assert created == event_names(["created"])
    assert event_names([]) == frozenset()


@pytest.mark.parametrize("text", ["2026-03-01T12:00:00Z", "2026-03-01T12:00:00", "2026-03-01", "1h", "1m30s"])
def test_since_is_an_age_or_a_time(text: str) -> None:
    read = moment("--since", text)
    assert read is not None
    assert read.tzinfo is not None


@pytest.mark.parametrize("text", ["yesterday", "-1h", "2026-13-01", "1.5h", ""])
def test_since_is_nothing_else(text: str) -> None:
    with pytest.raises(UsageError, match="--since"):
        moment("--since", text)


def test_no_duration_is_none() -> None:
    assert duration("--timeout", None) is None


def test_what_a_terminal_would_obey_is_shown() -> None:
    assert one_line("red\x1b[31m") == "red\\x1b[31m"
    assert cell("two\n  lines") == "two lines"
    assert cell(None) == "-"
    assert cell(0.123456) == "0.1235"
    assert cell({"a": 1}) == '{"a": 1}'


def test_a_folder_that_is_not_there_is_a_finding_only_if_it_was_named(tmp_path: Path) -> None:
    away = tmp_path / "away"
    assert storage_check(away, named=False).findings == ()
    assert "cannot be written" in storage_check(away, named=True).findings[0].what
    assert storage_check(tmp_path, named=True).findings == ()


def test_doctor_on_a_full_disk_says_to_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert "make room" in storage_check(tmp_path, named=True).findings[0].mend


# --- the fleet -----------------------------------------------------------------------------------------------------


def worktree(phase: str, *, agent: str = "support", crashes: int = 0, reason: str = "") -> AgentWorktree:
    return AgentWorktree(
        worktree_id=f"{phase}{crashes}", agent=agent, branch="main", backend="process", phase=phase,
        since=datetime(2026, 3, 1, tzinfo=UTC), in_flight=0, capacity=1, crashes=crashes, reason=reason,
    )  # fmt: skip


def test_a_worktree_crashes_until_it_has_come_up() -> None:
    phases = [("failed", 5), ("waiting", 1), ("starting", 1), ("starting", 0), ("ready", 2), ("draining", 0)]
    crashed = crashing([worktree(phase, crashes=crashes) for phase, crashes in phases])
    assert [(each.phase, each.crashes) for each in crashed] == phases[:3]


def test_an_agent_that_crashes_is_found_with_its_reason_and_its_log() -> None:
    found = crash_finding([worktree("waiting", crashes=1), worktree("failed", crashes=5, reason="crash loop")], 3, HOME)
    assert found.what == "support: 1 worktree failed on main: crash loop (exit code 3)"
    assert found.mend == f"see its log {HOME}/agents/failed5.log"
    unstartable = crash_finding([worktree("failed", crashes=5)], None, HOME)
    assert "`thymos config check FILE` says whether its program is there" in unstartable.mend


def test_the_fleet_is_what_either_service_knows() -> None:
    fleet = AgentFleet(
        agent="broken", backend="process", worktrees={"failed": 1}, branches=["main"], in_flight=0, capacity=1
    )
    heard = AgentSummary(agent="support", branches=["main", "tryout"])
    members = joined([heard], [fleet], [worktree("failed", agent="broken", reason="crash loop")])
    assert [(each.agent, each.worktrees, each.trouble) for each in members] == [
        ("broken", "1 failed", "crash loop"),
        ("support", None, ""),
    ]
    assert members[1].as_json()["branches"] == ["main", "tryout"]
    assert members[0].as_json()["worktrees"] == {"failed": 1}


async def test_one_service_that_is_away_is_a_note_and_both_are_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    bus = MemoryBus()
    with pytest.raises(UnavailableError):
        await read_fleet(Client(bus, "acme", "cli"))
    fleet = {"agent": "support", "backend": "process", "worktrees": {}, "branches": [], "in_flight": 0, "capacity": 0}

    async def scaler(subject: str, _: bytes) -> bytes:
        data = {"agents": [fleet]} if subject.endswith("agents") else {"worktrees": []}
        return json.dumps({"ok": True, "data": data}).encode()

    asked = (subjects.request_subject(subjects.WORKTREE_SCALER, "acme", "_", verb) for verb in ("agents", "worktrees"))
    await bus.serve(subjects.WORKTREE_SCALER, {subject: subject for subject in asked}, scaler)
    assert [each.agent for each in await read_fleet(Client(bus, "acme", "cli"))] == ["support"]
    assert "metrics-collector does not answer" in capsys.readouterr().err


# --- waiting -------------------------------------------------------------------------------------------------------


CLOSED = {
    "experiment_id": "e1", "tenant": "acme", "agent": "support", "phase": "Closed", "verdict": "inconclusive",
    "decision_id": "d1", "opened_at": "2026-03-01T12:00:00Z", "closed_at": "2026-03-01T12:10:00Z", "budget": "per_20",
    "seed": 1,
}  # fmt: skip


async def test_waiting_outlasts_a_service_that_is_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "ASK_AGAIN_SECONDS", 0.0)
    bus, asked = MemoryBus(), 0
    client = Client(bus, "acme", "cli")
    with pytest.raises(TimedOutError, match="decision-engine is away"):
        await experiment._wait(client, "e1", timedelta(milliseconds=20), json=False)
    with pytest.raises(UnavailableError):
        await experiment._wait(client, "e1", None, json=False)

    async def engine(_: str, __: bytes) -> bytes:
        nonlocal asked
        asked += 1
        if asked < 3:
            return b'{"ok": false, "error": {"code": "unavailable", "message": "stopping", "hint": ""}}'
        return json.dumps({"ok": True, "data": CLOSED}).encode()

    subject = subjects.request_subject(subjects.DECISION_ENGINE, "acme", "_", "experiment")
    await bus.serve(subjects.DECISION_ENGINE, {"experiment": subject}, engine)
    assert await experiment._wait(client, "e1", timedelta(seconds=60), json=False) == 11
    assert capsys.readouterr().err.count("asking again") == 2, "once for each wait"


# --- lines of events -----------------------------------------------------------------------------------------------

SHORT = {"type": "task.finished", "agent": "support", "data": {"task_id": "t1", "outcome": "failed"}}
CLOUD = {
    "specversion": "1.0", "id": "e1", "source": "somebody", "type": "thymos.task.finished.v1", "agentid": "support",
    "data": {"task_id": "t1", "outcome": "failed"},
}  # fmt: skip


def read(line: object, agent: str | None = None) -> str:
    text = line if isinstance(line, bytes) else json.dumps(line).encode()
    envelope = envelope_of(text, Client(MemoryBus(), "acme", "cli"), agent)
    return f"{envelope.subject} {envelope.source}"


def test_a_line_is_a_cloud_event_or_short() -> None:
    assert read(SHORT) == "thymos.telemetry.acme.support cli"
    assert read({**SHORT, "type": "thymos.task.finished.v1"}) == "thymos.telemetry.acme.support cli"
    assert read(CLOUD) == "thymos.telemetry.acme.support somebody"
    assert read({**CLOUD, "tenantid": "globex"}) == "thymos.telemetry.globex.support somebody"


def test_a_line_without_an_agent_is_of_the_one_that_was_named() -> None:
    assert read({**SHORT, "agent": None}, agent="billing") == "thymos.telemetry.acme.billing cli"
    with pytest.raises(PoisonError, match="no agent is named"):
        read({**SHORT, "agent": None})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"[" * 100_000, "not JSON|nested"),
        (b" " * 2_000_000, "larger than"),
        ({**SHORT, "type": "task.lost"}, "unknown type 'thymos.task.lost.v1'"),
        ({**SHORT, "typ": "x"}, "unknown key 'typ'"),
        ({**SHORT, "type": "branch.merged"}, "for services to say"),
        ({**SHORT, "data": {"task_id": "t1", "outcome": "odd"}}, "data.outcome"),
        ({**SHORT, "data": "text"}, "task.finished: data"),
        ({**SHORT, "agent": "Not A Name"}, "an agent name is"),
        ({**SHORT, "agent": 7}, "agent"),
        ({**CLOUD, "specversion": "0.3"}, "specversion"),
        ({**CLOUD, "subject": 7}, "subject"),
        ({**CLOUD, "id": ""}, "id"),
    ],
)
def test_a_wrong_line_says_what_is_wrong(line: object, said: str) -> None:
    with pytest.raises(PoisonError, match=said):
        read(line)


def test_long_lines_are_read_whole_and_blank_ones_left_out(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"a\n\n" + b"x" * (LINE_BYTES_MAX * 2 + 5) + b"\r\nlast")

    async def numbered() -> list[tuple[int, int]]:
        async with read_lines(str(file)) as lines:
            return [(number, len(line)) async for number, line in lines]

    assert asyncio.run(numbered()) == [(1, 1), (3, LINE_BYTES_MAX), (4, 4)]


def test_an_object_may_be_spread_over_lines() -> None:
    pretty = json.dumps(SHORT, indent=2).encode().split(b"\n")

    async def told() -> list[tuple[int, bytes]]:
        async def lines() -> AsyncIterator[tuple[int, bytes]]:
            for numbered in enumerate([b'{"a": 1}', *pretty, b"nonsense", b"{", b'"cut": "off"'], start=1):
                yield numbered

        return [each async for each in documents(lines())]

    read = asyncio.run(told())
    assert [number for number, _ in read] == [1, 2, 2 + len(pretty), 3 + len(pretty)]
    assert json.loads(read[1][1]) == SHORT
    with pytest.raises(PoisonError, match="not JSON"):
        envelope_of(read[3][1], Client(MemoryBus(), "acme", "cli"), None)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (("main", "dev"), ("main", "dev", False)),
        (("main..dev", None), ("main", "dev", False)),
        (("main...dev~2", None), ("main", "dev~2", True)),
        (("..dev", None), ("main", "dev", False)),
    ],
)
def test_a_diff_is_of_two_refs_or_of_a_range(said: tuple[str, str | None], meant: tuple[str, str, bool]) -> None:
    assert two_refs(*said) == meant


@pytest.mark.parametrize("verb", ["publish", "memory commit support"])
def test_a_file_that_is_not_there(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*verb.split(), "nowhere.jsonl", "--nats", NOBODY]) == exit_codes.NOT_FOUND
    assert "there is no file nowhere.jsonl" in capsys.readouterr().err


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Puts text on standard input."""

    def give(text: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))

    return give


def test_a_commit_is_whole_or_not_at_all(given: Callable[[bytes], None], capsys: pytest.CaptureFixture[str]) -> None:
    given(b'{"op": "put", "id": "a", "content": "x"}\n{"op": "nope", "id": "b"}\n')
    assert run(["memory", "commit", "support", "-", "--nats", NOBODY]) == exit_codes.USAGE
    assert "line 2: op" in capsys.readouterr().err
    given(b"\n")
    assert run(["memory", "commit", "support", "--nats", NOBODY]) == exit_codes.USAGE
    assert "no changes" in capsys.readouterr().err
