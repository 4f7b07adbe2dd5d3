"""The life of an experiment: every phase, every trigger, and the one table that says what follows what.

    Pending -> Preparing -> Running -> (Merging | RollingBack | Inconclusive | Aborted | Error) -> Closed

A key that is not in `TRANSITIONS` is an illegal transition. Every phase but `Closed` has a way out that needs nobody
else: a deadline (`expired`, `given_up`), and an abort until the verdict is being carried out. *Error* is "could not
measure", never "bad". The diagram in the documentation is generated from this table by `diagram`.
"""

from enum import StrEnum

from thymos.errors import ThymosError


class Phase(StrEnum):
    """Where an experiment stands; the wire values of `phase`."""

    PENDING = "Pending"
    """Opened by a decision; waits for outcomes to learn from and for a free slot."""
    PREPARING = "Preparing"
    """Branches and worktrees are being made; left when every arm is ready."""
    RUNNING = "Running"
    """Arms answer the same tasks; left by a verdict, a deadline or an abort."""
    MERGING = "Merging"
    """A winner is proven; it is being merged, or a person is asked."""
    ROLLING_BACK = "RollingBack"
    """Every challenger is proven harmful; their branches are being removed."""
    INCONCLUSIVE = "Inconclusive"
    """Nothing is proven, and nothing more will be; the arms are being removed."""
    ABORTED = "Aborted"
    """Ended by a person or a withdrawn decision; the arms are being removed."""
    ERROR = "Error"
    """It could not be measured; the arms are being removed."""
    CLOSED = "Closed"
    """Over; nothing is left but the record."""


class Trigger(StrEnum):
    """Why an experiment moves."""

    LEARNED = "learned"
    """Enough outcomes are recorded, and a slot is free."""
    PREPARED = "prepared"
    """The branches of all arms exist."""
    READY = "ready"
    """Every arm has a worktree that takes tasks."""
    NOTHING_TO_TEST = "nothing_to_test"
    """No generator found anything to change."""
    WON = "won"
    """A challenger is proven better, and a rule merges it."""
    WITHHELD = "withheld"
    """A challenger is proven better, and a person has to say yes."""
    HARMED = "harmed"
    """Every challenger is proven harmful or broke a limit."""
    UNDECIDED = "undecided"
    """The evidence cannot reach a verdict any more."""
    UNMEASURABLE = "unmeasurable"
    """It cannot be measured: refused, crashed, invalid, or unattainable."""
    APPROVED = "approved"
    REJECTED = "rejected"
    CONFLICTED = "conflicted"
    """The merge found conflicts that a person has to settle."""
    MERGED = "merged"
    EXPIRED = "expired"
    """The phase's deadline has passed."""
    ABORT = "abort"
    SWEEP = "sweep"
    """Worktrees are released (or were never there): delete the branches that are left."""
    CLEANED = "cleaned"
    """Nothing is left."""
    GIVEN_UP = "given_up"
    """The clean-up's deadline has passed; what is left is named, and deleted when it shows itself."""


class IllegalTransition(ThymosError):
    """The experiment cannot do this in its phase."""


TRANSITIONS: dict[tuple[Phase, Trigger], Phase] = {
    (Phase.PENDING, Trigger.LEARNED): Phase.PREPARING,
    (Phase.PENDING, Trigger.UNMEASURABLE): Phase.ERROR,
    (Phase.PENDING, Trigger.EXPIRED): Phase.INCONCLUSIVE,
    (Phase.PENDING, Trigger.ABORT): Phase.ABORTED,
    (Phase.PREPARING, Trigger.PREPARED): Phase.PREPARING,
    (Phase.PREPARING, Trigger.READY): Phase.RUNNING,
    (Phase.PREPARING, Trigger.NOTHING_TO_TEST): Phase.ERROR,
    (Phase.PREPARING, Trigger.UNMEASURABLE): Phase.ERROR,
    (Phase.PREPARING, Trigger.EXPIRED): Phase.ERROR,
    (Phase.PREPARING, Trigger.ABORT): Phase.ABORTED,
    (Phase.RUNNING, Trigger.WON): Phase.MERGING,
    (Phase.RUNNING, Trigger.WITHHELD): Phase.MERGING,
    (Phase.RUNNING, Trigger.HARMED): Phase.ROLLING_BACK,
    (Phase.RUNNING, Trigger.UNDECIDED): Phase.INCONCLUSIVE,
    (Phase.RUNNING, Trigger.UNMEASURABLE): Phase.ERROR,
    (Phase.RUNNING, Trigger.EXPIRED): Phase.INCONCLUSIVE,
    (Phase.RUNNING, Trigger.ABORT): Phase.ABORTED,
    (Phase.MERGING, Trigger.APPROVED): Phase.MERGING,
    (Phase.MERGING, Trigger.CONFLICTED): Phase.MERGING,
    (Phase.MERGING, Trigger.MERGED): Phase.MERGING,
    (Phase.MERGING, Trigger.REJECTED): Phase.ABORTED,
    (Phase.MERGING, Trigger.UNMEASURABLE): Phase.ERROR,
    (Phase.MERGING, Trigger.EXPIRED): Phase.ERROR,
    (Phase.MERGING, Trigger.ABORT): Phase.ABORTED,
    **{
        (phase, trigger): target
        for phase in (Phase.MERGING, Phase.ROLLING_BACK, Phase.INCONCLUSIVE, Phase.ABORTED, Phase.ERROR)
        for trigger, target in (
            (Trigger.SWEEP, phase),
            (Trigger.CLEANED, Phase.CLOSED),
            (Trigger.GIVEN_UP, Phase.CLOSED),
        )
    },
}

LEAVING = frozenset({Phase.ROLLING_BACK, Phase.INCONCLUSIVE, Phase.ABORTED, Phase.ERROR})
"""Phases in which only the clean-up is left (in `Merging` it follows the merge)."""


def next_phase(phase: Phase, trigger: Trigger) -> Phase:
    """The phase that follows. Raises IllegalTransition when the table has no such key."""
    try:
        return TRANSITIONS[phase, trigger]
    except KeyError:
        raise IllegalTransition(f"an experiment in {phase} cannot take {trigger}") from None


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {Phase.PENDING}"]
    lines += [f"    {source} --> {target}: {trigger}" for (source, trigger), target in TRANSITIONS.items()]
    return "\n".join([*lines, f"    {Phase.CLOSED} --> [*]", ""])
