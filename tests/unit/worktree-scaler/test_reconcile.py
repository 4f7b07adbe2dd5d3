"""Reconciling: what runs becomes what should run, in small safe steps."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worktree_scaler import lifecycle, scenario
from worktree_scaler.lifecycle import SERVING, TRANSITIONS, IllegalTransitionError, Phase, Trigger, following
from worktree_scaler.reconcile import (
    Drain,
    Fleet,
    Found,
    Kill,
    Known,
    Limits,
    MarkFailed,
    Observed,
    Start,
    Stop,
    adopt,
    after_exit,
    backoff,
    plan,
)

NOW = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
LIMITS = Limits()


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def ready(name: str, *, in_flight: int = 0, age: float = 10, heard: float = 0.5, crashes: int = 0) -> Observed:
    return Observed(name, Phase.READY, ago(age), in_flight, ago(heard), crashes)


def waiting(name: str, *, crashes: int = 1, age: float = 0) -> Observed:
    return Observed(name, Phase.WAITING, ago(age), crashes=crashes)


def step(fleet: Fleet, *observed: Observed, limits: Limits = LIMITS) -> tuple[object, ...]:
    return plan(fleet, observed, limits, NOW)


# --- how many -----------------------------------------------------------------------------------------------


def test_missing_worktrees_are_started_and_a_full_fleet_is_left_alone() -> None:
    assert step(Fleet(2)) == (Start(None, "0 of 2 worktrees"),) * 2
    assert step(Fleet(2), ready("a")) == (Start(None, "1 of 2 worktrees"),)
    assert step(Fleet(2), ready("a"), Observed("b", Phase.STARTING, ago(1))) == ()


def test_what_drains_is_not_counted() -> None:
    assert step(Fleet(1), Observed("a", Phase.DRAINING, ago(1))) == (Start(None, "0 of 1 worktrees"),)


def test_shrinking_takes_those_without_a_process_then_starting_then_the_youngest_idle() -> None:
    fleet = [
        ready("old", age=900),
        ready("young", age=20),
        Observed("starting", Phase.STARTING, ago(3)),
        waiting("crashed"),
    ]

    assert [a.worktree_id for a in step(Fleet(1), *fleet) if isinstance(a, Drain)] == [
        "crashed",
        "starting",
        "young",
    ]


def test_shrinking_never_takes_one_with_a_task_in_hand() -> None:
    busy, idle = ready("busy", in_flight=1), ready("idle")

    assert step(Fleet(0), busy, idle) == (Drain("idle", "one of 2 too many"),)
    assert step(Fleet(0), busy) == ()


def test_a_released_fleet_drains_whole_also_with_tasks_in_hand() -> None:
    failed = Observed("failed", Phase.FAILED, ago(5))
    released = step(Fleet(1, releasing=True), ready("busy", in_flight=3), waiting("w", age=99), failed)

    assert released == tuple(Drain(name, "its branch is released") for name in ("busy", "w", "failed"))


# --- processes that end or hang -----------------------------------------------------------------------------


def test_a_crashed_process_starts_again_after_its_backoff() -> None:
    assert step(Fleet(1), waiting("a", crashes=2, age=0.4)) == ()
    (again,) = step(Fleet(1), waiting("a", crashes=2, age=0.5))

    assert again == Start("a", "again, 0.5 s after exit 2 without a stable run")


def test_backoff_doubles_to_a_limit() -> None:
    assert [backoff(n, LIMITS).total_seconds() for n in (1, 2, 3, 4, 99)] == [0.25, 0.5, 1, 2, 30]


def test_five_exits_without_a_stable_run_are_a_crash_loop() -> None:
    (action,) = step(Fleet(1), waiting("a", crashes=5, age=99))

    assert action == MarkFailed("a", "crash loop: 5 exits without a stable run")


def test_a_failed_worktree_keeps_its_place_for_a_while_and_an_arm_for_ever() -> None:
    failed = Observed("a", Phase.FAILED, ago(299))
    main = Fleet(1, retry_failed_after=timedelta(seconds=300))

    assert step(main, failed) == ()
    assert step(main, replace(failed, phase_at=ago(300))) == (Start(None, "0 of 1 worktrees"),)
    assert step(Fleet(1), replace(failed, phase_at=ago(86_400))) == ()


def test_crashes_are_forgotten_after_a_stable_run() -> None:
    assert after_exit(ready("a", age=59, crashes=3), LIMITS, NOW) == (Phase.WAITING, 4)
    assert after_exit(ready("a", age=60, crashes=3), LIMITS, NOW) == (Phase.WAITING, 1)


def test_an_end_that_was_asked_for_is_no_crash() -> None:
    assert after_exit(Observed("a", Phase.DRAINING, ago(1)), LIMITS, NOW) == (Phase.STOPPED, 0)


def test_what_does_not_drain_is_terminated_then_killed() -> None:
    draining, stopping = Observed("a", Phase.DRAINING, ago(10)), Observed("a", Phase.STOPPING, ago(5))

    assert step(Fleet(0), replace(draining, phase_at=ago(9))) == ()
    assert step(Fleet(0), draining) == (Stop("a", "not drained within 10 s"),)
    assert step(Fleet(0), replace(stopping, phase_at=ago(4))) == ()
    assert step(Fleet(0), stopping) == (Kill("a", "still there 5 s after being terminated"),)


def test_a_hung_process_is_killed() -> None:
    assert step(Fleet(1), ready("a", heard=30)) == (Kill("a", "hung: no heartbeat for 30 s"),)
    never = Observed("a", Phase.STARTING, ago(60))
    assert step(Fleet(1), never) == (Kill("a", "no heartbeat within 60 s of its start"),)


def test_a_step_is_bounded() -> None:
    assert len(step(Fleet(1_000))) == LIMITS.actions_max


# --- after the scaler was killed ----------------------------------------------------------------------------


def test_the_noted_process_is_adopted_and_any_other_is_surplus() -> None:
    known = [Known("a", Phase.READY, 10, 1.0)]
    mine, double = Found(10, 1.0, "a"), Found(11, 0.5, "a")

    assert adopt(known, [double, mine]).adopted == {"a": mine}
    assert adopt(known, [double, mine]).surplus == (double,)


def test_a_process_whose_pid_was_never_noted_is_adopted_by_its_mark() -> None:
    known = [Known("a", Phase.STARTING, None, None)]

    assert adopt(known, [Found(12, 3.0, "a"), Found(13, 4.0, "a")]).adopted == {"a": Found(12, 3.0, "a")}


def test_a_reused_pid_is_not_taken_for_the_process() -> None:
    """Pid 10 now belongs to a process of another worktree: nothing of worktree a is left."""
    known = [Known("a", Phase.READY, 10, 1.0)]

    assert adopt(known, [Found(10, 99.0, "b")]) == adopt([], [Found(10, 99.0, "b")])


def test_processes_of_stopped_or_unknown_worktrees_are_surplus() -> None:
    found = [Found(1, 1.0, "stopped"), Found(2, 1.0, "unknown")]

    assert adopt([Known("stopped", Phase.STOPPED, 1, 1.0)], found).surplus == tuple(found)


# --- the table and properties -------------------------------------------------------------------------------


def test_what_the_table_does_not_hold_is_illegal() -> None:
    assert following(Phase.READY, Trigger.EXIT) is Phase.WAITING
    with pytest.raises(IllegalTransitionError, match="stopped knows no heartbeat"):
        following(Phase.STOPPED, Trigger.HEARTBEAT)


def test_every_phase_has_a_way_to_its_end() -> None:
    reached = {Phase.STOPPED}
    while more := {phase for (phase, _), to in TRANSITIONS.items() if to in reached} - reached:
        reached |= more

    assert reached == set(Phase)
    source = Path(lifecycle.__file__).read_text()
    assert all(re.search(rf"\b{phase}\b", source.split('"""')[1]) for phase in Phase), "the picture shows them all"


def test_the_readme_shows_both_tables() -> None:
    readme = Path(__file__).parents[3] / "services" / "worktree-scaler" / "README.md"

    assert f"```mermaid\n{lifecycle.diagram()}```\n" in readme.read_text()
    assert f"```mermaid\n{scenario.diagram()}```\n" in readme.read_text()


observed_worktrees = st.lists(
    st.builds(
        Observed,
        worktree_id=st.uuids().map(str),
        phase=st.sampled_from(list(Phase)),
        phase_at=st.integers(0, 400).map(ago),
        in_flight=st.integers(0, 2),
        heartbeat_at=st.none() | st.integers(0, 60).map(ago),
        crashes=st.integers(0, 7),
    ),
    max_size=12,
)


@given(st.integers(0, 6), st.booleans(), observed_worktrees)
def test_a_step_never_overshoots_nor_contradicts_itself(
    desired: int, releasing: bool, observed: list[Observed]
) -> None:
    limits = replace(LIMITS, actions_max=100)
    actions = plan(Fleet(desired, releasing), observed, limits, NOW)
    by_id = {one.worktree_id: one for one in observed}
    touched = [a.worktree_id for a in actions if a.worktree_id is not None]
    drained = [by_id[a.worktree_id] for a in actions if isinstance(a, Drain)]
    new = sum(isinstance(a, Start) and a.worktree_id is None for a in actions)
    serving = sum(one.phase in SERVING for one in observed)

    assert len([a for a in actions if isinstance(a, Start | Drain)]) == len(
        {a.worktree_id or id(a) for a in actions if isinstance(a, Start | Drain)}
    )
    assert set(touched) <= set(by_id)
    assert new == 0 or (serving + new <= desired and not releasing)
    if not releasing:
        assert all(one.phase is not Phase.READY or one.in_flight == 0 for one in drained)
        assert not drained or serving - len(drained) >= desired


@given(st.integers(0, 4), observed_worktrees)
def test_obeying_reaches_the_fleet_and_then_rests(desired: int, observed: list[Observed]) -> None:
    """Simulated with obedient processes: each step's actions take effect at once, tasks end, time passes."""
    world = {one.worktree_id: one for one in observed}
    now = NOW
    for at in range(12):
        actions = plan(Fleet(desired), tuple(world.values()), LIMITS, now)
        now += timedelta(seconds=40)
        for index, action in enumerate(actions):
            name = getattr(action, "worktree_id", None) or f"new-{at}-{index}"
            match action:
                case Start():
                    world[name] = Observed(name, Phase.READY, now)
                case Drain() | Stop() | Kill():
                    world.pop(name, None)
                case MarkFailed():
                    world[name] = replace(world[name], phase=Phase.FAILED)
        world = {k: replace(one, in_flight=0, heartbeat_at=now) for k, one in world.items()}
    held = sum(one.phase is Phase.FAILED for one in world.values())

    serving = sum(one.phase in SERVING for one in world.values())

    assert max(0, desired - held) <= serving <= desired
    assert plan(Fleet(desired), tuple(world.values()), LIMITS, now) == ()
