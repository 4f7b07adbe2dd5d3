"""`thymos judge` on the command line: what it prints, and how it exits."""

import io
import json
from pathlib import Path

import pytest

from thymos import cli


def results(path: Path, **arms: str) -> str:
    """Write a CSV with an outcome per task for each arm: 1, 0 or ? for empty."""
    rows = ["task_id,agent,success"]
    for name, said in arms.items():
        rows += [f"t{i},{name},{letter.strip('?')}" for i, letter in enumerate(said)]
    file = path / "results.csv"
    file.write_text("\n".join(rows) + "\n")
    return str(file)


def run(*words: str) -> int:
    """The exit code of `thymos judge …`."""
    return cli.run(["judge", *words])


@pytest.mark.parametrize(
    ("control", "challenger", "verdict", "code"),
    [
        ("0" * 30, "1" * 30, "merge", 0),
        ("1" * 30, "0" * 30, "rollback", 10),
        ("01" * 15, "10" * 15, "inconclusive", 11),
        ("1" * 30, "?" * 30, "invalid", 12),
    ],
)
def test_each_verdict_has_its_exit_code(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    control: str,
    challenger: str,
    verdict: str,
    code: int,
) -> None:
    file = results(tmp_path, old=control, new=challenger)
    assert run(file, "--control", "old", "--challenger", "new", "--json") == code
    printed = json.loads(capsys.readouterr().out)
    assert (printed["verdict"], printed["winner"]) == (verdict, "new" if code == 0 else None)
    assert run(file, "--control", "old", "--challenger", "new") == code
    assert verdict.upper() in capsys.readouterr().out


def test_results_come_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Path(results(tmp_path, old="0" * 30, new="1" * 30)).read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(recorded)))
    assert run("-", "--control", "old", "--challenger", "new") == 0


def test_the_json_is_what_the_catalogue_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = results(tmp_path, old="0" * 7 + "1" * 13 + "?", new="1" * 21)
    run(file, "--control", "old", "--challenger", "new", "--json")
    assert json.loads(capsys.readouterr().out) == {
        "verdict": "merge",
        "winner": "new",
        "alpha": 0.05,
        "reason": "new: better than old: 7 wins against 0 in 20 pairs, E 31.88 >= 20; "
        "new: 1 task left out for want of an outcome of both",
        "arms": [
            {
                "arm": "new",
                "verdict": "merge",
                "pairs": 20,
                "wins": 7,
                "losses": 0,
                "ties": 13,
                "e_value": 31.875,
                "e_exact": "255/8",
                "threshold": 20.0,
            }
        ],
    }


def test_people_get_rates_counts_evidence_and_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(results(tmp_path, old="0" * 7 + "1" * 13, new="1" * 20), "--control", "old", "--challenger", "new")
    printed = capsys.readouterr().out
    for part in (
        "old → new: merge after 20 pairs",
        "100.0 %   73.9 to 100.0 %",
        "7 wins, 0 losses, 13 ties",
        "better: E = 31.88 of 20 needed, share of wins at least 54.1 %",
        "new is better than old",
        "MERGE new",
    ):
        assert part in printed


def test_several_challengers_share_alpha(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = results(tmp_path, a="0" * 7 + "1" * 20, b="1" * 27, c="1" * 27)
    arms = ("--challenger", "b", "--challenger", "c")
    assert run(file, "--control", "a", *arms, "--json") == 11
    assert [arm["threshold"] for arm in json.loads(capsys.readouterr().out)["arms"]] == [40.0, 40.0]


def test_alpha_and_min_pairs_are_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (results(tmp_path, a="0" * 10, b="1" * 10), "--control", "a", "--challenger", "b", "--json")
    assert run(*words) == 11
    assert run(*words, "--min-pairs", "5") == 0
    assert run(*words, "--min-pairs", "5", "--alpha", "0.001") == 11
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["alpha"] == 0.001


def test_a_configuration_adds_its_criteria(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (results(tmp_path, a="0" * 8 + "01" * 10, b="1" * 8 + "01" * 10), "--control", "a", "--challenger", "b")
    assert run(*words) == 0
    config = tmp_path / "thymos.toml"
    config.write_text("[supervisor.versioning.success_criteria]\nmin_success_rate = 0.9\n")
    assert run(*words, "--config", str(config)) == 11
    printed = capsys.readouterr().out
    assert "below 0.9" in printed
    assert "max_response_time is not checked" in printed


def test_a_configuration_s_limits_tell_a_bad_environment(tmp_path: Path) -> None:
    config = tmp_path / "thymos.toml"
    config.write_text("")
    words = (results(tmp_path, a="0" * 9, b="0" * 9), "--control", "a", "--challenger", "b")
    assert run(*words, "--config", str(config)) == 13
    assert run(*words) == 11


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--control", "x", "--challenger", "b"), 2, "--control: no agent 'x' in the file; it has 'a', 'b'"),
        (("--control", "a", "--challenger", "x"), 2, "--challenger: no agent 'x' in the file"),
        (("--control", "a", "--challenger", "a"), 2, "arms are one control and challengers, each once"),
        (("--control", "a", "--challenger", "b", "--alpha", "5"), 2, "--alpha is '5'; expected a number between"),
        (("--control", "a", "--challenger", "b", "--alpha", "1e-99999999"), 2, "--alpha is"),
        (("--control", "a", "--challenger", "b", "--min-pairs", "0"), 2, "--min-pairs is 0; expected at least 1"),
        (("--control", "a", "--challenger", "b", "--config", "no.toml"), 3, "--config: there is no file no.toml"),
    ],
)
def test_wrong_options_get_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, said: str
) -> None:
    assert run(results(tmp_path, a="01", b="10"), *words) == code
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_wrong_files_get_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arms = ("--control", "a", "--challenger", "b")
    assert run(str(tmp_path / "no.csv"), *arms) == 3
    assert "there is no file" in capsys.readouterr().err
    assert run(str(tmp_path), *arms) == 1
    assert "cannot be read" in capsys.readouterr().err
    broken = tmp_path / "broken.csv"
    broken.write_text("task_id,agent,success\nt,a,\x1b[31m\n")
    assert run(str(broken), *arms) == 1
    said = capsys.readouterr().err
    assert "broken.csv: line 2: success is" in said
    assert "\x1b" not in said


def test_names_cannot_colour_or_move_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = results(tmp_path, **{"a": "01" * 15, "\x1b[2J[red]b": "10" * 15})
    assert run(file, "--control", "a", "--challenger", "\x1b[2J[red]b") == 11
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "[red]b" in printed
