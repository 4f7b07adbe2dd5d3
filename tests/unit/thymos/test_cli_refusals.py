"""What the command line refuses before it asks anybody, and what it says then."""

from pathlib import Path

import pytest

from thymos.cli import run


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
