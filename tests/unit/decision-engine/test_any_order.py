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


def act(story: Story, what: str) -> None:  # noqa: C901  (one flat table of what may happen)
    identity = experiment_id(story)
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
        case "minute":
            story.passes(minutes=1)
        case "hour":
            story.passes(hours=1)
        case "start":
            story.happens(commands.StartExperiment(by="ada"))
        case "abort":
            story.happens(commands.AbortExperiment(experiment_id=identity, by="ada"))
        case "prepared":
            if story.sent(commands.PrepareVariants):
                story.prepares(*NAMES)
        case "run":
            for step in ("start", "prepared", "ready"):
                act(story, step)
        case "nothing prepared":
            if story.sent(commands.PrepareVariants):
                story.prepares()
        case "ready":
            for arm in ("control", *NAMES):
                branch = arm_branch(story, arm)
                story.happens(events.WorktreeReady(worktree_id=f"w-{arm}", branch=branch, backend="process"))
        case "crash":
            branch = arm_branch(story, "control")
            story.happens(events.WorktreeFailed(worktree_id="w", branch=branch, backend="process", crash_loop=True))
        case "win" | "lose" | "tie":
            if len(story.state.experiments) == 1 and story.tasks():
                experiment = story.experiment()
                done = len(experiment.answers.get("control", {}))
                mine, yours = {"win": ("1", "0"), "lose": ("0", "1"), "tie": ("1", "1")}[what]
                for task in story.tasks()[done : done + 20]:
                    for arm, letter in (("control", yours), (NAMES[0], mine), (NAMES[1], yours)):
                        if len(story.state.experiments) == 1:
                            story.arm(arm, {task: letter})
        case "over":
            story.happens(events.ScenarioFinished(experiment_id=identity, graded=3, unmeasured=1))
        case "merged":
            if story.sent(commands.MergeBranch):
                story.merges()
        case "conflict":
            if story.sent(commands.MergeBranch):
                source = arm_branch(story, NAMES[0])
                story.happens(
                    events.MergeConflicted(
                        source=source, target="main", conflicts=[], conflict_count=1, experiment_id=identity
                    )
                )
        case "approve" | "reject":
            answer = "approved" if what == "approve" else "rejected"
            for asked in story.sent(events.ApprovalRequested)[-2:]:
                story.happens(
                    commands.ApproveDecision.model_validate(
                        {"decision_id": asked.decision_id, "by": "ada", "answer": answer}
                    )
                )
        case "cleaned":
            story.cleans_up()
        case "rolled back":
            if story.sent(commands.RollbackBranch):
                story.rolls_back(f"r{len(story.outputs)}")
        case "refused":
            if story.outputs:
                story.refuses(type(story.outputs[-1].message))


BROKEN = ["wrong", "broken", "crash", "refused", "conflict", "nothing prepared", "rolled back"]
USUAL = ["good", "commit", "baseline", "start", "prepared", "ready", "run", "win", "lose", "tie", "over", "merged"]
TIME_AND_PEOPLE = ["minute", "hour", "abort", "approve", "reject", "cleaned"]
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
