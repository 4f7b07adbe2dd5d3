"""The verdict on recorded results: pairs in file order of the control, weighed after every pair, first
decision stands.

A task without an outcome of both arms is left out and counted. Where one side has no row for so many more
tasks than the other that chance is ruled out (sample-ratio e-value >= 1000 before a counted pair), the task
sets are unequal, leaving those tasks out may pick the winner, and the comparison is invalid. A row with an
empty `success` is no such sign: somebody looked at the task and could not tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from decision_engine.evidence import HALF, LimitEvidence, balance_e_value
from decision_engine.evidence_plan import EvidencePlan
from decision_engine.limits import LimitReading, LimitTracker
from decision_engine.pairing import ArmOutcome, PairStatus, PairTally
from decision_engine.recording import RecordedOutcome, Recording
from decision_engine.verdict import (
    ArmEvidence,
    Decision,
    ExperimentVerdict,
    experiment_verdict,
    is_decisive,
    weigh,
)
from thymos.events import Verdict

SAMPLE_RATIO_THRESHOLD = Fraction(1000)

Outcomes = Mapping[str, RecordedOutcome]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Tasks without an outcome of both: how many have one of the control only, the challenger only, or neither."""

    only_control: int
    only_challenger: int
    neither: int

    @property
    def total(self) -> int:
        """All tasks that are left out."""
        return self.only_control + self.only_challenger + self.neither


@dataclass(frozen=True, slots=True)
class JudgedRecording:
    """The verdict, and by challenger what of the file it could not use."""

    verdict: ExperimentVerdict
    left_out: Mapping[str, LeftOut]


class _Challenger:
    """One challenger while the recording is walked through."""

    def __init__(self, plan: EvidencePlan, name: str, control: Outcomes, outcomes: Outcomes) -> None:
        self.name, self.outcomes, self._control = name, outcomes, plan.control
        self._tally = PairTally()
        self._better, self._harm = LimitEvidence.start(HALF), LimitEvidence.start(HALF)
        self._limits = LimitTracker(plan.limits, plan.alpha, plan.deadline_us)
        self._broken: LimitReading | None = None
        self._invalid = ""
        self._unmatched_before = _unmatched_challenger_rows(control, outcomes)
        self._only_control = self._only_challenger = self._pairs = 0
        self.left_out = _left_out(control, outcomes)
        self._joint = len({*control, *outcomes}) - self.left_out.total
        if not self._joint:
            self._invalid = f"unequal task sets: no task has an outcome of both {plan.control} and {name}"

    def take(self, task_id: str, control: RecordedOutcome) -> bool:
        """Go on to the control's next task; whether it made a pair."""
        mine = self.outcomes.get(task_id)
        self._only_challenger += self._unmatched_before.get(task_id, 0)
        if mine is None:
            self._only_control += 1
            return False
        if mine.success is None:
            return False
        self._broken = self._limits.add(_arm_outcome(mine))
        if control.success is None:
            return False
        self._tally.add(_arm_outcome(control), _arm_outcome(mine))
        self._pairs += 1
        if mine.success != control.success:
            self._better = self._better.after(mine.success)
            self._harm = self._harm.after(control.success)
        self._check_balance()
        return True

    def _check_balance(self) -> None:
        one, other = self._only_control, self._only_challenger
        # With fewer rows missing the e-value is below 1000: 2^n / (n+1) < 1000 for n < 14.
        if one + other >= 14 and balance_e_value(one, other) >= SAMPLE_RATIO_THRESHOLD:
            self._invalid = (
                f"unequal task sets: up to here {self.name} has no row for {one} tasks of {self._control} and "
                f"{self._control} none for {other} of {self.name}, too lopsided for chance"
            )

    def evidence(self) -> ArmEvidence:
        """This look."""
        count = self._tally.counted(remaining=self._joint - self._pairs)
        return ArmEvidence(count, self._better, self._harm, self._broken, self._invalid)


def judge_recording(plan: EvidencePlan, recording: Recording) -> JudgedRecording:
    """Weigh the recorded results as if they came in one by one.

    Args:
        plan: control, challengers, error budget and criteria; its tasks are ignored, those of the control
            count.
        recording: what was measured.

    Raises:
        RecordingError: an arm of the plan is not in the recording.
    """
    plan = replace(plan, stop_early=False)  # nothing is saved by stopping: the results are there already
    control = recording.outcomes(plan.control)
    arms = {name: _Challenger(plan, name, control, recording.outcomes(name)) for name in plan.challengers}
    limits, broken = LimitTracker(plan.limits, plan.alpha, plan.deadline_us), None
    settled: dict[str, Decision] = {}
    final: dict[str, ArmEvidence] = {}
    left_out = {name: arm.left_out for name, arm in arms.items()}
    for task_id, outcome in control.items():
        if outcome.success is not None:
            broken = limits.add(_arm_outcome(outcome))
        advanced = [arm for name, arm in arms.items() if name not in settled and arm.take(task_id, outcome)]
        if not any(is_decisive(plan, arm.evidence()) for arm in advanced):
            continue
        evidence = {name: final.get(name) or arm.evidence() for name, arm in arms.items()}
        weighing = weigh(plan, evidence, control_broken=broken, settled=settled)
        if weighing.overall.verdict is not Verdict.CONTINUE:
            return JudgedRecording(experiment_verdict(plan, evidence, weighing), left_out)
        for name, decision in weighing.decisions.items():
            if decision.verdict is not Verdict.CONTINUE and name not in settled:
                settled[name], final[name] = decision, evidence[name]
    evidence = {name: final.get(name) or arm.evidence() for name, arm in arms.items()}
    weighing = weigh(plan, evidence, control_broken=broken, settled=settled)
    return JudgedRecording(experiment_verdict(plan, evidence, weighing), left_out)


def _arm_outcome(outcome: RecordedOutcome) -> ArmOutcome:
    return ArmOutcome(PairStatus.SUCCESS if outcome.success else PairStatus.FAILURE, outcome.latency_us)


def _left_out(control: Outcomes, challenger: Outcomes) -> LeftOut:
    theirs = {task_id for task_id, outcome in control.items() if outcome.success is not None}
    mine = {task_id for task_id, outcome in challenger.items() if outcome.success is not None}
    neither = {*control, *challenger} - theirs - mine
    return LeftOut(len(theirs - mine), len(mine - theirs), len(neither))


def _unmatched_challenger_rows(control: Outcomes, challenger: Outcomes) -> dict[str, int]:
    """How many tasks that only the challenger has come before each of the control's tasks.

    Such a task stands where the challenger's own order puts it: after the latest of the control's tasks
    before it. Those after the last pair are no sign of picking: the control's run just ended earlier.
    """
    order = list(control)
    place = {task_id: i for i, task_id in enumerate(order)}
    before: dict[str, int] = {}
    following = 0
    for task_id in challenger:
        if task_id in place:
            following = max(following, place[task_id] + 1)
        elif following < len(order):
            before[order[following]] = before.get(order[following], 0) + 1
    return before
