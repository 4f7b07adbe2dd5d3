"""The experiment saga, told as stories: the happy path, every deadline, abort everywhere, and nothing left behind."""

from collections.abc import Callable
from pathlib import Path

import pytest

from decision_engine import engine
from decision_engine.phases import TRANSITIONS, IllegalTransition, Phase, Trigger, diagram, next_phase
from decision_engine.testing import OUTCOMES, Story, policy
from thymos import commands, events
from thymos.events import Verdict
from thymos.input_digest import input_digest
from thymos.metrics import MetricsOutcomes
from thymos.telemetry import Outcome

WON = "1" * 20
LOST = "0" * 20


def closed(story: Story) -> events.ExperimentClosed:
    (event,) = story.sent(events.ExperimentClosed)
    assert not story.state.experiments, "a closed experiment is forgotten but for its record"
    return event


def deleted(story: Story) -> set[str]:
    return {command.branch for command in story.sent(commands.DeleteBranch)}


# --- the way of a winner -------------------------------------------------------------------------------------------


def test_a_drop_leads_to_an_experiment_a_merge_and_nothing_left_behind() -> None:
    story = Story().drops()

    (decision,) = story.decisions("experiment-on-drop")
    assert decision.verdict == "done"
    assert decision.inputs["found"]["detector"]["limit_per_mille"] == 76  # type: ignore[index, call-overload]
    assert story.experiment().phase is Phase.PENDING
    assert not story.sent(commands.PrepareVariants), "it waits for something to learn from"

    story.learns()
    (prepare,) = story.sent(commands.PrepareVariants)
    assert prepare.generators == ["learn-from-success", "cautious", "aggressive"]
    assert story.sent(commands.CreateSnapshot)[0].experiment_id == prepare.experiment_id

    story.prepares("learn-from-success", "cautious")
    (started,) = story.sent(events.ExperimentStarted)
    assert [arm.name for arm in started.arms] == ["control", "learn-from-success", "cautious"]
    assert (started.alpha, started.challengers, len(started.tasks)) == ("1/20", 2, 128)
    assert [arm.branch for arm in story.sent(commands.ReserveWorktrees)[0].arms] == [arm.branch for arm in started.arms]

    story.becomes_ready()
    assert story.sent(events.ExperimentRunning)
    (run,) = story.sent(commands.RunScenario)
    assert run.task_ids == [task.task_id for task in started.tasks]

    story.pairs(WON, LOST)
    (decided,) = story.sent(events.ExperimentDecided)
    assert (decided.verdict, decided.winner) == (Verdict.MERGE, "learn-from-success")
    (merge,) = story.sent(commands.MergeBranch)
    assert (merge.source, merge.target) == (f"experiment-{decided.experiment_id}-learn-from-success", "main")
    assert story.decisions("merge-on-success")[0].verdict == "done"

    story.merges()
    assert story.sent(commands.ReleaseWorktrees)
    assert not deleted(story), "branches go after the worktrees that work on them"
    story.cleans_up()
    assert deleted(story) == {arm.branch for arm in started.arms}
    event = closed(story)
    assert (event.verdict, event.winner, event.improvement) == (Verdict.MERGE, "learn-from-success", 1.0)
    assert story.state.figures.merged == story.state.figures.ab_tests_run == 1


def test_what_an_experiment_decides_by_is_in_its_decision() -> None:
    story = Story().runs().pairs(WON, LOST)

    found = story.decisions("merge-on-success")[0].inputs["found"]

    assert isinstance(found, dict)
    assert found["alpha"] == "1/20"
    assert found["threshold"] == "20/1"
    assert found["first_row"] is not None
    assert found["last_row"] is not None
    assert found["arms"][0]["wins"] == 20  # type: ignore[index, call-overload]


def test_the_learning_count_includes_what_was_recorded_since_the_drop_began() -> None:
    story = Story().drops()
    failures_until_the_alarm = 100 - story.experiment().learning_needed

    assert 0 < failures_until_the_alarm < 40
    story.main("0" * (99 - failures_until_the_alarm))
    assert not story.sent(commands.PrepareVariants)
    story.main("0")
    assert story.sent(commands.PrepareVariants)


def test_without_enough_to_learn_from_it_goes_on_after_a_while() -> None:
    story = Story().drops().passes(minutes=9)
    assert not story.sent(commands.PrepareVariants)

    story.passes(minutes=2)

    assert story.sent(commands.PrepareVariants)


def test_tasks_that_live_traffic_showed_to_the_generators_do_not_judge() -> None:
    story = Story().drops()
    row = story._row("1", "live", 20.0, None).model_copy(update={"input_digest": input_digest("question 7")})
    story.happens(MetricsOutcomes(branch="main", rows=[row])).learns().prepares("cautious")

    (started,) = story.sent(events.ExperimentStarted)

    assert len(started.tasks) == 127
    assert "task-7" not in [task.task_id for task in started.tasks]


# --- other ends ----------------------------------------------------------------------------------------------------


def test_harm_ends_it_and_leaves_main_alone() -> None:
    story = Story().runs().pairs(LOST, WON)
    assert story.experiment().phase is Phase.ROLLING_BACK

    assert closed(story.cleans_up()).verdict is Verdict.ROLLBACK
    assert not story.sent(commands.MergeBranch)
    assert not story.sent(commands.RollbackBranch)


def test_no_difference_is_inconclusive_and_merges_nothing() -> None:
    story = Story(policy(tasks=24)).runs().pairs("1" * 24, "1" * 24)

    assert closed(story.cleans_up()).verdict is Verdict.INCONCLUSIVE
    assert not story.sent(commands.MergeBranch)


def test_too_few_tasks_are_unattainable_before_any_evidence_is_spent() -> None:
    story = Story(policy(tasks=19)).drops().learns().prepares("cautious")

    (decided,) = story.sent(events.ExperimentDecided)
    assert decided.verdict is Verdict.ERROR
    assert "unattainable" in decided.reason
    assert not story.sent(events.ExperimentStarted)
    assert closed(story.cleans_up()).verdict is Verdict.ERROR
    assert len(deleted(story)) == 2


def test_variants_that_change_nothing_are_not_tested() -> None:
    """Nothing was measured, which is an error and no test: the figures do not count it."""
    story = Story().drops().learns().prepares().cleans_up()

    assert closed(story).verdict is Verdict.ERROR
    assert (story.state.figures.closed, story.state.figures.ab_tests_run) == (0, 0)
    assert len(deleted(story)) == 1, "the control's branch was there"


@pytest.mark.parametrize("first", ["control", "learn-from-success"])
def test_a_broken_environment_is_an_error_and_not_a_rollback(first: str) -> None:
    story = Story().runs()
    six = story.tasks()[:6]
    for arm in (first, "learn-from-success" if first == "control" else "control"):
        story.arm(arm, dict.fromkeys(six, "e"))

    assert closed(story.cleans_up()).verdict is Verdict.ERROR


def test_unanswered_tasks_are_missing_once_the_scenario_is_over_and_every_graded_outcome_is_here() -> None:
    story = Story().runs().pairs("1" * 20, "1" * 20)
    story.happens(events.ScenarioFinished(experiment_id=story.experiment().id, graded=40, unmeasured=216))

    (decided,) = story.sent(events.ExperimentDecided)
    assert decided.verdict is Verdict.ERROR
    assert "missing" in decided.reason


def test_graded_outcomes_are_waited_for_as_long_as_the_experiment_may_take() -> None:
    """The collector is away when the scenario ends: its outcomes are late, not missing."""
    story = Story(policy(tasks=24)).runs().pairs("1" * 12, "0" * 12)
    story.happens(events.ScenarioFinished(experiment_id=story.experiment().id, graded=48, unmeasured=0))
    story.passes(minutes=10)
    assert story.experiment().phase is Phase.RUNNING

    story.pairs("1" * 12, "0" * 12, first=12)

    (decided,) = story.sent(events.ExperimentDecided)
    assert decided.verdict is Verdict.MERGE


def test_graded_outcomes_that_never_come_end_with_the_time() -> None:
    story = Story().runs().pairs("1" * 20, "1" * 20)
    story.happens(events.ScenarioFinished(experiment_id=story.experiment().id, graded=48, unmeasured=0))
    for _ in range(4):
        story.passes(minutes=10)

    (decided,) = story.sent(events.ExperimentDecided)
    assert decided.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("stray", ["cancelled", "of another task"])
def test_only_graded_outcomes_of_the_plan_stand_for_graded_ones(stray: str) -> None:
    """Six that were not measured must not stand in for six answers that are still on their way."""
    story = Story(policy(tasks=30)).runs()
    tasks = story.tasks()
    story.arm("control", dict.fromkeys(tasks, "0"))
    others = tasks[1:7] if stray == "cancelled" else [f"other-{number}" for number in range(6)]
    story.arm("learn-from-success", dict.fromkeys(others, "c"))
    answered = [task for task in tasks[1:] if task not in others]
    late = answered[-6:]
    story.arm("learn-from-success", {task: "1" for task in answered if task not in late})
    graded = 30 + len(answered) + (stray != "cancelled")
    story.happens(events.ScenarioFinished(experiment_id=story.experiment().id, graded=graded, unmeasured=60 - graded))

    assert story.experiment().phase is Phase.RUNNING


@pytest.mark.parametrize(
    ("command", "tell"),
    [
        (commands.PrepareVariants, lambda story: story.drops().learns()),
        (commands.ReserveWorktrees, lambda story: story.drops().learns().prepares("cautious")),
        (commands.RunScenario, lambda story: story.runs()),
        (commands.MergeBranch, lambda story: story.runs().pairs(WON, LOST)),
    ],
)
def test_a_refused_command_ends_it_as_an_error(command: type[commands.Command], tell: Callable[[Story], Story]) -> None:
    story = tell(Story()).refuses(command)

    assert story.experiment().phase is Phase.ERROR if story.state.experiments else True
    assert closed(story.cleans_up()).verdict is Verdict.ERROR


def test_an_agent_that_keeps_crashing_before_the_start_is_an_error() -> None:
    story = Story().drops().learns().prepares("cautious")
    branch = story.experiment().branch_of("cautious") or ""
    story.happens(events.WorktreeFailed(worktree_id="w", branch=branch, backend="process", crash_loop=True))

    assert closed(story.cleans_up()).verdict is Verdict.ERROR


# --- deadlines and aborts: every phase has a way out ------------------------------------------------------------------

PHASES: dict[str, Callable[[], Story]] = {
    "pending": lambda: Story().drops(),
    "preparing": lambda: Story().drops().learns(),
    "reserving": lambda: Story().drops().learns().prepares("cautious"),
    "running": lambda: Story().runs(),
    "merging": lambda: Story().runs().pairs(WON, LOST),
}


@pytest.mark.parametrize("phase", PHASES)
def test_every_phase_ends_by_itself_when_nobody_answers(phase: str) -> None:
    story = PHASES[phase]()
    for _ in range(30):
        story.passes(minutes=10)

    assert closed(story).verdict in (Verdict.INCONCLUSIVE, Verdict.ERROR)


@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase != "merging"])
def test_every_phase_before_the_merge_can_be_aborted_and_leaves_nothing(phase: str) -> None:
    story = PHASES[phase]()
    experiment = story.experiment()
    story.happens(commands.AbortExperiment(experiment_id=experiment.id, by="ada", reason="enough"))
    if phase == "preparing":
        story.prepares("cautious")  # what was asked for before the abort comes true, and is removed
    story.cleans_up()

    event = closed(story)
    assert event.verdict is Verdict.ABORTED
    assert "ada" in event.reason
    assert deleted(story) >= experiment.seen


def test_a_merge_that_was_asked_for_cannot_be_aborted() -> None:
    story = Story().runs().pairs(WON, LOST)
    abort = commands.AbortExperiment(experiment_id=story.experiment().id, by="ada")
    refused = engine.why_refused(story.state, abort, story.now, story.policy)
    story.happens(abort).merges().cleans_up()

    assert refused is not None
    assert refused[0] == "conflict"
    event = closed(story)
    assert (event.verdict, event.winner) == (Verdict.MERGE, "learn-from-success")


def test_a_merge_that_comes_true_during_the_clean_up_is_a_merge() -> None:
    story = Story().runs().pairs(WON, LOST).passes(minutes=6)
    assert story.experiment().phase is Phase.ERROR

    story.merges().cleans_up()

    event = closed(story)
    assert (event.verdict, event.winner) == (Verdict.MERGE, "learn-from-success")
    reference = story.state.watch.reference
    assert reference is not None
    assert "control" in reference.origin
    assert story.state.figures.merged == 1


def test_a_merge_that_comes_true_after_the_end_is_still_watched_against_the_control() -> None:
    story = Story().runs().pairs(WON, LOST).passes(minutes=6).passes(minutes=3).passes(minutes=3)
    assert closed(story).verdict is Verdict.ERROR

    story.merges()

    reference = story.state.watch.reference
    assert reference is not None
    assert "control" in reference.origin


def test_branches_that_show_up_after_the_end_are_deleted_too() -> None:
    story = Story().drops().learns()
    experiment = story.experiment()
    story.happens(commands.AbortExperiment(experiment_id=experiment.id)).passes(minutes=5)
    assert closed(story)

    story.happens(events.BranchCreated(branch=f"{experiment.prefix}cautious", from_commit="c0"))

    assert deleted(story) == {f"{experiment.prefix}cautious"}


def test_a_time_out_is_decided_by_a_rule_and_says_so() -> None:
    story = Story().runs().passes(minutes=31)

    (made,) = story.decisions("end-on-timeout")
    assert made.verdict == "done"
    assert closed(story.cleans_up()).verdict is Verdict.INCONCLUSIVE


# --- order and repetition --------------------------------------------------------------------------------------------


def test_facts_may_come_twice_and_in_another_order() -> None:
    story = Story().drops().learns()
    asked = story.sent(commands.PrepareVariants)[0]
    for name in ("control", "cautious"):
        branch = f"{asked.branch_prefix}{name}"
        ready = events.WorktreeReady(worktree_id=f"w-{name}", branch=branch, backend="process")
        story.happens(ready).happens(ready)
    story.prepares("cautious").prepares("cautious")

    assert story.experiment().phase is Phase.RUNNING
    assert len(story.sent(commands.RunScenario)) == len(story.sent(events.ExperimentStarted)) == 1


def test_an_outcome_counts_once_and_the_first_one_counts() -> None:
    story = Story().runs()
    task = story.tasks()[0]
    story.arm("control", {task: "0"}).arm("control", {task: "1"}).arm("learn-from-success", {task: "1"})

    (report,) = story.experiment().look.arms  # type: ignore[union-attr]
    assert (report.pairs, report.wins) == (1, 1)


def test_outcomes_after_the_verdict_change_nothing() -> None:
    story = Story().runs().pairs(WON, LOST)
    before = story.experiment()
    story.arm("learn-from-success", {story.tasks()[30]: "e"})

    assert story.experiment() == before


def test_a_second_experiment_waits_for_its_slot() -> None:
    story = Story().runs()
    story.happens(commands.StartExperiment(by="ada"))
    waiting = [known for known in story.state.experiments.values() if known.phase is Phase.PENDING]
    assert len(waiting) == 1

    running = next(known for known in story.state.experiments.values() if known.phase is Phase.RUNNING)
    story.happens(commands.AbortExperiment(experiment_id=running.id)).cleans_up()

    assert story.sent(commands.PrepareVariants)[-1].experiment_id == waiting[0].id


# --- people ----------------------------------------------------------------------------------------------------------


def test_conflicts_ask_a_person_and_approval_lets_the_experiment_win() -> None:
    story = Story().runs().pairs(WON, LOST)
    merge = story.sent(commands.MergeBranch)[0]
    story.happens(
        events.MergeConflicted(
            source=merge.source, target="main", conflicts=[], conflict_count=2, experiment_id=merge.experiment_id
        )
    )
    (asked,) = story.sent(events.ApprovalRequested)

    story.happens(commands.ApproveDecision(decision_id=asked.decision_id, by="ada"))
    assert story.sent(commands.MergeBranch)[-1].strategy == "Theirs"
    assert closed(story.merges().cleans_up()).verdict is Verdict.MERGE


def test_with_merging_switched_off_a_proven_winner_waits_for_a_person() -> None:
    story = Story(policy(auto_merge_enabled=False)).runs().pairs(WON, LOST)
    assert not story.sent(commands.MergeBranch)
    assert story.decisions("merge-on-success")[0].not_done[0].why == "auto_merge_enabled is false"
    (asked,) = story.sent(events.ApprovalRequested)

    story.happens(commands.ApproveDecision(decision_id=asked.decision_id, by="ada"))

    assert story.sent(commands.MergeBranch)
    assert story.sent(events.ApprovalGiven)[0].by == "ada"


@pytest.mark.parametrize("answer", ["rejected", None])
def test_a_merge_that_nobody_approves_is_not_made(answer: str | None) -> None:
    story = Story(policy(auto_merge_enabled=False)).runs().pairs(WON, LOST)
    (asked,) = story.sent(events.ApprovalRequested)
    if answer is None:
        story.passes(hours=25)
    else:
        story.happens(
            commands.ApproveDecision.model_validate({"decision_id": asked.decision_id, "by": "ada", "answer": answer})
        )

    assert closed(story.cleans_up()).verdict is Verdict.ABORTED
    assert not story.sent(commands.MergeBranch)


# --- the table -------------------------------------------------------------------------------------------------------


def test_the_table_has_a_way_from_every_phase_to_the_end() -> None:
    for phase in Phase:
        reached = {phase}
        while grown := {target for (source, _), target in TRANSITIONS.items() if source in reached} - reached:
            reached |= grown
        assert Phase.CLOSED in reached


def test_a_missing_key_is_an_illegal_transition() -> None:
    with pytest.raises(IllegalTransition, match="Closed cannot take won"):
        next_phase(Phase.CLOSED, Trigger.WON)


def test_the_diagram_shows_every_transition() -> None:
    drawn = diagram()

    assert drawn.startswith("stateDiagram-v2\n")
    for (source, trigger), target in TRANSITIONS.items():
        assert f"    {source} --> {target}: {trigger}\n" in drawn


def test_the_readme_shows_the_diagram_of_the_table() -> None:
    readme = Path(__file__).parents[3] / "services" / "decision-engine" / "README.md"

    assert f"```mermaid\n{diagram()}```\n" in readme.read_text()


def test_outcome_letters_cover_every_outcome() -> None:
    assert set(OUTCOMES.values()) == set(Outcome)
