"""A scaling event holds all that its count was decided from: today's core makes the same event of it."""

from datetime import UTC, datetime

import pytest

from thymos.errors import NoInputsError, UnreadableInputsError
from thymos.events import WorktreeScaled
from worktree_scaler.recompute import ScalingBasis, worktree_scaled
from worktree_scaler.scaling import Override, ScalingHistory, ScalingPolicy, ScalingSignal

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
BUSY = ScalingSignal(current=1, pending=60, ack_pending=4, in_flight=4, capacity=4, reserved=2)


def event(basis: ScalingBasis) -> WorktreeScaled:
    """What the scaler publishes of a decision, after it has been through JSON."""
    action = basis.action()
    scaled = WorktreeScaled(
        branch="main",
        from_count=basis.signal.current,
        to_count=action.count,
        signal=basis.signal.shown(),
        reason=action.reason,
        inputs=basis.to_json(),
    )
    return WorktreeScaled.model_validate_json(scaled.model_dump_json())


@pytest.mark.parametrize(
    "basis",
    [
        ScalingBasis(ScalingHistory(), BUSY, ScalingPolicy(), NOW),
        ScalingBasis(ScalingHistory(override=Override(7, NOW.replace(hour=9), "a launch")), BUSY, ScalingPolicy(), NOW),
        ScalingBasis(ScalingHistory(), BUSY, ScalingPolicy(min_worktrees=3), NOW, enabled=False),
    ],
    ids=["by lag", "by hand", "switched off"],
)
def test_a_scaling_is_computed_again_from_its_own_event(basis: ScalingBasis) -> None:
    assert worktree_scaled(event(basis)) == event(basis)


def test_a_count_that_was_changed_afterwards_does_not_follow() -> None:
    published = event(ScalingBasis(ScalingHistory(), BUSY, ScalingPolicy(), NOW))
    changed = published.model_copy(update={"to_count": published.to_count + 1})

    assert worktree_scaled(changed) == published != changed


@pytest.mark.parametrize(("inputs", "error"), [({}, NoInputsError), ({"signal": "none"}, UnreadableInputsError)])
def test_an_event_without_its_inputs_says_so(inputs: dict[str, str], error: type[Exception]) -> None:
    scaled = WorktreeScaled(branch="main", from_count=1, to_count=2, signal={}, reason="lag", inputs=dict(inputs))

    with pytest.raises(error, match="inputs"):
        worktree_scaled(scaled)
