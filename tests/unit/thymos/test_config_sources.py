"""Where settings come from: the file, the environment, the defaults; and how many problems are told."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from thymos.config import Config, effective, load
from thymos.errors import ConfigError


def config(text: str, **environ: str) -> Config:
    return load(Path("thymos.toml"), environ, text)


def problems(text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        config(text, **environ)
    return str(error.value).splitlines()


class TestEnvironment:
    def test_two_underscores_stand_for_the_dot(self) -> None:
        loaded = config(
            "[supervisor.versioning.success_criteria]\nmin_success_rate = 0.8\n[agents.support-desk]\n",
            THYMOS_SUPERVISOR__VERSIONING__SUCCESS_CRITERIA__MIN_SUCCESS_RATE="0.75",
            THYMOS_SUPERVISOR__VERSIONING__AUTO_MERGE_ENABLED="false",
            THYMOS_SUPERVISOR__VERSIONING__EXPERIMENT_TIMEOUT="2h",
            THYMOS_SUPERVISOR__VERSIONING__EXPERIMENTS__GENERATORS='["cautious"]',
            THYMOS_AGENTS__SUPPORT_DESK__CAPACITY="3",
        )
        assert loaded.versioning.success_criteria.min_success_rate == Decimal("0.75")
        assert not loaded.versioning.auto_merge_enabled
        assert loaded.versioning.experiment_timeout == timedelta(hours=2)
        assert loaded.versioning.experiments.generators == ("cautious",)
        assert loaded.agents["support-desk"].capacity == 3

    def test_the_short_form_of_the_address(self) -> None:
        assert config("[nats]\nurl = 'nats://a:1'", THYMOS_NATS_URL="nats://b:2").nats.url == "nats://b:2"

    def test_two_addresses(self) -> None:
        assert problems("", THYMOS_NATS_URL="nats://b:2", THYMOS_NATS__URL="nats://c:3") == [
            "THYMOS_NATS__URL: nats.url: THYMOS_NATS_URL says something else"
        ]

    def test_the_suites_own_variables_are_no_overrides(self) -> None:
        own = {
            "THYMOS_TENANT": "acme",
            "THYMOS_AGENT": "support",
            "THYMOS_BRANCH": "main",
            "THYMOS_WORKTREE": "w1",
            "THYMOS_DATA_DIR": "data",
            "THYMOS_TEST_NATS__SERVER": "x",
            "THYMOS_SHARED_DIR": "shared",
            "THYMOS_PORT_4222_TCP_ADDR": "10.0.0.1",
            "OTHER__THING": "1",
        }
        assert config("", **own) == Config()

    @pytest.mark.parametrize(
        ("name", "value", "problem"),
        [
            ("THYMOS_NATS__ULR", "x", 'nats.ulr: unknown key; did you mean "url"? (allowed in [nats]: url, replicas)'),
            (
                "THYMOS_NATZ__URL",
                "x",
                'natz: unknown key; did you mean "nats"? '
                "(allowed in the file: supervisor, agents, storage, nats, memory, observability, llm)",
            ),
            (
                "THYMOS_AGENTS__A__CAPACITY",
                "many",
                'agents.a.capacity: expected a whole number from 1 to 1000; got "many"',
            ),
            (
                "THYMOS_AGENTS__A__ENVIRONMENT__PORT",
                "1",
                "agents.a.environment.port: agents.a.environment is one value; set it whole",
            ),
            (
                "THYMOS_SUPERVISOR__VERSIONING__RULES__0__NAME",
                "x",
                "supervisor.versioning.rules.0.name: supervisor.versioning.rules is one value; set it whole",
            ),
            ("THYMOS_NATS____URL", "x", "an empty key between underscores"),
        ],
    )
    def test_a_wrong_variable_is_named(self, name: str, value: str, problem: str) -> None:
        file = "[[supervisor.versioning.rules]]\nname = 'r'\naction = {type = 'DeleteBranch'}\n"
        file += "condition = {type = 'ExperimentTimeout'}\n"
        assert problems(file, **{name: value}) == [f"{name}: {problem}"]

    def test_a_value_cannot_smuggle_in_other_keys(self) -> None:
        (problem,) = problems("", THYMOS_AGENTS__A__CAPACITY="1\n[nats]\nurl = 'nats://evil:1'")
        assert problem.startswith("THYMOS_AGENTS__A__CAPACITY: agents.a.capacity: expected a whole number")

    def test_paths_of_the_environment_are_relative_to_the_current_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        loaded = load(Path("/etc/thymos/thymos.toml"), {"THYMOS_STORAGE__DIRECTORY": "state"}, "")
        assert loaded.storage.directory == tmp_path / "state"
        loaded = load(Path("/etc/thymos/thymos.toml"), {}, "[storage]\ndirectory = 'state'")
        assert loaded.storage.directory == Path("/etc/thymos/state")
        assert load(Path("/etc/thymos/thymos.toml"), {}, "").storage.directory == Path(".thymos")


class TestFiles:
    def test_without_a_file_everything_has_its_default(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert load(environ={}).supervisor == Config().supervisor

    def test_the_file_of_the_current_directory_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("thymos.toml").write_text("[nats]\nurl = 'nats://here:1'", encoding="utf-8")
        assert load(environ={}).nats.url == "nats://here:1"
        assert load(environ={}).directory == tmp_path

    def test_or_the_one_that_the_environment_names(self, tmp_path: Path) -> None:
        file = tmp_path / "other.toml"
        file.write_text("[nats]\nurl = 'nats://other:1'", encoding="utf-8")
        assert load(environ={"THYMOS_CONFIG": str(file)}).nats.url == "nats://other:1"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"# ok\n[nats\n", ":2: not TOML: Expected ']' at the end of a table declaration (column 6)"),
            (b"a = 1\na = 2\n", ":2: not TOML: Cannot overwrite a value (column 6)"),
            (b"[nats]\nurl = ", ":2: not TOML: Invalid value (at the end of the file)"),
            (b"# ok\nurl = '\xe4'\n", ":2: not UTF-8: byte 0xe4"),
            (b"#" * (1024 * 1024 + 1), ": larger than 1048576 bytes"),
            (b"a = " + b"9" * 5000, ": not TOML that can be read: "),
            (b"a = " + b"[" * 100_000, ": not TOML that can be read: "),
        ],
    )
    def test_that_are_not_toml(self, content: bytes, message: str, tmp_path: Path) -> None:
        file = tmp_path / "thymos.toml"
        file.write_bytes(content)
        with pytest.raises(ConfigError) as error:
            load(file, {})
        assert str(error.value).startswith(f"{file}{message}")
        assert "\n" not in str(error.value)

    def test_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"missing\.toml: cannot be read: No such file"):
            load(tmp_path / "missing.toml", {})
        with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
            load(tmp_path, {})

    def test_windows_files_are_files_too(self, tmp_path: Path) -> None:
        file = tmp_path / "thymos.toml"
        file.write_bytes(b"\xef\xbb\xbf# hello\r\n[nats]\r\nurl = 7\r\n")
        with pytest.raises(ConfigError, match=r"thymos\.toml:3: nats\.url: expected a server"):
            load(file, {})


class TestManyProblems:
    def test_all_are_told_in_the_order_of_the_file(self) -> None:
        text = (
            "[nats]\nurl = 1\n[supervisor.versioning]\nauto_merge_enabled = 2\n[agents.A]\n[agents.b]\ncapacity = 0\n"
        )
        found = problems(text, THYMOS_STORAGE__DIRECTORY="")
        assert [problem.split(" ")[0] for problem in found] == [
            "thymos.toml:2:",
            "thymos.toml:4:",
            "thymos.toml:5:",
            "thymos.toml:7:",
            "THYMOS_STORAGE__DIRECTORY:",
        ]

    def test_but_at_most_fifty_and_each_on_one_short_line(self) -> None:
        text = "[agents.a]\n" + "".join(f"key{number} = {'9' * 4000}\n" for number in range(80))
        text += f"grader = '''\n{'x' * 10_000}\n'''\n\"{'k' * 10_000}\\n\" = 1"
        found = problems(text)
        assert len(found) == 51
        assert found[-1] == "thymos.toml: and 32 more problems"
        assert max(map(len, found)) < 600

    def test_what_a_terminal_would_obey_is_shown_escaped(self) -> None:
        (problem,) = problems('[nats]\nurl = "\\u001b[2J\\u202e"')
        assert problem.endswith(r'got "\u001b[2J\u202e"')


class TestEffective:
    def test_every_value_has_its_origin(self) -> None:
        loaded = config(
            "[nats]\nurl = 'nats://u:secret@h:1'\n[agents.a]\ncommand = ['run']\nenvironment.API_TOKEN = 'x'\n",
            THYMOS_SUPERVISOR__VERSIONING__AUTO_MERGE_ENABLED="false",
            THYMOS_SUPERVISOR__VERSIONING__RULES=(
                "[{name = 'r', condition = {type = 'ResourceConstraint', cpu = 0.5}, action = {type = 'Rollback'}}]"
            ),
        )
        shown = {setting.key: (setting.value, setting.origin) for setting in effective(loaded)}
        merge = "supervisor.versioning.auto_merge_enabled"
        assert shown[merge] == (False, "env THYMOS_SUPERVISOR__VERSIONING__AUTO_MERGE_ENABLED")
        assert shown["supervisor.versioning.experiment_timeout"] == ("30m", "default")
        assert shown["supervisor.versioning.success_criteria.min_success_rate"] == (Decimal("0.9"), "default")
        assert shown["supervisor.versioning.success_criteria.min_failure_reduction"] == (None, "default")
        assert shown["agents.a.command"] == (["run"], "thymos.toml:4")
        assert shown["agents.a.capacity"] == (1, "default")
        assert shown["supervisor.versioning.rules[0].condition.cpu_threshold"] == (
            Decimal("0.5"),
            "env THYMOS_SUPERVISOR__VERSIONING__RULES",
        )

    def test_secrets_are_hidden(self) -> None:
        loaded = config("[nats]\nurl = 'nats://u:secret@h:1'\n[agents.a]\nenvironment.API_TOKEN = 'secret'\n")
        assert loaded.nats.url == "nats://u:secret@h:1"
        assert "secret" not in "".join(map(str, effective(loaded)))
