"""What is good enough to merge and bad enough to roll back: the seed's two sets of criteria."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from thymos.config import readers
from thymos.config.section import Section


class SuccessCriteria(Section):
    """What a challenger must reach, besides the evidence that it is better, to be merged."""

    min_success_rate: Annotated[Decimal, readers.number("0", "1")] = Field(
        default=Decimal("0.9"), description="At least this fraction of its outcomes succeeded."
    )
    max_error_rate: Annotated[Decimal, readers.number("0", "1")] = Field(
        default=Decimal("0.01"), description="At most this fraction of its outcomes errored (broken, not wrong)."
    )
    max_response_time: Annotated[timedelta, readers.duration()] = Field(
        default=timedelta(seconds=5), description="Its mean time for a task is at most this."
    )
    min_improvement: Annotated[Decimal, readers.number("0", "10")] = Field(
        default=Decimal("0.1"),
        description="Its success rate is at least (1 + this) times the control's, or 1 where that would be more.",
    )
    min_failure_reduction: Annotated[Decimal, readers.number("0", "1")] | None = Field(
        default=None,
        description="Where set, avoiding this fraction of the control's failures is improvement enough. "
        "For agents that are already good: above a success rate of 0.909 ten percent more is perfection.",
    )
    min_pairs: Annotated[int, readers.whole(1, 1_000_000)] = Field(
        default=20, description="At least this many tasks were answered by both challenger and control."
    )


class FailureCriteria(Section):
    """Limits that roll a branch back once the evidence says that they are broken."""

    max_error_rate: Annotated[Decimal, readers.number("0", "1", open_low=True, open_high=True)] = Field(
        default=Decimal("0.1"), description="The fraction of outcomes that may error."
    )
    min_success_rate: Annotated[Decimal, readers.number("0", "1", open_low=True, open_high=True)] = Field(
        default=Decimal("0.5"), description="The fraction of outcomes that must succeed."
    )
    max_response_time: Annotated[timedelta, readers.duration()] = Field(
        default=timedelta(seconds=10), description="The mean time for a task."
    )
