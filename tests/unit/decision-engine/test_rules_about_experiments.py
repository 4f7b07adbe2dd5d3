"""What rules may do to a running experiment: no rule merges, condemns or multiplies one without proof."""

from datetime import timedelta
from typing import Any

import pytest

from decision_engine.testing import Story, policy
from thymos import commands, events
from thymos.events import Verdict

DROP = {"name": "drop", "condition": {"type": "PerformanceDrop"}, "action": {"type": "CreateBranch"}}


def late(action: dict[str, Any]) -> Story:
    """A running experiment that has proven nothing, under a rule that acts on its time-out."""
    rule = {"name": "late", "condition": {"type": "ExperimentTimeout", "max_duration": "10m"}, "action": action}
    return Story(policy(rules=[DROP, rule])).runs().pairs("01", "10")


def verdicts(story: Story) -> list[Verdict]:
    return [decided.verdict for decided in story.sent(events.ExperimentDecided)]


def test_a_timeout_merges_nothing_and_the_agent_goes_on() -> None:
    story = late({"type": "MergeBranch"}).passes(minutes=11)

    (made,) = story.decisions("late")
    assert made.verdict == "refused"
    assert made.not_done[0].why.endswith("has proven no challenger better")
    story.passes(minutes=30)
    assert verdicts(story) == [Verdict.INCONCLUSIVE]


def test_a_timeout_is_no_proof_of_harm() -> None:
    story = late({"type": "Rollback"}).passes(minutes=11)

    assert verdicts(story) == [Verdict.INCONCLUSIVE]
    assert not story.sent(commands.RollbackBranch)


def test_a_timeout_opens_no_further_experiment() -> None:
    story = late({"type": "CreateBranch"}).passes(minutes=11).main("1" * 10)

    assert story.state.experiments_opened == 1
    assert "is looking into it already" in story.decisions("late")[0].not_done[0].why


def test_a_rule_that_does_not_end_the_experiment_rests_between_two_looks_at_it() -> None:
    story = late({"type": "ScaleWorktrees", "target_count": 2}).passes(minutes=11).main("1" * 10)

    assert len(story.sent(commands.ScaleWorktree)) == 1


@pytest.mark.parametrize("mode", ["act", "approve"])
def test_a_win_that_comes_in_after_the_time_is_up_beats_the_clock(mode: str) -> None:
    usual = policy()
    rules = [
        known.model_copy(update={"mode": mode, "priority": 0}) if known.name == "merge-on-success" else known
        for known in usual.rules
    ]
    story = Story(policy(rules=[known.model_dump() for known in rules])).runs().pairs("1" * 19, "0" * 19)
    story.arm("control", {story.tasks()[19]: "0"})
    story.now += timedelta(minutes=30, milliseconds=200)

    story.arm("learn-from-success", {story.tasks()[19]: "1"})

    assert verdicts(story) == [Verdict.MERGE]
    assert len(story.sent(commands.MergeBranch)) == (mode == "act")
    assert len(story.sent(events.ApprovalRequested)) == (mode == "approve")
    (ended,) = story.decisions("end-on-timeout")
    assert ended.not_done[0].why.startswith("merge-on-success acts on the same")


def test_two_rules_end_one_experiment_once() -> None:
    late_too = {"name": "late-too", "condition": {"type": "ExperimentTimeout"}, "action": {"type": "Rollback"}}
    usual = [known.model_dump() for known in policy().rules]
    story = Story(policy(rules=[*usual, late_too])).runs().pairs("01", "10").passes(minutes=31)

    assert verdicts(story) == [Verdict.INCONCLUSIVE]
