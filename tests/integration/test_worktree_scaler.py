"""worktree-scaler on a real NATS server with real agent processes."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import psutil
import pytest_asyncio

from thymos import subjects
from thymos.commands import ReleaseWorktrees, ReserveWorktrees, RunScenario, ScaleWorktree
from thymos.events import (
    Arm,
    BranchDeleted,
    CommandRefused,
    ScenarioFinished,
    WorktreeDrained,
    WorktreeFailed,
    WorktreeReady,
    WorktreeScaled,
    WorktreesReleased,
    WorktreesReserved,
    WorktreeStarted,
    WorktreeStopped,
)
from thymos.nats_bus import NatsBus
from thymos.telemetry import AgentHeartbeat, Outcome, TaskFinished
from worktree_scaler.scaling import ScalingPolicy

from .worktree_scaler_bench import QUICK, Bench, bench_on, running, settings_of

ARMS = [
    Arm(name="control", branch="experiment-1-control", control=True),
    Arm(name="bold", branch="experiment-1-bold"),
]


@pytest_asyncio.fixture
async def bench(nats: NatsBus) -> AsyncIterator[Bench]:
    async with bench_on(nats) as bench:
        yield bench


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_an_agent_starts_gets_ready_answers_and_is_drained_when_the_scaler_stops(
    bench: Bench, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path, bench.bus.url)
    async with running(settings):
        await bench.assign({"say": "hello"})
        (ready,) = await bench.wait(WorktreeReady)
        (answer,) = await bench.wait(TaskFinished)
        (worktree,) = (await bench.ask("worktrees"))["worktrees"]
        (agent,) = (await bench.ask("agents"))["agents"]
    await bench.wait(WorktreeStopped)

    assert answer.output == "hello"
    assert (worktree["worktree_id"], worktree["phase"]) == (ready.worktree_id, "ready")
    assert (agent["worktrees"], agent["capacity"]) == ({"ready": 1}, 1)
    assert bench.all(WorktreeDrained)[0].worktree_id == ready.worktree_id
    assert not is_alive(worktree["pid"])
    assert f"agent {ready.worktree_id} on main" in (tmp_path / f"data/agents/{ready.worktree_id}.log").read_text()


async def test_a_task_in_hand_is_finished_before_the_scaler_ends(bench: Bench, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with running(settings_of(tmp_path, bench.bus.url)):
        await bench.assign({"wait_for": str(gate)})
        await bench.wait(AgentHeartbeat, matching=lambda beat: beat.in_flight == 1)
        gate.touch()
    await bench.wait(WorktreeStopped)

    assert [answer.output for answer in await bench.wait(TaskFinished)] == ["waited"]


async def test_a_crashed_agent_is_started_again_in_its_worktree(bench: Bench, tmp_path: Path) -> None:
    async with running(settings_of(tmp_path, bench.bus.url)):
        (ready,) = await bench.wait(WorktreeReady)
        (worktree,) = (await bench.ask("worktrees"))["worktrees"]
        psutil.Process(worktree["pid"]).kill()
        (failed,) = await bench.wait(WorktreeFailed)
        again = await bench.wait(WorktreeReady, 2)

    assert (failed.exit_code, failed.crash_loop) == (-9, False)
    assert {one.worktree_id for one in again} == {ready.worktree_id}


async def test_a_crash_loop_ends_as_failed(bench: Bench, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, bench.bus.url, agent={"environment": {"AGENT_MODE": "crash"}})
    async with running(settings):
        (loop,) = await bench.wait(WorktreeFailed, matching=lambda failed: failed.crash_loop)
        (worktree,) = (await bench.ask("worktrees"))["worktrees"]

    assert len(bench.all(WorktreeStarted)) == QUICK.crashes_max
    assert (loop.exit_code, worktree["phase"]) == (3, "failed")
    assert not bench.all(WorktreeReady)


async def test_a_command_that_does_not_exist_fails_with_its_reason(bench: Bench, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, bench.bus.url, agent={"command": ("/nowhere/agent",)})
    async with running(settings):
        failures = await bench.wait(WorktreeFailed, QUICK.crashes_max + 1)

    assert "No such file" in failures[0].reason
    assert failures[-1].crash_loop


async def test_an_agent_that_ignores_being_stopped_is_killed(bench: Bench, tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        bench.bus.url,
        agent={"environment": {"AGENT_MODE": "stubborn"}, "drain_timeout": timedelta(milliseconds=200)},
    )
    async with running(settings):
        await bench.wait(WorktreeReady)
        (worktree,) = (await bench.ask("worktrees"))["worktrees"]
    (stopped,) = await bench.wait(WorktreeStopped)

    assert "not drained" in stopped.reason
    assert not is_alive(worktree["pid"])
    assert not bench.all(WorktreeDrained)


async def test_worktrees_follow_the_queue_up_and_down(bench: Bench, tmp_path: Path) -> None:
    policy = ScalingPolicy(
        max_worktrees=4,
        target_lag=2,
        scale_period=timedelta(seconds=1),
        scale_down_window=timedelta(seconds=2),
        idle_period=timedelta(seconds=2),
    )
    gate = tmp_path / "gate"
    async with running(settings_of(tmp_path, bench.bus.url, policy=policy)):
        await bench.wait(WorktreeReady)
        await bench.assign({"wait_for": str(gate)}, count=12)
        await bench.wait(WorktreeScaled, matching=lambda scaled: scaled.to_count == 4)
        await bench.wait(WorktreeReady, 4)
        gate.touch()
        await bench.wait(WorktreeScaled, matching=lambda scaled: scaled.to_count == 1)
        await bench.wait(WorktreeStopped, 3)
        answers = await bench.wait(TaskFinished, 12)
        (agent,) = (await bench.ask("agents"))["agents"]

    assert len({answer.task_id for answer in answers}) == 12, "no task was lost on the way down"
    assert agent["worktrees"] == {"ready": 1}
    assert {one.reason.split(";")[0].split(" needs")[0][:3] for one in bench.all(WorktreeScaled)} == {"lag"}


async def test_a_count_by_hand_overrides_the_policy_and_the_impossible_is_refused(bench: Bench, tmp_path: Path) -> None:
    async with running(settings_of(tmp_path, bench.bus.url)):
        await bench.publish(ScaleWorktree(count=99))
        (refused,) = await bench.wait(CommandRefused)
        await bench.publish(ScaleWorktree(count=3, reason="a campaign"))
        (scaled,) = await bench.wait(WorktreeScaled)
        await bench.wait(WorktreeReady, 3)

    assert refused.reason.startswith("99 is outside 1..6")
    assert (scaled.from_count, scaled.to_count) == (1, 3)
    assert "a campaign" in scaled.reason


# --- experiments --------------------------------------------------------------------------------------------


async def test_arms_are_reserved_all_or_none_and_released_without_a_trace(bench: Bench, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, bench.bus.url, policy=ScalingPolicy(max_worktrees=3))
    async with running(settings):
        await bench.wait(WorktreeReady)
        too_many = [*ARMS, Arm(name="timid", branch="experiment-1-timid")]
        await bench.publish(ReserveWorktrees(experiment_id="1", arms=too_many))
        (refused,) = await bench.wait(CommandRefused)
        await bench.publish(ReserveWorktrees(experiment_id="1", arms=ARMS))
        (granted,) = await bench.wait(WorktreesReserved)
        ready = await bench.wait(WorktreeReady, 3)
        command_id = await bench.publish(ReleaseWorktrees(experiment_id="1", reason="decided"))
        (released,) = await bench.wait(WorktreesReleased)
        left = (await bench.ask("worktrees"))["worktrees"]
        consumer = subjects.task_consumer("default", "support", ARMS[0].branch)
        depth = await bench.bus.depth(consumer)

    assert "leaves room for 2" in refused.reason
    assert granted.branches == released.branches == [arm.branch for arm in ARMS]
    assert {one.branch for one in ready} == {"main", *granted.branches}
    assert {one.branch for one in bench.all(WorktreeStarted)} == {"main", *granted.branches}, "none of the refused"
    assert [one["branch"] for one in left] == ["main"]
    assert depth is None, "the arm's task consumer is deleted"
    assert [e.causation_id for e in bench.seen if isinstance(e.data, WorktreesReleased)] == [command_id]


async def test_a_deleted_branch_and_a_passed_deadline_end_their_worktrees(bench: Bench, tmp_path: Path) -> None:
    async with running(settings_of(tmp_path, bench.bus.url)):
        await bench.publish(ReserveWorktrees(experiment_id="1", arms=ARMS))
        await bench.wait(WorktreeReady, 3)
        deleted = BranchDeleted(branch=ARMS[1].branch, from_commit="c0ffee", reason="test")
        await bench.publish(deleted, source="memory-repository")
        await bench.wait(WorktreeStopped, matching=lambda one: one.branch == ARMS[1].branch)
        soon = datetime.now(UTC) + timedelta(milliseconds=100)
        other = [Arm(name="other", branch="experiment-2-other")]
        await bench.publish(ReserveWorktrees(experiment_id="2", arms=other, deadline=soon))
        (released,) = await bench.wait(WorktreesReleased)

    assert released.experiment_id == "2"
    assert {one.branch for one in bench.all(WorktreeStopped)} >= {ARMS[1].branch}


def scenario(tmp_path: Path, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    path = tmp_path / "scenario.jsonl"
    path.write_text("\n".join(json.dumps(task) for task in tasks))
    return {"scenario": path, "grader": "normalised"}


async def test_a_scenario_is_answered_by_every_arm_and_graded_without_telling(bench: Bench, tmp_path: Path) -> None:
    right = {ARMS[1].branch: "Thirty days."}
    tasks = [{"task_id": f"t{i}", "input": {"say_by_branch": right}, "expect": "thirty days"} for i in range(20)]
    async with running(settings_of(tmp_path, bench.bus.url, agent=scenario(tmp_path, tasks))):
        await bench.publish(ReserveWorktrees(experiment_id="1", arms=ARMS))
        await bench.wait(WorktreeReady, 3)
        ids = [str(task["task_id"]) for task in tasks]
        await bench.publish(RunScenario(experiment_id="1", arms=ARMS, task_ids=ids, seed=7))
        (finished,) = await bench.wait(ScenarioFinished)
        graded = await bench.wait(TaskFinished, 40, matching=lambda one: not one.awaits_grade)
        described = await bench.ask("scenario")

    by_arm = {arm.name: [one for one in graded if one.arm == arm.name] for arm in ARMS}
    assert (finished.graded, finished.unmeasured) == (40, 0)
    assert {one.outcome for one in by_arm["bold"]} == {Outcome.SUCCEEDED}
    assert {one.outcome for one in by_arm["control"]} == {Outcome.FAILED}
    assert {one.commit for one in graded} == {"c0ffee"}, "what the agent measured is kept"
    sources = {e.source for e in bench.seen if isinstance(e.data, TaskFinished) and not e.data.awaits_grade}
    assert sources == {"worktree-scaler"}
    assert "expect" not in json.dumps(described)
    tasks_seen = [e for e in bench.seen if "thirty days" in e.to_bytes().decode()]
    assert not tasks_seen, "what is expected never travels"


async def test_a_task_is_timed_out_while_its_agent_lives_and_redelivered_when_it_dies(
    bench: Bench, tmp_path: Path
) -> None:
    died = tmp_path / "died"
    tasks: list[dict[str, Any]] = [
        {"task_id": "deadly", "input": {"die_once": str(died)}, "expect": "survived"},
        {"task_id": "endless", "input": {"hang": True}, "expect": ""},
    ]
    arms = ARMS[1:]
    agent = {**scenario(tmp_path, tasks), "drain_timeout": timedelta(milliseconds=200)}
    async with running(settings_of(tmp_path, bench.bus.url, agent=agent)):
        await bench.publish(ReserveWorktrees(experiment_id="1", arms=arms))
        await bench.wait(WorktreeReady, 2)
        ids = ["deadly", "endless"]
        command = RunScenario(experiment_id="1", arms=arms, task_ids=ids, seed=1, task_timeout_seconds=8)
        await bench.publish(command)
        await bench.wait(WorktreeFailed, matching=lambda one: one.exit_code == 4)
        (finished,) = await bench.wait(ScenarioFinished)
        outcomes = await bench.wait(TaskFinished, 2, matching=lambda one: not one.awaits_grade)
        graded = {one.task_id: one.outcome for one in outcomes}

    assert died.exists()
    assert graded["endless"] is Outcome.TIMED_OUT
    assert graded["deadly"] is Outcome.CANCELLED, "lost with its process, not redelivered in time: unmeasured"
    assert (finished.graded, finished.unmeasured) == (1, 1)


async def test_agents_that_somebody_else_starts_are_listened_to_and_never_started_or_ended(
    bench: Bench, tmp_path: Path
) -> None:
    """One with an id of its own and one without, beside the scaler's own; then both fall silent."""
    limits = replace(QUICK, heartbeat_timeout=timedelta(seconds=3))
    async with running(settings_of(tmp_path, bench.bus.url, limits=limits)):
        (own,) = await bench.wait(WorktreeReady)
        for worktree_id in ("elsewhere-1", None):
            await bench.publish(AgentHeartbeat(worktree_id=worktree_id, in_flight=1, capacity=4), source="raw-client")
        await bench.wait(WorktreeReady, 3)
        there = (await bench.ask("worktrees"))["worktrees"]
        failed = await bench.wait(WorktreeFailed, 2)
        left = (await bench.ask("worktrees"))["worktrees"]
        (agent,) = (await bench.ask("agents"))["agents"]
    await bench.wait(WorktreeStopped)

    strangers = {"elsewhere-1", "default.support.main"}
    external = {one["worktree_id"]: one for one in there if one["backend"] == "external"}
    assert set(external) == {one.worktree_id for one in failed} == strangers
    assert {(one["phase"], one["capacity"], one["pid"]) for one in external.values()} == {("ready", 4, None)}
    assert {one.worktree_id for one in bench.all(WorktreeStarted)} == {own.worktree_id} | strangers
    assert {one.backend for one in failed} == {"external"}
    assert {one["worktree_id"]: one["phase"] for one in left} == {own.worktree_id: "ready"} | dict.fromkeys(
        strangers, "failed"
    )
    assert agent["worktrees"] == {"ready": 1, "failed": 2}
    ended = {one.worktree_id for kind in (WorktreeDrained, WorktreeStopped) for one in bench.all(kind)}
    assert ended == {own.worktree_id}, "only what we have started is ended by us"


async def test_an_agent_that_somebody_else_started_registers_by_its_heartbeat(bench: Bench, tmp_path: Path) -> None:
    async with running(settings_of(tmp_path, bench.bus.url, agents={})):
        await bench.publish(AgentHeartbeat(worktree_id="elsewhere-1", in_flight=1, capacity=4))
        (ready,) = await bench.wait(WorktreeReady)
        (agent,) = (await bench.ask("agents"))["agents"]
        await bench.publish(ReserveWorktrees(experiment_id="1", arms=ARMS))
        (refused,) = await bench.wait(CommandRefused)

    assert (ready.worktree_id, ready.backend) == ("elsewhere-1", "external")
    assert (agent["backend"], agent["in_flight"], agent["capacity"]) == ("external", 1, 4)
    assert refused.code == "not_found"


def test_the_share_of_load_is_exact() -> None:
    """The thresholds of the configuration are decimals and stay exact."""
    assert Fraction("0.9") == ScalingPolicy().scale_up_threshold
