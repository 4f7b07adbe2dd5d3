"""The simulation notices when the production code is broken: each test breaks it in one way, for a few short seeds."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

import metrics_collector.store
import thymos.settlement
from decision_engine import saga
from decision_engine.agent_state import AgentState
from decision_engine.experiment import Experiment
from decision_engine.phases import TRANSITIONS, Phase, Trigger
from decision_engine.store import AgentStates
from memory_repository.operations import committing, merge_plan, reading
from thymos import subjects
from thymos.bus import Bus, Delivery
from thymos.envelope import Envelope
from thymos.errors import PoisonError
from thymos.events import ExperimentDecided
from thymos.message import Message
from thymos.settlement import Fate, Settlement
from thymos.unit_of_work import ServiceStore, Transaction

from .faults import Rates
from .world import Scale, simulate

TROUBLE = Rates(
    store_interrupted=0.05, handling_fails=0.02, ack_lost=0.01, publish_lost=0.01, publish_unacknowledged=0.01
)
SHORT = Scale(traffic_seconds=20.0, drift_at=8.0, damage_at=14.0, rates=TROUBLE)
WITH_EXPERIMENTS = Scale(traffic_seconds=50.0, drift_at=26.0, damage_at=48.0, rates=TROUBLE)
"""Long enough for experiments that run."""
SMOOTH = Scale(traffic_seconds=30.0, pause=0.14, faults=False, tenants=("default",), agents=("support",), notes=0)
"""One agent, much asked and left in peace: what goes wrong with it is mended soon."""
DRIFTING = replace(SMOOTH, traffic_seconds=45.0, drift_at=18.0, damage_at=100.0)
DAMAGED = replace(SMOOTH, drift_at=100.0, damage_at=16.0)
SEEDS = (5, 7, 4, 1, 2, 3)
"""The first finds each of them, as the code is now; the others are for when it changes."""
Break = Callable[[pytest.MonkeyPatch], None]


def _inbox_is_skipped(patch: pytest.MonkeyPatch) -> None:
    real = ServiceStore._remember

    def remember(store: ServiceStore, consumer: str, message_id: str, now: datetime) -> bool:
        real(store, consumer, message_id, now)
        return True

    patch.setattr(ServiceStore, "_remember", remember)


def _outbox_rows_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    real = Transaction.publish

    def publish(tx: Transaction, message: Message, **where: Any) -> Envelope[Message]:
        envelope = real(tx, message, **where)
        if int(envelope.id[:2], 16) < 8:
            tx.connection.execute("DELETE FROM outbox WHERE message_id = ?", (envelope.message_id,))
        return envelope

    patch.setattr(Transaction, "publish", publish)


def _published_outside_the_transaction(patch: pytest.MonkeyPatch) -> None:
    real = Transaction.publish

    def publish(tx: Transaction, message: Message, **where: Any) -> Envelope[Message]:
        envelope = real(tx, message, **where)
        if "|" in tx.cause.key:
            tx.connection.execute("COMMIT")
            tx.connection.execute("BEGIN IMMEDIATE")
            tx.connection.execute("SAVEPOINT command")
        return envelope

    patch.setattr(Transaction, "publish", publish)


def _acknowledged_before_it_is_committed(patch: pytest.MonkeyPatch) -> None:
    real = thymos.settlement.settled

    async def settled(
        bus: Bus, consumer: subjects.Consumer, delivery: Delivery, work: Callable[[], Awaitable[None]]
    ) -> Settlement:
        await delivery.ack()
        return await real(bus, consumer, delivery, work)

    patch.setattr("thymos.service.settled", settled)


def _forgotten_before_they_are_published(patch: pytest.MonkeyPatch) -> None:
    async def relay_stream(store: ServiceStore, bus: Bus, stream: str) -> int:
        wanted = "SELECT position, subject, message_id, body FROM outbox WHERE stream = ? ORDER BY position LIMIT 64"
        rows = await store.run(lambda: store._connection.execute(wanted, (stream,)).fetchall())
        if rows:
            await store._forget([(row[0],) for row in rows])
        for _, subject, message_id, body in rows:
            await store._publish(bus, subject, message_id, body)
        return len(rows)

    patch.setattr(ServiceStore, "_relay_stream", relay_stream)


def _ids_are_random(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Transaction, "new_id", lambda _: str(uuid.uuid4()))


def _transient_failures_are_final(patch: pytest.MonkeyPatch) -> None:
    real = thymos.settlement.settle

    def settle(error: BaseException | None, attempts: int, deliver_max: int) -> Settlement:
        fine = error is None or isinstance(error, PoisonError)
        return real(error, attempts, deliver_max) if fine else Settlement(Fate.DEAD, reason=f"{error}")

    patch.setattr(thymos.settlement, "settle", settle)


def _outcomes_are_counted_twice(patch: pytest.MonkeyPatch) -> None:
    real = metrics_collector.store.count_once

    def count_once(*arguments: Any) -> bool:
        real(*arguments)
        return True

    patch.setattr(metrics_collector.store, "count_once", count_once)


def _what_is_closed_is_not_cleaned_up(patch: pytest.MonkeyPatch) -> None:
    real = saga.decide

    def decide(*arguments: Any, **named: Any) -> Any:
        taken = real(*arguments, **named)
        if taken is None or taken.trigger is not Trigger.SWEEP:
            return taken
        return replace(taken, outputs=())

    patch.setattr(saga, "decide", decide)


def _what_was_sent_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    real = saga.decide

    def decide(*arguments: Any, **named: Any) -> Any:
        taken = real(*arguments, **named)
        if taken is None or "delete_sent" not in taken.changes:
            return taken
        return replace(taken, changes={k: v for k, v in taken.changes.items() if k != "delete_sent"})

    patch.setattr(saga, "decide", decide)


def _the_outbox_is_lost_at_a_start(patch: pytest.MonkeyPatch) -> None:
    real = ServiceStore._open

    def opened(store: ServiceStore, schema: str) -> None:
        real(store, schema)
        store._connection.execute("DELETE FROM outbox")

    patch.setattr(ServiceStore, "_open", opened)


def _a_state_is_kept_in_memory_alone(patch: pytest.MonkeyPatch) -> None:
    real = AgentStates.save

    def save(states: AgentStates, connection: Any, state: AgentState, wake_at: datetime | None) -> None:
        if state.clock is None or state.clock.microsecond % 16:
            real(states, connection, state, wake_at)

    patch.setattr(AgentStates, "save", save)


def _a_phase_is_skipped(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(TRANSITIONS, (Phase.PREPARING, Trigger.PREPARED), Phase.RUNNING)


def _a_verdict_is_not_told(patch: pytest.MonkeyPatch) -> None:
    real = saga._leave

    def leave(experiment: Experiment, *arguments: Any) -> Any:
        taken = real(experiment, *arguments)
        return replace(taken, outputs=tuple(o for o in taken.outputs if not isinstance(o, ExperimentDecided)))

    patch.setattr(saga, "_leave", leave)


def _a_rollback_leaves_out_a_memory(patch: pytest.MonkeyPatch) -> None:
    real_rollback, real_differing = committing.rollback, reading.differing

    def rollback(*arguments: Any, **named: Any) -> Any:
        with pytest.MonkeyPatch.context() as meanwhile:
            meanwhile.setattr(reading, "differing", lambda *sides: dict([*real_differing(*sides).items()][1:]))
            return real_rollback(*arguments, **named)

    patch.setattr(committing, "rollback", rollback)


def _a_merge_loses_a_change(patch: pytest.MonkeyPatch) -> None:
    real = merge_plan.make_plan

    def plan(*arguments: Any) -> Any:
        made = real(*arguments)
        for memory_id in sorted(made.on_ours)[:1]:
            ours, merged = made.on_ours.pop(memory_id)
            theirs, _ = made.on_theirs.get(memory_id, (merged, None))
            made.on_theirs[memory_id] = (theirs, ours)
        return made

    patch.setattr(merge_plan, "make_plan", plan)


BROKEN: Mapping[str, tuple[Break, str, Scale]] = {
    "the inbox is skipped": (_inbox_is_skipped, "handled .* twice", SHORT),
    "outbox rows are forgotten": (_outbox_rows_are_forgotten, "waits no more", SHORT),
    "the outbox is lost at a start": (_the_outbox_is_lost_at_a_start, "waits no more", SHORT),
    "a message is published outside its transaction": (
        _published_outside_the_transaction,
        "published, not committed",
        SHORT,
    ),
    "a message is acknowledged before it is committed": (
        _acknowledged_before_it_is_committed,
        "handled .* 0 times",
        SHORT,
    ),
    "rows are forgotten before they are published": (_forgotten_before_they_are_published, "waits no more", SHORT),
    "ids do not follow from their cause": (_ids_are_random, "done again it is", SHORT),
    "transient failures are final": (_transient_failures_are_final, "gave up", SHORT),
    "outcomes are counted twice": (_outcomes_are_counted_twice, "is counted twice", SHORT),
    "a state is kept in memory alone": (_a_state_is_kept_in_memory_alone, "stored state is not", SHORT),
    "what was sent is forgotten": (_what_was_sent_is_forgotten, "ordered twice", WITH_EXPERIMENTS),
    "a phase is skipped": (_a_phase_is_skipped, "came to Running", WITH_EXPERIMENTS),
    "a verdict is not told": (_a_verdict_is_not_told, "closed without being decided", WITH_EXPERIMENTS),
    "a rollback leaves out a memory": (_a_rollback_leaves_out_a_memory, "the rollback .* does not hold", DAMAGED),
    "a merge loses a change": (_a_merge_loses_a_change, "the merge .* does not hold", DRIFTING),
    "nothing is swept": (_what_is_closed_is_not_cleaned_up, "is left|not settled", WITH_EXPERIMENTS),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_simulation_notices_when(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, said, scale = BROKEN[name]
    broken(monkeypatch)
    problems = []
    for seed in SEEDS:
        problem = simulate(seed, scale).problem or "nothing"
        if re.search(said, problem):
            return
        problems.append(f"seed {seed}: {problem[:500]}")
    pytest.fail(f"nobody noticed that {name}:\n" + "\n".join(problems))
