"""Every exception of Thymos, in one tree.

    ThymosError
    ├── TransientError      try again later: the bus is away
    │   └── StoreUnavailableError   the store is busy, full or damaged: nothing is given up for that
    │       └── DatabaseUnavailableError   PostgreSQL is away, full, or takes no writes
    ├── PoisonError         this message can never be processed: dead-letter it, with the reason
    ├── Refusal             an expected "no", told to the caller with a code and a hint
    ├── ConfigError         a setting is wrong; the text names the key, the place and the allowed values
    │   └── NoConfigError       the file that was named is not there
    ├── UnavailableError    the suite cannot be reached at all
    │   └── NoAnswerError       it was asked and did not answer in time: what was asked may still be done
    └── CannotRecomputeError    an event holds too little to be computed again
        ├── NoInputsError           it holds nothing at all of what it was made from
        └── UnreadableInputsError   what it holds is nothing that was ever written

Expected outcomes (a merge conflict, an inconclusive experiment, nothing to do) are return values, not exceptions.
"""

from enum import StrEnum


class ThymosError(Exception):
    """Something went wrong inside Thymos."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class TransientError(ThymosError):
    """This cannot be done right now; the same attempt may succeed later."""


class StoreUnavailableError(TransientError):
    """The store cannot be used right now; a message in hand waits for it."""


class DatabaseUnavailableError(StoreUnavailableError):
    """The database server cannot be used right now."""


class PoisonError(ThymosError):
    """This message can never be processed."""


class UnavailableError(ThymosError):
    """The suite cannot be reached."""


class NoAnswerError(UnavailableError):
    """There was no answer in time; what was asked may still be done."""


class CannotRecomputeError(ThymosError):
    """An event does not hold all that its decision was made from; the text says what is missing."""


class NoInputsError(CannotRecomputeError):
    """It was made before decisions carried all of their inputs."""

    def __init__(self) -> None:
        super().__init__("it was made before decisions carried all of their inputs")


class UnreadableInputsError(CannotRecomputeError):
    """An event's inputs are not what any version writes; the text says what is wrong with them."""


class ConfigError(ThymosError):
    """The configuration is wrong."""


class NoConfigError(ConfigError):
    """There is no such configuration file."""


class RefusalCode(StrEnum):
    """Why a request or a command is refused; the wire values of `error.code`."""

    INVALID = "invalid"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    REFUSED = "refused"
    TOO_LARGE = "too_large"
    UNAVAILABLE = "unavailable"


class Refusal(ThymosError):
    """The request is refused.

    Args:
        code: one of `RefusalCode`.
        message: what is wrong, in one line.
        hint: what to do about it, in one line; may be empty.
    """

    def __init__(self, code: RefusalCode | str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = RefusalCode(code)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message
