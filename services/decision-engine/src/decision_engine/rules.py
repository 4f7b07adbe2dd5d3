"""Rules: which conditions hold, what is done about them, what is not done, and why.

The rule with the highest priority comes first; actions on one branch exclude each other, and the safest of them wins
(rollback over merge over scale). A decision is published when something is done or withheld, or when a refusal changes;
not at every look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from pydantic import JsonValue

from decision_engine import basis
from decision_engine.actions import ACTIONS, ActionKind
from decision_engine.agent_state import AgentState
from decision_engine.conditions import CONDITIONS, Situation
from decision_engine.finding import Approval, EndExperiment, Finding, Plan, Refused
from decision_engine.ids import mint
from thymos import config
from thymos.config import Rule, Versioning
from thymos.events import DecisionMade, NotDone

DONE: Final = "done"
WITHHELD: Final = "withheld"
DRY_RUN: Final = "dry_run"
REFUSED: Final = "refused"
PERSON: Final = "person"
"""The rule's name of an experiment that a person starts."""
HIGH, MIDDLE, LOW = 300, 200, 100
AS_OFTEN_AS_NEEDED = timedelta(0)
APPROVALS_MAX = 32
"""Questions of one agent that may wait for a person at a time, besides those of experiments."""
DECIDES = (config.MergeBranch, config.Rollback, config.DeleteBranch)
"""The actions that end an experiment or merge its winner."""

DecisionRule = Rule
"""The seed's name: `name`, `condition`, `action`, `priority`, `cooldown`, `mode`."""


def builtin_rules(versioning: Versioning) -> tuple[Rule, ...]:
    """The rules that apply when none are configured. The `auto_..._enabled` switches hold for them as for any other."""
    del versioning
    return (
        Rule(
            name="rollback-on-failure",
            condition=config.FailureCriteriaMet(),
            action=config.Rollback(),
            priority=HIGH,
            cooldown=AS_OFTEN_AS_NEEDED,
        ),
        Rule(
            name="end-on-timeout",
            condition=config.ExperimentTimeout(),
            action=config.DeleteBranch(),
            priority=MIDDLE,
            cooldown=AS_OFTEN_AS_NEEDED,
        ),
        Rule(
            name="merge-on-success",
            condition=config.SuccessCriteriaMet(),
            action=config.MergeBranch(),
            priority=MIDDLE,
            cooldown=AS_OFTEN_AS_NEEDED,
        ),
        Rule(
            name="experiment-on-drop",
            condition=config.PerformanceDrop(),
            action=config.CreateBranch(),
            priority=LOW,
        ),
        Rule(
            name="experiment-on-strategy",
            condition=config.NewStrategyAvailable(),
            action=config.CreateBranch(),
            priority=LOW,
            cooldown=AS_OFTEN_AS_NEEDED,
        ),
    )


@dataclass(frozen=True)
class Decision:
    """One rule's decision about one finding. `plan` is None where the action cannot be planned; `why` is why it is not
    done, "" where it is. `repeated` ones were published before, and nothing has changed since."""

    id: str
    rule: Rule
    finding: Finding
    verdict: Literal["done", "withheld", "dry_run", "refused"]
    plan: Plan | None
    why: str = ""
    not_done: tuple[NotDone, ...] = ()
    repeated: bool = False

    @property
    def key(self) -> str:
        """What refusals are remembered by."""
        return "|".join((self.rule.name, self.finding.branch, self.finding.strategy or ""))

    def message(self, situation: Situation, whole: JsonValue) -> DecisionMade:
        """The decision as it is published, with what it used in short, and the whole of it (basis.py)."""
        words = self.plan.words if self.plan else self.rule.action.type
        act = {"type": self.rule.action.type, "words": words}
        done = self.verdict == DONE
        left_out = list(self.not_done) if done else [NotDone(action=words, why=self.why[:4096]), *self.not_done]
        said = f"{self.finding.reason}; {words}" if done else f"{self.finding.reason}; not done: {words} ({self.why})"
        return DecisionMade(
            decision_id=self.id,
            rule=self.rule.name,
            inputs={**_inputs(self.rule, self.finding, situation), basis.KEY: whole},
            verdict=self.verdict,
            actions=[dict(act)] if done else [],
            not_done=left_out[:32],
            mode=self.rule.mode,
            reason=said[:4096],
            experiment_id=self.finding.experiment_id,
        )


def _inputs(rule: Rule, finding: Finding, situation: Situation) -> dict[str, JsonValue]:
    state = situation.state
    cooled = state.cooldowns.get(rule.name)
    return {
        "branch": finding.branch,
        "found": dict(finding.inputs),
        "now": situation.now.isoformat(),
        "condition": rule.condition.model_dump(mode="json"),
        "action": rule.action.model_dump(mode="json"),
        "priority": rule.priority,
        "cooldown_seconds": rule.cooldown.total_seconds(),
        "last_done_at": cooled.isoformat() if cooled else None,
        "switch": {_kind(rule).switch: getattr(situation.policy.versioning, _kind(rule).switch)},
        "head": state.watch.head,
        "open_experiments": list[JsonValue](sorted(state.experiments)),
        "rollbacks_since_good": state.watch.rollbacks,
    }


def evaluate(situation: Situation, cause: str) -> tuple[Decision, ...]:
    """Every rule's decision, the safest of those that would be done first.

    Args:
        situation: what is known.
        cause: the id of what led to this look; the decisions' ids follow from it.
    """
    state, rules = situation.state, sorted(situation.policy.rules, key=lambda rule: (-rule.priority, rule.name))
    found = [
        decide(rule, finding, situation, _mint(state, cause, rule, finding))
        for rule in rules
        for finding in CONDITIONS[type(rule.condition)](rule.condition, situation)
    ]
    decided = [_unless_full(decision, state) for decision in _exclude(found)]
    return tuple(replace(d, repeated=state.refusals.get(d.key) == d.why and d.verdict != DONE) for d in decided)


def _mint(state: AgentState, cause: str, rule: Rule, finding: Finding) -> str:
    """One id per finding: a rule may have several about one branch."""
    about = () if finding.strategy is None else (finding.strategy,)
    return mint(state.tenant, state.agent, cause, rule.name, finding.branch, *about)


def _unless_full(decision: Decision, state: AgentState) -> Decision:
    """A question is asked later while there are too many, unless one of a lower rule can give way to it."""
    waiting = state.approvals.values()
    asks = decision.verdict == WITHHELD and decision.finding.experiment_id is None
    was_asked = state.refusals.get(decision.key) == decision.why or any(known.key == decision.key for known in waiting)
    if not asks or was_asked or len(waiting) < APPROVALS_MAX:
        return decision
    if min(known.priority for known in waiting) < decision.rule.priority:
        return decision
    return replace(decision, verdict=REFUSED, why=f"{APPROVALS_MAX} questions wait for a person already")


def decide(rule: Rule, finding: Finding, situation: Situation, decision_id: str) -> Decision:
    """What one rule makes of one finding, before other rules are looked at."""
    kind = _kind(rule)
    if finding.failed:
        return Decision(decision_id, rule, finding, REFUSED, None, finding.failed)
    if not getattr(situation.policy.versioning, kind.switch):
        return Decision(decision_id, rule, finding, REFUSED, None, f"{kind.switch} is false")
    if _is_cooling(rule, finding, situation):
        why = f"{rule.name} rests after it did something or asked in vain"
        return Decision(decision_id, rule, finding, REFUSED, None, why)
    plan = kind.plan(rule.action, finding, situation, decision_id)
    if isinstance(plan, Refused):
        return Decision(decision_id, rule, finding, REFUSED, None, plan.why)
    if rule.mode == "dry_run":
        return Decision(decision_id, rule, finding, DRY_RUN, plan, "dry run")
    if rule.mode == "approve" or plan.ask:
        return Decision(decision_id, rule, finding, WITHHELD, plan, plan.ask or "a person has to approve it")
    return Decision(decision_id, rule, finding, DONE, plan)


def to_approve(decision: Decision, expires_at: datetime) -> Approval:
    """The question whether a withheld decision is to be carried out."""
    plan = decision.plan
    return Approval(
        decision.id,
        decision.rule.name,
        decision.finding,
        expires_at,
        key=decision.key,
        priority=decision.rule.priority,
        words=plan.words if plan else "",
        based_on=plan.based_on if plan else "",
        rolls_back_main=plan is not None and plan.rolls_back_main,
    )


def as_approved(again: Decision, approval: Approval) -> Decision:
    """What was approved is done, and nothing else: `again` is the decision on the same finding as it would be now."""
    plan = again.plan
    if plan is None or again.verdict not in (DONE, WITHHELD):
        return again
    if (plan.words, plan.based_on) == (approval.words, approval.based_on):
        return replace(again, verdict=DONE, why="")
    asked, now = (f"{what.words} [{what.based_on}]".removesuffix(" []") for what in (approval, plan))
    return replace(again, verdict=REFUSED, why=f"approved was: {asked}; since then it has become: {now}")


def without_rule(approval: Approval, now: datetime, whole: JsonValue) -> DecisionMade:
    """What was approved cannot be done: its rule is not configured any more."""
    why = f"there is no rule {approval.rule} any more"
    found = approval.finding
    return DecisionMade(
        decision_id=approval.decision_id,
        rule=approval.rule,
        inputs={"branch": found.branch, "found": dict(found.inputs), "now": now.isoformat(), basis.KEY: whole},
        verdict=REFUSED,
        actions=[],
        not_done=[NotDone(action=approval.words or approval.rule, why=why)],
        mode="approve",
        reason=f"{found.reason}; not done: {approval.words} ({why})"[:4096],
    )


def _is_cooling(rule: Rule, finding: Finding, situation: Situation) -> bool:
    """Each experiment is decided once: a cooldown would only hold its end up."""
    last = situation.state.cooldowns.get(rule.name)
    decides = finding.experiment_id is not None and isinstance(rule.action, DECIDES)
    return not decides and last is not None and situation.now < last + rule.cooldown


def _kind(rule: Rule) -> ActionKind:
    return ACTIONS[type(rule.action)]


def _exclude(decisions: Sequence[Decision]) -> list[Decision]:
    """Of the actions on one branch or experiment only the safest stays done; among equals the higher priority (it comes
    first). Evidence in hand beats the clock, also while a person is asked about it."""
    taken: dict[str, Decision] = {}
    kept: list[Decision] = []
    for decision in sorted(decisions, key=_rank):
        if decision.verdict != DONE or decision.plan is None:
            kept.append(decision)
            if decision.verdict == WITHHELD and decision.finding.experiment_id is not None:
                taken.setdefault(decision.finding.experiment_id, decision)
            continue
        rival = next((taken[branch] for branch in sorted(decision.plan.touches) if branch in taken), None)
        if rival is None:
            kept.append(decision)
            taken.update(dict.fromkeys(decision.plan.touches, decision))
            continue
        why = f"{rival.rule.name} acts on the same branch and is safer or comes first"
        kept.append(replace(decision, verdict=REFUSED, why=why))
    return [_with_losers(decision, kept) if decision.verdict == DONE else decision for decision in kept]


def _rank(decision: Decision) -> tuple[int, bool]:
    """The safest first; the end of an experiment without a verdict comes after the merge of its winner."""
    safety = _kind(decision.rule).safety
    ends = decision.plan is not None and any(isinstance(effect, EndExperiment) for effect in decision.plan.effects)
    return (max(safety, ACTIONS[config.MergeBranch].safety), True) if ends else (safety, False)


def _with_losers(winner: Decision, all_of_them: Sequence[Decision]) -> Decision:
    plan = winner.plan
    losers = [
        NotDone(action=f"{d.rule.name}: {d.plan.words}", why=d.why)
        for d in all_of_them
        if d.verdict == REFUSED and d.plan is not None and plan is not None and d.plan.touches & plan.touches
    ]
    return replace(winner, not_done=tuple(losers))


def remembered(decisions: Sequence[Decision]) -> dict[str, str]:
    """The refusals to remember after this look: those that hold now; one whose condition has ceased is forgotten."""
    return {decision.key: decision.why for decision in decisions if decision.verdict != DONE}
