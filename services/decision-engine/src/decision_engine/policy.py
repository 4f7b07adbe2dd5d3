"""What the core is configured with for one agent; a frozen value that the shell makes from `thymos.toml`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction

from decision_engine import configured_criteria
from decision_engine.criteria import SuccessCriteria
from decision_engine.limits import FailureLimits
from thymos import config
from thymos.config import FailureCriteriaMet, Rule, SuccessCriteriaMet, Versioning
from thymos.events import ExperimentTask
from thymos.metrics import AgentMetrics

Predicate = Callable[[AgentMetrics], bool]
"""A `Custom` condition's evaluator; pure."""


@dataclass(frozen=True)
class Policy:
    """Everything a decision about one agent depends on, besides what happened.

    Args:
        versioning: `[supervisor.versioning]`.
        rules: the rules that apply, in no particular order.
        scenario: the agent's held-out tasks; empty if it takes part in no experiments.
        predicates: evaluators of `Custom` conditions, by name.
        seed: the seed of the whole run; mixed into each experiment's own.
        merge_timeout: the longest wait for memory-repository's answer to a merge or a rollback.
        approval_timeout: how long a question to a person stands.
        release_timeout: the longest wait for worktrees to stop before their branches are deleted.
        cleanup_timeout: the longest that a finished experiment may take to remove what it made.
    """

    versioning: Versioning
    rules: tuple[Rule, ...]
    scenario: tuple[ExperimentTask, ...] = ()
    predicates: Mapping[str, Predicate] = field(default_factory=dict)
    seed: int = 0
    merge_timeout: timedelta = timedelta(minutes=5)
    approval_timeout: timedelta = timedelta(hours=24)
    release_timeout: timedelta = timedelta(seconds=30)
    cleanup_timeout: timedelta = timedelta(minutes=2)

    @property
    def alpha(self) -> Fraction:
        """The configured error probability, exact."""
        return Fraction(self.versioning.evidence.alpha)

    @property
    def success(self) -> SuccessCriteria:
        """What a challenger must reach: the first success rule's own criteria, else the configured ones."""
        return configured_criteria.success_criteria(self._success)

    @property
    def min_pairs(self) -> int:
        """Pairs before a merge."""
        return self._success.min_pairs

    @property
    def _success(self) -> config.SuccessCriteria:
        for rule in self.rules:
            if isinstance(rule.condition, SuccessCriteriaMet) and rule.condition.criteria:
                return rule.condition.criteria
        return self.versioning.success_criteria

    @property
    def limits(self) -> FailureLimits:
        """What no branch may do: the first failure rule's own criteria, else the configured ones."""
        for rule in self.rules:
            if isinstance(rule.condition, FailureCriteriaMet) and rule.condition.criteria:
                return configured_criteria.failure_limits(rule.condition.criteria)
        return configured_criteria.failure_limits(self.versioning.failure_criteria)

    @property
    def task_timeout_us(self) -> int:
        """A scenario task's deadline in microseconds."""
        return configured_criteria.microseconds(self.versioning.experiments.task_timeout)
