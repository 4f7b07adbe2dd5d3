"""Questions to a person: asked again when nobody answered, and an answer is to what was asked and nothing else."""

from decimal import Decimal
from typing import Any

import pytest

from decision_engine.policy import Policy
from decision_engine.rules import APPROVALS_MAX
from decision_engine.testing import Story, policy
from thymos import commands, events
from thymos.metrics import AgentMetrics, MetricsChanged, ResourceMetrics

FAILURE = {
    "name": "fail",
    "condition": {"type": "FailureCriteriaMet"},
    "action": {"type": "Rollback"},
    "mode": "approve",
    "cooldown": "0s",
    "priority": 9,
}
STRATEGY = {
    "name": "strategy",
    "condition": {"type": "NewStrategyAvailable"},
    "action": {"type": "CreateBranch"},
    "mode": "approve",
}
BUSY = {
    "name": "busy",
    "condition": {"type": "ResourceConstraint", "cpu_threshold": Decimal("0.9")},
    "action": {"type": "ScaleWorktrees", "target_count": 3},
    "mode": "approve",
    "cooldown": "10m",
}


def under(*rules: dict[str, Any]) -> Policy:
    return policy(rules=list(rules))


def failing(*rules: dict[str, Any]) -> Story:
    """A bad commit on main, and the question whether to roll it back."""
    story = Story(under(*(rules or (FAILURE,)))).memory_begins().baseline(failures=15, samples=300).commits("bad")
    while not questions(story):
        story.main("0", "bad")
    return story


def busy(story: Story) -> Story:
    measured = AgentMetrics(resource=ResourceMetrics(cpu_fraction=0.97), sample_count=50)
    return story.happens(MetricsChanged(branch="main", metrics=measured))


def proposed(story: Story, name: str, content: str = "refunds take five days") -> Story:
    change = commands.MemoryChange(op="put", id="m1", content=content)
    return story.happens(commands.ProposeStrategy(name=name, description="say it", changes=[change]))


def questions(story: Story) -> list[events.ApprovalRequested]:
    return story.sent(events.ApprovalRequested)


def answered(story: Story, answer: Any, question: int = -1) -> Story:
    asked = questions(story)[question]
    return story.happens(commands.ApproveDecision(decision_id=asked.decision_id, by="ada", answer=answer))


# --- nobody answers -------------------------------------------------------------------------------------------------


def test_an_expired_question_is_asked_again_after_the_rules_cooldown() -> None:
    story = busy(Story(under(BUSY))).passes(hours=25)
    for _ in range(5):
        busy(story)
    assert len(questions(story)) == 1, "the rule rests"

    story.passes(minutes=11)

    assert len(questions(story)) == 2
    answered(story, "approved")
    assert story.sent(commands.ScaleWorktree)[0].count == 3


def test_a_rejected_question_is_not_asked_again() -> None:
    story = answered(busy(Story(under(BUSY))), "rejected").passes(hours=48)

    assert len(questions(busy(story))) == 1


def test_a_question_that_waits_is_not_asked_twice() -> None:
    story = busy(Story(under(BUSY)))
    story.happens(MetricsChanged(branch="main", metrics=AgentMetrics()))

    assert len(questions(busy(story))) == 1


def full(*rules: dict[str, Any]) -> Story:
    """As many questions wait as may."""
    story = Story(under(*rules, {**STRATEGY, "cooldown": "0s"})).memory_begins().baseline(failures=15, samples=300)
    for number in range(APPROVALS_MAX):
        proposed(story, f"strategy-{number}")
    assert len(story.state.approvals) == len(questions(story)) == APPROVALS_MAX
    return story


def test_a_question_too_many_waits_until_there_is_room() -> None:
    story = busy(full({**BUSY, "cooldown": "0s"}))
    assert len(questions(busy(story))) == APPROVALS_MAX
    assert "wait for a person already" in story.decisions("busy")[0].not_done[0].why

    busy(answered(story, "rejected"))

    assert questions(story)[-1].reason.startswith("3 worktrees on main?")


def test_a_question_of_a_higher_rule_takes_the_place_of_one_that_is_asked_again_later() -> None:
    story = full(FAILURE).commits("bad").main("0" * 12, "bad")
    assert questions(story)[-1].reason.startswith("roll main back to c0?")
    assert [given.answer for given in story.sent(events.ApprovalGiven)] == ["expired"]
    assert len(questions(story)) == APPROVALS_MAX + 1, "and the other is not asked at every message"

    answered(story, "rejected").main("1")

    assert "strategy-0" in questions(story)[-1].reason


# --- the answer is to what was asked --------------------------------------------------------------------------------


def test_an_approved_rollback_is_carried_out() -> None:
    story = answered(failing(), "approved")

    assert [sent.target_commit for sent in story.sent(commands.RollbackBranch)] == ["c0"]


def test_an_approval_of_a_rollback_from_another_head_is_refused_and_asked_anew() -> None:
    story = answered(failing().commits("other"), "approved", question=0)

    assert not story.sent(commands.RollbackBranch)
    refused = story.decisions("fail")[1]
    assert refused.decision_id == questions(story)[0].decision_id
    assert (refused.verdict, refused.actions) == ("refused", [])
    assert refused.not_done[0].why == (
        "approved was: roll main back to c0 [main at bad]; "
        "since then it has become: roll main back to c0 [main at other]"
    )
    assert len(questions(story)) == 2
    assert answered(story, "approved").sent(commands.RollbackBranch)


def test_an_approval_of_a_rollback_to_another_target_is_refused() -> None:
    story = failing().happens(events.CommitMarkedGood(branch="main", commit="parent", samples=0))
    story.happens(events.CommitMarkedGood(branch="main", commit="bad", samples=0))

    answered(story.commits("c9").main("0", "c9"), "approved", question=0)

    assert not story.sent(commands.RollbackBranch)


def test_an_approval_of_a_strategy_that_was_proposed_anew_is_refused() -> None:
    story = proposed(Story(under(STRATEGY)), "refunds")
    proposed(story, "refunds", content="refunds take a year")

    answered(story, "approved", question=0)

    assert not story.state.experiments
    assert story.decisions("strategy")[1].verdict == "refused"


# --- rejections and rules that are gone -----------------------------------------------------------------------------


def evidence(story: Story) -> Any:
    return story.state.watch.counts


def test_a_rejected_rollback_takes_main_as_it_is() -> None:
    assert not evidence(answered(failing(), "rejected"))


def test_a_rejection_of_something_else_keeps_what_counts_against_main() -> None:
    story = Story(under(STRATEGY, FAILURE)).memory_begins().baseline(failures=15, samples=300).commits("c1")
    proposed(story.main("00", "c1"), "refunds")
    before = evidence(story)
    assert before

    answered(story, "rejected")

    assert evidence(story) == before


@pytest.mark.parametrize("answer", ["approved", "rejected"])
def test_an_answer_after_its_rule_is_gone(answer: str) -> None:
    story = failing()
    story.policy = under({**FAILURE, "name": "failure"})

    answered(story, answer, question=0)

    assert not story.sent(commands.RollbackBranch)
    assert bool(evidence(story)) == (answer == "approved"), "only a person's no takes main as it is"
    assert [made.not_done[0].why for made in story.decisions("fail") if made.verdict == "refused"] == (
        ["there is no rule fail any more"] if answer == "approved" else []
    )
