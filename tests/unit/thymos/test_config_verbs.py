"""`thymos config check FILE` and `thymos config show`."""

import json
from pathlib import Path

import pytest
from cyclopts import App

from thymos.cli.config_verbs import register

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
        f'{file}:2: nats.ulr: unknown key; did you mean "url"? (allowed in [nats]: url)',
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


def test_a_scenario_that_is_not_there_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "thymos.toml"
    file.write_text("[agents.a]\ncommand = ['run']\nscenario = 'tasks.jsonl'\n", encoding="utf-8")
    assert thymos("config", "check", str(file)) == 0
    out, err = capsys.readouterr()
    assert out == f"{file}: right: 1 agent, built-in rules\n"
    assert err == f"note: agents.a.scenario: there is no file {tmp_path / 'tasks.jsonl'} on this machine\n"


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
