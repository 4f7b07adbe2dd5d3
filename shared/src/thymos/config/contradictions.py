"""Settings that are each allowed, but not together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from thymos.config.readers import in_toml, shown
from thymos.config.rules import FailureCriteriaMet, ScaleWorktrees, SuccessCriteriaMet
from thymos.config.toml_lines import KeyPath

if TYPE_CHECKING:
    from thymos.config.criteria import FailureCriteria, SuccessCriteria
    from thymos.config.sections import Versioning


@dataclass(frozen=True)
class Contradiction:
    """`keys` (paths below `supervisor.versioning`) contradict each other; the problem is reported at the first."""

    keys: tuple[KeyPath, ...]
    message: str


def contradictions(versioning: Versioning) -> Iterator[Contradiction]:
    """Everything in one `[supervisor.versioning]` that cannot be meant together."""
    yield from _of_scaling(versioning)
    success, failure = versioning.success_criteria, versioning.failure_criteria
    yield from _of_criteria(success, ("success_criteria",), failure, ("failure_criteria",))
    if versioning.experiments.task_timeout > versioning.experiment_timeout:
        yield Contradiction(
            (("experiments", "task_timeout"), ("experiment_timeout",)),
            f"{in_toml(versioning.experiments.task_timeout)} is longer than experiment_timeout "
            f"({in_toml(versioning.experiment_timeout)}): no task could time out",
        )
    yield from _of_rules(versioning)


def _of_scaling(versioning: Versioning) -> Iterator[Contradiction]:
    scaling = versioning.worktree_scaling
    if scaling.min_worktrees > scaling.max_worktrees:
        yield Contradiction(
            (("worktree_scaling", "min_worktrees"), ("worktree_scaling", "max_worktrees")),
            f"{scaling.min_worktrees} is more than max_worktrees ({scaling.max_worktrees})",
        )
    if scaling.scale_down_threshold >= scaling.scale_up_threshold:
        yield Contradiction(
            (("worktree_scaling", "scale_down_threshold"), ("worktree_scaling", "scale_up_threshold")),
            f"{in_toml(scaling.scale_down_threshold)} must be below scale_up_threshold "
            f"({in_toml(scaling.scale_up_threshold)}): between them the number of worktrees rests",
        )


def _of_criteria(
    success: SuccessCriteria, success_at: KeyPath, failure: FailureCriteria, failure_at: KeyPath
) -> Iterator[Contradiction]:
    """Good enough to merge must not be bad enough to roll back."""

    def clash(key: str, relation: str, limit: object, value: object) -> Contradiction:
        return Contradiction(
            ((*success_at, key), (*failure_at, key)),
            f"{in_toml(value)} must be {relation} the failure criteria's {key} ({in_toml(limit)})",
        )

    if success.min_success_rate <= failure.min_success_rate:
        yield clash("min_success_rate", "above", failure.min_success_rate, success.min_success_rate)
    if success.max_error_rate > failure.max_error_rate:
        yield clash("max_error_rate", "at most", failure.max_error_rate, success.max_error_rate)
    if success.max_response_time > failure.max_response_time:
        yield clash("max_response_time", "at most", failure.max_response_time, success.max_response_time)


def _of_rules(versioning: Versioning) -> Iterator[Contradiction]:
    first_of: dict[str, int] = {}
    for index, rule in enumerate(versioning.rules):
        at: KeyPath = ("rules", index)
        if (first := first_of.setdefault(rule.name, index)) != index:
            yield Contradiction(
                ((*at, "name"), ("rules", first, "name")),
                f"{shown(rule.name)} is the name of an earlier rule too; each name only once",
            )
        if isinstance(rule.condition, SuccessCriteriaMet) and rule.condition.criteria:
            own_success = rule.condition.criteria
            where = (*at, "condition", "criteria")
            yield from _of_criteria(own_success, where, versioning.failure_criteria, ("failure_criteria",))
        if isinstance(rule.condition, FailureCriteriaMet) and rule.condition.criteria:
            own_failure = rule.condition.criteria
            where = (*at, "condition", "criteria")
            yield from _of_criteria(versioning.success_criteria, ("success_criteria",), own_failure, where)
        if isinstance(rule.action, ScaleWorktrees):
            yield from _of_target(rule.action.target_count, (*at, "action", "target_count"), versioning)


def _of_target(count: int, at: KeyPath, versioning: Versioning) -> Iterator[Contradiction]:
    least, most = versioning.worktree_scaling.min_worktrees, versioning.worktree_scaling.max_worktrees
    if not least <= count <= most:
        yield Contradiction(
            (at, ("worktree_scaling", "min_worktrees"), ("worktree_scaling", "max_worktrees")),
            f"{count} is not within min_worktrees ({least}) and max_worktrees ({most})",
        )
