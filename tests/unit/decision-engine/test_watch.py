"""The watch over main, told as stories: good commits, rollbacks, a world that changed, and calls for a person."""

from dataclasses import replace

from decision_engine import engine, watch
from decision_engine.limits import FailureLimits
from decision_engine.testing import Story, policy
from decision_engine.watch import Watch
from thymos import commands, events
from thymos.metrics import MetricsOutcomes
from thymos.telemetry import Outcome

GOOD = "1" * 20


def rollbacks(story: Story) -> list[commands.RollbackBranch]:
    return story.sent(commands.RollbackBranch)


def marked(story: Story) -> list[str]:
    return [event.commit for event in story.sent(events.CommitMarkedGood)]


def watched() -> Story:
    """A baseline of 95 %, and `c1`, which has proven itself."""
    return Story().memory_begins().baseline(failures=15, samples=300).commits("c1").main(GOOD, "c1")


def test_twenty_outcomes_in_a_row_make_a_commit_good_and_close_its_watch() -> None:
    story = Story().memory_begins().commits("c1")
    assert list(story.state.watch.suspects) == ["c1"]

    story.main("1" * 19, "c1")
    assert marked(story) == []
    story.main("1", "c1")

    assert marked(story) == ["c1"]
    assert not story.sent(events.CommitMarkedGood)[-1].restart_baseline
    assert not story.state.watch.suspects


def test_a_bad_commit_is_rolled_back_to_the_last_good_one_with_reason_and_evidence() -> None:
    story = watched().commits("bad").main("0" * 12, "bad")

    (rollback,) = rollbacks(story)
    assert rollback.target_commit == "c1"
    assert "failures in" in rollback.reason
    assert rollback.evidence["suspects"] == ["bad"]
    (made,) = story.decisions("rollback-on-failure")
    assert made.verdict == "done"
    assert made.inputs["found"]["limit_per_mille"] == 76  # type: ignore[index, call-overload]


def test_a_rollback_is_asked_for_once_and_the_restored_state_proves_itself_again() -> None:
    story = watched().commits("bad").main("0" * 30, "bad").rolls_back("revert")
    assert len(rollbacks(story)) == 1

    story.main("0" * 5, "bad").main(GOOD, "revert")

    assert len(rollbacks(story)) == 1, "tasks that were begun before the rollback are not the revert's"
    assert marked(story)[-1] == "revert"


def test_what_is_heard_late_of_a_commit_that_was_taken_back_is_no_drop() -> None:
    """The engine was away: once it knows of the rollback, hundreds of answers on the bad commit still wait for it."""
    story = watched().commits("bad").main("0" * 12, "bad").rolls_back("revert").main(GOOD, "revert")
    before = story.state.detectors

    story.main("0" * 290, "bad")

    assert story.state.detectors == before
    assert not story.sent(commands.PrepareVariants), "main answers well again: there is nothing to find"
    assert len(rollbacks(story)) == 1


def test_a_few_failures_roll_nothing_back() -> None:
    story = watched().commits("c2").main("0" + "1" * 19, "c2")

    assert not rollbacks(story)
    assert marked(story)[-1] == "c2"


def test_outcomes_that_name_no_commit_are_laid_at_the_heads_door() -> None:
    story = watched().commits("bad").main("0" * 12)

    assert rollbacks(story)[0].target_commit == "c1"


def test_outcomes_may_come_before_the_event_of_their_commit() -> None:
    story = watched().main("0" * 12, "bad")
    assert not rollbacks(story)

    story.commits("bad")

    assert rollbacks(story)[0].target_commit == "c1"


def test_errors_break_a_limit_before_there_is_a_baseline() -> None:
    story = Story().memory_begins().commits("c1").main("eee", "c1")

    assert rollbacks(story)[0].target_commit == "c0"
    assert rollbacks(story)[0].reason.startswith("error_rate")


def test_a_crash_loop_after_a_commit_is_a_rollback() -> None:
    story = watched().commits("bad")
    crash = events.WorktreeFailed(worktree_id="w", branch="main", backend="process", crash_loop=True)
    story.happens(crash)

    assert rollbacks(story)[0].target_commit == "c1"


def test_a_crash_loop_without_a_commit_to_blame_is_none() -> None:
    crash = events.WorktreeFailed(worktree_id="w", branch="main", backend="process", crash_loop=True)

    assert not rollbacks(watched().happens(crash))


def test_a_drop_without_a_commit_in_the_watch_starts_an_experiment_instead() -> None:
    story = watched().main("0" * 30, "c1")

    assert not rollbacks(story)
    assert story.decisions("experiment-on-drop")[0].verdict == "done"


def test_a_second_rollback_in_one_watch_period_waits_for_a_person() -> None:
    story = watched().commits("bad").main("0" * 12, "bad").rolls_back("revert").main("0" * 12, "revert")

    assert len(rollbacks(story)) == 1
    made = story.decisions("rollback-on-failure")[-1]
    assert made.verdict == "withheld"
    (asked,) = story.sent(events.ApprovalRequested)

    story.happens(commands.ApproveDecision(decision_id=asked.decision_id, by="ada"))

    assert [rollback.target_commit for rollback in rollbacks(story)] == ["c1", "c0"]
    assert story.sent(events.ApprovalGiven)[0].answer == "approved"


def test_a_person_may_keep_main_and_counting_begins_anew() -> None:
    story = watched().commits("bad").main("0" * 12, "bad").rolls_back("revert").main("0" * 12, "revert")
    (asked,) = story.sent(events.ApprovalRequested)
    story.happens(commands.ApproveDecision(decision_id=asked.decision_id, by="ada", answer="rejected"))

    story.main(GOOD, "revert")

    assert len(rollbacks(story)) == 1
    assert marked(story)[-1] == "revert"


def test_without_a_good_commit_to_go_back_to_a_person_is_called() -> None:
    story = Story().commits("c1").main("e" * 3, "c1")

    assert not rollbacks(story)
    (asked,) = story.sent(events.ApprovalRequested)
    assert "no good commit" in asked.reason


def test_a_refused_rollback_is_not_repeated_for_ever() -> None:
    story = watched().commits("bad").main("0" * 12, "bad").refuses(commands.RollbackBranch).main("0" * 5, "bad")

    assert len(rollbacks(story)) == 1
    assert "refused" in story.decisions("rollback-on-failure")[-1].not_done[0].why


def test_with_rollback_switched_off_nothing_is_rolled_back_and_it_is_said_once() -> None:
    story = Story(policy(auto_rollback_enabled=False)).memory_begins().commits("c1").main("e" * 10, "c1")

    assert not rollbacks(story)
    (made,) = story.decisions("rollback-on-failure")
    assert made.verdict == "refused"
    assert made.not_done[0].why == "auto_rollback_enabled is false"


def test_a_rollback_of_main_ends_its_experiments() -> None:
    story = watched()
    story.happens(commands.StartExperiment(by="ada")).prepares("cautious").becomes_ready()
    story.commits("bad").main("0" * 12, "bad").cleans_up()

    (closed,) = story.sent(events.ExperimentClosed)
    assert closed.verdict == "aborted"
    assert "rolled back" in closed.reason


def test_after_a_merge_main_is_measured_against_the_control_until_a_new_baseline() -> None:
    story = Story().runs().pairs("1" * 19 + "0", "0" * 10 + "1" * 9 + "0")
    story.merges().cleans_up()
    reference = story.state.watch.reference

    assert reference is not None
    assert "control" in reference.origin
    story.main("10" * 12, "merge")
    assert not rollbacks(story), "half of the answers right is better than the control was"
    assert story.sent(events.CommitMarkedGood)[-1].restart_baseline
    story.baseline(failures=20, samples=100)
    assert story.state.watch.reference is not None
    assert "baseline" in story.state.watch.reference.origin


def test_cancelled_tasks_say_nothing() -> None:
    story = watched().commits("c2")
    row = story._row("1", "task", 1.0, "c2").model_copy(update={"outcome": Outcome.CANCELLED})
    story.happens(MetricsOutcomes(branch="main", rows=[row]))

    assert not story.state.watch.counts


def test_an_unknown_baseline_is_no_reference() -> None:
    story = Story().memory_begins().baseline(failures=1, samples=20)

    assert story.state.watch.reference is None


def test_the_history_is_bounded() -> None:
    main = Watch()
    for number in range(watch.HISTORY_MAX + 50):
        fact = events.CommitCreated(branch="main", commit=f"c{number}", parents=["p"], author="a", message="m")
        main = watch.commit_created(main, fact)

    assert len(main.history) == watch.HISTORY_MAX


def test_the_newest_good_commit_is_never_forgotten() -> None:
    story = watched()
    for number in range(watch.HISTORY_MAX + 50):
        story.commits(f"k{number}")
    story.main("0" * 12, f"k{watch.HISTORY_MAX + 49}")

    assert len(story.state.watch.history) == watch.HISTORY_MAX
    assert [rollback.target_commit for rollback in rollbacks(story)] == ["c1"]


def test_a_rollback_that_nobody_answers_is_asked_for_once_more_and_then_a_person_is_called() -> None:
    story = watched().commits("bad").main("0" * 12, "bad")
    assert engine.wake_at(story.state, story.policy) == story.now + story.policy.merge_timeout
    story.passes(minutes=4)
    assert len(rollbacks(story)) == 1

    story.passes(minutes=1)
    assert [rollback.target_commit for rollback in rollbacks(story)] == ["c1", "c1"]

    for _ in range(5):
        story.passes(minutes=5).main("0", "bad")
    assert len(rollbacks(story)) == 2
    (asked,) = story.sent(events.ApprovalRequested)
    assert "not answered" in asked.reason

    story.happens(commands.ApproveDecision(decision_id=asked.decision_id, by="ada")).rolls_back("revert")
    assert len(rollbacks(story)) == 3
    assert (story.state.watch.sent_to, story.state.watch.unanswered) == (None, 0)


def test_every_outcome_of_the_suspects_counts_however_many_there_are() -> None:
    """No window slides over them: evidence over the latest outcomes only would be no e-value."""
    story = Story(policy(auto_rollback_enabled=False)).memory_begins().commits("c1").main("0" * 30 + "0001" * 150, "c1")
    story.commits("c2").main("0" * 3, "c2")

    figures = watch.read(story.state.watch, story.policy.limits, story.policy.alpha).figures
    assert (figures["outcomes"], figures["failures"], figures["first_row"], figures["last_row"]) == (633, 483, 1, 633)


def test_outcomes_of_forgotten_suspects_still_count() -> None:
    story = Story(policy(auto_rollback_enabled=False)).memory_begins().commits("c1").main("e" * 5, "c1")
    for number in range(watch.HISTORY_MAX):
        story.commits(f"k{number}")

    assert story.state.watch.suspects[0] == "k1"
    assert set(story.state.watch.counts) == {"k1"}, "as many counts as suspects, at most"
    assert watch.read(story.state.watch, story.policy.limits, story.policy.alpha).figures["errors"] == 5


def test_other_limits_weigh_the_times_anew_and_keep_the_counts() -> None:
    strict, mild = FailureLimits(max_response_time_us=10_000), FailureLimits(max_response_time_us=90_000)
    story = watched().commits("c2").main("1" * 4, "c2", latency_ms=50.0)

    for limits in (strict, mild):
        figures = watch.read(story.state.watch, limits, story.policy.alpha).figures
        assert figures["outcomes"] == 4
        assert figures["readings"]["response_time"]["e_value"] == "1/1"  # type: ignore[call-overload,index]


def test_after_very_many_outcomes_counting_begins_anew() -> None:
    story = watched().commits("c2").main("1", "c2")
    count = story.state.watch.counts["c2"]
    full = replace(count, tally=replace(count.tally, tasks=watch.COUNTED_MAX))
    story.state = replace(story.state, watch=replace(story.state.watch, counts={"c2": full}))

    assert story.main("1", "c2").state.watch.counts["c2"].tally.tasks == 1


def test_a_merge_that_is_heard_of_after_its_commit_has_proven_itself_restarts_the_baseline_all_the_same() -> None:
    """Events and outcomes come on streams of their own: with the events' leader away, twenty answers may come first."""
    story = Story().runs("learn-from-success").pairs("1" * 30, "0" * 30)
    asked = story.sent(commands.MergeBranch)[-1]
    story.commits("merge", parents=["c0", "v"]).main(GOOD, "merge")
    assert marked(story)[-1] == "merge"
    assert not story.sent(events.CommitMarkedGood)[-1].restart_baseline

    merged = events.BranchMerged(
        source=asked.source,
        target="main",
        commit="merge",
        previous_commit="c0",
        strategy=asked.strategy,
        experiment_id=asked.experiment_id,
    )
    story.happens(merged).happens(merged)

    assert marked(story).count("merge") == 2
    assert story.sent(events.CommitMarkedGood)[-1].restart_baseline
