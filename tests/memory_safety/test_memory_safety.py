"""The short version of `make memory-safety`: killed, without room, two writers at once."""

from pathlib import Path

import pytest

from . import full_disk, kills, writers


@pytest.mark.parametrize("seed", range(10))
def test_a_store_whose_process_was_killed_holds_what_was_acknowledged_and_nothing_half(
    tmp_path: Path, seed: int
) -> None:
    kills.kill(seed, tmp_path)


@pytest.mark.parametrize("seed", range(2))
def test_an_operation_that_finds_no_room_changes_nothing(tmp_path: Path, seed: int) -> None:
    assert sum(full_disk.fill(seed, tmp_path).values()) >= 2


def test_two_processes_on_one_branch_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    done = writers.write_together(300, 1, tmp_path)
    assert done["commits"] == 300
    assert done["with a head"] > 50
