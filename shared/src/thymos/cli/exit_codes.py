"""What the command line exits with."""

from thymos.errors import NoConfigError, Refusal, RefusalCode, ThymosError, TransientError, UnavailableError
from thymos.events import Verdict

DONE = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
REFUSED = 4
CONFLICT = 5
UNREACHABLE = 6
TIMED_OUT = 124
INTERRUPTED = 130

_OF_REFUSAL = {
    RefusalCode.INVALID: USAGE,
    RefusalCode.NOT_FOUND: NOT_FOUND,
    RefusalCode.CONFLICT: CONFLICT,
    RefusalCode.REFUSED: REFUSED,
    RefusalCode.TOO_LARGE: FAILED,
    RefusalCode.UNAVAILABLE: UNREACHABLE,
}
_OF_VERDICT = {
    Verdict.MERGE: DONE,
    Verdict.ROLLBACK: 10,
    Verdict.INCONCLUSIVE: 11,
    Verdict.INVALID: 12,
    Verdict.ERROR: 13,
    Verdict.ABORTED: 14,
}


class UsageError(ThymosError):
    """The command line is wrong in a way that only the verb itself can see."""


class TimedOutError(ThymosError):
    """What was waited for did not happen in time."""


def of_error(error: ThymosError) -> int:
    """The exit code of an error that ends a verb."""
    if isinstance(error, Refusal):
        return _OF_REFUSAL[error.code]
    if isinstance(error, UsageError):
        return USAGE
    if isinstance(error, NoConfigError):
        return NOT_FOUND
    if isinstance(error, TimedOutError):
        return TIMED_OUT
    return UNREACHABLE if isinstance(error, UnavailableError | TransientError) else FAILED


def of_verdict(verdict: Verdict) -> int:
    """The exit code of an experiment's verdict; one that is closed without a verdict could not be measured."""
    return _OF_VERDICT.get(verdict, _OF_VERDICT[Verdict.ERROR])
