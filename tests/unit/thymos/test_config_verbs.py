"""`thymos config check FILE` and `thymos config show`."""

import json
from pathlib import Path

import pytest
from cyclopts import App

from thymos.cli.config_verbs import register
from thymos.scenario import parse_scenario

SEED = Path(__file__).with_name("seed.toml")


def thymos(*words: str) -> int:
    """Run one command line; its exit code."""
    app = App(name="thymos")
    register(app)
    with pytest.raises(SystemExit) as end:
        app(words)
    assert isinstance(end.value.code, int)
    return end.value.code


def test_a_right_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert thymos("config", "check", str(SEED)) == 0
    assert capsys.readouterr() == (f"{SEED}: right: 0 agents, built-in rules\n", "")


def test_a_wrong_file_has_one_line_per_problem_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "thymos.toml"
    file.write_text("[nats]\nulr = 1\n[agents.a]\ncapacity = 0\n", encoding="utf-8")
    assert thymos("config", "check", str(file)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f'{file}:2: nats.ulr: unknown key; did you mean "url"? (allowed in [nats]: url, replicas)',
        f"{file}:4: agents.a.capacity: expected a whole number from 1 to 1000; got 0",
    ]


def test_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert thymos("config", "show", "--config", str(tmp_path / "none.toml")) == 3
    capsys.readouterr()
    assert thymos("config", "check", str(tmp_path / "none.toml")) == 3
    assert capsys.readouterr().err == f"{tmp_path / 'none.toml'}: cannot be read: No such file or directory\n"


def test_what_is_there_but_cannot_be_read_is_not_missing(tmp_path: Path) -> None:
    assert thymos("config", "check", str(tmp_path)) == 1


def test_checking_leaves_the_environment_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THYMOS_NATS__ULR", "x")
    assert thymos("config", "check", str(SEED)) == 0
    assert thymos("config", "show", "--config", str(SEED)) == 1


AGENT = "[agents.a]\ncommand = ['python3']\nscenario = 'tasks.jsonl'\n"
RULE = """
[[supervisor.versioning.rules]]
name = "own"
condition = {type = "Custom", evaluator = "%s"}
action = {type = "CreateBranch"}
"""


def checked(folder: Path, text: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The problems of a configuration, as a machine reads them."""
    file = folder / "thymos.toml"
    file.write_text(text, encoding="utf-8")
    code = thymos("config", "check", str(file), "--json")
    said = json.loads(capsys.readouterr().out)
    assert (said["ok"], said["file"]) == (code == 0, str(file))
    return [str(problem).replace(f"{folder}/", "") for problem in said["problems"]]


def test_a_scenario_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem = "thymos.toml:3: agents.a.scenario: tasks.jsonl: cannot be read: No such file or directory"
    assert checked(tmp_path, AGENT, capsys) == [problem]
    assert thymos("config", "check", str(tmp_path / "thymos.toml")) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


def test_every_line_of_a_scenario_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = ['{"task_id": "a", "input": 1, "expect": 2}', "nonsense", '{"task_id": "b", "input": 1}']
    (tmp_path / "tasks.jsonl").write_text("\n".join([*tasks, "", tasks[0]]), encoding="utf-8")
    assert [problem.split(": ", 2)[2][:40] for problem in checked(tmp_path, AGENT, capsys)] == [
        "tasks.jsonl:2: not JSON: Expecting value: line"[:40],
        "tasks.jsonl:3: expect is missing",
        "tasks.jsonl:5: task_id 'a' was there before, on line 1"[:40],
    ]
    (tmp_path / "tasks.jsonl").write_text(tasks[0], encoding="utf-8")
    assert checked(tmp_path, AGENT, capsys) == []


def test_many_problems_are_counted() -> None:
    told = parse_scenario("nonsense\n" * 30, "tasks").problems
    assert (len(told), told[-1]) == (21, "tasks: and 10 more")


def test_a_program_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problems = checked(tmp_path, "[agents.a]\ncommand = ['no-such-program']\n", capsys)
    assert problems[0].startswith("thymos.toml:2: agents.a.command: there is no program 'no-such-program'")
    program = tmp_path / "run"
    assert len(checked(tmp_path, "[agents.a]\ncommand = ['./run']\n", capsys)) == 1
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    assert checked(tmp_path, "[agents.a]\ncommand = ['./run']\n", capsys) == [], "a path is the file's neighbour"
    by_path = f"[agents.a]\ncommand = ['run']\nenvironment = {{PATH = '{tmp_path}'}}\n"
    assert checked(tmp_path, by_path, capsys) == [], "the agent's own PATH is searched"


@pytest.mark.parametrize(
    ("evaluator", "problem"),
    [
        ("own_rules_of_this_test:slow", None),
        ("own_rules_of_this_test:LIMIT", "cannot be called"),
        ("own_rules_of_this_test:nosuch", "cannot be imported: AttributeError"),
        ("no_such_module:slow", "cannot be imported: ModuleNotFoundError"),
        ("slow", "expected 'module:function'"),
    ],
)
def test_an_evaluator_is_imported(
    evaluator: str, problem: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    rules = "LIMIT = 0.5\ndef slow(metrics):\n    return metrics.load > LIMIT\n"
    (tmp_path / "own_rules_of_this_test.py").write_text(rules, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    problems = checked(tmp_path, RULE % evaluator, capsys)
    assert len(problems) == (problem is not None)
    if problem is not None:
        assert problems[0].startswith("thymos.toml:4: supervisor.versioning.rules[0].condition.evaluator: ")
        assert problem in problems[0]


def test_what_is_in_force_and_where_it_comes_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("THYMOS_NATS_URL", "nats://me:secret@bus:4222")
    assert thymos("config", "show", "--config", str(SEED)) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["supervisor.versioning.experiment_timeout", "=", '"30m"', "#", "default"] in lines
    assert ["supervisor.versioning.auto_merge_enabled", "=", "true", "#", f"{SEED}:5"] in lines
    assert ["nats.url", "=", '"nats://***@bus:4222"', "#", "env", "THYMOS_NATS_URL"] in lines


def test_the_same_for_machines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THYMOS_NATS_URL", raising=False)
    assert thymos("config", "show", "--config", str(SEED), "--json") == 0
    settings = {each["key"]: each for each in json.loads(capsys.readouterr().out)}
    criteria = "supervisor.versioning.success_criteria"
    assert settings[f"{criteria}.max_error_rate"] == {
        "key": f"{criteria}.max_error_rate",
        "value": 0.01,
        "origin": f"{SEED}:10",
    }
    assert settings[f"{criteria}.min_failure_reduction"]["value"] is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://ann:secret@h/db?sslmod=verify-full", "sslmod"),
        ("postgresql://", "it names neither a server nor a database"),
    ],
)
def test_an_address_of_a_database_that_cannot_work(
    url: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "thymos.toml"
    file.write_text(f'[storage]\nurl = "{url}"\n', encoding="utf-8")
    assert thymos("config", "check", str(file)) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"{file}:2: storage.url: expected a database like ")
    assert why in said
    assert "secret" not in said
