"""The verdict on an experiment: K challengers against one control, at one look.

    limits -> ERROR -> INVALID -> ROLLBACK -> MERGE -> CONTINUE -> INCONCLUSIVE          (first match)

Guarantee: if at every counted pair P(win | discordant, past) <= 1/2, then P(ever merged) <= alpha_j/K per
challenger and <= alpha_j per experiment, however often one looks. "Better" means better at some time: novelty
and effects between arms (shared memory, rate limits) are not covered, hence the watch after a merge.

Merging needs E >= K/alpha_j, the success criteria and at least `min_pairs` pairs. Rolling an arm back because
it is proven worse needs a harm e-value of 1/alpha and the same number of pairs; a broken limit rolls it back
at once. A challenger breaks a limit only by tasks whose control is known: in an outage both fail, whichever is
heard first. An arm that is out stays out. Source: design notes, section "Evidence".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from decision_engine.arm_report import ArmReport, report_arm
from decision_engine.criteria import best_case, read_criteria
from decision_engine.evidence import LimitEvidence, approximate, sign_evidence
from decision_engine.evidence_plan import MIN_PAIRS, EvidencePlan
from decision_engine.limits import LimitReading, first_crossed, read_limits, tally_of
from decision_engine.pairing import (
    MEASURED,
    PENDING,
    ArmOutcome,
    PairCount,
    PairStatus,
    count_pairs,
    distinct_tasks,
)
from thymos.events import Verdict

__all__ = [
    "MIN_PAIRS",
    "ArmEvidence",
    "ArmReport",
    "Attainability",
    "Decision",
    "EvidencePlan",
    "ExperimentVerdict",
    "Outcomes",
    "Weighing",
    "attainability",
    "decide",
    "experiment_verdict",
    "is_decisive",
    "weigh",
]

MAX_UNMEASURED_RUN = 4
"""More missing outcomes than this in a row mean that an arm cannot be measured."""

_LONGEST_REASON = 2_000
"""Characters: events carry at most 4,096, and a person reads fewer."""

FINAL = frozenset({Verdict.MERGE, Verdict.ROLLBACK, Verdict.INCONCLUSIVE, Verdict.ERROR, Verdict.INVALID})

Outcomes = Mapping[str, ArmOutcome]
"""One arm's outcomes by task id."""


@dataclass(frozen=True, slots=True)
class ArmEvidence:
    """One challenger at one look: its pairs, and what its own outcomes say about the limits.

    `broken` is the limit it breaks, if any; `invalid` is why it cannot be compared with the control, or "".
    """

    count: PairCount
    better: LimitEvidence
    harm: LimitEvidence
    broken: LimitReading | None = None
    invalid: str = ""

    @classmethod
    def of(cls, count: PairCount, broken: LimitReading | None = None, invalid: str = "") -> ArmEvidence:
        """From the counts, by the closed form."""
        better = sign_evidence(count.wins, count.losses)
        return cls(count, better, sign_evidence(count.harm_wins, count.harm_losses), broken, invalid)


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and the reason for it in words."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Weighing:
    """What one look decides: each challenger in the plan's order, the one to merge if any, and the whole."""

    decisions: Mapping[str, Decision]
    winner: str | None
    overall: Decision


@dataclass(frozen=True, slots=True)
class ExperimentVerdict:
    """The verdict on an experiment at one look. `winner` is set for a merge; `arms` in the plan's order."""

    verdict: Verdict
    winner: str | None
    reason: str
    arms: tuple[ArmReport, ...]


@dataclass(frozen=True, slots=True)
class Attainability:
    """Whether an experiment can end in a merge at all."""

    attainable: bool
    reason: str


def decide(
    plan: EvidencePlan,
    outcomes: Mapping[str, Outcomes],
    *,
    previous: ExperimentVerdict | None = None,
    ended: str = "",
) -> ExperimentVerdict:
    """The verdict on everything measured so far.

    Args:
        plan: what was fixed at the start.
        outcomes: by arm name, each arm's outcome by task id; what is absent is pending.
        previous: the verdict of the look before: arms that were out stay out. Without it the look stands
            alone.
        ended: why no more outcomes will come (deadline, budget); "" while they may.
    """
    control = outcomes.get(plan.control, {})
    control_broken = _broken_limit(plan, control)
    answered = {task_id for task_id, outcome in control.items() if outcome.status is not PairStatus.PENDING}
    evidence = {
        arm: ArmEvidence.of(
            count_pairs(plan.tasks, control, outcomes.get(arm, {}), deadline_us=plan.deadline_us),
            _broken_limit(plan, {task: it for task, it in outcomes.get(arm, {}).items() if task in answered}),
            _unequal_task_sets(plan, {plan.control: control, arm: outcomes.get(arm, {})}),
        )
        for arm in plan.challengers
    }
    weighing = weigh(plan, evidence, control_broken=control_broken, settled=_settled(previous), ended=ended)
    return experiment_verdict(plan, evidence, weighing)


def weigh(
    plan: EvidencePlan,
    evidence: Mapping[str, ArmEvidence],
    *,
    control_broken: LimitReading | None = None,
    settled: Mapping[str, Decision] | None = None,
    ended: str = "",
) -> Weighing:
    """Decide each challenger, in the plan's order, and name the winner if one is to be merged.

    Args:
        plan: what was fixed at the start.
        evidence: each challenger's, by name.
        control_broken: the limit that the control breaks, if any.
        settled: the decisions on challengers that are already out.
        ended: why no more outcomes will come, or "".
    """
    settled = settled or {}
    live = [arm for arm in plan.challengers if arm not in settled]
    whole = _whole_experiment(live, evidence, control_broken) if live else None
    decisions = {arm: settled.get(arm) or whole or _decide_arm(plan, evidence[arm], ended) for arm in plan.challengers}
    winner = _winner(decisions, evidence)
    if winner is not None:
        decisions = {
            arm: decision if arm == winner else _beaten(decision, winner) for arm, decision in decisions.items()
        }
    return Weighing(decisions, winner, whole or _overall(decisions, winner))


def experiment_verdict(
    plan: EvidencePlan, evidence: Mapping[str, ArmEvidence], weighing: Weighing
) -> ExperimentVerdict:
    """What `weigh` decided, with the figures that are always shown."""
    reports = _report_arms(plan, evidence, weighing.decisions)
    return ExperimentVerdict(weighing.overall.verdict, weighing.winner, weighing.overall.reason, reports)


def is_decisive(plan: EvidencePlan, evidence: ArmEvidence) -> bool:
    """Whether this look could settle the arm while tasks remain; cheap, for looking after every pair.

    Criteria may still hold a merge back, so a decisive look is one to `weigh`, not yet a verdict.
    """
    count = evidence.count
    run = max(count.control_unmeasured_run, count.challenger_unmeasured_run)
    if evidence.broken or evidence.invalid or run > MAX_UNMEASURED_RUN:
        return True
    if count.pairs < plan.min_pairs:
        return False
    return evidence.better.reaches(plan.threshold) or evidence.harm.reaches(plan.harm_threshold)


def _report_arms(
    plan: EvidencePlan, evidence: Mapping[str, ArmEvidence], decisions: Mapping[str, Decision]
) -> tuple[ArmReport, ...]:
    """The shown figures of every challenger, in the plan's order."""
    return tuple(
        report_arm(
            arm,
            decisions[arm].verdict,
            decisions[arm].reason,
            evidence[arm].count,
            alpha=plan.alpha,
            threshold=plan.threshold,
            harm_threshold=plan.harm_threshold,
            better=evidence[arm].better,
            harm=evidence[arm].harm,
        )
        for arm in plan.challengers
    )


def attainability(plan: EvidencePlan) -> Attainability:
    """Whether the best outcomes (every task a win) would be merged; asked before any evidence is spent."""
    tasks = sum(1 for _ in distinct_tasks(plan.tasks))
    why = _out_of_reach(plan, PairCount(remaining=tasks))
    if why:
        return Attainability(False, f"unattainable even if every one of {tasks} tasks is a win: {why}")
    return Attainability(True, f"{tasks} tasks suffice if the difference is large enough")


# --- one look ---------------------------------------------------------------------------------------


def _whole_experiment(
    live: Sequence[str],
    evidence: Mapping[str, ArmEvidence],
    control_broken: LimitReading | None,
) -> Decision | None:
    """What stops every arm at once: the environment, or a control that cannot be measured."""
    tripped = [(arm, broken) for arm in live if (broken := evidence[arm].broken)]
    if tripped and control_broken:
        arm, broken = tripped[0]
        said = f"the environment, not {arm}: {broken.reason}; and the control: {control_broken.reason}"
        return Decision(Verdict.ERROR, said)
    run = min((evidence[arm].count.control_unmeasured_run for arm in live), default=0)
    if run > MAX_UNMEASURED_RUN:
        return Decision(Verdict.ERROR, f"cannot measure: the control's last {run} outcomes are missing")
    return None


def _decide_arm(plan: EvidencePlan, evidence: ArmEvidence, ended: str) -> Decision:
    count = evidence.count
    if evidence.broken:
        return Decision(Verdict.ROLLBACK, f"{evidence.broken.name} limit broken: {evidence.broken.reason}")
    if count.challenger_unmeasured_run > MAX_UNMEASURED_RUN:
        said = f"cannot measure: the last {count.challenger_unmeasured_run} outcomes are missing"
        return Decision(Verdict.ERROR, said)
    if evidence.invalid:
        return Decision(Verdict.INVALID, evidence.invalid)
    enough = count.pairs >= plan.min_pairs
    if enough and evidence.harm.reaches(plan.harm_threshold):
        said = _sign_words(evidence.harm, count.pairs, plan.harm_threshold, "losses")
        return Decision(Verdict.ROLLBACK, f"worse than {plan.control}: {said}")
    proven = evidence.better.reaches(plan.threshold)
    unmet = read_criteria(plan.criteria, count).reason if plan.criteria else ""
    said = _sign_words(evidence.better, count.pairs, plan.threshold, "wins")
    if enough and proven and not unmet:
        return Decision(Verdict.MERGE, f"better than {plan.control}: {said}")
    missing = _still_missing(plan, count, said, proven, unmet)
    return _continue_or_stop(plan, count, missing, ended)


def _continue_or_stop(plan: EvidencePlan, count: PairCount, missing: str, ended: str) -> Decision:
    if count.remaining == 0:
        return Decision(Verdict.INCONCLUSIVE, f"all tasks are used: {missing}")
    if ended:
        return Decision(Verdict.INCONCLUSIVE, f"{ended}: {missing}")
    why = _out_of_reach(plan, count) if plan.stop_early else ""
    if why:
        return Decision(Verdict.INCONCLUSIVE, f"out of reach with {count.remaining} tasks left: {why}")
    return Decision(Verdict.CONTINUE, missing)


def _out_of_reach(plan: EvidencePlan, count: PairCount) -> str:
    """Why even the best case of the remaining tasks would not be merged; "" if it would."""
    best = best_case(count)
    if best.pairs < plan.min_pairs:
        return f"at most {best.pairs} pairs, {plan.min_pairs} are needed"
    evidence = sign_evidence(best.wins, best.losses)
    if not evidence.reaches(plan.threshold):
        return f"the evidence is at most {_sign_words(evidence, best.pairs, plan.threshold, 'wins')}"
    return read_criteria(plan.criteria, best).reason if plan.criteria else ""


def _still_missing(plan: EvidencePlan, count: PairCount, said: str, proven: bool, unmet: str) -> str:
    parts = [] if count.pairs >= plan.min_pairs else [f"{count.pairs} of at least {plan.min_pairs} pairs"]
    parts.append(f"proven better ({said})" if proven else f"no proof of a difference ({said})")
    if unmet:
        parts.append(f"not good enough yet ({unmet})")
    return ", ".join(parts)


def _winner(decisions: Mapping[str, Decision], evidence: Mapping[str, ArmEvidence]) -> str | None:
    """The highest E; among equals more successes, then the plan's order (`max` keeps the first of equals)."""
    crossed = [arm for arm, decision in decisions.items() if decision.verdict is Verdict.MERGE]
    if not crossed:
        return None

    def strength(arm: str) -> tuple[Fraction, int]:
        return evidence[arm].better.value(), evidence[arm].count.challenger_successes

    return max(crossed, key=strength)


def _beaten(decision: Decision, winner: str) -> Decision:
    """A merge ends the experiment for the others too."""
    if decision.verdict is Verdict.MERGE:
        said = f"also proven better, but {winner} has the stronger evidence"
    elif decision.verdict is Verdict.CONTINUE:
        said = f"undecided when {winner} was merged: {decision.reason}"
    else:
        return decision
    return Decision(Verdict.INCONCLUSIVE, said)


def _overall(decisions: Mapping[str, Decision], winner: str | None) -> Decision:
    """One verdict from the challengers' own. Without a winner it is the one that leaves most open."""
    if winner is not None:
        return Decision(Verdict.MERGE, f"{winner}: {decisions[winner].reason}")
    verdicts = {decision.verdict for decision in decisions.values()}
    for verdict in (Verdict.CONTINUE, Verdict.INCONCLUSIVE, Verdict.INVALID, Verdict.ERROR):
        if verdict in verdicts:
            break
    else:
        verdict = Verdict.ROLLBACK
    if len(set(decisions.values())) == 1 and len(decisions) > 1:
        return next(iter(decisions.values()))
    said = "; ".join(f"{arm}: {decision.reason}" for arm, decision in decisions.items())
    return Decision(verdict, said if len(said) <= _LONGEST_REASON else f"{said[: _LONGEST_REASON - 1]}…")


def _settled(previous: ExperimentVerdict | None) -> dict[str, Decision]:
    if previous is None:
        return {}
    return {report.arm: Decision(report.verdict, report.reason) for report in previous.arms if report.verdict in FINAL}


def _broken_limit(plan: EvidencePlan, outcomes: Outcomes) -> LimitReading | None:
    measured = (outcomes.get(task.task_id, PENDING) for task in distinct_tasks(plan.tasks))
    tally = tally_of(measured, plan.limits, plan.deadline_us)
    return first_crossed(read_limits(plan.limits, tally, plan.alpha))


def _unequal_task_sets(plan: EvidencePlan, outcomes: Mapping[str, Outcomes]) -> str:
    """Why the arms were not compared on the same tasks: some arm has outcomes of others; "" if none has."""
    assigned = {task.task_id for task in plan.tasks}
    for arm in (plan.control, *plan.challengers):
        strays = sorted(
            task_id
            for task_id, outcome in outcomes.get(arm, {}).items()
            if task_id not in assigned and outcome.status in MEASURED
        )
        if strays:
            return f"unequal task sets: {len(strays)} outcomes of {arm} are of other tasks, such as {strays[0]}"
    return ""


def _sign_words(evidence: LimitEvidence, pairs: int, threshold: Fraction, what: str) -> str:
    value = evidence.value()
    sign = ">=" if evidence.reaches(threshold) else "<"
    return (
        f"{evidence.events} {what} against {evidence.non_events} in {pairs} pairs, "
        f"E {approximate(value):.4g} {sign} {approximate(threshold):.4g}"
    )
