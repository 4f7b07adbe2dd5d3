"""Recorded histories fold to the same state and the same decisions for ever (tests/histories/record.py).

A digest that no longer agrees means that the past would be told differently: give the new behaviour a setting of its
own, which recorded policies do not have. The digests are never edited.
"""

import dataclasses
import gzip
import json
from pathlib import Path

import pytest

from decision_engine.recorded_history import RecordedHistory, digests, fold, from_lines, to_lines
from decision_engine.testing import recomputed
from thymos.audit import verify_file

HISTORIES = Path(__file__).parents[1] / "histories"
EXPECTED = json.loads((HISTORIES / "digests.json").read_text())


def history(name: str) -> RecordedHistory:
    return from_lines(gzip.decompress((HISTORIES / f"{name}.jsonl.gz").read_bytes()).decode().splitlines())


@pytest.mark.parametrize("name", EXPECTED)
def test_a_recorded_history_folds_to_the_same_state_and_decisions(name: str) -> None:
    assert dataclasses.asdict(digests(fold(history(name)))) == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_each_of_its_decisions_follows_from_its_own_event(name: str) -> None:
    for step in fold(history(name)).outputs:
        for output in step:
            assert recomputed(output.message) == output.message


def test_the_log_of_a_real_run_verifies_and_each_of_its_decisions_is_computed_again(tmp_path: Path) -> None:
    """`thymos export` of a demo: seals, a drop, a merge, a rollback and scalings, as the services published them."""
    log = tmp_path / "demo.jsonl"
    log.write_bytes(gzip.decompress((HISTORIES / "demo.log.gz").read_bytes()))

    report = verify_file(log)

    assert report.problems == []
    assert (report.events, report.decisions, report.not_recomputed) == (85, 7, {})


def test_every_recorded_history_is_among_the_expected() -> None:
    assert {path.name.removesuffix(".jsonl.gz") for path in HISTORIES.glob("*.jsonl.gz")} == set(EXPECTED)


def test_a_history_reads_back_as_it_was_written() -> None:
    known = history("half-way")

    assert list(to_lines(from_lines(to_lines(known)))) == list(to_lines(known))


def test_one_outcome_more_or_less_is_another_history() -> None:
    known = history("half-way")
    shorter = dataclasses.replace(known, steps=known.steps[:-1])

    assert digests(fold(shorter)).state != EXPECTED["half-way"]["state"]
