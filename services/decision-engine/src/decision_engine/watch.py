"""The watch over main: whose door an outcome is laid at, which commits are good, and when main goes back.

The history is folded from events; an outcome belongs to the commit that its task was begun on (`row.commit`; the head
where the agent does not say). Commits after the last good one are *suspects*, and the watch is open while there are
any. It trips when F(failures, successes; q0) >= 80 over the suspects' outcomes, when one of them breaks a limit, when
the drop detector sounds at 10,000, or when main's agent keeps crashing. q0 is the baseline's upper limit, and after a
merge the control's: a winner measures better than it is. Pure; source: design notes, "Good commits and the watch".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fractions import Fraction
from functools import reduce

from pydantic import JsonValue

from decision_engine.drop_detector import (
    ALARM_AT_MEAN_TO_ACT,
    MIN_BASELINE_SAMPLES,
    DropDetector,
    limit_from_baseline,
)
from decision_engine.evidence import ratio_text
from decision_engine.good_commits import (
    History,
    MainCommit,
    MainOutcome,
    RollbackTarget,
    bounded,
    is_good,
    record_outcome,
    record_rollback,
    rollback_target,
)
from decision_engine.intervals import failure_limit_per_mille
from decision_engine.limits import FailureLimits, LimitReading, OutcomeTally, first_crossed, read_limits, read_watch
from decision_engine.pairing import MEASURED, ArmOutcome, PairStatus, status_of_outcome
from thymos import events
from thymos.metrics import OutcomeRow

MAIN = "main"
HISTORY_MAX = 200
"""Commits of main that are remembered; the oldest are forgotten first."""
COUNTED_MAX = 5_000
"""Outcomes of suspects after which counting begins anew: a fresh e-process at a place fixed in advance, so that exact
evidence stays cheap where main is left alone although it fails."""
UNANSWERED_MAX = 2
"""Rollbacks that may be asked for in vain before a person has to agree to the next."""
EARLY_MAX = 200
"""Outcomes that are kept until the event of their commit comes in."""


@dataclass(frozen=True)
class Reference:
    """What main's failures are measured against: q0 = `limit_per_mille` / 1000, and where it comes from."""

    limit_per_mille: int
    origin: str


@dataclass(frozen=True)
class Trial:
    """One outcome of a task on main, and the commit it was begun on."""

    commit: str
    outcome: ArmOutcome
    row: int


@dataclass(frozen=True)
class Count:
    """What tasks that were begun on a suspect came to, all of them; first and last row."""

    tally: OutcomeTally
    first_row: int
    last_row: int

    def plus(self, other: Count) -> Count:
        """Both together."""
        first, last = min(self.first_row, other.first_row), max(self.last_row, other.last_row)
        return Count(self.tally.plus(other.tally), first, last)


@dataclass(frozen=True)
class Watch:
    """Main as far as it is known. `merges` maps the commits of experiments' merges to the experiments.

    `counts` holds the suspects' outcomes by commit. `rollbacks` counts rollbacks since a commit last proved itself;
    `sent_to` is the target of a rollback that decision `sent_by` asked for at `sent_at` and that is not there yet,
    `unanswered` how many were asked for in vain, `held` why main is left alone until its head moves. `crash` is why
    main's agent does not stay up.
    """

    history: History = ()
    merges: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, Count] = field(default_factory=dict)
    early: tuple[Trial, ...] = ()
    reference: Reference | None = None
    detector: DropDetector | None = None
    crash: str | None = None
    rollbacks: int = 0
    sent_to: str | None = None
    sent_by: str | None = None
    sent_at: datetime | None = None
    unanswered: int = 0
    held: str | None = None

    @property
    def head(self) -> str | None:
        """Main's newest commit."""
        return self.history[-1].commit if self.history else None

    @property
    def suspects(self) -> tuple[str, ...]:
        """Commits after the last good one that main still holds; the watch is open while there are any."""
        return suspects_of(self.history)


@dataclass(frozen=True)
class Reading:
    """The watch at one look; `tripped` is why main has to go back, or None."""

    suspects: tuple[str, ...]
    tripped: str | None
    target: RollbackTarget
    figures: Mapping[str, JsonValue]


def suspects_of(history: History) -> tuple[str, ...]:
    """See `Watch.suspects`."""
    last_good = max((place for place, known in enumerate(history) if is_good(known)), default=-1)
    return tuple(known.commit for known in history[last_good + 1 :] if not known.rolled_back)


# --- what happened to main ------------------------------------------------------------------------------------------


def branch_created(watch: Watch, fact: events.BranchCreated) -> Watch:
    """Main begins: its first commit is declared good."""
    if fact.branch != MAIN or any(known.commit == fact.from_commit for known in watch.history):
        return watch
    first = MainCommit(fact.from_commit, fact.state_id or fact.from_commit, declared_good=True)
    return replace(watch, history=(first, *watch.history))


def commit_created(watch: Watch, fact: events.CommitCreated) -> Watch:
    """Main moves to a new commit. A commit without parents is a repository's first, and so declared good."""
    if fact.branch != MAIN:
        return watch
    return _append(watch, fact.commit, fact.state_id, declared_good=not fact.parents)


def merged(watch: Watch, fact: events.BranchMerged, control: tuple[int, int] | None) -> Watch:
    """A branch came into main. `control`: (failures, outcomes) of the experiment's control, if there was one."""
    if fact.target != MAIN or fact.commit == fact.previous_commit or fact.commit in watch.merges:
        return watch
    grown = _append(watch, fact.commit, fact.state_id)
    if fact.experiment_id is not None:
        grown = replace(grown, merges=_newest({**grown.merges, fact.commit: fact.experiment_id}))
    if control is not None:
        failures, outcomes = control
        origin = f"the control of experiment {fact.experiment_id}: {failures} failures in {outcomes} outcomes"
        return referred(grown, Reference(failure_limit_per_mille(failures, outcomes), origin))
    return grown


def rolled_back(watch: Watch, fact: events.BranchRolledBack) -> Watch:
    """Main went back. What lay between is never a target again; its outcomes no longer count."""
    if fact.branch != MAIN:
        return watch
    # The revert commit's own event comes first, or comes not at all: either way it is the head afterwards.
    before = tuple(known for known in watch.history if known.commit != fact.revert_commit)
    outcomes = next((k.outcomes for k in watch.history if k.commit == fact.revert_commit), ())
    if any(known.commit == fact.restored_commit for known in before):
        history = record_rollback(before, fact.restored_commit, fact.revert_commit)
    else:
        state = fact.state_id or fact.restored_commit
        taken_back = tuple(replace(known, rolled_back=True) for known in before)
        history = (*taken_back, MainCommit(fact.revert_commit, state))
    head = replace(history[-1], outcomes=outcomes, state_id=fact.state_id or history[-1].state_id)
    kept = {commit: count for commit, count in watch.counts.items() if commit == fact.revert_commit}
    history = bounded((*history[:-1], head), HISTORY_MAX)
    fresh = replace(answered(watch), history=history, counts=kept, rollbacks=watch.rollbacks + 1, unanswered=0)
    return replace(fresh, held=None, crash=None, detector=_detector(watch.reference))


def rollback_sent(watch: Watch, target: str, decision_id: str, now: datetime) -> Watch:
    """A rollback of main was asked for."""
    return replace(watch, sent_to=target, sent_by=decision_id, sent_at=now)


def answered(watch: Watch) -> Watch:
    """The rollback that was asked for is no longer waited for."""
    return replace(watch, sent_to=None, sent_by=None, sent_at=None)


def answer_due(watch: Watch, wait: timedelta) -> datetime | None:
    """Until when an answer to the rollback is waited for; None when there is none to wait for."""
    return None if watch.sent_to is None or watch.sent_at is None else watch.sent_at + wait


def overdue(watch: Watch, now: datetime, wait: timedelta) -> Watch:
    """A rollback that nobody answered in time is given up, and so decided anew."""
    due = answer_due(watch, wait)
    if due is None or now < due:
        return watch
    return replace(answered(watch), unanswered=watch.unanswered + 1)


def why_a_person(watch: Watch) -> str:
    """Why a further rollback needs a person's consent, or ""."""
    if watch.rollbacks:
        return "main was rolled back already since a commit last proved itself: a person has to look"
    if watch.unanswered >= UNANSWERED_MAX:
        return f"{watch.unanswered} rollbacks were asked for and not answered: a person has to look"
    return ""


def marked_good(watch: Watch, fact: events.CommitMarkedGood) -> Watch:
    """A commit of main was declared good by somebody (or is known to be good)."""
    if fact.branch != MAIN or any(known.commit == fact.commit and is_good(known) for known in watch.history):
        return watch
    if all(known.commit != fact.commit for known in watch.history):
        unknown = MainCommit(fact.commit, fact.commit, declared_good=True)
        return replace(watch, history=bounded((unknown, *watch.history), HISTORY_MAX))
    history = tuple(
        replace(known, declared_good=True) if known.commit == fact.commit else known for known in watch.history
    )
    return _settled(replace(watch, history=history))


def frozen(watch: Watch, fact: events.BaselineFrozen) -> Watch:
    """A new baseline: what main is measured against from now on. One of less than 100 samples says too little."""
    if fact.samples < MIN_BASELINE_SAMPLES or fact.failures > fact.samples:
        return watch
    limit = limit_from_baseline(fact.failures, fact.samples)
    return referred(watch, Reference(limit, f"baseline: {fact.failures} failures in {fact.samples} outcomes"))


def referred(watch: Watch, reference: Reference) -> Watch:
    """The watch with another reference; its detector starts anew."""
    return replace(watch, reference=reference, detector=_detector(reference))


def crashed(watch: Watch, fact: events.WorktreeFailed) -> Watch:
    """Main's agent does not stay up; that is laid at the door of a suspect, if there is one."""
    if fact.branch != MAIN or not fact.crash_loop or not watch.suspects:
        return watch
    return replace(watch, crash=f"the agent on main keeps crashing: {fact.reason or 'no reason given'}")


def accepted(watch: Watch) -> Watch:
    """Main stays as it is by a person's word: counting begins anew."""
    cleared = replace(watch, counts={}, crash=None, held=None, rollbacks=0, unanswered=0)
    return replace(cleared, detector=_detector(watch.reference))


def _append(watch: Watch, commit: str, state_id: str | None, *, declared_good: bool = False) -> Watch:
    state = state_id or commit
    known = next((k for k in watch.history if k.commit == commit), None)
    if known is not None:
        renamed = tuple(replace(k, state_id=state) if k.commit == commit else k for k in watch.history)
        return replace(watch, history=renamed if state_id else watch.history)
    was_open = bool(watch.suspects)
    added = MainCommit(commit, state, declared_good=declared_good)
    history = bounded((*watch.history, added), HISTORY_MAX)
    if not was_open:
        return replace(watch, history=history, held=None, detector=_detector(watch.reference), counts={})
    return replace(watch, history=history, held=None, counts=_of_remembered(watch.counts, history))


def _of_remembered(counts: Mapping[str, Count], history: History) -> Mapping[str, Count]:
    """The counts with those of forgotten suspects in the oldest remembered one: what proves it proves them too."""
    suspects = suspects_of(history)
    forgotten = [count for commit, count in counts.items() if commit not in suspects]
    if not forgotten or not suspects:
        return counts
    kept = {commit: count for commit, count in counts.items() if commit in suspects}
    together = reduce(Count.plus, ([kept[suspects[0]], *forgotten] if suspects[0] in kept else forgotten))
    return {**kept, suspects[0]: together}


def _newest(merges: Mapping[str, str]) -> dict[str, str]:
    return dict(list(merges.items())[-HISTORY_MAX:])


def _detector(reference: Reference | None) -> DropDetector | None:
    return None if reference is None else DropDetector(reference.limit_per_mille, ALARM_AT_MEAN_TO_ACT)


# --- outcomes -------------------------------------------------------------------------------------------------------


def outcome(watch: Watch, row: OutcomeRow, limits: FailureLimits, alpha: Fraction) -> tuple[Watch, tuple[str, ...]]:
    """The watch after one counted outcome on main, and the commits that it proves good."""
    status = status_of_outcome(row.outcome.value)
    commit = row.commit or watch.head
    if status not in MEASURED or commit is None:
        return watch, ()
    trial = Trial(commit, ArmOutcome(status, round(row.latency_ms * 1000)), row.row)
    if all(known.commit != commit for known in watch.history):
        return replace(watch, early=(*watch.early, trial)[-EARLY_MAX:]), ()
    return _count(watch, trial, limits, alpha)


def caught_up(watch: Watch, limits: FailureLimits, alpha: Fraction) -> tuple[Watch, tuple[str, ...]]:
    """Count the outcomes that came in before the event of their commit did."""
    known = {commit.commit for commit in watch.history}
    due = [trial for trial in watch.early if trial.commit in known]
    if not due:
        return watch, ()
    watch = replace(watch, early=tuple(trial for trial in watch.early if trial.commit not in known))
    proven: list[str] = []
    for trial in due:
        watch, newly = _count(watch, trial, limits, alpha)
        proven += newly
    return watch, tuple(proven)


def _count(watch: Watch, trial: Trial, limits: FailureLimits, alpha: Fraction) -> tuple[Watch, tuple[str, ...]]:
    failed = trial.outcome.status is not PairStatus.SUCCESS
    if trial.commit in watch.suspects:
        detector = watch.detector.after(failed) if watch.detector else None
        watch = replace(watch, counts=_with(watch.counts, trial, limits), detector=detector)
    counted = MainOutcome(
        success=not failed,
        error=trial.outcome.status is PairStatus.ERROR,
        latency_us=trial.outcome.latency_us,
        alarm=bool(watch.suspects) and read(watch, limits, alpha).tripped is not None,
        row=trial.row,
    )
    history, proven = record_outcome(watch.history, trial.commit, counted, limits)
    watch = replace(watch, history=history)
    return (replace(_settled(watch), rollbacks=0), proven) if proven else (watch, ())


def _with(counts: Mapping[str, Count], trial: Trial, limits: FailureLimits) -> Mapping[str, Count]:
    if sum(count.tally.tasks for count in counts.values()) >= COUNTED_MAX:
        counts = {}
    known = counts.get(trial.commit)
    before = known.tally.under(limits) if known is not None else OutcomeTally.start(limits)
    first = known.first_row if known is not None else trial.row
    return {**counts, trial.commit: Count(before.after(trial.outcome), first, trial.row)}


def _settled(watch: Watch) -> Watch:
    """After a commit became good: what is laid at its door no longer counts against later ones."""
    suspects = watch.suspects
    counts = {commit: count for commit, count in watch.counts.items() if commit in suspects}
    return replace(watch, counts=counts, detector=_detector(watch.reference), crash=watch.crash if suspects else None)


# --- reading --------------------------------------------------------------------------------------------------------


def read(watch: Watch, limits: FailureLimits, alpha: Fraction) -> Reading:
    """The watch as it stands."""
    suspects = watch.suspects
    counts = watch.counts.values()
    tally = reduce(OutcomeTally.plus, (count.tally.under(limits) for count in counts), OutcomeTally.start(limits))
    readings: list[LimitReading] = list(read_limits(limits, tally, alpha))
    if watch.reference is not None:
        readings.insert(0, read_watch(tally, watch.reference.limit_per_mille))
    broken = first_crossed(readings)
    tripped: str | None = None
    if suspects and watch.crash is not None:
        tripped = watch.crash
    elif suspects and broken is not None:
        tripped = f"{broken.name}: {broken.reason}"
    elif suspects and watch.detector is not None and watch.detector.alarmed:
        tripped = f"drop: {watch.detector.reason}"
    figures: dict[str, JsonValue] = {
        "suspects": list(suspects),
        "reference": watch.reference.origin if watch.reference else None,
        "limit_per_mille": watch.reference.limit_per_mille if watch.reference else None,
        "outcomes": tally.tasks,
        "failures": tally.not_successes,
        "errors": tally.errors,
        "first_row": min((count.first_row for count in counts), default=None),
        "last_row": max((count.last_row for count in counts), default=None),
        "readings": {
            reading.name: {
                "e_value": None if reading.e_value is None else ratio_text(reading.e_value),
                "threshold": ratio_text(reading.threshold),
                "crossed": reading.crossed,
            }
            for reading in readings
        },
        "drop": None if watch.detector is None else watch.detector.figures(),
        "crash": watch.crash,
    }
    return Reading(suspects, tripped, rollback_target(watch.history), figures)


def proven_before_its_merge(watch: Watch, fact: events.BranchMerged) -> tuple[str, ...]:
    """The merge's commit if it has proven itself before the merge was heard of (outcomes come on another stream): it
    is announced once more, because only now it is known to restart the baseline."""
    known = next((known for known in watch.history if known.commit == fact.commit), None)
    is_late = (
        known is not None
        and known.good
        and not known.rolled_back
        and fact.target == MAIN
        and fact.commit not in watch.merges
    )
    return (fact.commit,) if is_late and fact.experiment_id is not None else ()


def restarts_baseline(watch: Watch, proven: str) -> bool:
    """Whether a commit that has proven itself changes what main is measured against: the merge of an experiment."""
    return proven in watch.merges
