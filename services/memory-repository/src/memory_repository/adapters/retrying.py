"""Trying again where somebody else was faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from thymos.errors import Refusal, RefusalCode

T = TypeVar("T")
ATTEMPTS_MAX: Final = 8
"""Each failed attempt means that somebody else's write succeeded."""


def retried(work: Callable[[], T]) -> T:
    """What `work` returns, tried again while it is refused because of somebody else's write, 8 times at most.

    Raises:
        Refusal: the last one; of another kind at once.
    """
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            return work()
        except Refusal as refusal:
            if refusal.code is not RefusalCode.CONFLICT:
                raise
    return work()
