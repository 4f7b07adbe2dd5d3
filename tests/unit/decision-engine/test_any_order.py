"""Whatever comes in, in whatever order: nothing raises, and no experiment is left without a way out."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decision_engine.phases import Phase
from decision_engine.testing import Story, policy
from thymos import commands, events
from thymos.events import Verdict

NAMES = ("learn-from-success", "cautious")


def arm_branch(story: Story, arm: str) -> str:
    known = list(story.state.experiments) or [story.state.closed[-1] if story.state.closed else "0" * 12]
    return f"experiment-{known[0]}-{arm}"


def experiment_id(story: Story) -> str:
    return arm_branch(story, "x").split("-")[1]


def happens_to_main(story: Story, what: str) -> None:
    match what:
        case "good":
            story.main("1")
        case "wrong":
            story.main("0" * 5)
        case "broken":
            story.main("e")
        case "commit":
            story.commits(f"c{len(story.outputs)}")
        case "baseline":
            story.baseline(failures=15, samples=300)
        case "rolled back":
            if story.sent(commands.RollbackBranch):
                story.rolls_back(f"r{len(story.outputs)}")


def happens_to_the_arms(story: Story, what: str) -> None:
    match what:
        case "prepared" | "nothing prepared":
            if story.sent(commands.PrepareVariants):
                story.prepares(*(NAMES if what == "prepared" else ()))
        case "ready":
            for arm in ("control", *NAMES):
                branch = arm_branch(story, arm)
                story.happens(events.WorktreeReady(worktree_id=f"w-{arm}", branch=branch, backend="process"))
        case "crash":
            branch = arm_branch(story, "control")
            story.happens(events.WorktreeFailed(worktree_id="w", branch=branch, backend="process", crash_loop=True))
        case "win" | "lose" | "tie":
            answer_twenty_tasks(story, *{"win": ("1", "0"), "lose": ("0", "1"), "tie": ("1", "1")}[what])
        case "over":
            story.happens(events.ScenarioFinished(experiment_id=experiment_id(story), graded=3, unmeasured=1))


def answer_twenty_tasks(story: Story, mine: str, yours: str) -> None:
    if len(story.state.experiments) != 1:
        return
    done = len(story.experiment().answers.get("control", {}))
    for task in story.tasks()[done : done + 20]:
        for arm, letter in (("control", yours), (NAMES[0], mine), (NAMES[1], yours)):
            if len(story.state.experiments) == 1:
                story.arm(arm, {task: letter})


def is_answered(story: Story, what: str) -> None:
    merges = story.sent(commands.MergeBranch)
    match what:
        case "merged":
            if merges:
                story.merges()
        case "conflict":
            if merges:
                conflicted = events.MergeConflicted(
                    source=merges[-1].source,
                    target="main",
                    conflicts=[],
                    conflict_count=1,
                    experiment_id=merges[-1].experiment_id,
                )
                story.happens(conflicted)
        case "cleaned":
            story.cleans_up()
        case "refused":
            if story.outputs:
                story.refuses(type(story.outputs[-1].message))


def is_said_by_a_person(story: Story, what: str) -> None:
    match what:
        case "start":
            story.happens(commands.StartExperiment(by="ada"))
        case "abort":
            story.happens(commands.AbortExperiment(experiment_id=experiment_id(story), by="ada"))
        case "approved" | "rejected":
            for asked in story.sent(events.ApprovalRequested)[-2:]:
                said = {"decision_id": asked.decision_id, "by": "ada", "answer": what}
                story.happens(commands.ApproveDecision.model_validate(said))


def act(story: Story, what: str) -> None:
    match what:
        case "minute":
            story.passes(minutes=1)
        case "hour":
            story.passes(hours=1)
        case "run":
            for step in ("start", "prepared", "ready"):
                act(story, step)
        case _:
            for kind in (happens_to_main, happens_to_the_arms, is_answered, is_said_by_a_person):
                kind(story, what)


BROKEN = ["wrong", "broken", "crash", "refused", "conflict", "nothing prepared", "rolled back"]
USUAL = ["good", "commit", "baseline", "start", "prepared", "ready", "run", "win", "lose", "tie", "over", "merged"]
TIME_AND_PEOPLE = ["minute", "hour", "abort", "approved", "rejected", "cleaned"]
EVENTS = [*BROKEN, *USUAL, *TIME_AND_PEOPLE]
HAPPENINGS = st.lists(st.sampled_from(EVENTS), max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HAPPENINGS)
def test_every_experiment_finds_its_end(happenings: list[str]) -> None:
    story = Story(policy(tasks=40)).memory_begins()
    for what in happenings:
        act(story, what)
    for _ in range(60):
        story.passes(hours=1)

    assert not story.state.experiments, [known.phase for known in story.state.experiments.values()]
    opened = {made.experiment_id for made in story.decisions("person")}
    assert opened <= set(story.closed)
    for experiment in story.closed.values():
        assert experiment.phase is Phase.CLOSED
        assert experiment.seen <= experiment.gone | experiment.delete_sent, "no branch outlives its experiment"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HAPPENINGS)
def test_no_evidence_never_merges(happenings: list[str]) -> None:
    story = Story(policy(tasks=40)).memory_begins()
    for what in happenings:
        act(story, what)

    for merge in story.sent(commands.MergeBranch):
        decided = {event.experiment_id: event for event in story.sent(events.ExperimentDecided)}
        verdict = decided[merge.experiment_id or ""]
        assert verdict.verdict is Verdict.MERGE
        report = next(arm for arm in verdict.arms if arm.arm == verdict.winner)
        assert report.pairs >= 20
        assert report.e_value >= report.threshold
    merges = [(merge.experiment_id, merge.strategy) for merge in story.sent(commands.MergeBranch)]
    assert len(merges) == len(set(merges)), "nothing is merged twice"
