"""Every published scaling decision again, from what its own event holds, with the core as it is today.

`RECOMPUTATIONS` is what `thymos replay --verify` finds by the entry point `thymos.recomputations`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import JsonValue, TypeAdapter, ValidationError

from thymos.errors import NoInputsError, UnreadableInputsError
from thymos.events import WorktreeScaled
from thymos.message import Message
from worktree_scaler.scaling import (
    ScalingAction,
    ScalingHistory,
    ScalingPolicy,
    ScalingSignal,
    at_minimum,
    decide,
)


@dataclass(frozen=True)
class ScalingBasis:
    """What a count was decided from; `enabled` is false where scaling is switched off and nobody overrides it."""

    history: ScalingHistory
    signal: ScalingSignal
    policy: ScalingPolicy
    now: datetime
    enabled: bool = True

    def action(self) -> ScalingAction:
        """The decision."""
        if not self.enabled:
            return at_minimum(self.signal, self.policy)
        return decide(self.history, self.signal, self.policy, self.now)

    def to_json(self) -> dict[str, JsonValue]:
        """As an event carries it."""
        held: dict[str, JsonValue] = _basis.dump_python(self, mode="json")
        return held


_basis: TypeAdapter[ScalingBasis] = TypeAdapter(ScalingBasis)


def worktree_scaled(scaled: WorktreeScaled) -> WorktreeScaled:
    """A scaling as it would be decided now. Raises CannotRecomputeError: the event does not hold its inputs."""
    if not scaled.inputs:
        raise NoInputsError
    try:
        basis = _basis.validate_python(scaled.inputs)
    except ValidationError as error:
        said = f"its inputs are not what this version writes: {error.error_count()} fields cannot be read"
        raise UnreadableInputsError(said) from error
    action = basis.action()
    update = {
        "from_count": basis.signal.current,
        "to_count": action.count,
        "signal": basis.signal.shown(),
        "reason": action.reason,
    }
    return scaled.model_copy(update=update)


RECOMPUTATIONS: Mapping[type[Message], Callable[[Any], Message | None]] = {WorktreeScaled: worktree_scaled}
