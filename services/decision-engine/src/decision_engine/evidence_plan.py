"""What is fixed when an experiment starts: arms, tasks, error budget, criteria."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from decision_engine.alpha_budget import merge_threshold
from decision_engine.criteria import SuccessCriteria
from decision_engine.limits import FailureLimits
from decision_engine.pairing import AssignedTask

MIN_PAIRS = 20
"""Pairs, ties included, before a merge or a proof of harm."""


@dataclass(frozen=True, slots=True)
class EvidencePlan:
    """What is fixed when an experiment starts, so that no outcome can change it.

    Args:
        control: the control arm's name.
        challengers: the challengers' names; their number K stays K when one drops out.
        tasks: all tasks in assignment order.
        alpha: the configured alpha; limits break at 3/alpha, harm is proven at 1/alpha, intervals cover 1 -
            alpha.
        merge_alpha: alpha_j, this experiment's share of the budget; `alpha` if None.
        min_pairs: pairs, ties included, before a merge or a proof of harm.
        criteria: what is good enough; None weighs evidence alone.
        limits: the failure criteria.
        deadline_us: a task's deadline in microseconds, if it has one.
        stop_early: end as inconclusive once no challenger can be merged any more.
    """

    control: str
    challengers: tuple[str, ...]
    tasks: tuple[AssignedTask, ...]
    alpha: Fraction = Fraction(1, 20)
    merge_alpha: Fraction | None = None
    min_pairs: int = MIN_PAIRS
    criteria: SuccessCriteria | None = None
    limits: FailureLimits = field(default_factory=FailureLimits)
    deadline_us: int | None = None
    stop_early: bool = True

    def __post_init__(self) -> None:
        arms = (self.control, *self.challengers)
        if len(set(arms)) != len(arms) or not self.challengers:
            raise ValueError(f"arms are one control and challengers, each once; got {', '.join(arms)}")
        for name, alpha in (("alpha", self.alpha), ("merge_alpha", self.merge_alpha)):
            if alpha is not None and not 0 < alpha < 1:
                raise ValueError(f"{name} lies between 0 and 1; got {alpha}")
        if self.min_pairs < 1:
            raise ValueError(f"min_pairs is at least 1; got {self.min_pairs}")

    @property
    def threshold(self) -> Fraction:
        """K/alpha_j: the e-value at which a challenger is proven better."""
        return merge_threshold(len(self.challengers), self.merge_alpha or self.alpha)

    @property
    def harm_threshold(self) -> Fraction:
        """1/alpha: the e-value at which a challenger is proven worse."""
        return 1 / self.alpha
