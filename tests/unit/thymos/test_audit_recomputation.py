"""Decisions are computed again with what the services offer, and a difference names its fields."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from thymos.audit.recomputation import Recomputations, differing, installed, recompute_with
from thymos.audit.record import LogRecord
from thymos.audit.verification import Recomputed
from thymos.errors import CannotRecomputeError, NoInputsError, UnreadableInputsError
from thymos.events import BranchMerged, DecisionMade, ExperimentDecided, WorktreeScaled
from thymos.examples import example_of
from thymos.message import Message


def record_of(kind: type[Message]) -> LogRecord:
    envelope = example_of(kind)
    return LogRecord(1, datetime(2026, 3, 1, tzinfo=UTC), envelope.subject, envelope.message_id, envelope.to_bytes())


def test_services_offer_to_compute_every_kind_of_decision_again() -> None:
    assert {DecisionMade, ExperimentDecided, WorktreeScaled} <= set(installed())


def test_a_decision_that_comes_out_the_same_has_no_difference() -> None:
    assert recompute_with({DecisionMade: lambda made: made})(record_of(DecisionMade)) == Recomputed()


def test_what_is_no_decision_is_left_alone() -> None:
    assert recompute_with({DecisionMade: lambda made: made})(record_of(BranchMerged)) is None


def test_a_difference_names_the_fields_with_both_values() -> None:
    def otherwise(made: DecisionMade) -> DecisionMade:
        return made.model_copy(update={"verdict": "other", "inputs": {**made.inputs, "more": ["x" * 500]}})

    found = recompute_with({DecisionMade: otherwise})(record_of(DecisionMade))
    assert found is not None
    assert list(found.fields) == ["inputs.more", "verdict"]
    assert found.fields["verdict"][1] == "other"
    assert found.fields["inputs.more"][1].endswith("… (504 characters)")


def test_a_decision_that_would_not_be_made_today_differs() -> None:
    assert differing(example_of(DecisionMade).data, None) == {"(all)": ("decision.made", "no decision at all")}


@pytest.mark.parametrize("error", [ValueError("bad"), KeyError("x"), RecursionError()])
def test_a_core_that_fails_on_an_event_is_a_difference(error: Exception) -> None:
    def fails(_: DecisionMade) -> DecisionMade:
        raise error

    found = recompute_with({DecisionMade: fails})(record_of(DecisionMade))
    assert found is not None
    assert type(error).__name__ in found.fields["(all)"][1]


@pytest.mark.parametrize("body", [b"\xff", b"{}", b'{"data":{}}'])
@pytest.mark.parametrize("offered", [{DecisionMade: lambda made: made}, {}], ids=["offered", "not offered"])
def test_a_decision_that_cannot_be_read_is_a_difference(body: bytes, offered: Recomputations) -> None:
    found = recompute_with(offered)(replace(record_of(DecisionMade), body=body))
    assert found is not None
    assert found.broken.startswith("it cannot be read: ")


def test_inputs_that_cannot_be_read_are_a_difference_and_none_at_all_are_told_apart() -> None:
    def unreadable(_: DecisionMade) -> DecisionMade:
        raise UnreadableInputsError("its inputs are no object")

    def without(_: DecisionMade) -> DecisionMade:
        raise NoInputsError

    assert recompute_with({DecisionMade: unreadable})(record_of(DecisionMade)) == Recomputed(
        broken="its inputs are no object"
    )
    found = recompute_with({DecisionMade: without})(record_of(DecisionMade))
    assert found is not None
    assert (found.without_inputs, bool(found.broken)) == (True, False)


def test_what_cannot_be_computed_again_is_told_and_is_no_difference() -> None:
    def cannot(_: DecisionMade) -> DecisionMade:
        raise CannotRecomputeError("too large")

    assert recompute_with({DecisionMade: cannot})(record_of(DecisionMade)) == Recomputed(cannot="too large")
    found = recompute_with({})(record_of(DecisionMade))
    assert found is not None
    assert found.cannot == "nothing installed here computes decision.made again"
