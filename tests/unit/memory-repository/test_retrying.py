"""Adapters try again where somebody else was faster, and not for ever."""

import pytest

from memory_repository.adapters.retrying import ATTEMPTS_MAX, retried
from thymos.errors import Refusal, RefusalCode


class Contended:
    """Work that is refused so many times."""

    def __init__(self, refusals: int, code: RefusalCode = RefusalCode.CONFLICT) -> None:
        self.left = refusals
        self.code = code
        self.attempts = 0

    def __call__(self) -> str:
        self.attempts += 1
        if self.left:
            self.left -= 1
            raise Refusal(self.code, "main has moved meanwhile")
        return "done"


def test_a_conflict_is_tried_again() -> None:
    work = Contended(ATTEMPTS_MAX - 1)
    assert (retried(work), work.attempts) == ("done", ATTEMPTS_MAX)


def test_within_a_bound() -> None:
    work = Contended(ATTEMPTS_MAX)
    with pytest.raises(Refusal, match="has moved"):
        retried(work)
    assert work.attempts == ATTEMPTS_MAX


def test_any_other_refusal_is_final() -> None:
    work = Contended(1, RefusalCode.TOO_LARGE)
    with pytest.raises(Refusal):
        retried(work)
    assert work.attempts == 1
