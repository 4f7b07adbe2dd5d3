"""The reference documentation is what the models say."""

import re
from pathlib import Path

from thymos.config import Config, effective
from thymos.config.outline import fixed_keys
from thymos.config.reference import reference

FILE = Path(__file__).parents[3] / "docs" / "reference" / "configuration.md"


def test_the_file_is_current() -> None:
    assert FILE.read_text(encoding="utf-8") == reference(), (
        "run: python -m thymos.config.reference > docs/reference/configuration.md"
    )


def test_every_setting_is_in_it() -> None:
    text = reference()
    for setting in effective(Config()):
        name = setting.key.rpartition(".")[2]
        documented = (f"| `{name}` |", f"`[[{setting.key}]]`", f"`[{setting.key}.<name>]`")
        assert any(mark in text for mark in documented), setting.key
    for path, field in fixed_keys():
        assert field.description or f"[{'.'.join(map(str, path))}" in text, path


def test_every_key_says_what_it_means() -> None:
    rows = re.findall(r"^\| `.*$", reference(), re.MULTILINE)
    assert len(rows) > 60
    for row in rows:
        assert all(cell.strip() for cell in row.strip("|").split(" | ")), row
