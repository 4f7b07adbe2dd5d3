"""Rules: seven conditions, six actions, priorities, cooldowns, modes, switches, and what is said about them."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from decision_engine import conditions
from decision_engine.actions import ACTIONS
from decision_engine.conditions import CONDITIONS
from decision_engine.policy import Policy
from decision_engine.rules import builtin_rules
from decision_engine.testing import Story, policy, scenario
from thymos import commands, config, events
from thymos.config import Versioning
from thymos.metrics import AgentMetrics, MetricsChanged, ResourceMetrics, TaskMetrics

BUSY = AgentMetrics(resource=ResourceMetrics(cpu_fraction=0.97), sample_count=50)
SCALE = {"type": "ScaleWorktrees", "target_count": 3}
CONSTRAINT = {"type": "ResourceConstraint", "cpu_threshold": Decimal("0.9")}


def rule(name: str = "mine", condition: Any = CONSTRAINT, action: Any = SCALE, **more: Any) -> dict[str, Any]:
    return {"name": name, "condition": condition, "action": action, **more}


def with_rules(*rules: dict[str, Any], **versioning: Any) -> Policy:
    return policy(rules=list(rules), **versioning)


def metrics(story: Story, measured: AgentMetrics, branch: str = "main") -> Story:
    return story.happens(MetricsChanged(branch=branch, metrics=measured.model_copy(update={"branch": branch})))


# --- the registry -------------------------------------------------------------------------------------------


def test_every_condition_and_action_of_the_configuration_is_registered() -> None:
    assert {settings.__name__ for settings in CONDITIONS} == {
        "PerformanceDrop",
        "NewStrategyAvailable",
        "ResourceConstraint",
        "ExperimentTimeout",
        "SuccessCriteriaMet",
        "FailureCriteriaMet",
        "Custom",
    }
    assert {settings.__name__ for settings in ACTIONS} == {
        "CreateBranch",
        "CreateWorktree",
        "MergeBranch",
        "Rollback",
        "DeleteBranch",
        "ScaleWorktrees",
    }


def test_the_safest_action_is_rollback_over_merge_over_scale() -> None:
    order = sorted(ACTIONS, key=lambda settings: ACTIONS[settings].safety)

    assert [order.index(kind) for kind in (config.Rollback, config.MergeBranch, config.ScaleWorktrees)] == [0, 2, 5]


def test_the_built_in_rules_are_the_seeds_four_and_one_for_strategies() -> None:
    pairs = [(type(r.condition).__name__, type(r.action).__name__) for r in builtin_rules(Versioning())]

    assert pairs == [
        ("FailureCriteriaMet", "Rollback"),
        ("ExperimentTimeout", "DeleteBranch"),
        ("SuccessCriteriaMet", "MergeBranch"),
        ("PerformanceDrop", "CreateBranch"),
        ("NewStrategyAvailable", "CreateBranch"),
    ]


# --- conditions ---------------------------------------------------------------------------------------------


def test_a_resource_constraint_scales_and_says_why() -> None:
    story = metrics(Story(with_rules(rule())), BUSY)

    (scale,) = story.sent(commands.ScaleWorktree)
    assert (scale.branch, scale.count) == ("main", 3)
    assert scale.reason == "resources: cpu 0.97 > 0.9"


def test_metrics_that_are_not_known_hold_nothing() -> None:
    story = metrics(Story(with_rules(rule())), AgentMetrics())

    assert not story.outputs


def test_a_literal_threshold_needs_no_baseline() -> None:
    drop = rule("drop", {"type": "PerformanceDrop", "threshold": Decimal("0.8")}, {"type": "CreateBranch"})
    story = Story(with_rules(drop)).memory_begins()
    story.main("1" * 30)
    assert not story.state.experiments

    story.main("0" * 15)

    assert story.experiment().cause.startswith("performance dropped")


def test_a_drop_states_the_window_that_was_asked_for_beside_the_one_of_the_metrics() -> None:
    lately = {"type": "PerformanceDrop", "threshold": Decimal("0.8"), "window": "10m"}
    story = Story(with_rules(rule("drop", lately, {"type": "CreateBranch"}))).memory_begins()
    metrics(story, AgentMetrics(sample_count=44, window_seconds=300.0))

    story.main("1" * 30 + "0" * 15)

    (made,) = story.decisions("drop")
    found = made.inputs["found"]
    assert isinstance(found, dict)
    assert found["window"] == {"asked_seconds": 600.0, "reported_seconds": 300.0, "reported_samples": 44}


def test_a_proposed_strategy_is_tested_as_it_was_proposed() -> None:
    change = commands.MemoryChange(op="put", id="m1", content="refunds take five days")
    story = Story().happens(commands.ProposeStrategy(name="refunds", description="say it", changes=[change]))

    (prepare,) = story.sent(commands.PrepareVariants)
    assert prepare.generators == []
    assert prepare.proposed[0]["name"] == "refunds"
    assert story.sent(events.StrategyProposed)[0].name == "refunds"
    assert story.state.strategies == ()


def test_a_registered_predicate_is_asked_about_mains_metrics() -> None:
    custom = rule("mine", {"type": "Custom", "evaluator": "shop:too_slow"}, SCALE)
    configured = Versioning.model_validate({"rules": [custom]})
    asked: list[AgentMetrics] = []

    def too_slow(measured: AgentMetrics) -> bool:
        asked.append(measured)
        return measured.load is not None and measured.load > 0.5

    story = Story(Policy(configured, configured.rules, scenario(10), {"shop:too_slow": too_slow}))
    metrics(story, AgentMetrics(load=0.4))
    assert not story.sent(commands.ScaleWorktree)
    metrics(story, AgentMetrics(load=0.6))

    assert story.sent(commands.ScaleWorktree)
    assert asked[0].load == 0.4


def test_a_predicate_that_raises_is_not_met_and_the_agent_goes_on() -> None:
    custom = rule("mine", {"type": "Custom", "evaluator": "shop:broken"}, SCALE)
    configured = Versioning.model_validate({"rules": [custom, rule("other")]})
    story = Story(Policy(configured, configured.rules, scenario(10), {"shop:broken": lambda _measured: 1 / 0 > 0}))

    metrics(story, BUSY)
    metrics(story, BUSY)

    (made,) = story.decisions("mine")
    assert made.verdict == "refused"
    assert made.not_done[0].why == "shop:broken raised ZeroDivisionError: it counts as not met"
    assert story.decisions("other")[0].verdict == "done"


def test_a_branch_that_only_looks_good_is_not_merged() -> None:
    story = Story()
    metrics(story, AgentMetrics(task=TaskMetrics(success_rate=0.5, error_rate=0.0), sample_count=100))
    metrics(story, AgentMetrics(task=TaskMetrics(success_rate=0.99, error_rate=0.0), sample_count=100), "mine")

    assert not story.sent(commands.MergeBranch)
    (made,) = story.decisions("merge-on-success")
    assert made.not_done[0].why == "no paired experiment has proven mine better"


# --- actions ------------------------------------------------------------------------------------------------


def test_without_ab_testing_a_drop_makes_a_snapshot_and_a_branch_and_no_more() -> None:
    story = Story(policy(auto_ab_testing_enabled=False)).memory_begins().baseline(failures=15, samples=300)
    story.main("0" * 12)

    (created,) = story.sent(commands.CreateBranch)
    assert created.branch.startswith("experiment-")
    assert len(story.sent(commands.CreateSnapshot)) == 1
    assert not story.state.experiments


def test_without_ab_testing_a_strategy_makes_one_branch() -> None:
    change = commands.MemoryChange(op="put", id="m1", content="refunds take five days")
    story = Story(policy(auto_ab_testing_enabled=False)).memory_begins()
    story.happens(commands.ProposeStrategy(name="refunds", description="say it", changes=[change])).main("1" * 10)

    assert len(story.sent(commands.CreateBranch)) == 1
    assert story.state.strategies == ()


def test_without_ab_testing_one_drop_makes_one_branch() -> None:
    story = Story(policy(auto_ab_testing_enabled=False)).memory_begins().baseline(failures=15, samples=300)
    while not story.sent(commands.CreateBranch):
        story.main("0")
    for _ in range(10):
        story.passes(hours=1).main("1")

    assert len(story.sent(commands.CreateBranch)) == 1


def test_without_a_scenario_a_drop_is_refused_with_what_to_do() -> None:
    story = Story(policy(tasks=0)).memory_begins().baseline(failures=15, samples=300).main("0" * 20)

    (made,) = story.decisions("experiment-on-drop")
    assert made.verdict == "refused"
    assert "scenario" in made.not_done[0].why


@pytest.mark.parametrize(
    ("action", "wanted"),
    [
        ({"type": "CreateWorktree", "count": 2}, commands.ScaleWorktree(branch="main", count=3)),
        ({"type": "ScaleWorktrees", "target_count": 4}, commands.ScaleWorktree(branch="main", count=4)),
        ({"type": "DeleteBranch", "branch_name": "old"}, commands.DeleteBranch(branch="old")),
        ({"type": "CreateBranch", "branch_name": "calm"}, commands.CreateBranch(branch="calm")),
        (
            {"type": "Rollback", "branch_name": "side", "target_commit": "c9"},
            commands.RollbackBranch(branch="side", target_commit="c9"),
        ),
    ],
)
def test_actions_become_commands(action: dict[str, Any], wanted: commands.Command) -> None:
    story = Story(with_rules(rule(action=action)))
    story.happens(events.WorktreeStarted(worktree_id="w1", branch="main", backend="process"))
    metrics(story, BUSY)

    sent = story.sent(type(wanted))[-1].model_copy(update={"reason": "", "evidence": {}})
    assert sent.model_dump(exclude={"evidence"}) == wanted.model_dump(exclude={"evidence"})


def test_main_is_never_deleted() -> None:
    story = metrics(Story(with_rules(rule(action={"type": "DeleteBranch"}))), BUSY)

    assert not story.sent(commands.DeleteBranch)
    assert story.decisions()[0].not_done[0].why == "main is never deleted"


# --- which rule wins, how often, and what is said -----------------------------------------------------------


def test_of_two_actions_on_one_branch_the_safest_wins_and_the_other_is_named() -> None:
    both = with_rules(
        rule("scale", priority=900), rule("back", action={"type": "Rollback", "target_commit": "c0"}, priority=1)
    )
    story = metrics(Story(both), BUSY)

    assert story.sent(commands.RollbackBranch)
    assert not story.sent(commands.ScaleWorktree)
    done, refused = story.decisions("back")[0], story.decisions("scale")[0]
    assert done.not_done[0].action.startswith("scale")
    assert refused.verdict == "refused"


def test_of_equally_safe_actions_the_higher_priority_wins() -> None:
    both = with_rules(
        rule("low", action={"type": "ScaleWorktrees", "target_count": 2}, priority=1), rule("high", priority=2)
    )
    story = metrics(Story(both), BUSY)

    assert [scale.count for scale in story.sent(commands.ScaleWorktree)] == [3]


def test_a_rule_rests_for_its_cooldown() -> None:
    story = metrics(Story(with_rules(rule(cooldown="10m"))), BUSY)
    metrics(story, BUSY)
    assert len(story.sent(commands.ScaleWorktree)) == 1

    story.passes(minutes=11)

    assert len(story.sent(commands.ScaleWorktree)) == 2


def test_a_cooldown_does_not_hold_up_the_end_of_an_experiment() -> None:
    usual = policy()
    resting = tuple(known.model_copy(update={"cooldown": timedelta(hours=1)}) for known in usual.rules)
    story = Story(replace(usual, rules=resting)).runs().pairs("1" * 20, "0" * 20).merges().cleans_up()
    story.happens(commands.StartExperiment(by="ada")).prepares("learn-from-success").becomes_ready()

    story.pairs("1" * 20, "0" * 20)

    assert len(story.sent(commands.MergeBranch)) == 2


def test_a_refusal_is_published_when_it_changes_and_not_at_every_look() -> None:
    story = Story(with_rules(rule(), auto_scaling_enabled=False))
    for _ in range(5):
        metrics(story, BUSY)
    assert len(story.decisions()) == 1

    metrics(story, AgentMetrics())
    metrics(story, BUSY)

    assert len(story.decisions()) == 2, "the condition had ceased in between"


def test_a_dry_run_says_what_it_would_do_and_does_nothing() -> None:
    story = metrics(Story(with_rules(rule(mode="dry_run"))), BUSY)

    (made,) = story.decisions()
    assert (made.verdict, made.mode, made.actions) == ("dry_run", "dry_run", [])
    assert made.not_done[0].action == "3 worktrees on main"
    assert not story.sent(commands.ScaleWorktree)


def test_approval_is_asked_once_and_carried_out_when_it_comes() -> None:
    story = Story(with_rules(rule(mode="approve")))
    metrics(story, BUSY)
    metrics(story, BUSY)
    (asked,) = story.sent(events.ApprovalRequested)
    assert not story.sent(commands.ScaleWorktree)

    story.happens(commands.ApproveDecision(decision_id=asked.decision_id, by="ada"))

    assert story.sent(commands.ScaleWorktree)
    assert "done" in [made.verdict for made in story.decisions()]


def test_a_question_expires() -> None:
    story = metrics(Story(with_rules(rule(mode="approve"))), BUSY).passes(hours=25)

    assert story.sent(events.ApprovalGiven)[0].answer == "expired"
    assert not story.state.approvals


@pytest.mark.parametrize(
    "switch",
    ["auto_branching_enabled", "auto_ab_testing_enabled", "auto_rollback_enabled", "auto_merge_enabled"],
)
def test_every_switch_turns_its_capability_off_completely(switch: str) -> None:
    off = policy(**{switch: False})
    story = Story(off).memory_begins().baseline(failures=15, samples=300).commits("bad").main("e" * 12, "bad")
    if switch == "auto_rollback_enabled":
        assert not story.sent(commands.RollbackBranch)
    story = Story(off).memory_begins().baseline(failures=15, samples=300).main("0" * 130)
    if switch in ("auto_branching_enabled", "auto_ab_testing_enabled"):
        assert not story.sent(commands.PrepareVariants)
    if switch == "auto_branching_enabled":
        assert not story.sent(commands.CreateBranch)


def test_a_decision_holds_what_it_was_made_from() -> None:
    story = metrics(Story(with_rules(rule(priority=7))), BUSY)

    (made,) = story.decisions("mine")
    assert made.inputs["found"] == {"resource": {"cpu_fraction": 0.97}} or "cpu_fraction" in str(made.inputs["found"])
    assert made.inputs["priority"] == 7
    assert made.inputs["switch"] == {"auto_scaling_enabled": True}
    assert made.reason == "resources: cpu 0.97 > 0.9; 3 worktrees on main"


def test_a_condition_is_added_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ARCHITECTURE.md promises: a class of settings, a function under the decorator."""

    class Always:
        pass

    monkeypatch.setattr(conditions, "CONDITIONS", {})
    conditions.condition(Always)(lambda _settings, _situation: [])

    assert Always in conditions.CONDITIONS
